"""A worker of the speed layer: reads and folds some partitions of a topic; commits nothing.

    python -m headrace.pipelines.speed.worker --home HOME --topic TOPIC --all 8 --partitions 0,4

It is told what to do by `worker_pool`, a line of JSON at a time, and reads ahead meanwhile. It
opens no lake: it knows Kafka, the files of the order index, and a folder to stage its part in.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from headrace.pipelines import logs, settings
from headrace.pipelines.errors import BrokerError, HeadraceError
from headrace.pipelines.log.kafka import client as kafka_client
from headrace.pipelines.log.kafka.client import Address, reaching
from headrace.pipelines.log.kafka.records import Records, typed
from headrace.pipelines.log.kafka.topic_log import open_reader, poll
from headrace.pipelines.log.port import Fetched, in_sequence
from headrace.pipelines.position import Position
from headrace.pipelines.processes import run_without_pandas
from headrace.pipelines.speed import shards
from headrace.pipelines.speed.shards import Part
from headrace.pipelines.views.packed import unpack

if TYPE_CHECKING:
    from kafka import KafkaConsumer

    from headrace.pipelines.settings import Settings

_SHORT = timedelta(milliseconds=20)
_AT_MOST = 4
"""Times the usual size of a commit that is read ahead, at most."""


class Reader:
    """Some partitions of a topic. Used by one thread at a time."""

    def __init__(
        self, address: Address, chosen: Settings, partitions: Iterable[int], count: int
    ) -> None:
        self._address = address
        self._settings = chosen
        self._partitions = tuple(partitions)
        self._limit = max(1, chosen.commit_events * len(self._partitions) // count)
        self._reader: KafkaConsumer | None = None
        self._at: Position | None = None

    def gathered(self, start: Position, hungry: Event) -> Fetched:
        """Read on until somebody wants it; meanwhile up to so many times a commit's share.

        Raises:
            BrokerError: Kafka could not be reached, or has lost records at `start`.
        """
        wait = max(self._settings.poll, timedelta(milliseconds=50))
        found = [self._fetch(start, wait)]
        while (
            not hungry.is_set()
            and found[-1].events.num_rows
            and sum(part.events.num_rows for part in found) < _AT_MOST * self._limit
        ):
            found.append(self._fetch(found[-1].end, _SHORT))
        return in_sequence(found)

    def _fetch(self, start: Position, wait: timedelta) -> Fetched:
        from kafka import TopicPartition

        own = [TopicPartition(self._address.topic, p) for p in self._partitions]
        if self._reader is None:
            self._reader = open_reader(self._address, self._settings)
            self._reader.assign(own)
        if self._at != start:
            for tp in own:
                self._reader.seek(tp, start.offsets[tp.partition])
        self._at = None  # if this fails half way, seek again
        with reaching(self._address, "read on"):
            records = poll(self._reader, self._limit, wait.total_seconds())
            ends = list(start.offsets)
            for tp in own:
                ends[tp.partition] = self._reader.position(tp)
        self._at = Position(tuple(ends))
        read = Records(start, self._at, records)
        return typed(read, self._address, self._settings.max_event_bytes)


class Worker:
    """Answers one request after the other; reads ahead between them."""

    def __init__(self, reader: Reader, partitions: tuple[int, ...], chosen: Settings) -> None:
        self._reader = reader
        self._partitions = partitions
        self._settings = chosen
        self._pool = ThreadPoolExecutor(1)
        self._hungry = Event()
        self._coming: Future[Fetched] | None = None

    def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Take what there is from `start` on, compute what it changes, stage both.

        `asked` names `start`, `views` (name to SQL), `index` (files) and `folder`.
        """
        start = Position.parse(asked["start"])
        fetched = self._taken(start)
        if fetched.empty:
            self._read_ahead(start)
            return {"partitions": []}
        self._read_ahead(fetched.end)
        folder = Path(asked["folder"])
        views = unpack(asked["views"], "view")
        index = [Path(file) for file in asked["index"]]
        limit = self._settings.memory_limit
        change = shards.change_of(fetched, views, index, folder / "spill", limit)
        return shards.stage(folder, Part(self._partitions, fetched, change))

    def _taken(self, start: Position) -> Fetched:
        """What was read ahead, if it begins where the others stand; else read it now."""
        for _ in range(2):
            if self._coming is None:
                self._read_ahead(start)
            coming, self._coming = self._coming, None
            assert coming is not None  # noqa: S101 - for the type checker
            self._hungry.set()
            found = coming.result()
            if all(found.start.offsets[p] == start.offsets[p] for p in self._partitions):
                return _from(found, start, self._partitions)
        raise BrokerError(f"partitions {self._partitions} do not begin at {start}")

    def _read_ahead(self, start: Position) -> None:
        self._hungry.clear()
        self._coming = self._pool.submit(self._reader.gathered, start, self._hungry)


def _from(found: Fetched, start: Position, own: tuple[int, ...]) -> Fetched:
    """The same with other partitions where they are now: they moved on while this was read."""
    ends = tuple(found.end.offsets[p] if p in own else here for p, here in enumerate(start.offsets))
    return Fetched(start, Position(ends), found.events, found.rejected, found.origins, found.holes)


def main() -> int:
    """Answer requests from standard input until it ends."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--home", required=True, type=Path)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--all", required=True, type=int, help="partitions of the topic")
    parser.add_argument("--partitions", required=True)
    options = parser.parse_args()
    chosen = settings.load(options.home)
    logs.configure(chosen)
    kafka_client.hush()
    own = tuple(int(p) for p in options.partitions.split(","))
    worker = Worker(Reader(Address.parse(options.topic), chosen, own, options.all), own, chosen)
    for line in sys.stdin:
        try:
            told = worker.answer(json.loads(line))
        except HeadraceError as e:
            told = {"error": str(e)}
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    run_without_pandas()
    sys.exit(main())
