"""The open quarantine by reason and origin: how many, since when, until when, and an example."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from headrace.pipelines.log import quarantine
from headrace.pipelines.log.reasons import origin_class, reason_class

if TYPE_CHECKING:
    from headrace.pipelines.lake.lake import Lake


@dataclass
class Group:
    """Open entries that differ only in a value and in their line. `example` came first of them."""

    reason: str
    origin: str
    entries: int
    seen: int
    first_seen: datetime
    last_seen: datetime
    example: str

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        times = {"first_seen": self.first_seen, "last_seen": self.last_seen}
        return {**vars(self), **{name: f"{at.isoformat()}Z" for name, at in times.items()}}


def summary(lake: Lake) -> list[Group]:
    """The groups, the largest first. Memory grows with their number, not with the entries'."""
    found: dict[tuple[str, str], Group] = {}
    columns = "q.id, q.recorded_at, q.origin, q.reason, s.times, s.last"
    for entry, at, origin, reason, times, last in quarantine.rows(lake, columns):
        key = (reason_class(reason), origin_class(origin))
        group = found.setdefault(key, Group(*key, 0, 0, at, at, entry))
        group.entries += 1
        group.seen += 1 + (times or 0)
        group.last_seen = max(group.last_seen, last or at)
    return sorted(found.values(), key=lambda g: (-g.entries, g.reason, g.origin))
