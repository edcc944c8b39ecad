"""Generations: complete served lines, base plus deltas, and which of them is live.

Every generation `n` has a schema `gn` in the lake, and there for each base `b` and each of
`orders`, `ledger` and the views two tables: `b{b}_{name}`, the base at its cut, and `d{b}_{name}`,
the deltas after it. A new base gets new tables; the old ones are dropped whole in the same
transaction, because deleting delta rows one by one takes seconds where this takes milliseconds.

What people query are views in the lake's main schema. They are written anew with every publish
and promote, and each of them checks the seam before it gives a row.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from headrace.pipelines.errors import SeamError, UsageError
from headrace.pipelines.generations.generation import (
    Generation,
    StoredViews,
    stored_texts,
    table_columns,
)
from headrace.pipelines.generations.served_sql import seam_sql, served_sql
from headrace.pipelines.lake import checksums, failpoints
from headrace.pipelines.lake.connect import literal
from headrace.pipelines.lake.connection import Connection
from headrace.pipelines.lake.home import Home
from headrace.pipelines.lake.lake import Lake
from headrace.pipelines.lake.transaction import Transaction
from headrace.pipelines.lake.unchanged import remembered
from headrace.pipelines.position import Position, check_chain
from headrace.pipelines.settings import business_zone
from headrace.pipelines.views.filling import zones_moved, zones_of
from headrace.pipelines.views.lookups import content_sql
from headrace.pipelines.views.stacked import lookups

if TYPE_CHECKING:
    from headrace.pipelines.views.load import View

Filling = str | Sequence[Path]
"""What a base table is filled with: a SELECT, or finished Parquet files."""


def current_views(home: Home, extra: Path | None = None) -> dict[str, View]:
    """The views as the files have them now: built in, and the home's own or those of `extra`.

    Raises:
        ViewError: one of them cannot be maintained.
        UsageError: `extra` is no folder, or the home's zone is none.
    """
    if extra is not None and not extra.is_dir():
        raise UsageError(f"--views {extra} is not a directory; name one with .sql files in it")
    from headrace.pipelines.views.load import BUILTIN_VIEWS, load_views

    own = [folder for folder in (extra or home.views,) if folder.is_dir()]
    return load_views(BUILTIN_VIEWS, *own, zone=business_zone(home.path), lookups=home.lookups)


def logic_of(views: Mapping[str, View]) -> str:
    """The logic version of these views on today's fold."""
    from headrace.pipelines.fold import fold
    from headrace.pipelines.views.load import logic_version

    return logic_version(views, fold.version())


def live_number(lake: Connection) -> int:
    """The generation that readers are pointed to."""

    def ask() -> int:
        return int(lake.row("SELECT arg_max(generation, switch_no) FROM sys.live")[0])

    return remembered(lake, "live generation", ("live",), ask)


READ_FROM: Final = ("generations", "bases", "commits", "cuts", "live")
"""The tables that say what a generation is."""


def numbers(lake: Connection) -> list[int]:
    """All generations, oldest first."""
    return [n for (n,) in lake.rows("SELECT generation FROM sys.generations ORDER BY 1")]


def before_live(lake: Connection) -> int | None:
    """The generation that was live before, to which a rollback returns; None if there was none."""
    found = lake.rows(
        f"SELECT generation FROM sys.live WHERE generation <> {live_number(lake)} "
        "ORDER BY switch_no DESC LIMIT 1"
    )
    return int(found[0][0]) if found else None


def with_tables(lake: Connection) -> set[int]:
    """The generations whose tables are there."""
    found = lake.rows("SELECT schema_name FROM duckdb_schemas() WHERE database_name = 'lake'")
    return {int(name[1:]) for (name,) in found if name[0] == "g" and name[1:].isdigit()}


def drop(tx: Transaction, number: int) -> None:
    """Drop a generation that nobody is served from, its tables whole or not."""
    if number in with_tables(tx.lake):
        tx.execute(f"DROP SCHEMA g{number} CASCADE")
    tx.execute(f"DELETE FROM sys.generations WHERE generation = {number}")


def read(lake: Connection, number: int | None = None) -> Generation:
    """Read a generation (the live one by default) and check its seam.

    Raises:
        SeamError: its deltas do not meet its base, or leave a gap.
        UsageError: there is no such generation.
    """
    live = "(SELECT arg_max(generation, switch_no) FROM sys.live)"
    found = lake.rows(f"""
        SELECT g.generation, g.recorded_at, g.origin, g.logic, g.views, b.base, b.cut,
          b.after_commit,
          (SELECT list((c.commit_no, c.from_position, c.to_position) ORDER BY c.commit_no)
           FROM sys.commits AS c
           WHERE c.generation = g.generation AND c.commit_no > b.after_commit),
          (SELECT arg_max(w.cut, w.cut_no) FROM sys.cuts AS w
           WHERE w.generation = g.generation)
        FROM sys.generations AS g
        JOIN sys.bases AS b ON g.generation = b.generation
        WHERE g.generation = {live if number is None else number}
        ORDER BY b.base DESC LIMIT 1""")
    if not found:
        raise UsageError(f"there is no generation {number}; `headrace generations` lists them")
    number, at, origin, logic, texts, base, cut, after, commits, wanted = found[0]
    start = Position.parse(cut)
    steps = ((Position.parse(a), Position.parse(b)) for _, a, b in commits or ())
    position = check_chain(start, steps)
    views = StoredViews(json.loads(texts))
    last = commits[-1][0] if commits else after
    wanted_cut = None if wanted is None else Position.parse(wanted)
    return Generation(
        number, at, origin, logic, views, base, start, after, position, last, wanted_cut
    )


def trusted(line: Generation) -> Generation:
    """The same generation, if this version reads its views as the one did that made its rows.

    Raises:
        SeamError: it does not, so rows of two meanings would meet.
    """
    for name, what in line.misread.items():
        raise SeamError(
            f"the view {name} of generation {line.number} was made by a version in which {what}, "
            "so its numbers may be wrong and none are given. `headrace batch` makes the right ones "
            "and says what moved"
        )
    return line


def stored_views(lake: Connection, number: int) -> Mapping[str, View]:
    """The views that a generation was made with, its seam whole or not."""
    (texts,) = lake.row(f"SELECT views FROM sys.generations WHERE generation = {number}")
    return StoredViews(json.loads(texts))


def ask_for_cut(tx: Transaction, number: int, cut: Position) -> None:
    """Ask whoever moves a generation to end a commit exactly here. The last request counts."""
    nth = tx.lake.next_number("cuts", "cut_no")
    tx.record("cuts", number, tx.lake.clock(), cut.text(), nth)


def reached(lake: Connection) -> list[Position]:
    """All positions that any base or commit says it has read up to, its seam whole or not."""
    found = lake.rows(
        "SELECT DISTINCT cut FROM sys.bases UNION SELECT DISTINCT to_position FROM sys.commits"
    )
    return [Position.parse(text) for (text,) in found]


def create_first(tx: Transaction) -> None:
    """Make generation 1 of a new lake: an empty base at the log's beginning, and serve it."""
    home = tx.lake.home
    zero = Position.zero(home.partitions)
    number = create(tx, current_views(home), origin="init", cut=zero, filling={}, engine="none")
    switch(tx, number, reason="init")


def create(
    tx: Transaction,
    views: Mapping[str, View],
    *,
    origin: str,
    cut: Position,
    filling: Mapping[str, Filling],
    engine: str,
    seconds: float = 0.0,
) -> int:
    """Make a new generation with a base at `cut`; nobody reads it yet. Gives its number."""
    number = tx.lake.next_number("generations", "generation")
    texts = json.dumps(stored_texts(views))
    tx.execute(f"CREATE SCHEMA g{number}")
    tx.record("generations", number, tx.lake.clock(), logic_of(views), texts, origin)
    content = {
        name: f"SELECT *, 1 FROM ({content_sql(view)})" for name, view in lookups(views).items()
    }
    _create_tables(tx, number, 1, table_columns(views), {**content, **filling})
    tx.record("bases", number, 1, tx.lake.clock(), cut.text(), 0, engine, seconds)
    return int(number)


def publish(
    tx: Transaction,
    number: int,
    *,
    cut: Position,
    filling: Mapping[str, Filling],
    engine: str,
    seconds: float = 0.0,
) -> Generation:
    """Put a new base under a generation, in one unit of work, and retire the deltas below it.

    Deltas above the cut are kept: they are the same rows, on the new base.

    Raises:
        SeamError: no commit of the generation ends at the cut, so deltas would overlap.
        DamageError: deltas that are to be kept are not as they were written.
    """
    old = read(tx.lake, number)
    after = _last_commit_below(tx.lake, old, cut)
    if old.last_commit > after:
        checksums.check(tx.lake, {(old.schema, f"d{old.base}_{name}") for name in old.tables})
    base = old.base + 1
    _create_tables(tx, number, base, old.tables, filling)
    for name in old.tables:
        table = old.delta_table(name)
        if old.last_commit > after:
            select = f"SELECT * FROM {table} WHERE commit_no > {after}"
            tx.insert(old.schema, f"d{base}_{name}", select)
        tx.execute(f"DROP TABLE {table}")
        tx.execute(f"DROP TABLE {old.base_table(name)}")
        failpoints.here("publish.dropped")
    tx.record("bases", number, base, tx.lake.clock(), cut.text(), after, engine, seconds)
    if live_number(tx.lake) == number:
        serve(tx, number)
    return read(tx.lake, number)


def switch(tx: Transaction, number: int, *, reason: str) -> None:
    """Point readers at a generation, in one unit of work."""
    switch_no = tx.lake.next_number("live", "switch_no")
    tx.record("live", switch_no, tx.lake.clock(), number, reason)
    serve(tx, number)


def replace_views(tx: Transaction, number: int, views: Mapping[str, View]) -> Generation:
    """Give a generation that has not read any event yet other views."""
    old = read(tx.lake, number)
    if old.position.total:
        raise SeamError(f"generation {number} has read events; its views cannot be replaced")
    origin = f"init, with the views of {logic_of(views)}"
    fresh = create(tx, views, origin=origin, cut=old.cut, filling={}, engine="none")
    switch(tx, fresh, reason="views changed before the first event")
    return read(tx.lake, fresh)


def adopt_views(lake: Lake) -> str | None:
    """Before the first event, views that changed simply become the live ones; later they wait.

    Gives what to tell a person of views that wait.
    """
    wanted = current_views(lake.home)
    live = read(lake)
    if logic_of(wanted) == live.logic:
        return None
    if live.position.total == 0:
        with lake.writing("switch") as tx:
            replace_views(tx, live.number, wanted)
        return None
    moved = zones_moved(zones_of(wanted), live.views.zones)
    said = f" ({moved})" if moved else ""
    if logic_of(live.views) == logic_of(wanted):
        return (
            "this version of headrace counts otherwise than the one that made the live generation; "
            "`headrace replay --from beginning` or `headrace batch` builds one that counts so"
        )
    return (
        f"the views have changed since the live generation was made{said}; it goes on with its "
        "own. `headrace replay --from beginning` or `headrace batch` builds one with the new views"
    )


def serve(tx: Transaction, number: int) -> None:
    """Write the views that people query, for this generation as it stands."""
    line = read(tx.lake, number)
    tx.execute(f"CREATE OR REPLACE VIEW sys.seam AS {seam_sql(line)}")
    tx.execute(f"CREATE OR REPLACE VIEW sys.served AS {served_sql(line)}")
    names = set(line.tables)
    for (name,) in tx.lake.rows(
        "SELECT view_name FROM duckdb_views() WHERE database_name = 'lake' AND schema_name = 'main'"
    ):
        if name not in names:
            tx.execute(f'DROP VIEW main."{name}"')
    for name in sorted(names):
        select = f"SELECT * FROM ({line.select(name)}) AS rows WHERE (SELECT ok FROM sys.seam)"
        tx.execute(f'CREATE OR REPLACE VIEW main."{name}" AS {select}')


def _create_tables(
    tx: Transaction,
    number: int,
    base: int,
    tables: Mapping[str, Mapping[str, str]],
    filling: Mapping[str, Filling],
) -> None:
    for name, columns in tables.items():
        listed = ", ".join(f'"{c}" {kind}' for c, kind in columns.items())
        tx.execute(f'CREATE TABLE g{number}."b{base}_{name}" ({listed})')
        tx.execute(f'CREATE TABLE g{number}."d{base}_{name}" (commit_no BIGINT, {listed})')
        rows = filling.get(name)
        if isinstance(rows, str):
            tx.insert(f"g{number}", f"b{base}_{name}", rows)
        elif rows is not None:
            tx.adopt(f"g{number}", f"b{base}_{name}", rows)


def _last_commit_below(lake: Connection, line: Generation, cut: Position) -> int:
    """The last commit that a base at `cut` contains; the deltas after it stay."""
    if cut.covers(line.position):
        return line.last_commit
    found = commit_at(lake, line, cut)
    if found is None:
        raise SeamError(
            f"a base at {cut} does not meet the deltas of generation {line.number}: no commit ends "
            "there. Nothing was published; run the batch again"
        )
    return found


def commit_at(lake: Connection, line: Generation, position: Position) -> int | None:
    """The commit after which a generation served exactly this position; None if it never did."""
    if position == line.cut:
        return line.after_commit
    found = lake.rows(
        f"SELECT commit_no FROM sys.commits WHERE generation = {line.number} "
        f"AND commit_no > {line.after_commit} AND to_position = {literal(position.text())}"
    )
    return int(found[0][0]) if found else None
