"""What an executor does with its part of a micro-batch: decode, look back, fold, and stage.

The code is the local speed layer's own: the same decoder, the same fold and view SQL. A task
writes one file and publishes nothing; a task that dies or runs twice leaves a file nobody reads.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from headrace.pipelines.log.kafka.client import Address
from headrace.pipelines.log.kafka.records import Records, typed
from headrace.pipelines.log.port import Fetched
from headrace.pipelines.position import Position
from headrace.pipelines.speed import shards
from headrace.pipelines.speed.shards import Part
from headrace.pipelines.views.packed import unpack

ANSWER = "done string"
"""What a task gives back to Spark: one row, one JSON text."""


@dataclass(frozen=True)
class Work:
    """A micro-batch, as every task of it is told: from `start` up to `end`.

    `index` are the files with all events below `start`, `folder` is where tasks stage what they
    made; drivers and executors see both under the same path.
    """

    start: Position
    end: Position
    address: Address
    max_event_bytes: int
    views: Mapping[str, str]
    index: Sequence[Path]
    folder: Path
    memory_limit: str | None = None

    def of(self, partitions: Sequence[int], records: Mapping[int, Sequence[Record]]) -> Fetched:
        """Decode the records of some partitions; what lies in the others is not its matter."""
        ends = tuple(
            self.end.offsets[p] if p in partitions else start
            for p, start in enumerate(self.start.offsets)
        )
        between = Records(self.start, Position(ends), records)
        return typed(between, self.address, self.max_event_bytes)


class Record(NamedTuple):
    """What we need of a record."""

    offset: int
    value: bytes | None


def run(work: Work, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The task: records in, one row out that names the staged file; none if there are no records.

    Spark reads each partition of a topic in one task, so an order's events are all here.
    """
    records: dict[int, list[Record]] = {}
    for batch in batches:
        columns = (batch.column(name).to_pylist() for name in ("partition", "offset", "value"))
        for partition, offset, value in zip(*columns, strict=True):
            records.setdefault(partition, []).append(Record(offset, value))
    if not records:
        return
    places = tuple(sorted(records))
    fetched = work.of(places, records)
    views = unpack(work.views, "the view")
    spill = work.folder / "spill"
    change = shards.change_of(fetched, views, work.index, spill, work.memory_limit)
    told = shards.stage(work.folder, Part(places, fetched, change))
    yield pa.RecordBatch.from_pydict({"done": [json.dumps(told)]})
