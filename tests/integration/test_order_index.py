"""The order index finds all events of an order, survives restarts and damage, and is shared."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from headrace.pipelines.generator.generator import generate
from headrace.pipelines.log import order_index
from headrace.pipelines.log.embedded import Log
from headrace.pipelines.log.order_index import OrderIndex
from headrace.pipelines.log.partitioner import order_hashes
from headrace.pipelines.position import Position, step_towards
from headrace.pipelines.replay.build import replay
from headrace.pipelines.speed.layer import Speed

if TYPE_CHECKING:
    from headrace.pipelines.lake.lake import Lake


def fill(lake: Lake, orders: int) -> Log:
    log = Log(lake)
    lines = list(generate(orders, 11))
    log.append(lines, ["test"] * len(lines))
    return log


def expected(lake: Lake, hashes: list[int]) -> list[tuple[int, int]]:
    listed = ", ".join(map(str, hashes))
    return lake.rows(
        f'SELECT "partition", "offset" FROM sys.events WHERE order_hash IN ({listed}) ORDER BY ALL'
    )


def found(index: OrderIndex, hashes: list[int]) -> list[tuple[int, int]]:
    table = index.events_of(np.array(sorted(hashes), dtype=np.int32))
    places = zip(table["partition"].to_pylist(), table["offset"].to_pylist(), strict=True)
    return sorted(places)


def some_hashes(lake: Lake) -> list[int]:
    rows = lake.rows("SELECT DISTINCT order_hash FROM sys.events ORDER BY 1")
    return [row[0] for row in rows[::7]]


def test_it_finds_every_event_of_the_wanted_orders_through_many_runs(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(order_index, "_FLUSH_ROWS", 120)
    monkeypatch.setattr(order_index, "_LARGEST_RUN", 500)
    log = fill(lake, 300)
    hashes = some_hashes(lake)
    with OrderIndex.open(lake, log) as index:
        here = Position.zero(2)
        while here != log.end():
            step = step_towards(here, log.end(), 50)
            index.add(order_index.Run.sorted(order_index.read_events(lake, log, here, step)), step)
            here = step
        assert found(index, hashes) == expected(lake, hashes)
        assert found(index, [1, 2, 3]) == []


def test_two_that_move_in_different_steps_both_find_every_event(lake: Lake) -> None:
    """A replay's positions and those of the live generation need not cover each other."""
    log = fill(lake, 100)
    hashes = some_hashes(lake)
    first, second = log.end().offsets
    with OrderIndex.open(lake, log) as index:
        index.catch_up(Position((first, 0)))
        index.catch_up(Position((first // 2, second)))
        assert found(index, hashes) == expected(lake, hashes)


@pytest.mark.thorough
def test_a_replay_equals_live_where_the_index_lags_in_one_partition_only(lake: Lake) -> None:
    """As after a kill: the index was written when one partition was far ahead of the other."""
    log = Log(lake)
    lines = [line.encode() if isinstance(line, str) else line for line in generate(200, 21)]
    ids = [json.loads(line)["subject"].encode() for line in lines]
    places = (order_hashes(ids) % 2).tolist()
    for partition in (0, 1):
        own = [line for line, place in zip(lines, places, strict=True) if place == partition]
        log.append(own, ["test"] * len(own))
        with contextlib.ExitStack() as held:
            if partition:  # the shared index stays as it is
                held.enter_context(lake.home.lock("index", wait=0))
            with Speed.open(lake) as speed:
                speed.run()
    assert min(log.end().offsets) > 100
    lake.settings = lake.settings.model_copy(update={"replay_events": 100})
    assert replay(lake, None).diff.comparison.wrong == 0


def test_a_restart_goes_on_from_what_was_written(lake: Lake) -> None:
    log = fill(lake, 100)
    with OrderIndex.open(lake, log) as index:
        index.catch_up(log.end())
        index.flush()
    more = list(generate(50, 12))
    log.append(more, ["test"] * len(more))
    hashes = some_hashes(lake)
    with OrderIndex.open(lake, log) as index:
        assert index.position.total == log.end().total - len(more)
        index.catch_up(log.end())
        assert found(index, hashes) == expected(lake, hashes)


@pytest.mark.parametrize("damage", ["no manifest", "torn manifest", "missing run", "torn run"])
def test_a_damaged_index_is_made_again_from_the_log(lake: Lake, damage: str) -> None:
    log = fill(lake, 100)
    with OrderIndex.open(lake, log) as index:
        index.catch_up(log.end())
        index.flush()
    manifest = lake.home.index / "manifest.json"
    (run,) = lake.home.index.glob("*.arrow")
    if damage == "no manifest":
        manifest.unlink()
    elif damage == "torn manifest":
        manifest.write_text(manifest.read_text()[:40])
    elif damage == "missing run":
        run.unlink()
    else:
        run.write_bytes(run.read_bytes()[:100])
    hashes = some_hashes(lake)
    with OrderIndex.open(lake, log) as index:
        assert index.position == Position.zero(2)
        index.catch_up(log.end())
        assert found(index, hashes) == expected(lake, hashes)


def test_a_second_process_keeps_its_tail_to_itself(lake: Lake) -> None:
    log = fill(lake, 100)
    hashes = some_hashes(lake)
    with OrderIndex.open(lake, log) as first, OrderIndex.open(lake, log) as second:
        second.catch_up(log.end())
        second.flush()
        assert found(second, hashes) == expected(lake, hashes)
        assert list(lake.home.index.glob("*.arrow")) == []
        first.catch_up(log.end())
        first.flush()
        assert found(first, hashes) == expected(lake, hashes)
    assert list(lake.home.scratch.glob("index-*")) == []
