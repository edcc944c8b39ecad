"""The tour is a program that prints what the page says."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from typing import Any

import pytest

from tests.unit.pages import ROOT
from tests.unit.test_architecture import PLACE, is_there

PAGE = ROOT / "docs/tour.md"
STEP = re.compile(r"<!-- run: tour -->\n```python\n(.*?)```\n\n```text\n(.*?)```\n", re.DOTALL)


def test_the_tour_prints_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = PAGE.read_text("utf-8")
    steps = STEP.findall(text)
    heads = re.findall(r"^## (\d+)\. ", text, re.MULTILINE)
    assert [int(number) for number in heads] == list(range(1, len(steps) + 1))
    monkeypatch.chdir(tmp_path)
    shared: dict[str, Any] = {}
    for number, (program, expected) in enumerate(steps, start=1):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(program, f"docs/tour.md, step {number}", "exec"), shared)  # noqa: S102 - the page's own program
        assert printed.getvalue() == expected, f"step {number}"


def test_where_the_tour_says_to_stop_there_is_a_function_of_that_step() -> None:
    for step in PAGE.read_text("utf-8").split("\n## ")[1:]:
        files = {place.partition(":")[0] for place in PLACE.findall(step)}
        for name in re.findall(r"Stop in\s+`([^`]+)`", step):
            assert any(is_there(f"{file}:{name}") for file in files), name
        assert "Stop in" in step
