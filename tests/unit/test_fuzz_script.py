"""Scripts of the fuzzer: drawn from a seed, written, read, and made short."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from headrace.pipelines.errors import UsageError
from tests.fuzz.script import KINDS, Script, Step, drawn, parts_of, simpler
from tests.fuzz.shrink import shrink

LONG = timedelta(minutes=1)


def script(*steps: Step) -> Script:
    return drawn(1, 1).with_steps(steps)


def test_the_same_seed_draws_the_same_script() -> None:
    assert drawn(7, 3) == drawn(7, 3)
    assert drawn(7, 3) != drawn(7, 4)


def test_every_kind_of_step_is_drawn() -> None:
    steps = [part for n in range(30) for step in drawn(1, n).steps for part in parts_of(step)]
    assert {step["do"] for step in steps} == set(KINDS)


def test_a_script_survives_being_written(tmp_path: Path) -> None:
    before = drawn(5, 2)
    before.write(tmp_path / "script.json", "wrong, orders: one too many")
    assert Script.read(tmp_path / "script.json") == before


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"headrace_fuzz": 1, "steps": [{"do": "explode"}]}',
        '{"headrace_fuzz": 2, "steps": []}',
        '{"headrace_fuzz": 1, "steps": [{"do":"together","steps":[{"do":"late"},{"do":"late"}]}]}',
    ],
)
def test_a_file_that_is_no_script_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "script.json").write_text(text)
    with pytest.raises(UsageError, match=r"no script of `python -m tests\.fuzz`"):
        Script.read(tmp_path / "script.json")


def test_shrinking_keeps_only_the_steps_that_a_failure_needs() -> None:
    steps: list[Step] = [{"do": "append", "seed": n, "size": 4} for n in range(20)]
    steps[7] = {"do": "kill", "step": {"do": "speed", "commits": 4}, "at": "commit.ready"}

    def fails(candidate: Script) -> bool:
        parts = [part for step in candidate.steps for part in parts_of(step)]
        speeds = [n for n, part in enumerate(parts) if part["do"] == "speed"]
        return any(part.get("seed") == 15 for part in parts[min(speeds, default=99) :])

    short = shrink(script(*steps), fails, LONG)
    assert list(short.steps) == [
        {"do": "speed", "commits": 1},
        {"do": "append", "seed": 15, "size": 1},
    ]


def test_shrinking_ends_with_its_time() -> None:
    tries = 0

    def fails(_: Script) -> bool:
        nonlocal tries
        tries += 1
        return True

    assert shrink(drawn(1, 1), fails, timedelta(0)) == drawn(1, 1)
    assert tries == 0


def test_each_simpler_step_comes_to_an_end() -> None:
    def depth(step: Step) -> int:
        return 1 + max((depth(less) for less in simpler(step)), default=0)

    batch = {"do": "batch", "incremental": True, "midway": [{"do": "speed", "commits": 2}]}
    assert depth({"do": "kill", "step": batch, "at": "publish.ready"}) > 3
    assert depth(json.loads('{"do": "rollback"}')) == 1
