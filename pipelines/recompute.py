"""Recompute from scratch in DuckDB: the fold and the views over the log, in bounded memory.

`verify` compares with it, `batch --engine duckdb` makes a base of it, and `query --at` answers
from it. Orders of one hash range are folded at a time, so memory follows the range, not the log.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from pipelines.fold import fold_in_slices
from pipelines.generations import table_columns
from pipelines.lake import Lake
from pipelines.log import TYPED_COLUMNS, Log
from pipelines.position import Position
from pipelines.views import View

Progress = Callable[[int, int], None]


def _no_progress(done: int, of: int) -> None:
    """Tell nobody."""


@contextlib.contextmanager
def recomputed(
    lake: Lake, log: Log, position: Position, prefix: str, progress: Progress = _no_progress
) -> Iterator[int]:
    """Temp tables `{prefix}orders` and `{prefix}ledger` of the log below `position`.

    Gives the number of redelivered events. The tables are dropped at the end.
    """
    con = lake.con
    tables = table_columns({})
    for name, columns in tables.items():
        listed = ", ".join(f'"{c}" {kind}' for c, kind in columns.items())
        con.execute(f"CREATE OR REPLACE TEMP TABLE {prefix}{name} ({listed})")
    repeats = 0

    def use(slice_prefix: str) -> None:
        nonlocal repeats
        for name, columns in tables.items():
            listed = ", ".join(f'"{c}"' for c in columns)
            con.execute(f"INSERT INTO {prefix}{name} SELECT {listed} FROM {slice_prefix}{name}")
        repeats += lake.row(f"SELECT count(*) FROM {slice_prefix}repeats")[0]

    try:
        zero = Position.zero(len(position.offsets))
        events = log.read(zero, position, ", ".join(f'"{c}"' for c in TYPED_COLUMNS))
        fold_in_slices(con, events, total=position.total, use=use, progress=progress)
        yield repeats
    finally:
        for name in tables:
            con.execute(f"DROP TABLE IF EXISTS temp.{prefix}{name}")


def write_base(
    lake: Lake,
    log: Log,
    views: Mapping[str, View],
    cut: Position,
    folder: Path,
    progress: Progress = _no_progress,
) -> dict[str, int]:
    """Write the base at `cut` as Parquet files `{folder}/{table}/part.parquet`.

    Gives rows by table, and redelivered events as `repeats`.
    """
    with recomputed(lake, log, cut, "full_", progress) as repeats:
        counts = {"repeats": repeats}
        for name, columns in table_columns(views).items():
            if name in views:
                view = views[name]
                select = view.partial_sql(f"full_{view.source}")
            else:
                listed = ", ".join(f'"{c}"' for c in columns)
                select = f"SELECT {listed} FROM full_{name}"
            counts[name] = write_table(lake, select, folder / name / "part.parquet")
    return counts


def write_table(lake: Lake, select: str, path: Path) -> int:
    """Write the rows of a SELECT to a Parquet file; gives their number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    copied = lake.row(f"COPY ({select}) TO '{path}' (FORMAT parquet, COMPRESSION zstd)")
    return int(copied[0])
