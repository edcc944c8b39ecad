"""Without Headrace in between: how DuckDB itself reads a home, from wherever DuckDB runs.

Guarantees: nothing is written into the home, nothing is downloaded where the extensions came as
Python packages, and no password is in a statement.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from headrace.pipelines.errors import UsageError
from headrace.pipelines.verbs.place import Place, opened

if TYPE_CHECKING:
    import duckdb

    from headrace.pipelines.lake.lake import Lake
    from headrace.pipelines.position import Position

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Attachment:
    """How DuckDB reads a home, and what it finds there.

    Attributes:
        name: under which the lake is attached.
        statements: what DuckDB runs for it, in this order.
        tables: what is served, as `NAME.TABLE`, or `TABLE` after USE.
        position: where in the log that is true; the next commit moves it on.
        cut: of the base.
        logic: that made it.
        generation: that is live.
        duckdb: the version that the extensions are for.
        copied: a copy of the catalog is read, because the home cannot be written.
    """

    name: str
    statements: tuple[str, ...]
    tables: tuple[str, ...]
    position: Position
    cut: Position
    logic: str
    generation: int
    duckdb: str
    copied: bool


def attachment(home: Place, *, name: str = "lake", **given: Any) -> Attachment:
    """The statements with which DuckDB reads a home on this machine, offline.

    Args:
        home: where.
        name: under which the lake is attached.
        given: settings.

    Raises:
        UsageError: there is no home, or the name is none.
        SeamError, LogError, HomeError: nothing can be read from it as it is.
    """
    with _found(home, name, given) as (_, found, loads, attach):
        use = f"USE {_quoted(name)}"
        return Attachment(**{**vars(found), "statements": (*loads, attach, use)})


def attach(
    con: duckdb.DuckDBPyConnection,
    home: Place,
    *,
    name: str = "lake",
    use: bool = True,
    **given: Any,
) -> Attachment:
    """Attach a home's lake to a connection of DuckDB's own, read-only.

    Args:
        con: any connection of the `duckdb` package, of this process.
        home: where.
        name: under which the lake is attached.
        use: make it the connection's default, so that `FROM orders` finds it.
        given: settings, such as `catalog_password`.

    Returns:
        What was run, and what it finds; `position` is where the connection sees the views now.

    Raises:
        UsageError: there is no home, or DuckDB refuses: the name is taken, say.
        SeamError, LogError, HomeError: nothing can be read from it as it is.
    """
    import duckdb

    from headrace.pipelines.lake.connect import password
    from headrace.pipelines.lake.duckdb_errors import first_line
    from headrace.pipelines.position import Position

    quoted = _quoted(name)
    with _found(home, name, given) as (lake, found, loads, attaching):
        statements = [*loads, attaching, *[f"USE {quoted}"] * use]
        try:
            for statement in loads:
                con.execute(statement)
            with password(con, lake.home, lake.settings) as named:
                con.execute(f"{attaching[:-1]}{named})")
            told = con.execute(
                f"SELECT position, cut, logic, generation FROM {quoted}.sys.served"
            ).fetchall()
            if use:
                con.execute(f"USE {quoted}")
        except duckdb.Error as e:
            raise UsageError(
                f"DuckDB did not attach {lake.home.path} as {name} ({first_line(e)}); give a "
                "connection that may read files, and a name that is free"
            ) from e
    position, cut, logic, generation = told[0]
    seen = {"position": Position.parse(position), "cut": Position.parse(cut), "logic": logic}
    return Attachment(
        **{**vars(found), **seen, "generation": generation, "statements": tuple(statements)}
    )


@contextlib.contextmanager
def _found(
    home: Place, name: str, given: dict[str, Any]
) -> Iterator[tuple[Lake, Attachment, list[str], str]]:
    """The open lake, what is served of it, and how it is attached. Its seam and log are checked."""
    quoted = _quoted(name)
    import duckdb

    from headrace.pipelines.generations import registry
    from headrace.pipelines.lake import connect, unwritable

    with opened(home, read_only=True, **given) as lake:
        line = registry.trusted(registry.read(lake))
        place = lake.home
        copy: Path | None = None
        if place.catalog_url is None and not unwritable.writable(place.path):
            copy = unwritable.copied_for_others(place)
        loads = [each for one in connect.extensions(place) for each in connect.loading(one)]
        attaching = connect.attach_sql(place, read_only=True, copy=copy, alias=quoted)
        found = Attachment(
            name=name,
            statements=(),
            tables=("orders", "ledger", *line.views),
            position=line.position,
            cut=line.cut,
            logic=line.logic,
            generation=line.number,
            duckdb=duckdb.__version__,
            copied=copy is not None,
        )
        yield lake, found, loads, attaching


def _quoted(name: str) -> str:
    """A name as an identifier of SQL.

    Raises:
        UsageError: it is none.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is no name for a lake; take letters, digits and _, such as shop"
        )
    return name if name == "lake" else f'"{name}"'
