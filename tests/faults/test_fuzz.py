"""The seam fuzzer finds nothing, and finds what is planted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from tests.e2e.command import REPOSITORY
from tests.fuzz import fuzzer
from tests.fuzz.script import KINDS, Script, Step, drawn
from tests.fuzz.worker import PLANT

SEED = 50
TIME = timedelta(minutes=5)


def traffic(kind: str, seed: int, size: int = 2) -> Step:
    return {"do": kind, "seed": seed, "size": size}


def speed(commits: int | None = None, *, fresh: bool = True) -> Step:
    return {"do": "speed", "commits": commits, "fresh": fresh}


EVERYTHING: list[Step] = [
    {"do": "view", "name": "shelf"},
    traffic("append", 1, 6),
    speed(2),
    traffic("late", 2),
    {"do": "kill", "step": speed(), "at": "commit.ready"},
    {"do": "replay", "since": None, "midway": [traffic("reorder", 3), speed(1)]},
    {"do": "promote", "generation": None},
    {"do": "kill", "step": traffic("poison", 4), "at": "append.adopted"},
    {"do": "abandon"},
    traffic("poison", 5),
    speed(1, fresh=False),
    {"do": "batch", "incremental": False, "midway": [traffic("append", 6), speed()]},
    {"do": "kill", "step": {"do": "batch", "incremental": True}, "at": "publish.dropped:5"},
    traffic("duplicate", 7, 6),
    {"do": "together", "steps": [speed(), {"do": "batch", "incremental": True}]},
    {"do": "rollback"},
    {"do": "kill", "step": traffic("append", 8), "at": "append.done"},
    {"do": "maintain", "keep": 0},
]


@pytest.mark.thorough
def test_every_kind_of_step_leaves_every_answer_exact(tmp_path: Path) -> None:
    script = drawn(SEED, 1).with_steps(EVERYTHING)
    done = fuzzer.repeat(script, folder=tmp_path)
    assert done.failure is None, done.as_json()
    figures = done.figures
    assert set(figures.steps) == set(KINDS)
    assert figures.fired == figures.kills == 4
    assert figures.answers > len(EVERYTHING)
    assert figures.cells > 10_000


@pytest.mark.thorough
def test_a_random_episode_finds_nothing(tmp_path: Path) -> None:
    done = fuzzer.run(SEED, timedelta(0), folder=tmp_path)
    assert done.failure is None, done.as_json()
    assert done.figures.episodes == 1
    assert done.figures.fired > 0
    assert done.figures.events > 30


PLANTED: dict[str, list[Step]] = {
    "no_dedup": [traffic("append", 1, 1), {"do": "abandon"}, traffic("duplicate", 2)],
    "no_fence": [traffic("append", 1, 5), speed(1, fresh=False), speed(1), speed(1, fresh=False)],
}
"""A bug to a script that meets it."""


def planted(name: str) -> Script:
    return replace(drawn(SEED, 1), commit_events=4, pilot=True, steps=tuple(PLANTED[name]))


@pytest.mark.thorough
def test_a_planted_double_count_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PLANT, "tests.faults.planted.no_fence")
    done = fuzzer.repeat(planted("no_fence"), folder=tmp_path)
    assert done.failure is not None
    assert done.failure.kind == "wrong"


@pytest.mark.thorough
def test_the_script_of_a_find_is_made_short_and_repeats_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant = "tests.faults.planted.no_dedup"
    monkeypatch.setenv(PLANT, plant)
    monkeypatch.setattr(fuzzer, "drawn", lambda *_: planted("no_dedup"))

    done = fuzzer.run(SEED, timedelta(0), folder=tmp_path, shrinking=TIME)

    assert done.failure is not None
    assert done.file is not None
    assert [step["do"] for step in Script.read(done.file).steps] == ["append", "duplicate"]
    found = repeat(done.file, tmp_path, {PLANT: plant})
    assert found.returncode == 1, found.stderr
    assert json.loads(found.stdout)["failure"]["kind"] == done.failure.kind
    clean = repeat(done.file, tmp_path, {})
    assert clean.returncode == 0, clean.stdout


def repeat(file: Path, folder: Path, extra: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """The command that a failure names."""
    environment = {k: v for k, v in os.environ.items() if k != PLANT} | extra
    return subprocess.run(
        [sys.executable, "-m", "tests.fuzz", "--script", file, "--json"],
        check=False, env={**environment, "PYTHONPATH": str(REPOSITORY)}, capture_output=True,
        text=True, cwd=folder,
    )  # fmt: skip
