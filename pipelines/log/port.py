"""The port of the log: what the speed layer needs of it, with two adapters.

`embedded.Log` keeps the events in the lake; `kafka.topic_log.KafkaLog` reads them from a topic, and
the commit that uses them archives them. One conformance suite holds both to the same meaning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from headrace.pipelines.position import Position, check_chain

if TYPE_CHECKING:
    import pyarrow as pa

    from headrace.pipelines.position import Position
    from headrace.schemas.decode import Rejected


@dataclass(frozen=True)
class Hole:
    """Offsets that hold no event: from `first` up to `next` (half-open), and why."""

    partition: int
    first: int
    next: int
    reason: str

    @property
    def offsets(self) -> int:
        """How many offsets it takes."""
        return self.next - self.first


@dataclass(frozen=True)
class Fetched:
    """What lies in a log from `start` up to `end`: events, and everything that is none.

    `events` has the typed columns of an event with `partition`, `offset` and `order_hash`, in
    order of partition and offset. `rejected` came from the places in `origins`.
    """

    start: Position
    end: Position
    events: pa.Table
    rejected: Sequence[Rejected] = ()
    origins: Sequence[str] = ()
    holes: Sequence[Hole] = ()

    @property
    def empty(self) -> bool:
        """Whether there was nothing to read."""
        return self.start == self.end


def in_sequence(parts: Sequence[Fetched]) -> Fetched:
    """What was read in several steps, each from where the one before it ended, as one.

    Raises:
        SeamError: a part does not start where the one before it ended.
    """
    if len(parts) == 1:
        return parts[0]
    import pyarrow as pa

    end = check_chain(parts[0].start, ((part.start, part.end) for part in parts))
    events = pa.concat_tables([part.events for part in parts])
    rejected = [r for part in parts for r in part.rejected]
    return Fetched(
        parts[0].start,
        end,
        events.sort_by([("partition", "ascending"), ("offset", "ascending")]),
        [replace(r, index=i) for i, r in enumerate(rejected)],
        [origin for part in parts for origin in part.origins],
        [hole for part in parts for hole in part.holes],
    )


class EventLog(Protocol):
    """An append-only, partitioned sequence of events."""

    @property
    def identity(self) -> str:
        """What tells this log from any other, also from a later one of the same name."""
        ...

    def append(self, lines: Sequence[bytes], origins: Sequence[str]) -> Appended:
        """Append event lines; what is accepted is durable on return, the rest in quarantine."""
        ...

    def end(self) -> Position:
        """The position after the last event."""
        ...

    def position_at(self, time: datetime) -> Position:
        """Per partition, the lowest offset whose event time is at or after `time` (UTC)."""
        ...

    def fetch(self, start: Position, limit: int, wait: timedelta) -> Fetched:
        """Read on from `start`: about `limit` events at most, waiting for the first so long."""
        ...


@dataclass(frozen=True)
class Appended:
    """What an append did. `position` is the log's end after it.

    `quarantined_known` of the quarantined ones were in quarantine already, with the same bytes,
    origin and reason.
    """

    accepted: int
    quarantined: int
    position: Position
    quarantined_known: int = 0
