"""What an executor does with its part of a micro-batch: decode, look back, fold, and stage.

The code is the local speed layer's own: the same decoder, the same fold and view SQL. A task
writes one file and publishes nothing; a task that dies or runs twice leaves a file nobody reads.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import duckdb
import numpy as np
import pyarrow as pa
from pyarrow import ipc

from pipelines import change as changes
from pipelines.change import Change
from pipelines.conflicts import Suspect
from pipelines.event_log import Fetched, Hole
from pipelines.kafka_client import Address
from pipelines.kafka_records import Records, typed
from pipelines.log import TYPED_COLUMNS
from pipelines.order_index import search
from pipelines.position import Position
from pipelines.views import View, parse_view
from schemas.decode import Rejected
from schemas.tables import TABLES

ANSWER = "done string"
"""What a task gives back to Spark: one row, one JSON text."""

_REJECTED = pa.schema(
    [("origin", pa.string()), ("reason", pa.string()), ("raw", pa.large_binary())]
)
_HOLES = pa.schema(
    [
        ("partition", pa.int32()),
        ("first", pa.int64()),
        ("next", pa.int64()),
        ("reason", pa.string()),
    ]
)


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


@dataclass(frozen=True)
class Part:
    """What a task made of its partitions."""

    partitions: tuple[int, ...]
    fetched: Fetched
    change: Change


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
    places = sorted(records)
    part = Part(tuple(places), fetched := work.of(places, records), _change(work, fetched))
    file = work.folder / f"{uuid.uuid4()}.arrow"
    _write(file, part)
    told = {
        "file": file.name,
        "partitions": places,
        "repeats": part.change.repeats,
        "suspects": list(part.change.suspects),
    }
    yield pa.RecordBatch.from_pydict({"done": [json.dumps(told)]})


def read(work: Work, answer: str, views: Mapping[str, View]) -> Part:
    """What a task staged, read by the driver."""
    told = json.loads(answer)
    with pa.OSFile(str(work.folder / told["file"])) as source:
        events, rejected, holes, *rows = (
            ipc.open_stream(source).read_all() for _ in range(3 + len(TABLES) + len(views))
        )
    places = tuple(told["partitions"])
    ends = tuple(
        work.end.offsets[p] if p in places else o for p, o in enumerate(work.start.offsets)
    )
    listed = rejected.to_pylist()
    fetched = Fetched(
        work.start,
        Position(ends),
        events,
        [Rejected(i, row["raw"], row["reason"]) for i, row in enumerate(listed)],
        [row["origin"] for row in listed],
        [Hole(*row.values()) for row in holes.to_pylist()],
    )
    named = dict(zip((*TABLES, *views), rows, strict=True))
    suspects = [Suspect(*each) for each in told["suspects"]]
    return Part(places, fetched, Change(events.num_rows, told["repeats"], suspects, named))


def _write(file: Path, part: Part) -> None:
    """One file with one stream a table, in an order that `read` knows."""
    fetched = part.fetched
    rejected = zip(fetched.origins, fetched.rejected, strict=True)
    tables = [
        fetched.events,
        pa.Table.from_pylist(
            [{"origin": o, "reason": r.reason, "raw": r.raw} for o, r in rejected], _REJECTED
        ),
        pa.Table.from_pylist(
            [
                {"partition": h.partition, "first": h.first, "next": h.next, "reason": h.reason}
                for h in fetched.holes
            ],
            _HOLES,
        ),
        *part.change.rows.values(),
    ]
    options = ipc.IpcWriteOptions(compression="lz4")
    with pa.OSFile(str(file), "wb") as sink:
        for table in tables:
            with ipc.new_stream(sink, table.schema, options=options) as writer:
                writer.write_table(table)


def _change(work: Work, fetched: Fetched) -> Change:
    """What these events change, with what their orders did before."""
    new = fetched.events.select(TYPED_COLUMNS)
    wanted = np.unique(new.column("order_hash").to_numpy())
    before = search(work.index, wanted)
    before = new.schema.empty_table() if before is None else before
    config = {
        "threads": "1",
        "temp_directory": str(work.folder / "spill"),
        "preserve_insertion_order": "false",
        "autoinstall_known_extensions": "false",
    }
    if work.memory_limit is not None:
        config["memory_limit"] = work.memory_limit
    with duckdb.connect(":memory:", config=config) as con:
        views = {name: _view(name, sql) for name, sql in work.views.items()}
        return changes.compute(con, work.start, views, before, new)


@lru_cache(maxsize=256)
def _view(name: str, sql: str) -> View:
    """A view, compiled once in a worker's life."""
    return parse_view(name, sql, where=f"the view {name}")
