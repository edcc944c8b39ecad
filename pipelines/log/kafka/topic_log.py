"""A Kafka topic as the log: the broker orders and numbers, our commits archive what they read.

The position lives in the lake, beside the data, never in a consumer group. Records keep their
offsets; those that hold no event (a record in quarantine, a marker of a transaction) are holes.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from headrace.pipelines.errors import BrokerError, LogError
from headrace.pipelines.log.embedded import Log
from headrace.pipelines.log.erased import is_stored_as
from headrace.pipelines.log.kafka import client as kafka_client
from headrace.pipelines.log.kafka.client import Address, Topic, options, reaching
from headrace.pipelines.log.kafka.producer import TopicWriter
from headrace.pipelines.log.kafka.records import Records, typed
from headrace.pipelines.log.kafka.topic_watch import Watch
from headrace.pipelines.log.port import Appended, Fetched
from headrace.pipelines.logs import logger
from headrace.pipelines.position import Position
from headrace.schemas.decode import decode
from headrace.schemas.strict_json import WHITESPACE

if TYPE_CHECKING:
    from kafka import KafkaConsumer, TopicPartition

    from headrace.pipelines.lake.lake import Lake
    from headrace.pipelines.settings import Settings

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - event times are UTC without a zone
_FETCH_BYTES = 64 << 20
_PARTITION_BYTES = 16 << 20
_PAUSE = 0.02
"""Seconds without a record after which what came is enough."""
_LONGEST_FETCH = 1.0
"""Seconds from the first record on: a steady trickle is committed about once a second."""


class KafkaLog:
    """A topic, and the archive of it in a lake. Not shared between threads."""

    def __init__(self, lake: Lake, address: Address, topic: Topic) -> None:
        self.lake = lake
        self.address = address
        self.topic = topic
        self._archive = Log(lake)
        self._watch = Watch(address, lake.settings, topic, _group(lake))
        self._reader: KafkaConsumer | None = None
        self._writer = TopicWriter(address, lake.settings, topic)
        self._at: Position | None = None

    @property
    def identity(self) -> str:
        """Cluster and topic id: a topic made anew under the old name is another log."""
        return self.topic.identity

    def close(self) -> None:
        """Give back the connections."""
        if self._reader is not None:
            with contextlib.suppress(Exception):
                self._reader.close()
        self._writer.close()
        self._watch.close()
        self._reader = self._at = None

    def begin(self) -> Position:
        """Per partition, the first offset that the topic still has."""
        reader = self._consumer()
        with reaching(self.address, "read its offsets"):
            found = reader.beginning_offsets(self._partitions())
        return Position(tuple(found[tp] for tp in self._partitions()))

    def end(self) -> Position:
        """Per partition, the offset up to which records are committed."""
        reader = self._consumer()
        with reaching(self.address, "read its offsets"):
            found = reader.end_offsets(self._partitions())
        return Position(tuple(found[tp] for tp in self._partitions()))

    def position_at(self, time: datetime) -> Position:
        """Per partition, the lowest offset whose event time is at or after `time` (UTC).

        Kafka knows milliseconds, so an event earlier in the same millisecond may lie after it.
        """
        moment = max(0, (time - _EPOCH) // timedelta(milliseconds=1))
        reader = self._consumer()
        with reaching(self.address, "look up a time"):
            found = reader.offsets_for_times(dict.fromkeys(self._partitions(), moment))
        end = self.end().offsets
        return Position(
            tuple(
                end[tp.partition] if found.get(tp) is None else found[tp].offset
                for tp in self._partitions()
            )
        )

    def check(self, position: Position) -> None:
        """Refuse to read on from a position that this topic does not have, or no longer has.

        Raises:
            LogError: records at it have expired, or the topic ends before it.
        """
        begin, end = self.begin(), self.end()
        if not position.covers(begin):
            raise LogError(
                f"{self.address} begins at {begin}: records from {position} on have expired and "
                "were never read. Set retention.ms=-1, restore them, or bring what is left into a "
                "new home"
            )
        if not end.covers(position):
            raise LogError(
                f"{self.address} ends at {end}, before the position {position} that was read from "
                "it: it was truncated or replaced. Restore it, or bring its events into a new home"
            )
        self._check_last(position, begin)

    def append(self, lines: Sequence[bytes], origins: Sequence[str]) -> Appended:
        """Produce events; each is acknowledged by all in-sync replicas when this returns.

        What is no event goes to the home's quarantine, not into the topic.

        Raises:
            BrokerError: not all were acknowledged. Those that were may come in again: an event
                that is delivered twice counts once.
        """
        decoded = decode(lines, max_event_bytes=self.lake.settings.max_event_bytes)
        sent = self._writer.send(decoded.events)
        ends = Position(tuple(sent.get(p, end) for p, end in enumerate(self.end().offsets)))
        known = 0
        if decoded.rejected:
            with self.lake.writing("append") as tx:
                nothing = decoded.events.slice(0, 0)
                done = self._archive.record(tx, nothing, decoded.rejected, origins)
            known = done.quarantined_known
        count = decoded.events.num_rows
        logger("kafka log").info("append", accepted=count, quarantined=len(decoded.rejected))
        return Appended(count, len(decoded.rejected), ends, known)

    def fetch(self, start: Position, limit: int, wait: timedelta) -> Fetched:
        """Read on from `start`: about `limit` records at most, waiting for the first so long.

        Raises:
            LogError: the topic lost records at `start`, or is another one now.
            BrokerError: Kafka could not be reached.
        """
        reader = self._seek(start)
        self._at = None  # if this fails half way, seek again
        try:
            with reaching(self.address, "read on"):
                found = poll(reader, limit, wait.total_seconds())
                ends = tuple(reader.position(tp) for tp in self._partitions())
        except BrokerError as e:
            if type(e.__cause__).__name__ == "OffsetOutOfRangeError":
                self.check(start)  # it says what is missing
            raise
        if ends != start.offsets or self._watch.due:
            self._watch.confirm()
        self._at = Position(ends)
        longest = self.lake.settings.max_event_bytes
        return typed(Records(start, self._at, found), self.address, longest)

    def confirm(self) -> None:
        """See that what was read just now, by whomever, is of the topic that was opened.

        Raises:
            LogError: the topic is another one now.
            BrokerError: Kafka could not be reached.
        """
        self._watch.confirm()

    def another_watch(self) -> Watch:
        """A connection of its own that shows positions, for another thread."""
        return Watch(self.address, self.lake.settings, self.topic, _group(self.lake))

    def show(self, position: Position) -> None:
        """Let tools that show lag see how far the lake is; best effort."""
        self._watch.show(position)

    def _seek(self, start: Position) -> KafkaConsumer:
        reader = self._consumer()
        if self._at != start:
            for tp, offset in zip(self._partitions(), start.offsets, strict=True):
                reader.seek(tp, offset)
        return reader

    def _check_last(self, position: Position, begin: Position) -> None:
        """See that the last archived record of each partition is what the topic has there."""
        last = self._archive.last_raw(position)
        reader = self._consumer()
        self._at = None
        try:
            self._compare(reader, last, begin)
        finally:
            reader.assign(self._partitions())

    def _compare(
        self, reader: KafkaConsumer, last: dict[int, tuple[int, str]], begin: Position
    ) -> None:
        for partition, (offset, raw) in last.items():
            if offset < begin.offsets[partition]:
                continue  # expired, but archived in time
            tp = self._partitions()[partition]
            with reaching(self.address, "read on"):
                reader.assign([tp])
                reader.seek(tp, offset)
                found = _one(reader, tp, self.lake.settings.kafka_timeout.total_seconds())
                silent = found is None and reader.position(tp) == offset
            if silent:
                raise BrokerError(
                    f"{self.address} did not give the record at partition {partition}, offset "
                    f"{offset} in {self.lake.settings.kafka_timeout}; see that the brokers run"
                )
            kept = b"" if found is None else (found.value or b"").strip(WHITESPACE)
            same = found is not None and found.offset == offset
            if not (same and is_stored_as(self.lake, kept, raw)):
                raise LogError(
                    f"{self.address} holds another record at partition {partition}, offset "
                    f"{offset} than the one that was read from it: it was replaced, or lost its "
                    "end and grew again. Restore it, or bring its events into a new home"
                )

    def _partitions(self) -> list[TopicPartition]:
        from kafka import TopicPartition

        return [TopicPartition(self.topic.name, p) for p in range(self.topic.partitions)]

    def _consumer(self) -> KafkaConsumer:
        if self._reader is None:
            self._reader = open_reader(self.address, self.lake.settings)
            self._reader.assign(self._partitions())
        return self._reader


def _group(lake: Lake) -> str:
    """The consumer group that shows our lag: of this home and no other."""
    named = lake.settings.kafka_group
    return f"headrace-{lake.home.path.name}-{lake.home.log_id[:8]}" if named is None else named


def open_reader(address: Address, settings: Settings) -> KafkaConsumer:
    """A consumer of committed records that is told where to begin, and never guesses.

    Raises:
        BrokerError: Kafka could not be reached.
    """
    from kafka import KafkaConsumer

    kafka_client.hush()
    with reaching(address, "connect"):
        return KafkaConsumer(
            **options(address, settings),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            allow_auto_create_topics=False,
            fetch_max_bytes=_FETCH_BYTES,
            max_partition_fetch_bytes=_PARTITION_BYTES,
            fetch_max_wait_ms=100,
        )


def poll(reader: KafkaConsumer, limit: int, wait: float) -> dict[int, list[Any]]:
    """Records by partition: until there are `limit`, or none come any more, or a second is over."""
    found: dict[int, list[Any]] = {}
    count, deadline = 0, time.monotonic() + wait
    while count < limit and (left := deadline - time.monotonic()) > 0:
        polled = reader.poll(int(1000 * min(left, _PAUSE if count else left)), limit - count)
        if not polled and count:
            break
        if polled and not count:
            deadline = time.monotonic() + _LONGEST_FETCH
        for tp, records in polled.items():
            found.setdefault(tp.partition, []).extend(records)
            count += len(records)
    return found


def _one(reader: KafkaConsumer, tp: TopicPartition, wait: float) -> Any:
    """The next record of a partition; None if there is none within so many seconds."""
    end = time.monotonic() + wait
    while time.monotonic() < end:
        for record in reader.poll(100, 1).get(tp, ()):
            return record
    return None
