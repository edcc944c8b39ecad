"""Several processes read one topic: the same views, whoever of them is killed, whoever goes on."""

from __future__ import annotations

import time
from pathlib import Path

import psutil
import pytest

from tests.e2e.command import stopped_at_end
from tests.e2e.orders import Truth, events
from tests.kafka.broker import Cluster
from tests.kafka.homes import Home, Record, expire, placed, produce, producer, send
from tests.kafka.running import fresh_topic

pytestmark = [pytest.mark.kafka, pytest.mark.thorough, pytest.mark.xdist_group("kafka")]

PARTITIONS = 4
LINES = events(40, seed=51)
BEFORE = ("commit.begun", "append.synced", "commit.written:4", "commit.ready")


@pytest.fixture
def home(kafka: Cluster, tmp_path: Path) -> Home:
    """A home on an empty topic of four partitions."""
    made = Home(tmp_path / "home", fresh_topic(kafka), partitions=PARTITIONS)
    assert made.json("init")["partitions"] == PARTITIONS
    return made


def good(lines: list[bytes]) -> list[Record]:
    return [placed(line, PARTITIONS) for line in lines]


def archived(home: Home) -> int:
    with home.lake() as lake:
        return int(lake.row("SELECT count(*) FROM sys.events")[0])


def workers_of(pid: int) -> list[psutil.Process]:
    return [
        p
        for p in psutil.Process(pid).children()
        if "headrace.pipelines.speed.worker" in p.cmdline()
    ]


def test_workers_give_the_views_of_a_single_process_through_poison_and_markers(
    home: Home,
) -> None:
    poison = [Record(b"?", b"k", 0), Record(None, b"k", 1), Record(b"\xff", b"k", 3)]
    half = len(LINES) // 2
    produce(home.url, [r for line in LINES[:half] for r in (*good([line]), *poison[:1])])
    assert home.once(workers=3, commit_events=10)["events"] == half
    with producer(home.url, transactional_id="aborted") as writer:
        writer.init_transactions()
        writer.begin_transaction()
        send(writer, home.url, good(events(3, seed=52)))
        writer.abort_transaction()
        writer.begin_transaction()
        send(writer, home.url, [*good(LINES[half:]), *poison, *good(LINES[:half])])
        writer.commit_transaction()
    told = home.once(workers=2)
    assert told["events"] == len(LINES)
    assert told["repeats"] >= half
    assert len(home.quarantined()) == half + len(poison)
    Truth.of(LINES).check(home)
    home.check()


def test_one_process_and_several_take_turns(home: Home) -> None:
    for turn, workers in enumerate((1, 4, 2, 1, 3)):
        step = len(LINES) // 5
        end = None if turn == 4 else (turn + 1) * step
        produce(home.url, good(LINES[turn * step : end]))
        home.once(workers=workers, commit_events=9)
        if turn == 2:
            home.json("batch", "--engine", "duckdb")
    replayed = home.json("replay", "--from", "2026-03-02", "--promote")
    assert (replayed["equal"], replayed["promoted"]) == (True, True)
    Truth.of(LINES).check(home)
    home.check()


@pytest.mark.parametrize("point", BEFORE)
def test_a_commit_of_workers_that_is_killed_happened_whole_or_not_at_all(
    home: Home, point: str
) -> None:
    produce(home.url, good(LINES))
    assert home.process("speed", "--once", crash_at=point, workers=2).code < 0
    assert archived(home) == 0
    home.once(workers=2)
    assert archived(home) == len(LINES)
    Truth.of(LINES).check(home)
    home.check()


def test_a_worker_that_is_killed_takes_no_event_with_it_and_is_replaced(home: Home) -> None:
    running = home.start("speed", "--follow", workers=2)
    with stopped_at_end(running):
        for nth in range(4):
            produce(home.url, good(LINES[nth * 20 : (nth + 1) * 20]))
            deadline = time.monotonic() + 60
            while archived(home) < min(len(LINES), (nth + 1) * 20) or not workers_of(running.pid):
                assert time.monotonic() < deadline
                assert running.poll() is None
                time.sleep(0.1)
            if nth % 2 == 0:
                workers_of(running.pid)[nth // 2].kill()
        produce(home.url, good(LINES[80:]))
        deadline = time.monotonic() + 60
        while archived(home) < len(LINES):
            assert time.monotonic() < deadline
            time.sleep(0.1)
    Truth.of(LINES).check(home)
    home.check()


def test_workers_end_with_the_process_that_started_them(home: Home) -> None:
    running = home.start("speed", "--follow", workers=3)
    with stopped_at_end(running):
        deadline = time.monotonic() + 60
        while len(found := workers_of(running.pid)) < 3:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        running.kill()
        _, alive = psutil.wait_procs(found, 30)
    assert not alive


def test_workers_refuse_a_topic_that_lost_what_was_not_read(home: Home) -> None:
    produce(home.url, good(LINES[:40]))
    home.once(workers=2)
    places = produce(home.url, good(LINES[40:]))
    partition = places[0][0]
    expire(home.url, {partition: max(o for p, o in places if p == partition)})
    outcome = home.run("speed", "--once", workers=2)
    outcome.refused(1, "have expired and were never read")
    assert archived(home) == 40
