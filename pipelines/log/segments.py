"""Events on their way into the log: numbered, and written as one synced segment."""

from __future__ import annotations

import contextlib
import json
import uuid
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headrace.pipelines.lake import durable, failpoints
from headrace.pipelines.lake.connect import literal
from headrace.pipelines.log.partitioner import order_hashes
from headrace.pipelines.position import Position
from headrace.schemas.tables import EVENT_COLUMNS

if TYPE_CHECKING:
    from headrace.pipelines.lake.lake import Lake

_TOLERANCE = timedelta(minutes=1)
"""By so much two clocks may differ before anybody is told."""

_ROW_GROUP = 32_768
"""Rows: small enough for two cores to share the encoding of one append of 50,000."""


def numbered(events: pa.Table, start: Position) -> tuple[pa.Table, Position]:
    """Give each event its partition and offset, in order of arrival; sort by both."""
    partitions = len(start.offsets)
    n = events.num_rows
    ids = [i.encode() for i in events.column("order_id").to_pylist()]
    hashes = order_hashes(ids)
    partition = (hashes % partitions).astype(np.int32)
    order = np.argsort(partition, kind="stable")
    counts = np.bincount(partition, minlength=partitions)
    first = np.repeat(np.concatenate(([0], np.cumsum(counts)[:-1])), counts)
    offset = np.arange(n) - first + np.repeat(np.array(start.offsets, dtype=np.int64), counts)
    placed = (
        events.take(pa.array(order))
        .append_column("partition", pa.array(partition[order]))
        .append_column("offset", pa.array(offset, pa.int64()))
        .append_column("order_hash", pa.array(hashes[order]))
    )
    return placed, Position(tuple(int(a + c) for a, c in zip(start.offsets, counts, strict=True)))


def write(lake: Lake, events: pa.Table, now: datetime) -> Path:
    """Write numbered events as one Parquet file, synced with its directory; gives its path."""
    arrived = pa.array([now] * events.num_rows, pa.timestamp("us"))
    segment = events.append_column("appended_at", arrived)
    folder = lake.folder("sys", "events")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"append-{uuid.uuid4()}.parquet"
    con = lake.con.cursor()
    try:
        con.register("segment", segment)
        columns = ", ".join(f'"{name}"' for name in EVENT_COLUMNS)
        con.execute(
            f"COPY (SELECT {columns} FROM segment) TO {literal(path)} (FORMAT parquet, "
            f"COMPRESSION zstd, COMPRESSION_LEVEL 1, ROW_GROUP_SIZE {_ROW_GROUP}, "
            "PRESERVE_ORDER true)"
        )
        failpoints.here("append.written")
        durable.sync_file(path)
        lake.sync_folder(folder)
        failpoints.here("append.synced")
    except BaseException:
        with contextlib.suppress(OSError):
            path.unlink()
        raise
    finally:
        con.close()
    return path


def ahead(events: pa.Table, now: datetime) -> str | None:
    """Which sources send events from beyond our clock: source to its newest time, as JSON."""
    if not events.num_rows:
        return None
    limit = pa.scalar(now + _TOLERANCE, pa.timestamp("us"))
    if not pc.greater(pc.max(events.column("time")), limit).as_py():
        return None
    beyond = events.select(["source", "time"]).filter(pc.greater(events.column("time"), limit))
    newest = beyond.group_by("source").aggregate([("time", "max")])
    rows = zip(newest["source"].to_pylist(), newest["time_max"].to_pylist(), strict=True)
    return json.dumps({source: time.isoformat() for source, time in sorted(rows)})
