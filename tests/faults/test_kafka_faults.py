"""Real brokers and real commands, killed and paused: what was acknowledged counts, and once."""

from __future__ import annotations

import json
import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.command import stopped_at_end
from tests.e2e.orders import Truth, events, write
from tests.faults.crashing import kill_at
from tests.kafka.broker import Broker, Cluster
from tests.kafka.homes import Home, placed, produce
from tests.kafka.running import cluster, fresh_topic

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.thorough,
    pytest.mark.xdist_group("kafka-faults"),  # a broker of their own: they kill it
]

BEFORE = (
    "commit.begun", "append.synced", "commit.adopted", "commit.written:4", "commit.ready",
)  # fmt: skip
"""Points of a commit that archives what it read, at which nothing of it has happened yet."""


@pytest.fixture(scope="module")
def kafka() -> Iterator[Cluster]:
    """A real broker; every test leaves it running."""
    with cluster() as made:
        yield made


@pytest.fixture
def broker(kafka: Cluster) -> Broker:
    """Its node."""
    return kafka.brokers[0]


@pytest.fixture
def home(kafka: Cluster, tmp_path: Path) -> Home:
    """A home on an empty topic of two partitions."""
    made = Home(tmp_path / "home", fresh_topic(kafka), partitions=2)
    made.json("init")
    return made


def archived(home: Home) -> int:
    with home.lake() as lake:
        return int(lake.row("SELECT count(*) FROM sys.events")[0])


def wait_for(home: Home, count: int, seconds: float = 60) -> None:
    """Wait until so many events are archived."""
    end = time.monotonic() + seconds
    while (found := archived(home)) < count:
        assert time.monotonic() < end, f"{found} of {count} events came in {seconds} s"
        time.sleep(0.1)


def test_an_append_during_which_the_broker_is_killed_keeps_what_it_acknowledged(
    home: Home, broker: Broker, tmp_path: Path
) -> None:
    lines = events(400, seed=31)
    path = write(tmp_path / "events.ndjson", lines)
    appending = home.start(
        "append", path, append_events=20, log_level="info", log_format="json", kafka_timeout=2
    )
    with stopped_at_end(appending):
        assert appending.stderr is not None
        acknowledged = accepted(appending.stderr.readline())
        broker.kill()
        told = appending.stderr.read().splitlines()
        assert appending.wait() == 1
    acknowledged += sum(accepted(line) for line in told[:-1])
    assert "Traceback" not in told[-1]
    assert "did not let us append" in told[-1]
    assert 0 < acknowledged < len(lines)
    broker.start()
    home.once()
    found = home.events()
    assert set(lines[:acknowledged]) <= set(found) <= set(lines)
    assert home.json("append", path)["accepted"] == len(lines)
    home.once()
    Truth.of(lines).check(home)
    home.check()


def accepted(line: str) -> int:
    """How many events a log line says were acknowledged."""
    said = json.loads(line)
    return int(said["accepted"]) if said["event"] == "append" else 0


def test_a_speed_layer_outlives_a_broker_that_is_killed_and_started_again(
    home: Home, broker: Broker
) -> None:
    lines = events(60, seed=37)
    with stopped_at_end(home.start("speed", "--follow", kafka_timeout=2)) as follow:
        home.append(lines[:60])
        wait_for(home, 60)
        broker.kill()
        time.sleep(4)  # longer than its patience: it has noticed
        assert follow.poll() is None
        broker.start()
        home.append(lines[60:])
        wait_for(home, len(lines))
        assert follow.poll() is None
        follow.send_signal(signal.SIGTERM)
        assert follow.wait(20) == 0
        assert follow.stderr is not None
        assert "broker" in follow.stderr.read(), "the fault was not noticed"
    Truth.of(lines).check(home)
    home.check()


def test_one_run_of_the_speed_layer_ends_with_an_error_when_the_broker_dies_under_it(
    home: Home, broker: Broker
) -> None:
    lines = events(400, seed=41)
    home.append(lines)
    running = home.start("speed", "--once", commit_events=10, kafka_timeout=2)
    with stopped_at_end(running):
        while archived(home) < 20:
            time.sleep(0.05)
        broker.kill()
        assert running.wait(60) == 1
        assert running.stderr is not None
        assert home.url in running.stderr.read()
    broker.start()
    assert 0 < archived(home) < len(lines)
    home.once()
    Truth.of(lines).check(home)
    home.check()


def test_a_broker_that_stands_still_for_some_seconds_delays_and_loses_nothing(
    home: Home, broker: Broker, tmp_path: Path
) -> None:
    lines = events(100, seed=43)
    path = write(tmp_path / "events.ndjson", lines[50:])
    with stopped_at_end(home.start("speed", "--follow")) as follow:
        home.append(lines[:50])
        wait_for(home, 50)
        with broker.paused(), stopped_at_end(home.start("append", path)) as appending:
            time.sleep(4)
            assert appending.poll() is None, "it ended while nobody could answer"
            stood = archived(home)
            broker.process.send_signal(signal.SIGCONT)  # type: ignore[union-attr]
            assert appending.wait(60) == 0
        assert stood == 50
        wait_for(home, len(lines))
        assert follow.poll() is None
    Truth.of(lines).check(home)
    home.check()


def test_a_speed_layer_killed_in_a_commit_reads_each_event_once(home: Home) -> None:
    lines = events(24, seed=100)
    home.append(lines)
    for point in BEFORE:
        kill_at(point, home, "speed", "--once", commit_events=30)
        assert home.events() == [], point
    moved = 0
    for point in ("commit.done", "commit.ready:2"):
        kill_at(point, home, "speed", "--once", commit_events=20)
        assert moved < (moved := archived(home)) < len(lines), point
    home.once()
    assert sorted(home.events()) == sorted(lines)
    Truth.of(lines).check(home)
    home.check()


@contextmanager
def producing(home: Home) -> Iterator[list[bytes]]:
    """Events are produced all the while; gives those that were acknowledged."""
    sent: list[bytes] = []
    over = threading.Event()

    def produce_on() -> None:
        while not over.is_set():
            lines = events(5, seed=1000 + len(sent))
            produce(home.url, [placed(line, 2) for line in lines])
            sent.extend(lines)

    writer = threading.Thread(target=produce_on)
    writer.start()
    try:
        yield sent
    finally:
        over.set()
        writer.join()


def test_a_speed_layer_killed_at_random_while_events_are_produced_reads_each_once(
    home: Home,
) -> None:
    seed = 20_260_302
    print(f"seed {seed}")
    chance = random.Random(seed)
    kills = 0
    with producing(home) as sent:
        while kills < 3:
            with stopped_at_end(home.start("speed", "--follow", commit_events=20)) as follow:
                assert follow.stderr is not None
                assert follow.stderr.readline().startswith("commit ")
                time.sleep(chance.uniform(0, 0.6))
                follow.kill()
            assert follow.returncode == -signal.SIGKILL
            kills += 1
    between = archived(home)
    home.once()
    assert 0 < between <= len(sent)
    assert sorted(home.events()) == sorted(sent)
    Truth.of(sent).check(home)
    home.check()


def test_bases_are_published_and_promoted_while_events_stream_in(home: Home) -> None:
    batch = ["batch", "--engine", "duckdb"]
    replay = ["replay", "--from", "2026-03-03", "--promote"]
    with producing(home) as sent, stopped_at_end(home.start("speed", "--follow")) as follow:
        wait_for(home, 20)
        for command in (batch, replay, [*batch, "--incremental"]):
            before = archived(home)
            assert home.json(*command)["generation"], command
            wait_for(home, before + 20)
        assert follow.poll() is None
    home.once()
    assert sorted(home.events()) == sorted(sent)
    Truth.of(sent).check(home)
    home.check()


def test_a_second_speed_layer_is_refused_and_the_first_goes_on(home: Home) -> None:
    lines = events(10, seed=47)
    with stopped_at_end(home.start("speed", "--follow")) as follow:
        home.append(lines[:10])
        wait_for(home, 10)
        home.run("speed", "--once").refused(1, "speed lock", f"process {follow.pid}")
        home.append(lines[10:])
        wait_for(home, len(lines))
    home.check()


def test_a_broker_that_lost_its_end_and_grew_again_is_never_read_on(
    home: Home, broker: Broker
) -> None:
    """An unreplicated broker whose machine lost power: acknowledged records are gone from it."""
    lines = events(120, seed=53)
    with stopped_at_end(home.start("speed", "--follow", kafka_timeout=2)) as follow:
        for part in (lines[:60], lines[60:120]):  # a batch of records each
            home.append(part)
        wait_for(home, 120)
        broker.kill()
        topic = home.url.rpartition("/")[2]
        for log in broker.folder.glob(f"data/{topic}-*/*0.log"):
            with log.open("r+b") as file:
                file.truncate(log.stat().st_size * 2 // 3)
        broker.start()
        produce(home.url, [placed(line, 2) for line in lines[120:] + lines[:40]])
        assert follow.wait(60) == 1
        assert follow.stderr is not None
        told = follow.stderr.read().splitlines()[-1]
    assert "Bring its events into a new home" in told or "bring its events into a new home" in told
    home.run("speed", "--once").refused(1, "bring its events into a new home")
    assert sorted(home.events()) == sorted(lines[:120])
    home.check()


def test_three_brokers_take_events_while_one_is_away_and_refuse_them_while_two_are(
    tmp_path: Path,
) -> None:
    lines = events(60, seed=59)
    parts = [lines[:40], lines[40:80], lines[80:]]
    with cluster(nodes=3) as kafka:
        home = Home(
            tmp_path / "home", fresh_topic(kafka), partitions=3, kafka_replication=3,
            kafka_min_insync=2, kafka_timeout=30,
        )  # fmt: skip
        home.append(parts[0])
        home.once()
        kafka.brokers[0].kill()
        home.append(parts[1])
        home.once()
        Truth.of(parts[0] + parts[1]).check(home)
        kafka.brokers[1].kill()
        path = write(tmp_path / "events.ndjson", parts[2])
        home.run("append", path, kafka_timeout=4).refused(1, "What was acknowledged is safe")
        for broker in kafka.brokers[:2]:
            broker.start(wait=False)
        for broker in kafka.brokers[:2]:
            broker.wait()
        home.append(parts[2])
        home.once()
        assert set(home.events()) == set(lines)
        Truth.of(lines).check(home)
        home.check()
