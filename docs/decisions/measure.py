"""Repeats the small measurements that the decision records quote.

    python docs/decisions/measure.py --orders 50000 [--spark]

Prints one line a figure. Works in a temporary home and removes it.
"""  # noqa: INP001 - a script beside the records, no package

from __future__ import annotations

import argparse
import sqlite3
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from headrace.pipelines import settings
from headrace.pipelines.batch import run as batch
from headrace.pipelines.bootstrap import open_lake
from headrace.pipelines.generator.generator import generate
from headrace.pipelines.ingest.append import append_lines
from headrace.pipelines.ingest.ndjson import Line
from headrace.pipelines.lake.connect import literal
from headrace.pipelines.lake.lake import Lake
from headrace.pipelines.log.embedded import Log
from headrace.pipelines.log.order_index import OrderIndex, read_events
from headrace.pipelines.position import Position
from headrace.pipelines.quality.verify import verify
from headrace.pipelines.serving.query import Serving
from headrace.pipelines.speed.layer import Speed
from headrace.schemas.decode import decode
from headrace.schemas.tables import TYPED_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Callable

_WHOLE = 100  # larger figures are printed without a fraction


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, default=50_000)
    parser.add_argument("--spark", action="store_true", help="measure the Spark job too")
    options = parser.parse_args()
    lines = list(generate(options.orders, 1, duplicates=0.05, disorder=0.05, late=0.02, poison=0.0))
    cut = len(lines) * 9 // 10
    with tempfile.TemporaryDirectory() as folder:
        chosen = settings.load(Path(folder) / "home")
        with open_lake(chosen) as lake:
            say("events", len(lines), "")
            timed("append the first nine tenths", lambda: _append(lake, lines[:cut]))
            timed("speed layer over them, from nothing", lambda: _speed(lake))
            timed("batch, DuckDB, full", lambda: batch.run(lake, engine="duckdb"))
            if options.spark:
                timed("batch, Spark, full", lambda: batch.run(lake))
            measure_lookup(lake)
            measure_decoding(lake, lines[:50_000])
            measure_commits(lake, lines[cut:])
            timed("batch, DuckDB, incremental", lambda: _incremental(lake, "duckdb"))
            if options.spark:
                _append(lake, lines[:20_000])
                timed("batch, Spark, incremental", lambda: _incremental(lake, "spark"))
            timed("verify", lambda: verify(lake))
            measure_reads(chosen)


def measure_lookup(lake: Lake) -> None:
    """All earlier events of 1,000 orders, three ways (decision 0004)."""
    log = Log(lake)
    events = read_events(lake, log, Position.zero(lake.home.partitions), log.end())
    seed = np.random.default_rng(1)
    picked = events.take(pa.array(seed.choice(events.num_rows, 1_000, replace=False)))
    hashes = np.unique(picked.column("order_hash").to_numpy())
    ids = sorted(set(picked.column("order_id").to_pylist()))
    with OrderIndex.open(lake, log) as index:
        index.catch_up(log.end())
        repeated("1,000 orders' events, order index", lambda: index.events_of(hashes))
    columns = ", ".join(f'"{c}"' for c in TYPED_COLUMNS)
    wanted = ", ".join(literal(i) for i in ids)
    scan = f"SELECT {columns} FROM sys.events WHERE order_id IN ({wanted})"
    repeated(
        "1,000 orders' events, scan of the log", lambda: lake.con.execute(scan).to_arrow_table()
    )
    _sqlite(lake, events, ids)


def _sqlite(lake: Lake, events: pa.Table, ids: list[str]) -> None:
    store = sqlite3.connect(lake.home.path / "by-order.sqlite")
    store.execute("CREATE TABLE e (order_id TEXT, raw BLOB)")
    store.execute("CREATE INDEX i ON e (order_id)")
    keys = events.column("order_id").to_pylist()
    rows = [(k, b"x" * 300) for k in keys]

    def fill() -> None:
        with store:
            store.executemany("INSERT INTO e VALUES (?, ?)", rows)

    timed("key-value store (SQLite), fill with all events", fill)
    marks = ", ".join("?" * len(ids))
    repeated(
        "1,000 orders' events, key-value store, undecoded",
        lambda: store.execute(f"SELECT * FROM e WHERE order_id IN ({marks})", ids).fetchall(),
    )
    store.close()


def measure_decoding(lake: Lake, lines: list[bytes]) -> None:
    """Validate and type JSON, or read what was typed once (decision 0005)."""
    log = Log(lake)
    timed(f"decode {len(lines):,} lines", lambda: decode(lines))
    zero = Position.zero(lake.home.partitions)
    end = log.end()
    name = f"read {end.total:,} typed events from the lake"
    repeated(name, lambda: read_events(lake, log, zero, end))


def measure_commits(lake: Lake, lines: list[bytes]) -> None:
    """Commits of the speed layer on a lake that has history (decisions 0003 and 0004)."""
    with Speed.open(lake) as speed:
        for size in (1, 100, 1_000, 10_000):
            took = []
            for _ in range(3):
                _append(lake, lines[:size])
                del lines[:size]
                started = time.monotonic()
                speed.run()
                took.append(time.monotonic() - started)
            say(
                f"commit of {size:,} events, after the append", statistics.median(took) * 1000, "ms"
            )


def measure_reads(chosen: settings.Settings) -> None:
    """A view read, first and again from the cache."""
    with Serving(open_lake(chosen, read_only=True)) as served:
        query = "SELECT * FROM revenue_by_day ORDER BY day, currency"
        timed("read revenue_by_day, first", lambda: served.query(query))
        repeated("read revenue_by_day, same snapshot", lambda: served.query(query))


def _append(lake: Lake, lines: list[bytes]) -> None:
    append_lines(lake, [Line(raw, f"measured:{i}") for i, raw in enumerate(lines)])


def _speed(lake: Lake) -> None:
    with Speed.open(lake) as speed:
        speed.run()


def _incremental(lake: Lake, engine: str) -> None:
    batch.run(lake, engine=engine, incremental=True)


def timed(name: str, work: Callable[[], object]) -> None:
    """Run once and print the time."""
    started = time.monotonic()
    work()
    say(name, time.monotonic() - started, "s")


def repeated(name: str, work: Callable[[], object]) -> None:
    """Run seven times and print the median."""
    took = []
    for _ in range(7):
        started = time.monotonic()
        work()
        took.append(time.monotonic() - started)
    say(name, statistics.median(took) * 1000, "ms")


def say(name: str, value: float, unit: str) -> None:
    """Print one figure."""
    figure = f"{value:,.0f}" if not unit or value >= _WHOLE else f"{value:.2f}"
    sys.stdout.write(f"{name:<55} {figure} {unit}\n".rstrip() + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
