"""Every path to the views gives what the oracle gives, in every cell: speed, batch, replay."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from random import Random
from typing import TYPE_CHECKING

import pytest

from headrace.pipelines.batch import run as batch
from headrace.pipelines.generations import registry
from headrace.pipelines.log.embedded import Log
from headrace.pipelines.operations import maintenance
from headrace.pipelines.position import Position
from headrace.pipelines.replay import build, promote
from headrace.pipelines.serving import time_travel
from headrace.pipelines.speed import layer
from tests.conformance.paths import (
    BUILT_IN,
    TABLES,
    append,
    assert_exact,
    differences,
    kept,
    logged,
    run_speed,
    served,
)
from tests.conformance.streams import NOON, Shop, combined
from tests.halves import first
from tests.oracle import fold as oracle

if TYPE_CHECKING:
    from headrace.pipelines.lake.lake import Lake
    from tests.conftest import MakeLake

SECOND_DAY = datetime(2026, 3, 2)  # noqa: DTZ001 - naive UTC


@pytest.fixture
def shop_lake(make_lake: MakeLake) -> Lake:
    """A lake of three partitions with the built-in views and two of a user's."""
    return make_lake(partitions=3, views=oracle.USER_VIEWS)


def thirds(lines: list[bytes]) -> tuple[list[bytes], list[bytes], list[bytes]]:
    a, b = len(lines) // 3, 2 * len(lines) // 3
    return lines[:a], lines[a:b], lines[b:]


def test_speed_in_one_commit(shop_lake: Lake) -> None:
    append(shop_lake, combined(1))
    assert run_speed(shop_lake) == 1
    assert_exact(shop_lake)


@pytest.mark.parametrize("partitions", [1, 3])
def test_speed_on_two_engines(
    make_lake: MakeLake, monkeypatch: pytest.MonkeyPatch, partitions: int
) -> None:
    monkeypatch.setattr(layer, "_SHARED", 1)
    lake = make_lake(partitions=partitions, views=oracle.USER_VIEWS, threads=2)
    append(lake, combined(5))
    run_speed(lake, 90)
    assert_exact(lake)


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("seed", "commit_events"), first(1, [(3, 90), (2, 37)]))
def test_speed_in_several_commits(shop_lake: Lake, seed: int, commit_events: int) -> None:
    lines = combined(seed)
    append(shop_lake, lines, batch=100)
    assert run_speed(shop_lake, commit_events) >= len(lines) // commit_events
    assert_exact(shop_lake)


def test_speed_an_event_at_a_time_is_exact_after_each(make_lake: MakeLake) -> None:
    lake = make_lake(partitions=1)
    append(lake, Shop(Random(11), orders=2).events(10))
    for end in range(1, 11):
        assert run_speed(lake, 1, commits=1) == 1
        assert_exact(lake, names=BUILT_IN, at=Position((end,)))


@pytest.mark.thorough
def test_speed_follows_appends_as_they_come(shop_lake: Lake) -> None:
    lines = combined(4, shops=1)
    for part in thirds(lines):
        append(shop_lake, part)
        run_speed(shop_lake)
        assert_exact(shop_lake)


def test_a_full_batch_in_duckdb(shop_lake: Lake) -> None:
    append(shop_lake, combined(1))
    done = batch.run(shop_lake, engine="duckdb")
    assert done is not None
    assert done.mode == "full"
    assert done.repeats == oracle.repeats(logged(shop_lake, done.cut))
    assert_exact(shop_lake)


def test_incremental_batches_in_duckdb(shop_lake: Lake) -> None:
    modes = []
    for part in thirds(combined(5)):
        append(shop_lake, part)
        done = batch.run(shop_lake, engine="duckdb", incremental=True)
        assert done is not None
        assert done.repeats == oracle.repeats(logged(shop_lake, done.cut))
        modes.append(done.mode)
        assert_exact(shop_lake)
    assert modes == ["full", "incremental", "incremental"]


@pytest.mark.thorough
def test_an_incremental_batch_of_nothing_but_redeliveries(shop_lake: Lake) -> None:
    lines = combined(6, shops=1)
    append(shop_lake, lines)
    batch.run(shop_lake, engine="duckdb")
    before = served(shop_lake, TABLES)
    append(shop_lake, lines)
    done = batch.run(shop_lake, engine="duckdb", incremental=True)
    assert done is not None
    assert done.mode == "incremental"
    assert done.repeats >= len(lines)
    assert differences(served(shop_lake, TABLES), before) == []
    assert_exact(shop_lake)


def test_base_and_deltas_in_turn(shop_lake: Lake) -> None:
    first, second, third = thirds(combined(7))
    append(shop_lake, first)
    run_speed(shop_lake, 50)
    batch.run(shop_lake, engine="duckdb")
    append(shop_lake, second)
    run_speed(shop_lake, 50)
    assert_exact(shop_lake)
    batch.run(shop_lake, engine="duckdb", incremental=True)
    append(shop_lake, third)
    run_speed(shop_lake, 50)
    assert registry.read(shop_lake).cut.total == len(first) + len(second)
    assert_exact(shop_lake)


def test_replay_from_the_beginning(shop_lake: Lake) -> None:
    append(shop_lake, combined(8))
    run_speed(shop_lake)
    done = build.replay(shop_lake, None)
    assert (done.events, done.diff.equal) == (Log(shop_lake).end().total, True)
    assert_exact(shop_lake, done.generation)
    promote.promote(shop_lake, done.generation)
    assert_exact(shop_lake)


@pytest.mark.thorough
def test_replay_from_the_beginning_without_anything_before_it(shop_lake: Lake) -> None:
    append(shop_lake, combined(8, shops=1))
    done = build.replay(shop_lake, None)
    assert done.diff.position.total == 0
    promote.promote(shop_lake, done.generation)
    run_speed(shop_lake)
    assert_exact(shop_lake)


@pytest.mark.parametrize("engine", first(1, ["speed", "duckdb"]))
def test_replay_from_a_time_remembers_what_began_before_it(
    make_lake: MakeLake, engine: str
) -> None:
    lake = make_lake(partitions=2, views=oracle.USER_VIEWS, replay_events=70)
    # Two days in order of time, so that the first day's base lies below the second's position.
    lines = combined(9)
    times = {line: oracle.read(0, 0, line.decode()).time for line in lines}
    early = [line for line in lines if times[line] < SECOND_DAY]
    late = [line for line in lines if times[line] >= SECOND_DAY]
    append(lake, early)
    batch.run(lake, engine="duckdb")
    append(lake, late)
    if engine == "speed":
        run_speed(lake, 60)
    else:
        batch.run(lake, engine="duckdb")
    done = build.replay(lake, SECOND_DAY)
    assert done.requested.total == len(early)
    # Once the batch at the end has replaced the base, only the beginning is left to start from.
    assert done.started_at.total == (len(early) if engine == "speed" else 0)
    assert done.diff.equal
    assert_exact(lake, done.generation)
    promote.promote(lake, done.generation)
    assert_exact(lake)


@pytest.mark.thorough
def test_promotion_and_rollback_catch_up_first(shop_lake: Lake) -> None:
    first, second, third = thirds(combined(10, shops=2))
    append(shop_lake, first)
    run_speed(shop_lake)
    built = build.replay(shop_lake, None).generation
    append(shop_lake, second)
    run_speed(shop_lake)
    assert promote.promote(shop_lake, built).number == built
    assert_exact(shop_lake)
    append(shop_lake, third)
    run_speed(shop_lake)
    assert promote.rollback(shop_lake).number == 1
    assert_exact(shop_lake)
    assert_exact(shop_lake, built)


@pytest.mark.thorough
def test_maintenance_changes_no_cell(make_lake: MakeLake) -> None:
    lake = make_lake(views=oracle.USER_VIEWS, keep_snapshots=timedelta(0))
    lines = combined(11, shops=1)
    append(lake, lines, batch=30)
    run_speed(lake, 40)
    before = served(lake, TABLES)
    assert maintenance.maintain(lake).files_merged > 0
    assert differences(served(lake, TABLES), before) == []
    append(lake, lines[:20])
    run_speed(lake, 5)
    assert_exact(lake)


def test_a_query_at_any_position_is_what_was_true_there(shop_lake: Lake) -> None:
    append(shop_lake, combined(12, shops=2))
    end = Log(shop_lake).end()
    rng = Random(12)
    for _ in range(2):
        at = Position(tuple(rng.randint(0, offset) for offset in end.offsets))
        expected = oracle.recompute(logged(shop_lake, at))
        for name in ("orders", "revenue_by_day", "shelf"):
            answer = time_travel.query_at(shop_lake, f"SELECT * FROM {name}", at)
            found = oracle.Table(answer.columns, Counter(answer.rows))
            assert differences({name: found}, expected) == []


def test_a_changed_view_is_exact_for_what_came_before_it(make_lake: MakeLake) -> None:
    lake = make_lake(partitions=2)
    first, second, third = thirds(combined(13, shops=2))
    append(lake, first)
    batch.run(lake, engine="duckdb")
    append(lake, second)
    run_speed(lake)
    for name, sql in oracle.USER_VIEWS.items():
        (lake.home.views / f"{name}.sql").write_text(sql, encoding="utf-8")
    done = build.replay(lake, NOON + timedelta(days=90))
    assert done.diff.logic_changed
    assert set(done.diff.added) == set(oracle.USER_VIEWS)
    assert_exact(lake, names=BUILT_IN)
    assert_exact(lake, done.generation)
    promote.promote(lake, done.generation)
    append(lake, third)
    run_speed(lake)
    assert_exact(lake)
    expected = oracle.recompute(logged(lake, Log(lake).end()))
    assert differences(kept(lake, done.generation, TABLES), expected) == []
