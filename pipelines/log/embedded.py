"""The embedded log: append-only, partitioned, durable on return.

An append decodes and validates a batch of event lines, numbers what it accepts, writes one
Parquet segment, syncs it, and names it in the catalog in one transaction with the quarantine.
`accepted + quarantined` always equals what came in.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from headrace.pipelines.errors import LogError, SeamError
from headrace.pipelines.lake import checksums
from headrace.pipelines.lake.connect import exactly, literal
from headrace.pipelines.lake.lake import Lake
from headrace.pipelines.lake.transaction import Transaction
from headrace.pipelines.lake.unchanged import remembered
from headrace.pipelines.log.erased import without_erased
from headrace.pipelines.log.port import Appended, Fetched, Hole
from headrace.pipelines.log.scan import _holding, between
from headrace.pipelines.logs import logger
from headrace.pipelines.position import Position, step_towards
from headrace.schemas.tables import TYPED_COLUMNS

if TYPE_CHECKING:
    import pyarrow as pa

    from headrace.schemas.decode import Rejected


_LOOK_BACK = 100_000
"""Offsets: where the last event of a partition is looked for. Nearly always it is the last."""


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
        return remembered(self.lake, "end of the log", ("appends",), self._end)

    def _end(self) -> Position:
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
        from headrace.schemas.decode import decode

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
        from headrace.pipelines.log.segments import numbered

        start = self.end()
        placed, end = numbered(events, start)
        fetched, _ = without_erased(self.lake, Fetched(start, end, placed, rejected, origins))
        known = self._record(tx, fetched)
        return Appended(placed.num_rows, len(rejected), end, known)

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
            from headrace.schemas.decode import EVENTS_SCHEMA

            nothing = EVENTS_SCHEMA.empty_table()
            self.archive(tx, Fetched(start, end, nothing, holes=holes))

    def _record(self, tx: Transaction, fetched: Fetched) -> int:
        """Write numbered events, the quarantine, and the log's new end.

        Gives how many of the rejected ones were in quarantine already.
        """
        from headrace.pipelines.log import rejects, segments

        now = self.lake.clock()
        events, rejected = fetched.events, fetched.rejected
        if events.num_rows:
            tx.adopt("sys", "events", [segments.write(self.lake, events, now)])
        known = rejects.quarantine(tx, rejected, fetched.origins, now) if rejected else 0
        number = self.lake.next_number("appends", "append_no")
        origin = fetched.origins[0] if fetched.origins else ""
        end, ahead = fetched.end.text(), segments.ahead(events, now)
        tx.record("appends", number, now, origin, end, events.num_rows, len(rejected), ahead)
        return known

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
        checksums.check_log(self.lake, start, end)
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
        checksums.check_log(self.lake, low, position)
        found = self.lake.rows(
            f"""SELECT "partition", "offset", raw FROM sys.events
            WHERE {between(low, position)} AND ("partition", "offset") IN (
              SELECT ("partition", max("offset")) FROM sys.events
              WHERE {between(low, position)} GROUP BY "partition")"""
        )
        return {partition: (offset, raw) for partition, offset, raw in found}

    def position_at(self, time: datetime) -> Position:
        """Per partition, the lowest offset whose event time is at or after `time` (UTC)."""
        checksums.check(self.lake, {("sys", "events")})
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
            f"row_group_id FROM parquet_metadata({exactly(*files)}) "
            "WHERE path_in_schema IN ('partition', 'offset')"
        )
        return _holding(found, start, end)
