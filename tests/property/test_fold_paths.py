"""However deliveries come and work is cut up, the views are those of the set of events."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.pipelines.batch import run as batch
from headrace.pipelines.bootstrap import create, open_lake
from headrace.pipelines.settings import load
from tests.conformance.paths import BUILT_IN, append, assert_exact, differences, run_speed, served
from tests.conformance.streams import Shop
from tests.oracle import fold as oracle

if TYPE_CHECKING:
    from pathlib import Path

    from headrace.pipelines.lake.lake import Lake


@dataclass(frozen=True)
class Step:
    """One piece of work: append the next lines, commit, or make a base."""

    work: str
    size: int


@dataclass(frozen=True)
class History:
    """Events, their deliveries in some order, and the work that was done meanwhile."""

    events: list[bytes]
    deliveries: list[bytes]
    partitions: int
    steps: list[Step]


@st.composite
def histories(draw: st.DrawFn, *, conflicts: bool) -> History:
    """A small shop; without conflicts, its events are also shuffled and delivered again."""
    shop = Shop(Random(draw(st.integers(0, 10**6))), draw(st.integers(1, 4)), conflicts=conflicts)
    events = shop.events(draw(st.integers(1, 24)))
    deliveries = list(events)
    if not conflicts:
        deliveries += draw(st.lists(st.sampled_from(events), max_size=6))
        deliveries = draw(st.permutations(deliveries))
    steps = draw(
        st.lists(
            st.builds(
                Step,
                st.sampled_from(["append", "append", "speed", "batch", "incremental"]),
                st.integers(1, 12),
            ),
            max_size=6,
        )
    )
    return History(events, deliveries, draw(st.integers(1, 3)), steps)


@pytest.fixture(scope="module")
def empty_homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty home for each number of partitions; a copy costs a tenth of making one."""
    folder = tmp_path_factory.mktemp("homes")
    for partitions in (1, 2, 3):
        create(load(folder / str(partitions), environ={}, partitions=partitions))
    return folder


def play(lake: Lake, history: History) -> None:
    """Do the steps, then append what is left and commit to the end."""
    left = list(history.deliveries)
    for step in history.steps:
        if step.work == "append":
            append(lake, left[: step.size])
            del left[: step.size]
        elif step.work == "speed":
            run_speed(lake, step.size)
        else:
            batch.run(lake, engine="duckdb", incremental=step.work == "incremental")
    append(lake, left)
    run_speed(lake, 8)


def played(empty_homes: Path, history: History) -> Lake:
    """A lake in a fresh home after its history."""
    home = empty_homes / "played"
    shutil.rmtree(home, ignore_errors=True)
    shutil.copytree(empty_homes / str(history.partitions), home)
    lake = open_lake(load(home, environ={}, threads=1))
    play(lake, history)
    return lake


@pytest.mark.thorough
@settings(max_examples=20)
@given(history=histories(conflicts=True))
def test_any_work_in_any_order_serves_what_the_log_says(
    empty_homes: Path, history: History
) -> None:
    with played(empty_homes, history) as lake:
        assert_exact(lake, names=BUILT_IN)


@settings(max_examples=5)
@given(history=histories(conflicts=False))
def test_duplicates_and_disorder_change_no_cell(empty_homes: Path, history: History) -> None:
    changes_no_cell(empty_homes, history)


@pytest.mark.thorough
@settings(max_examples=25)
@given(history=histories(conflicts=False))
def test_duplicates_and_disorder_in_many_histories(empty_homes: Path, history: History) -> None:
    changes_no_cell(empty_homes, history)


def changes_no_cell(empty_homes: Path, history: History) -> None:
    """Check that a history with faults serves what its events alone add up to."""
    as_made = [(0, offset, line.decode()) for offset, line in enumerate(history.events)]
    expected = oracle.recompute(as_made)
    with played(empty_homes, history) as lake:
        found = served(lake, BUILT_IN)
    for tables in (found, expected):
        tables["orders"] = tables["orders"].without(oracle.PLACEMENT)
    assert differences(found, expected) == []
