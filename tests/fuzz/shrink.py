"""From a script that fails to a short one that fails in the same way.

First whole steps go (delta debugging: Zeller and Hildebrandt, "Simplifying and Isolating
Failure-Inducing Input", 2002), then what is left is made to do less.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import timedelta

from tests.fuzz.script import Script, Step, simpler

Fails = Callable[[Script], bool]


def shrink(script: Script, fails: Fails, budget: timedelta) -> Script:
    """The shortest script found that still fails.

    Args:
        script: one that fails.
        fails: whether a script fails in the same way; runs it.
        budget: no script is tried after this time.
    """
    end = time.monotonic() + budget.total_seconds()
    tried: dict[str, bool] = {}

    def holds(steps: list[Step]) -> bool:
        key = json.dumps(steps)
        if key not in tried and time.monotonic() < end:
            tried[key] = fails(script.with_steps(steps))
        return tried.get(key, False)

    steps = _fewer(list(script.steps), holds)
    steps = _less(steps, holds)
    return script.with_steps(_fewer(steps, holds))


def _fewer(steps: list[Step], holds: Callable[[list[Step]], bool]) -> list[Step]:
    """Leave out pieces, large ones first, until no single step can go."""
    size = max(1, len(steps) // 2)
    while True:
        start = 0
        found = False
        while start < len(steps):
            rest = steps[:start] + steps[start + size :]
            if holds(rest):
                steps, found = rest, True
            else:
                start += size
        if size == 1 and not found:
            return steps
        size = max(1, size // 2)


def _less(steps: list[Step], holds: Callable[[list[Step]], bool]) -> list[Step]:
    """Make each step do less, as long as the script still fails."""
    for n in range(len(steps)):
        again = True
        while again:
            again = False
            for step in simpler(steps[n]):
                changed = [*steps[:n], step, *steps[n + 1 :]]
                if holds(changed):
                    steps, again = changed, True
                    break
    return steps
