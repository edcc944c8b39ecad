"""The demo, as somebody sees it who has just installed the project."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.command import Headrace

STEPS = [
    "generate", "batch --engine spark", "speed --once", "query", "replay --from", "rollback",
    "verify",
]  # fmt: skip


@pytest.mark.spark
@pytest.mark.xdist_group("spark")
def test_the_demo_tells_its_story_and_ends_with_the_proof(tmp_path: Path) -> None:
    headrace = Headrace(tmp_path / "home")
    outcome = headrace.process("demo", "--orders", 700, threads=2)
    assert outcome.code == 0, outcome.err
    places = [outcome.out.index(f"headrace {step}") for step in STEPS]
    assert places == sorted(places)
    assert "\nEQUAL\n" in outcome.out
    assert "NOT EQUAL" not in outcome.out
    assert "Traceback" not in outcome.err
    status = headrace.json("status")
    assert status["certificate"]["equal"] is True
    assert (status["lag_events"], status["engine"]) == (0, "spark full")
    assert status["quarantined"] > 0
    assert status["repeats"] > 0
