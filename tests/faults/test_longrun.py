"""Twenty simulated minutes of the long run: see tests/faults/longrun.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.longrun import due, longrun


@pytest.mark.thorough
def test_a_fault_in_every_minute_loses_nothing_and_makes_no_cell_wrong(tmp_path: Path) -> None:
    figures = longrun(tmp_path, range(352, 372), 4)
    assert figures.faults.total() == figures.minutes == 20, figures
    assert figures.fired.total() - figures.missed >= 4, figures
    assert figures.acknowledged > 60, figures
    assert figures.compared >= 1, figures
    assert figures.verified >= 1, figures


def test_the_minutes_of_the_short_run_hold_each_kind_of_work_but_the_rollback() -> None:
    done = {step for minute in range(352, 372) for step in due(minute)}
    assert done == {"maintain", "batch", "replay", "promote", "long", "retry"}
