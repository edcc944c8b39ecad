"""Random cells of what is live, and that their explanations add up to them."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from random import Random
from typing import TYPE_CHECKING, Any

from headrace.pipelines.generations import registry
from headrace.pipelines.serving.explain import explain

if TYPE_CHECKING:
    from headrace.pipelines.lake.lake import Lake


def cells(lake: Lake, count: int, random: Random) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Cells of all views, each view as often as the others: view, key, measure."""
    line = registry.read(lake)
    names = [name for name in line.views if line.views[name].lookup is None]
    random.shuffle(names)
    for n in range(count):
        view = line.views[names[n % len(names)]]
        keys = [c.name for c in view.keys]
        measures = [c.name for c in view.outputs if c.name not in keys]
        listed = ", ".join(f'"{c}"' for c in keys)
        rows = lake.rows(f"SELECT {listed} FROM ({line.select(view.name)}) ORDER BY ALL")
        if rows and measures:
            key = dict(zip(keys, random.choice(rows), strict=True))
            yield view.name, key, random.choice(measures)


def explain_cells(lake: Lake, count: int, seed: int) -> int:
    """Explain random cells; gives how many of them are one sum, added up here in plain Python.

    Raises:
        AssertionError: one of them does not add up; seed, view, key and measure are named.
    """
    summed = 0
    for view, key, measure in cells(lake, count, Random(seed)):
        found = explain(lake, view, key, measure=measure, limit=100_000)
        assert found.adds_up, (seed, view, key, measure, found.proofs)
        if len(found.terms) == 1 and found.terms[0].base is not None:
            total = sum((row[-1] for row in found.parts.rows), Decimal(0))
            assert len(found.parts.rows) == found.parts.total
            assert total == found.terms[0].base + found.terms[0].deltas
            summed += 1
    return summed
