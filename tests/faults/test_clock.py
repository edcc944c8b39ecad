"""Clocks that go wrong: producers ahead and behind, our own clock jumping, the far future."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from random import Random

import pytest

from headrace.pipelines.batch import run as batch
from headrace.pipelines.generations import registry
from headrace.pipelines.lake.lake import Lake
from headrace.pipelines.log import quarantine
from headrace.pipelines.log.embedded import Log
from headrace.pipelines.operations.status import status
from headrace.pipelines.quality import verify
from headrace.pipelines.replay import build, promote
from tests.conformance.paths import BUILT_IN, append, assert_exact, run_speed
from tests.conformance.streams import paid, placed
from tests.e2e.command import Headrace
from tests.e2e.orders import events, write

NOW = datetime(2026, 3, 10, 12)  # noqa: DTZ001 - the lake's clock is UTC without a zone


def at(lake: Lake, moment: datetime) -> None:
    """Set the lake's clock."""
    lake.clock = lambda: moment


def by_source(lake: Lake) -> dict[str, float]:
    return {row["source"]: row["seconds"] for row in status(lake)["ahead"]}


def shifted(line: bytes, by: timedelta, source: str) -> bytes:
    event = json.loads(line)
    time = datetime.fromisoformat(event["time"]).replace(tzinfo=None) + by
    return json.dumps(event | {"time": f"{time.isoformat()}Z", "source": source}).encode()


def test_producers_ten_minutes_off_lose_nothing_and_status_says_who_is_ahead(lake: Lake) -> None:
    at(lake, NOW)
    minutes = timedelta(minutes=10)
    lines = [
        shifted(placed(f"o{n}", at=NOW), by, source)
        for n in range(5)
        for by, source in ((minutes, "fast"), (-minutes, "slow"), (timedelta(0), "right"))
    ]
    append(lake, lines)
    run_speed(lake, 4)
    assert_exact(lake, names=BUILT_IN)
    assert by_source(lake) == {"fast": 600.0}


def test_a_source_within_a_minute_is_not_called_ahead(lake: Lake) -> None:
    at(lake, NOW)
    append(lake, [placed("o1", at=NOW + timedelta(seconds=59))])
    assert by_source(lake) == {}


def test_the_far_future_is_kept_and_told(lake: Lake) -> None:
    at(lake, NOW)
    far = "2261-12-31T23:59:59Z"
    append(lake, [placed("o1", at=far), placed("o2", at=NOW), paid("o2", "7.50", at=NOW)])
    run_speed(lake)
    batch.run(lake, engine="duckdb")
    assert_exact(lake, names=BUILT_IN)
    found = status(lake)
    assert found["ahead"][0]["newest_event"] == far
    assert found["lag_events"] == 0


@pytest.mark.thorough
def test_our_clock_may_jump_an_hour_either_way_at_every_step(lake: Lake) -> None:
    chance = Random(8)
    moment = NOW
    lines = events(60, seed=8)
    for n in range(0, len(lines), 24):
        moment += chance.choice([timedelta(hours=1), -timedelta(hours=1), timedelta(seconds=1)])
        at(lake, moment)
        append(lake, lines[n : n + 24])
        step = chance.choice(["speed", "full", "incremental", "replay"])
        at(lake, moment - timedelta(hours=chance.choice([0, 1])))
        if step == "speed":
            run_speed(lake, 5)
        elif step == "replay":
            promote.promote(lake, build.replay(lake, None).generation)
        else:
            batch.run(lake, engine="duckdb", incremental=step == "incremental")
        run_speed(lake)
        assert_exact(lake, names=BUILT_IN)
    assert quarantine.count(lake) == 0
    assert verify.verify(lake).equal


def test_the_last_cut_asked_for_counts_even_if_the_clock_went_back(lake: Lake) -> None:
    append(lake, events(10, seed=1))
    first = Log(lake).end()
    at(lake, NOW)
    with lake.writing("cut") as tx:
        registry.ask_for_cut(tx, 1, first)
    append(lake, events(10, seed=2))
    second = Log(lake).end()
    at(lake, NOW - timedelta(hours=1))
    with lake.writing("cut") as tx:
        registry.ask_for_cut(tx, 1, second)
    assert registry.read(lake).wanted_cut == second


def test_the_last_proof_is_the_one_made_last_even_if_the_clock_went_back(lake: Lake) -> None:
    at(lake, NOW)
    append(lake, events(5, seed=1))
    run_speed(lake)
    verify.verify(lake)
    append(lake, events(5, seed=2))
    run_speed(lake)
    at(lake, NOW - timedelta(hours=1))
    verify.verify(lake)
    assert status(lake)["certificate"]["position"] == Log(lake).end().as_dict()


def test_the_doctor_names_the_producers_that_are_ahead(tmp_path: Path) -> None:
    headrace = Headrace(tmp_path / "home")
    headrace.json("append", write(tmp_path / "now.ndjson", events(2, seed=5)))
    told = json.loads(headrace.run("doctor", "--json").out)["findings"]
    assert not [f for f in told if f["state"] == "wrong"]
    assert [f["state"] for f in told if f["check"] == "producers"] == ["ok"]
    line = json.loads(events(1, seed=6)[0])
    line |= {"time": "2099-01-01T00:00:00Z", "source": "shop/ahead"}
    headrace.json("append", write(tmp_path / "future.ndjson", [json.dumps(line).encode()]))
    told = json.loads(headrace.run("doctor", "--json").out)["findings"]
    assert [f["where"] for f in told if f["check"] == "producers"] == ["shop/ahead"]
