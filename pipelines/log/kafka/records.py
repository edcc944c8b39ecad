"""From Kafka's records to typed events: what each record is, and where no event is.

Pure. Every offset between two positions ends as an event, in quarantine, or as a named hole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headrace.pipelines.log.kafka.client import Address
from headrace.pipelines.log.partitioner import order_hashes
from headrace.pipelines.log.port import Fetched, Hole
from headrace.pipelines.position import Position
from headrace.schemas.decode import Rejected, decode

MARKER = "no record: a marker or an aborted record of a transaction"
QUARANTINED = "in quarantine"
NO_VALUE = "value: null; a record must carry an event, and nothing is ever deleted by one"


@dataclass(frozen=True)
class Records:
    """Records of each partition from `start` up to `end`, in order of their offsets."""

    start: Position
    end: Position
    by_partition: Mapping[int, Sequence[Any]]


def typed(records: Records, address: Address, max_event_bytes: int) -> Fetched:
    """Decode records.

    A record is refused, with its place and a reason, if it is no event, has no value, or lies in
    another partition than its order: an order's events must share one.
    """
    partition, offset, values = _flat(records)
    decoded = decode([v or b"" for v in values], max_event_bytes=max_event_bytes)
    rejected = [
        replace(r, reason=NO_VALUE) if values[r.index] is None else r for r in decoded.rejected
    ]
    kept = np.asarray(decoded.indices, dtype=np.int64)
    ids = [i.encode() for i in decoded.events.column("order_id").to_pylist()]
    hashes = order_hashes(ids)
    wanted = (hashes % len(records.end.offsets)).astype(np.int32)
    home = wanted == partition[kept]
    for i in np.flatnonzero(~home).tolist():
        index = int(kept[i])
        reason = (
            f"subject: order {ids[i].decode()!r} belongs to partition {wanted[i]} by murmur2, this "
            f"record is in partition {partition[index]}; produce with the order id as key"
        )
        rejected.append(Rejected(index, values[index] or b"", reason))
    events = decoded.events.filter(pa.array(home)) if not home.all() else decoded.events
    kept = kept[home]
    numbered = (
        events.append_column("partition", pa.array(partition[kept]))
        .append_column("offset", pa.array(offset[kept]))
        .append_column("order_hash", pa.array(hashes[home]))
    )
    places = [(int(partition[r.index]), int(offset[r.index])) for r in rejected]
    origins = [f"{address} partition {p} offset {o}" for p, o in places]
    at = [replace(r, index=i) for i, r in enumerate(rejected)]
    holes = [*_missing(records), *(Hole(p, o, o + 1, QUARANTINED) for p, o in places)]
    return Fetched(records.start, records.end, numbered, at, origins, holes)


def _flat(
    records: Records,
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64], list[bytes | None]]:
    """Partition, offset and value of each record, in order of partition and offset."""
    places = sorted(records.by_partition)
    counts = [len(records.by_partition[p]) for p in places]
    partition = np.repeat(np.array(places, dtype=np.int32), counts)
    offset = np.fromiter(
        (r.offset for p in places for r in records.by_partition[p]), np.int64, count=sum(counts)
    )
    return partition, offset, [r.value for p in places for r in records.by_partition[p]]


def _missing(records: Records) -> list[Hole]:
    """The offsets that came with no record."""
    holes: list[Hole] = []
    for p, (first, end) in enumerate(zip(records.start.offsets, records.end.offsets, strict=True)):
        found = np.fromiter((r.offset for r in records.by_partition.get(p, ())), np.int64)
        edges = np.concatenate(([first - 1], found, [end]))
        gaps = np.flatnonzero(np.diff(edges) > 1).tolist()
        holes += [Hole(p, int(edges[i]) + 1, int(edges[i + 1]), MARKER) for i in gaps]
    return holes
