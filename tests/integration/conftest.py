"""A filled home, and the check that nothing of it was lost, for the tests of what goes wrong."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.e2e.command import Headrace
from tests.e2e.orders import Truth, events, write

GOOD = events(8, seed=11)


@pytest.fixture(scope="module")
def filled_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a few orders in log and views; for reading only."""
    folder = tmp_path_factory.mktemp("filled")
    headrace = Headrace(folder / "home")
    headrace.json("append", write(folder / "good.ndjson", GOOD))
    headrace.json("speed", "--once")
    return headrace.home


@pytest.fixture
def filled(filled_home: Path, tmp_path: Path) -> Headrace:
    """The command on a copy of that home."""
    return Headrace(shutil.copytree(filled_home, tmp_path / "copy"))


def nothing_lost(headrace: Headrace) -> None:
    """Check that log and views are as the filled home had them."""
    assert headrace.json("status")["events"] == len(GOOD)
    Truth.of(GOOD).check(headrace)
