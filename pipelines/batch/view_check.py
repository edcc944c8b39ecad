"""Try a view on the live data before it is deployed: what it would give, what it would cost.

Guarantees: nothing is written into the lake. The text as it is written, run by DuckDB, is what all
ways of computing the view are compared with.
"""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from headrace.pipelines.batch import engines
from headrace.pipelines.errors import ViewError
from headrace.pipelines.generations import registry
from headrace.pipelines.generations.generation import Generation
from headrace.pipelines.lake.connect import exactly, literal
from headrace.pipelines.lake.lake import Lake
from headrace.pipelines.position import Position
from headrace.pipelines.progress import Report, quiet
from headrace.pipelines.settings import business_zone
from headrace.pipelines.views.load import BUILTIN_VIEWS, View, load_view
from headrace.pipelines.views.lookups import content_sql
from headrace.pipelines.views.stacked import rows_of
from headrace.pipelines.views.written import get_ready, written_sql
from headrace.schemas.tables import TABLES

_A_COMMIT: Final = 100_000
"""Rows that are taken for what a commit changes."""
_SHOWN: Final = 10


@dataclass(frozen=True)
class Way:
    """One way of computing the view. `differ` are rows that only one side has; 0 is equal."""

    name: str
    seconds: float
    rows: int
    differ: int


@dataclass(frozen=True)
class Checked:
    """What trying a view found.

    Attributes:
        view: the compiled view.
        position: of the log, at which it was tried.
        generation: whose `orders` and `ledger` it read.
        ways: the ways of computing it, the text as written first.
        source_rows: rows that it reads.
        stored_rows: rows that a base would hold of it.
        stored_bytes: their size as Parquet.
        commit_seconds: what it adds to a commit that changes `commit_rows` rows.
        sample: its first rows.
    """

    view: View
    position: Position
    generation: int
    ways: tuple[Way, ...]
    source_rows: int
    stored_rows: int
    stored_bytes: int
    commit_rows: int
    commit_seconds: float
    columns: tuple[str, ...]
    sample: tuple[tuple[Any, ...], ...]

    @property
    def equal(self) -> bool:
        """Whether all ways gave the same rows."""
        return not any(way.differ for way in self.ways)


def check_view(lake: Lake, file: Path, *, spark: bool = True, report: Report = quiet) -> Checked:
    """Compute a view in every way over what is live, and compare them with its text.

    Args:
        lake: whose data; its own views may be read by this one.
        file: the view; it need not lie in the home.
        spark: also in Spark, which takes ten seconds and more to start. A view of other views is
            never computed there: a base makes it in DuckDB, from what Spark made of those.
        report: told about each step.

    Raises:
        ViewError: it is no view. The message names file, expression and remedy.
        JobError: Spark failed.
    """
    if not file.is_file():
        raise ViewError(f"{file}: there is no such file; name the .sql file of a view")
    folders = [folder for folder in (BUILTIN_VIEWS, lake.home.views) if folder.is_dir()]
    zone, beside = business_zone(lake.home.path), lake.home.lookups
    view, views = load_view(file, *folders, zone=zone, lookups=beside)
    folder = lake.home.staging / uuid.uuid4().hex
    folder.mkdir(parents=True)
    try:
        with lake.reading(), _tables(lake, view, views) as line:
            get_ready(lake.con, view.zones)
            return _checked(lake, line, view, folder, report, spark=spark)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _tables(lake: Lake, view: View, views: Mapping[str, View]) -> Iterator[Generation]:
    """Temp tables `check_NAME` of all that the view reads, and `tried_rows` of its rows."""
    line = registry.trusted(registry.read(lake))
    made: list[str] = []

    def make(name: str, select: str) -> None:
        lake.con.execute(f'CREATE OR REPLACE TEMP TABLE "{name}" AS {select}')
        made.append(name)

    def ready(name: str) -> str:
        table = f"check_{name}"
        if table not in made:
            if name in TABLES:
                make(table, line.select(name))
            elif views[name].lookup is not None:
                make(table, content_sql(views[name]))
            else:
                make(table, views[name].full_sql(rows_of(views[name], ready)))
        return f'"{table}"'

    try:
        make("tried_rows", f"SELECT * FROM {rows_of(view, ready)} AS rows")
        yield line
    finally:
        for name in made:
            lake.con.execute(f'DROP TABLE IF EXISTS temp."{name}"')


def _checked(
    lake: Lake, line: Generation, view: View, folder: Path, report: Report, *, spark: bool
) -> Checked:
    con = lake.con
    started = time.perf_counter()
    con.execute(
        f"CREATE OR REPLACE TEMP TABLE tried_written AS {written_sql(view.text, 'check_{}'.format)}"
    )
    rows = int(lake.row("SELECT count(*) FROM tried_written")[0])
    ways = [Way("as it is written, in DuckDB", time.perf_counter() - started, rows, 0)]

    def way(name: str, select: str, since: float | None = None) -> None:
        begun = time.perf_counter() if since is None else since
        con.execute(f"CREATE OR REPLACE TEMP TABLE tried_way AS {select}")
        seconds = time.perf_counter() - begun
        found = int(lake.row("SELECT count(*) FROM tried_way")[0])
        differ = lake.row(
            "SELECT count(*) FROM ((FROM tried_way EXCEPT ALL FROM tried_written) UNION ALL "
            "(FROM tried_written EXCEPT ALL FROM tried_way))"
        )
        ways.append(Way(name, seconds, found, int(differ[0])))
        report(f"{name}: {found:,} rows in {seconds:.2f} s")

    try:
        way("in full, in DuckDB", view.full_sql("tried_rows"))
        base = folder / "base.parquet"
        begun = time.perf_counter()
        con.execute(
            f"COPY ({view.partial_sql('tried_rows')}) TO {literal(base)} "
            "(FORMAT parquet, COMPRESSION zstd)"
        )
        stored = f"read_parquet({exactly(base)})"
        way("from a base, in DuckDB", view.served_sql(stored), begun)
        way("from a base and commits", view.served_sql(f"({_commits(view)})"))
        if spark and not view.inner:
            begun = time.perf_counter()
            table = folder / f"{view.source}.parquet"
            con.execute(f"COPY check_{view.source} TO {literal(table)} (FORMAT parquet)")
            engines.views_in_spark(lake, {view.name: view}, {view.source: table}, folder, report)
            made = f"read_parquet({exactly(folder / view.name, inside=True)})"
            way("from a base, in Spark", view.served_sql(made), begun)
        begun = time.perf_counter()
        some = f"(SELECT *, 1 - 2 * (rowid % 2) AS w FROM tried_rows LIMIT {_A_COMMIT})"
        con.execute(view.partial_sql(some, weight="w")).to_arrow_table()
        commit = time.perf_counter() - begun
        shown = con.execute(f"FROM tried_written ORDER BY ALL LIMIT {_SHOWN}").fetchall()
        read = int(lake.row("SELECT count(*) FROM tried_rows")[0])
        held = int(lake.row(f"SELECT count(*) FROM {stored}")[0])
    finally:
        for name in ("tried_written", "tried_way"):
            con.execute(f"DROP TABLE IF EXISTS temp.{name}")
    return Checked(
        view,
        line.position,
        line.number,
        tuple(ways),
        read,
        held,
        base.stat().st_size,
        min(read, _A_COMMIT),
        commit,
        tuple(c.name for c in view.outputs),
        tuple(shown),
    )


def _commits(view: View) -> str:
    """Partial rows of a base with some rows that go, and of commits that bring others instead."""
    some = "(SELECT * FROM tried_rows WHERE rowid % 8 <> 0)"
    swap = (
        "(SELECT *, 1 AS w FROM tried_rows WHERE rowid % 8 = 0 "
        "UNION ALL SELECT *, -1 AS w FROM tried_rows WHERE rowid % 8 = 1)"
    )
    back = "(SELECT *, 1 AS w FROM tried_rows WHERE rowid % 8 = 1)"
    parts = [view.partial_sql(some)]
    parts += [view.partial_sql(each, weight="w") for each in (swap, back)]
    return " UNION ALL ".join(f"({part})" for part in parts)
