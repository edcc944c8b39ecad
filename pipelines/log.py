"""The embedded log: append-only, partitioned, durable on return.

An append decodes and validates a batch of event lines, numbers what it accepts, writes one
Parquet segment, syncs it, and names it in the catalog in one transaction with the quarantine.
`accepted + quarantined` always equals what came in.
"""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines import crash, integrity
from pipelines import home as homes
from pipelines.duck import literal
from pipelines.errors import LogError, SeamError
from pipelines.event_log import Fetched, Hole
from pipelines.lake import Lake
from pipelines.lake_tables import EVENT_COLUMNS
from pipelines.logs import logger
from pipelines.partitioning import order_hashes
from pipelines.position import Position, step_towards
from pipelines.transaction import Transaction
from schemas.decode import EVENTS_SCHEMA, Rejected, decode

TYPED_COLUMNS = tuple(name for name in EVENT_COLUMNS if name not in {"raw", "appended_at"})
"""What the fold needs of an event: all but its original text and its arrival."""

_LOOK_BACK = 100_000
"""Offsets: where the last event of a partition is looked for. Nearly always it is the last."""

_TOLERANCE = timedelta(minutes=1)
"""By so much two clocks may differ before anybody is told."""

_ROW_GROUP = 32_768
"""Rows: small enough for two cores to share the encoding of one append of 50,000."""


@dataclass(frozen=True)
class Line:
    """One line of input and where it came from (`orders.ndjson:17`)."""

    raw: bytes
    origin: str


@dataclass(frozen=True)
class Appended:
    """What an append did. `position` is the log's end after it."""

    accepted: int
    quarantined: int
    position: Position


class Log:
    """The lake's own event table as a log."""

    def __init__(self, lake: Lake) -> None:
        self.lake = lake

    @property
    def identity(self) -> str:
        """What tells this log from any other."""
        return self.lake.home.log_id

    def end(self) -> Position:
        """The position after the last event."""
        found = self.lake.rows("SELECT position FROM sys.appends ORDER BY append_no DESC LIMIT 1")
        if not found:
            return Position.zero(self.lake.home.partitions)
        return Position.parse(found[0][0])

    def append(self, lines: Sequence[bytes], origins: Sequence[str]) -> Appended:
        """Append event lines, all in one transaction; durable on return.

        Args:
            lines: one CloudEvents JSON document each, without line ends.
            origins: where each line came from, for the quarantine.

        Raises:
            LockError: another writer did not finish in time.
            StorageError: nothing of these lines was recorded.
        """
        decoded = decode(lines, max_event_bytes=self.lake.settings.max_event_bytes)
        self.lake.refresh()
        with self.lake.writing("append") as tx:
            done = self.record(tx, decoded.events, decoded.rejected, origins)
        logger("log").info(
            "append",
            accepted=done.accepted,
            quarantined=done.quarantined,
            position=done.position.as_dict(),
        )
        return done

    def record(
        self,
        tx: Transaction,
        events: pa.Table,
        rejected: Sequence[Rejected],
        origins: Sequence[str],
    ) -> Appended:
        """Number decoded events and write them and the quarantine, inside a unit of work."""
        start = self.end()
        numbered, end = _number(events, start)
        self._record(tx, Fetched(start, end, numbered, rejected, origins))
        return Appended(numbered.num_rows, len(rejected), end)

    def archive(self, tx: Transaction, fetched: Fetched) -> None:
        """Keep what was fetched from a broker, inside the unit of work that uses it.

        Raises:
            SeamError: it does not start where the log ends.
        """
        end = self.end()
        if fetched.start != end:
            raise SeamError(
                f"what was read starts at {fetched.start}, the archive ends at {end}; nothing was "
                "recorded. Somebody else reads the same topic into this home: let one of you do it"
            )
        self._record(tx, fetched)
        if fetched.holes:
            listed = ", ".join(
                f"({h.partition}, {h.first}, {h.next}, {literal(h.reason)})" for h in fetched.holes
            )
            tx.insert("sys", "holes", f"VALUES {listed}")

    def skip(self, tx: Transaction, start: Position, end: Position, holes: Sequence[Hole]) -> None:
        """Begin at a later position than zero: what lies before it is not there to be read."""
        if holes:
            nothing = EVENTS_SCHEMA.empty_table()
            self.archive(tx, Fetched(start, end, nothing, holes=holes))

    def _record(self, tx: Transaction, fetched: Fetched) -> None:
        """Write numbered events, the quarantine, and the log's new end."""
        now = self.lake.clock()
        events, rejected = fetched.events, fetched.rejected
        if events.num_rows:
            arrived = pa.array([now] * events.num_rows, pa.timestamp("us"))
            segment = self._write_segment(events.append_column("appended_at", arrived))
            tx.adopt("sys", "events", [segment])
        if rejected:
            _quarantine(tx, rejected, fetched.origins, now)
        number = self.lake.row("SELECT coalesce(max(append_no), 0) + 1 FROM sys.appends")[0]
        origin = fetched.origins[0] if fetched.origins else ""
        end = fetched.end.text()
        ahead = _ahead(events, now)
        tx.record("appends", number, now, origin, end, events.num_rows, len(rejected), ahead)

    def read(self, start: Position, end: Position, columns: str = "*") -> str:
        """SQL that gives the events from `start` up to `end` (half-open), columns as named."""
        return f"SELECT {columns} FROM sys.events WHERE {between(start, end)}"

    def fetch(self, start: Position, limit: int, wait: timedelta) -> Fetched:
        """Read on from `start`: about `limit` events at most, waiting for the first so long."""
        end = self.end()
        if end == start and wait:
            time.sleep(wait.total_seconds())
            end = self.end()
        self.check(start, end)
        integrity.check_log(self.lake, start, end)
        target = step_towards(start, end, limit)
        columns = ", ".join(f'"{name}"' for name in (*TYPED_COLUMNS, "raw"))
        found = self.read(start, target, columns) + ' ORDER BY "partition", "offset"'
        return Fetched(start, target, self.lake.con.execute(found).to_arrow_table())

    def events_between(self, start: Position, end: Position) -> int:
        """How many events lie between two positions: offsets, without those that hold none."""
        places = end.minus(start)
        if self.lake.log_kind == "embedded":
            return places
        parts = [
            f"SELECT least(next_offset, {b}) - greatest(first_offset, {a}) AS n FROM sys.holes "
            f'WHERE "partition" = {p} AND next_offset > {a} AND first_offset < {b}'
            for p, (a, b) in enumerate(zip(start.offsets, end.offsets, strict=True))
        ]
        return places - int(
            self.lake.row(f"SELECT coalesce(sum(n), 0) FROM ({' UNION ALL '.join(parts)})")[0]
        )

    def events_below(self, position: Position) -> int:
        """How many events lie below a position."""
        return self.events_between(Position.zero(len(position.offsets)), position)

    def ahead(self) -> dict[str, tuple[datetime, timedelta]]:
        """Sources whose events came from beyond our clock: newest event time, and by how much."""
        found: dict[str, tuple[datetime, timedelta]] = {}
        for recorded_at, told in self.lake.rows(
            "SELECT recorded_at, ahead FROM sys.appends WHERE ahead IS NOT NULL ORDER BY append_no"
        ):
            for source, text in json.loads(told).items():
                newest = datetime.fromisoformat(text)
                by = max(newest - recorded_at, found.get(source, (newest, timedelta(0)))[1])
                found[source] = (max(newest, found.get(source, (newest, by))[0]), by)
        return found

    def last_raw(self, position: Position) -> dict[int, tuple[int, str]]:
        """Per partition, the last event below a position: its offset and original text."""
        low = Position(tuple(max(0, o - _LOOK_BACK) for o in position.offsets))
        integrity.check_log(self.lake, low, position)
        found = self.lake.rows(
            f"""SELECT "partition", "offset", raw FROM sys.events
            WHERE {between(low, position)} AND ("partition", "offset") IN (
              SELECT ("partition", max("offset")) FROM sys.events
              WHERE {between(low, position)} GROUP BY "partition")"""
        )
        return {partition: (offset, raw) for partition, offset, raw in found}

    def position_at(self, time: datetime) -> Position:
        """Per partition, the lowest offset whose event time is at or after `time` (UTC)."""
        integrity.check(self.lake, {("sys", "events")})
        found = dict(
            self.lake.rows(
                'SELECT "partition", min("offset") FROM sys.events '
                f"WHERE time >= {literal(time)} GROUP BY 1"
            )
        )
        return Position(tuple(found.get(p, o) for p, o in enumerate(self.end().offsets)))

    def check(self, position: Position, end: Position | None = None) -> None:
        """Refuse a position that this log does not reach: it was truncated or replaced.

        Args:
            position: what was read so far.
            end: the log's end, if the caller has just asked for it.

        Raises:
            LogError: the log ends before the position.
        """
        end = end or self.end()
        if len(end.offsets) != len(position.offsets) or not end.covers(position):
            raise LogError(
                f"the log of {self.lake.home.path} ends at {end}, before the position {position} "
                "that was read from it: it was truncated or replaced. Restore the catalog, or "
                "import the events into a new home"
            )

    def files_between(self, start: Position, end: Position) -> list[str]:
        """The Parquet files that hold events from `start` up to `end`, for other readers."""
        if start == end:
            return []
        listed = self.lake.rows(
            "SELECT data_file FROM ducklake_list_files('lake', 'events', schema => 'sys')"
        )
        files = sorted(row[0] for row in listed)
        if not start.total:
            return files
        # A file's own footer says which offsets it holds: the cost is one small read a file.
        found = self.lake.rows(
            "SELECT DISTINCT file_name, path_in_schema, stats_min_value, stats_max_value, "
            f"row_group_id FROM parquet_metadata({files}) "
            "WHERE path_in_schema IN ('partition', 'offset')"
        )
        return _holding(found, start, end)

    def _write_segment(self, numbered: pa.Table) -> Path:
        """Write one Parquet file, synced together with its directory, and give its path."""
        folder = self.lake.folder("sys", "events")
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"append-{uuid.uuid4()}.parquet"
        con = self.lake.con.cursor()
        try:
            con.register("segment", numbered)
            columns = ", ".join(f'"{name}"' for name in EVENT_COLUMNS)
            con.execute(
                f"COPY (SELECT {columns} FROM segment) TO '{path}' (FORMAT parquet, "
                f"COMPRESSION zstd, COMPRESSION_LEVEL 1, ROW_GROUP_SIZE {_ROW_GROUP}, "
                "PRESERVE_ORDER true)"
            )
            crash.here("append.written")
            homes.sync_file(path)
            self.lake.sync_folder(folder)
            crash.here("append.synced")
        except BaseException:
            with contextlib.suppress(OSError):
                path.unlink()
            raise
        finally:
            con.close()
        return path


def between(start: Position, end: Position) -> str:
    """The SQL condition for events from `start` up to `end`, with bounds that prune files."""
    parts = [
        f'("partition" = {p} AND "offset" >= {a} AND "offset" < {b})'
        for p, (a, b) in enumerate(zip(start.offsets, end.offsets, strict=True))
        if b > a
    ]
    if not parts:
        return "false"
    low = min(a for a, b in zip(start.offsets, end.offsets, strict=True) if b > a)
    high = max(b for a, b in zip(start.offsets, end.offsets, strict=True) if b > a)
    return f'"offset" >= {low} AND "offset" < {high} AND ({" OR ".join(parts)})'


def _number(events: pa.Table, start: Position) -> tuple[pa.Table, Position]:
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
    numbered = (
        events.take(pa.array(order))
        .append_column("partition", pa.array(partition[order]))
        .append_column("offset", pa.array(offset, pa.int64()))
        .append_column("order_hash", pa.array(hashes[order]))
    )
    return numbered, Position(tuple(int(a + c) for a, c in zip(start.offsets, counts, strict=True)))


def _ahead(events: pa.Table, now: datetime) -> str | None:
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


def _quarantine(
    tx: Transaction, rejected: Sequence[Rejected], origins: Sequence[str], now: datetime
) -> None:
    table = pa.table(
        {
            "id": pa.array([uuid.uuid4().hex[:12] for _ in rejected]),
            "at": pa.array([now] * len(rejected), pa.timestamp("us")),
            "origin": pa.array([origins[r.index] for r in rejected]),
            "reason": pa.array([r.reason for r in rejected]),
            "raw": pa.array([r.raw for r in rejected], pa.large_binary()),
        }
    )
    tx.con.register("rejected", table)
    try:
        tx.insert("sys", "quarantine", "SELECT * FROM rejected")
    finally:
        tx.con.unregister("rejected")


def _holding(footers: Sequence[tuple[Any, ...]], start: Position, end: Position) -> list[str]:
    """The files with a row group whose partitions and offsets can lie between two positions."""
    groups: dict[tuple[str, int], dict[str, tuple[int, int]]] = {}
    for file, column, low, high, group in footers:
        groups.setdefault((file, group), {})[column] = (int(low), int(high))
    wanted = set()
    for (file, _), bounds in groups.items():
        first, last = bounds["partition"]
        low, high = bounds["offset"]
        if any(
            low < end.offsets[p] and high >= start.offsets[p] and end.offsets[p] > start.offsets[p]
            for p in range(first, last + 1)
        ):
            wanted.add(file)
    return sorted(wanted)


def chunks(lines: Iterable[Line], size: int, size_bytes: int = 64 << 20) -> Iterable[list[Line]]:
    """Cut a stream of lines into batches of so many lines, or so many bytes, at most."""
    batch: list[Line] = []
    held = 0
    for line in lines:
        batch.append(line)
        held += len(line.raw)
        if len(batch) >= size or held >= size_bytes:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch
