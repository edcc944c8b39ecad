"""Recompute from scratch in DuckDB: the fold and the views over the log, in bounded memory.

`verify` compares with it, `batch --engine duckdb` makes a base of it, and `query --at` answers
from it. Orders of one hash range are folded at a time, so memory follows the range, not the log.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import duckdb

from headrace.pipelines.fold.fold import fold_in_slices
from headrace.pipelines.generations.generation import table_columns
from headrace.pipelines.lake import checksums
from headrace.pipelines.lake.lake import Lake
from headrace.pipelines.log.embedded import Log
from headrace.pipelines.position import Position
from headrace.pipelines.progress import Progress, silent
from headrace.schemas.tables import TYPED_COLUMNS


@contextlib.contextmanager
def recomputed(
    lake: Lake, log: Log, position: Position, prefix: str, progress: Progress = silent
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
        checksums.check_log(lake, zero, position)
        events = log.read(zero, position, ", ".join(f'"{c}"' for c in TYPED_COLUMNS))
        fold_in_slices(con, events, total=position.total, use=use, progress=progress)
        yield repeats
    finally:
        with contextlib.suppress(duckdb.TransactionException):  # its rollback drops them
            for name in tables:
                con.execute(f"DROP TABLE IF EXISTS temp.{prefix}{name}")
