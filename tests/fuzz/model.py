"""What the fuzzer knows by itself: every acknowledged line, its place, and what follows from it.

Nothing here is read from a home. Places are numbered here once more, partitions hashed here once
more, and tables come from the oracle.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tests.fuzz.traffic import Sent
from tests.oracle import fold as oracle
from tests.oracle.fold import Table

Offsets = tuple[int, ...]
_KEPT = 64
"""Positions whose tables are remembered."""


@dataclass(frozen=True)
class Totals:
    """What must be in a log: its end, and how many lines went in and into quarantine."""

    end: Offsets
    accepted: int
    quarantined: int


class Model:
    """The log and the quarantine as they have to be."""

    def __init__(self, partitions: int) -> None:
        self._partitions: list[list[str]] = [[] for _ in range(partitions)]
        self._tables: dict[Offsets, dict[str, Table]] = {}
        self.history: list[bytes] = []
        self.rejected: Counter[bytes] = Counter()

    def take(self, lines: Iterable[Sent]) -> None:
        """Lines were acknowledged: number them."""
        for sent in lines:
            if not sent.good:
                self.rejected[sent.raw] += 1
                continue
            text = sent.raw.decode()
            self._partitions[self._place(text)].append(text)
            self.history.append(sent.raw)

    def totals(self) -> Totals:
        """What the log must hold now."""
        end = tuple(map(len, self._partitions))
        return Totals(end, len(self.history), self.rejected.total())

    def after(self, appends: Sequence[Sequence[Sent]]) -> Totals:
        """What it would hold if these appends went in as well."""
        ends = [len(lines) for lines in self._partitions]
        bad = 0
        for sent in (sent for lines in appends for sent in lines):
            bad += not sent.good
            if sent.good:
                ends[self._place(sent.raw.decode())] += 1
        totals = self.totals()
        good = sum(ends) - sum(totals.end)
        return Totals(tuple(ends), totals.accepted + good, totals.quarantined + bad)

    def below(self, position: Offsets) -> list[tuple[int, int, str]]:
        """The log below a position, as (partition, offset, line)."""
        return [
            (p, o, line)
            for p, end in enumerate(position)
            for o, line in enumerate(self._partitions[p][:end])
        ]

    def holds(self, position: Offsets) -> bool:
        """Whether the log reaches a position."""
        ends = self.totals().end
        return len(position) == len(ends) and all(
            a <= b for a, b in zip(position, ends, strict=True)
        )

    def tables(self, position: Offsets) -> dict[str, Table]:
        """All tables at a position."""
        if position not in self._tables:
            if len(self._tables) >= _KEPT:
                self._tables.pop(next(iter(self._tables)))
            self._tables[position] = oracle.recompute(self.below(position))
        return self._tables[position]

    def conflicts(self, position: Offsets) -> set[str]:
        """The names of the quarantined conflicts of the log below a position."""
        return {f"c{p}-{o}" for p, o in oracle.conflicts(self.below(position))}

    def _place(self, line: str) -> int:
        return partition_of(json.loads(line)["subject"], len(self._partitions))


def partition_of(key: str, partitions: int) -> int:
    """Kafka's partition of a key: its murmur2 hash without the sign, modulo the partitions."""
    data, m, mask = key.encode(), 0x5BD1E995, 0xFFFFFFFF
    h = 0x9747B28C ^ len(data)
    whole = len(data) // 4 * 4
    for start in range(0, whole, 4):
        k = int.from_bytes(data[start : start + 4], "little") * m & mask
        k = (k ^ k >> 24) * m & mask
        h = (h * m & mask) ^ k
    if len(data) > whole:
        h = (h ^ int.from_bytes(data[whole:], "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return ((h ^ h >> 15) & 0x7FFFFFFF) % partitions
