"""A unit of work is committed whole, or it was never there."""

from __future__ import annotations

import pytest

from headrace.pipelines.generations import registry
from headrace.pipelines.lake.lake import Lake
from headrace.pipelines.log.embedded import Log
from tests.conformance.paths import append
from tests.e2e.orders import events


def counts(lake: Lake) -> tuple[int, int, int]:
    tables = ("cuts", "events", "quarantine")
    found = [int(lake.row(f"SELECT count(*) FROM sys.{name}")[0]) for name in tables]
    return found[0], found[1], found[2]


def fail_half_way(lake: Lake) -> None:
    with lake.writing("test") as tx:
        registry.ask_for_cut(tx, 1, Log(lake).end())
        tx.insert("sys", "events", "SELECT * FROM sys.events")
        tx.insert("sys", "quarantine", "SELECT 'q', now()::TIMESTAMP, 'o', 'r', 'x'::BLOB")
        raise ZeroDivisionError


def test_a_unit_of_work_that_fails_leaves_nothing_behind(lake: Lake) -> None:
    append(lake, events(3, seed=1))
    before = counts(lake)
    with pytest.raises(ZeroDivisionError):
        fail_half_way(lake)
    assert counts(lake) == before


def test_after_a_failed_unit_of_work_the_next_one_is_whole(lake: Lake) -> None:
    with pytest.raises(ZeroDivisionError), lake.writing("test"):
        raise ZeroDivisionError
    append(lake, events(3, seed=1))
    with lake.writing("test") as tx:
        registry.ask_for_cut(tx, 1, Log(lake).end())
    assert counts(lake)[0] == 1
