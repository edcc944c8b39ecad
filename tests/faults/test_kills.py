"""A short run of the killer: see tests/faults/kills.py; `make faults` runs 500."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.kills import kills, plan


@pytest.mark.thorough
def test_a_command_that_is_killed_anywhere_leaves_nothing_lost_doubled_or_wrong(
    tmp_path: Path,
) -> None:
    figures = kills(10, 3, tmp_path, print)
    assert figures.fired.total() >= 7
    assert figures.acknowledged > 30
    assert figures.cells > 4_000


def test_every_crash_point_is_in_the_plan_of_kills() -> None:
    assert len([point for _, point in plan() if point is not None]) > 60
