"""Readers while bases are published and generations promoted; `make faults` runs the long one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.load import run, sound


@pytest.mark.thorough
def test_readers_see_every_publish_and_promote_whole_or_not_at_all(tmp_path: Path) -> None:
    told, done = run(tmp_path, publishes=4, queries=80, readers=2, seed=5, pause=0.25)
    assert sound(told), told
    assert told.answers >= 80
    assert told.positions > 5
    assert told.cuts > 2
    assert done["publishes"] + done["promotes"] >= 4
