"""Homes whose log is a topic, producers that are not ours, and what both must add up to."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kafka import KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient

from headrace.pipelines import settings
from headrace.pipelines.bootstrap import open_lake
from headrace.pipelines.generations import registry
from headrace.pipelines.lake.lake import Lake
from headrace.pipelines.log.embedded import Log
from headrace.pipelines.log.kafka.client import Address
from headrace.pipelines.log.partitioner import order_hashes
from headrace.pipelines.position import Position
from tests.conformance.paths import BUILT_IN, differences, served
from tests.e2e.command import Headrace
from tests.oracle import fold as oracle


class Home(Headrace):
    """The command on a home that is bound to a topic; its settings go with every call."""

    def __init__(self, home: Path, url: str, **chosen: object) -> None:
        super().__init__(home, log=url, **{"poll": 0.02, "kafka_timeout": 20, **chosen})
        self.url = url

    def lake(self, **given: object) -> Lake:
        """Its lake, opened for reading."""
        return open_lake(settings.load(self.home, environ={}, threads=1, **given), read_only=True)

    def append(self, lines: Sequence[bytes]) -> None:
        """Append lines; all must be acknowledged."""
        told = self.fed(b"\n".join(lines), "append", "-", "--json").json()
        assert (told["accepted"], told["quarantined"]) == (len(lines), 0)

    def once(self, **given: object) -> Any:
        """Run the speed layer to the topic's end."""
        return self.json("speed", "--once", **given)

    def events(self) -> list[bytes]:
        """The archived events, as they came."""
        with self.lake() as lake:
            return [raw.encode() for (raw,) in lake.rows("SELECT raw FROM sys.events")]

    def quarantined(self) -> dict[str, str]:
        """Reason by origin of all open entries."""
        found = self.json("quarantine", "ls", "-n", "1000")["entries"]
        return {entry["origin"]: entry["reason"] for entry in found}

    def check(self) -> None:
        """What is served is exact, by `verify` and by the oracle, and every offset is accounted."""
        assert self.json("verify")["equal"] is True
        with self.lake() as lake:
            line = registry.read(lake)
            assert line.position == Log(lake).end()
            logged = lake.rows('SELECT "partition", "offset", raw FROM sys.events')
            wrong = differences(served(lake, BUILT_IN), oracle.recompute(logged))
            assert not wrong, "\n".join(wrong[:20])
            count_places(lake, line.position)


def count_places(lake: Lake, end: Position) -> None:
    """Each offset below a position is an event or in one hole, and none is both."""
    events = set(lake.rows('SELECT "partition", "offset" FROM sys.events'))
    total = lake.row("SELECT count(*) FROM sys.events")[0]
    holes = [
        (p, o)
        for p, first, after in lake.rows(
            'SELECT "partition", first_offset, next_offset FROM sys.holes'
        )
        for o in range(first, after)
    ]
    assert len(events) == total
    assert len(set(holes)) == len(holes)
    assert not events & set(holes)
    assert events | set(holes) == {(p, o) for p, n in enumerate(end.offsets) for o in range(n)}


@dataclass(frozen=True)
class Record:
    """A record as somebody else produces it."""

    value: bytes | None
    key: bytes | None = None
    partition: int | None = None
    headers: Sequence[tuple[str, bytes]] = ()
    timestamp_ms: int | None = None


def placed(line: bytes, partitions: int) -> Record:
    """An event where it belongs: keyed by its order, in that order's partition."""
    key = json.loads(line)["subject"].encode()
    return Record(line, key, int(order_hashes([key])[0]) % partitions)


@contextmanager
def producer(url: str, **chosen: Any) -> Iterator[KafkaProducer]:
    """A producer that is not ours."""
    servers = list(Address.parse(url).servers)
    with closing(KafkaProducer(bootstrap_servers=servers, **chosen)) as made:
        yield made


def send(writer: KafkaProducer, url: str, records: Iterable[Record]) -> list[tuple[int, int]]:
    """Send records and wait for them; gives the partition and offset of each."""
    topic = Address.parse(url).topic
    sent = [
        writer.send(
            topic, r.value, key=r.key, partition=r.partition, headers=list(r.headers),
            timestamp_ms=r.timestamp_ms,
        )
        for r in records
    ]  # fmt: skip
    writer.flush()
    return [(m.partition, m.offset) for m in (s.get(timeout=20) for s in sent)]


def produce(url: str, records: Iterable[Record], **chosen: Any) -> list[tuple[int, int]]:
    """Send records with a producer of its own."""
    with producer(url, **chosen) as writer:
        return send(writer, url, records)


@contextmanager
def admin(url: str) -> Iterator[KafkaAdminClient]:
    """An administration client."""
    with closing(KafkaAdminClient(bootstrap_servers=list(Address.parse(url).servers))) as made:
        yield made


def expire(url: str, before: Mapping[int, int]) -> None:
    """Make the records of some partitions below an offset expire now."""
    topic = Address.parse(url).topic
    with admin(url) as client:
        client.delete_records({TopicPartition(topic, p): o for p, o in before.items()})


def origin(url: str, place: tuple[int, int]) -> str:
    """Where a quarantined record came from, as the quarantine says it."""
    return f"{url} partition {place[0]} offset {place[1]}"
