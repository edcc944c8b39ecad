"""Where events lie in the log: as a condition in SQL, and as the files that hold them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headrace.pipelines.position import Position


def between(start: Position, end: Position) -> str:
    """The SQL condition for events from `start` up to `end`, with bounds that prune files."""
    parts = [
        f'("partition" = {p} AND "offset" >= {a} AND "offset" < {b})'
        for p, (a, b) in enumerate(zip(start.offsets, end.offsets, strict=True))
        if b > a
    ]
    if not parts:
        return "false"
    low = min(a for a, b in zip(start.offsets, end.offsets, strict=True) if b > a)
    high = max(b for a, b in zip(start.offsets, end.offsets, strict=True) if b > a)
    return f'"offset" >= {low} AND "offset" < {high} AND ({" OR ".join(parts)})'


def _holding(footers: Sequence[tuple[Any, ...]], start: Position, end: Position) -> list[str]:
    """The files with a row group whose partitions and offsets can lie between two positions."""
    groups: dict[tuple[str, int], dict[str, tuple[int, int]]] = {}
    for file, column, low, high, group in footers:
        groups.setdefault((file, group), {})[column] = (int(low), int(high))
    wanted = set()
    for (file, _), bounds in groups.items():
        first, last = bounds["partition"]
        low, high = bounds["offset"]
        if any(
            low < end.offsets[p] and high >= start.offsets[p] and end.offsets[p] > start.offsets[p]
            for p in range(first, last + 1)
        ):
            wanted.add(file)
    return sorted(wanted)
