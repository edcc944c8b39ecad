"""Positions and the seam: where a log stands, and whether deltas meet their base. Pure.

A position is one next-offset per partition, half-open: everything below it is in.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from headrace.pipelines.errors import SeamError, UsageError


@dataclass(frozen=True)
class Position:
    """One next-offset per partition, partitions numbered from 0 without a gap."""

    offsets: tuple[int, ...]

    @classmethod
    def zero(cls, partitions: int) -> Position:
        """The position before the first event of a log with so many partitions."""
        return cls((0,) * partitions)

    @classmethod
    def parse(cls, text: str) -> Position:
        """Read what `text()` wrote.

        Raises:
            UsageError: it is not a JSON object from partition numbers to offsets.
        """
        try:
            raw = json.loads(text)
            offsets = tuple(int(raw[str(p)]) for p in range(len(raw)))
        except (ValueError, TypeError, KeyError) as e:
            raise UsageError(
                f"{text!r} is no position; write one next-offset per partition, "
                'such as {"0": 812, "1": 790}'
            ) from e
        if any(o < 0 for o in offsets):
            raise UsageError(f"{text!r} is no position: an offset cannot be negative")
        return cls(offsets)

    @classmethod
    def of(cls, offsets: Mapping[int, int]) -> Position:
        """A position from a mapping of partition to next-offset."""
        return cls(tuple(offsets[p] for p in range(len(offsets))))

    def text(self) -> str:
        """The canonical JSON form, `{"0": 812, "1": 790}`: equal positions, equal text."""
        return json.dumps(self.as_dict())

    def as_dict(self) -> dict[str, int]:
        """Partition number (as JSON wants its keys) to next-offset."""
        return {str(p): o for p, o in enumerate(self.offsets)}

    def __str__(self) -> str:
        return "{" + ", ".join(f"{p}: {o}" for p, o in enumerate(self.offsets)) + "}"

    @property
    def total(self) -> int:
        """How many events lie below this position, in all partitions."""
        return sum(self.offsets)

    def covers(self, other: Position) -> bool:
        """Whether everything below `other` is also below this position."""
        self._same_partitions(other)
        return all(a >= b for a, b in zip(self.offsets, other.offsets, strict=True))

    def minus(self, other: Position) -> int:
        """How many events lie between `other` and this position."""
        self._same_partitions(other)
        return self.total - other.total

    def lowest(self, other: Position) -> Position:
        """Per partition, the lower of both."""
        self._same_partitions(other)
        return Position(tuple(map(min, self.offsets, other.offsets)))

    def highest(self, other: Position) -> Position:
        """Per partition, the higher of both."""
        self._same_partitions(other)
        return Position(tuple(map(max, self.offsets, other.offsets)))

    def _same_partitions(self, other: Position) -> None:
        if len(self.offsets) != len(other.offsets):
            raise SeamError(
                f"positions of {len(self.offsets)} and {len(other.offsets)} partitions "
                "cannot be compared: they belong to different logs"
            )


def step_towards(start: Position, end: Position, events: int) -> Position:
    """The next position on the way from `start` to `end`, about `events` further on.

    Each partition advances by its share of what is left, so that all of them arrive
    together and the lag of none grows while another is read.
    """
    left = end.minus(start)
    if left <= events:
        return end
    return Position(
        tuple(
            a + min(b - a, -(-(b - a) * events // left))
            for a, b in zip(start.offsets, end.offsets, strict=True)
        )
    )


def check_chain(cut: Position, commits: Iterable[tuple[Position, Position]]) -> Position:
    """Follow commits (from, to) from a base's cut to the position that they reach.

    Raises:
        SeamError: a commit does not start exactly where the one before it ended.
    """
    here = cut
    for start, end in commits:
        if start != here:
            kind = "overlap" if here.covers(start) else "gap"
            raise SeamError(f"{kind} at the seam: deltas start at {start}, the base ends at {here}")
        here = end
    return here
