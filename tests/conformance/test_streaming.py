"""The speed layer on Spark and the local one are one: equal from the same topic, and in turns."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from headrace.jobs.streaming import main as streaming
from headrace.jobs.streaming.query import Stream
from headrace.pipelines import settings
from headrace.pipelines.bootstrap import open_lake
from headrace.pipelines.errors import LogError
from headrace.pipelines.generations import registry
from headrace.pipelines.lake.lake import Lake
from headrace.pipelines.log.binding import open_topic
from headrace.pipelines.log.embedded import Log
from headrace.pipelines.speed import loop
from headrace.pipelines.speed.layer import Commit, Speed
from tests.conformance.paths import TABLES, differences, served
from tests.conformance.streams import combined
from tests.kafka.broker import CannotFetchError, Cluster
from tests.kafka.homes import Home, Record, expire, placed, produce, producer, send
from tests.kafka.running import cluster, fresh_topic
from tests.kafka.spark import Standalone, source_jars, standalone
from tests.oracle import fold as oracle

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = [
    pytest.mark.spark,
    pytest.mark.kafka,
    pytest.mark.thorough,
    pytest.mark.xdist_group("spark"),  # the session that the batch's cases have, too
]

PARTITIONS = 3


@pytest.fixture(scope="module")
def jars() -> Path:
    """The Kafka source, without which Spark cannot read a topic."""
    try:
        return source_jars()
    except CannotFetchError as e:
        pytest.skip(f"no Kafka source for Spark: {e}")


@pytest.fixture(scope="module")
def kafka(jars: Path) -> Iterator[Cluster]:
    """A real broker."""
    with cluster() as made:
        yield made


def make_home(path: Path, url: str, **chosen: object) -> Home:
    """A home on a topic, with the user's views beside the built-in ones."""
    home = Home(path, url, partitions=PARTITIONS, **chosen)
    (path / "views").mkdir(parents=True)
    for name, sql in oracle.USER_VIEWS.items():
        (path / "views" / f"{name}.sql").write_text(sql, encoding="utf-8")
    home.json("init")
    return home


def writable(home: Home, **given: Any) -> Lake:
    """Its lake, opened for writing."""
    return open_lake(settings.load(home.home, environ={}, threads=1, log=home.url, **given))


def streamed(home: Home, spark: SparkSession, **given: Any) -> list[Commit]:
    """Bring a home to its topic's end with Spark."""
    commits: list[Commit] = []
    with writable(home, **given) as lake:
        streaming.once(lake, spark, commits.append)
    return commits


def good(lines: list[bytes]) -> list[Record]:
    return [placed(line, PARTITIONS) for line in lines]


def messy(lines: list[bytes]) -> list[Record]:
    """Events as others produce them, and all that is none."""
    records: list[Record] = []
    for n, record in enumerate(good(lines)):
        assert record.partition is not None
        astray = (record.partition + 1) % PARTITIONS
        headers = [("trace", b"\xff\x00"), ("empty", b"")] if n % 3 == 0 else []
        records.append(Record(record.value, record.key, record.partition, headers, n * 1000))
        if n % 7 == 0:
            records.append(Record((b"?", None, b"\x00\xff", b'{"id": 1}')[n % 4], b"k", n % 3))
        if n % 31 == 0:
            records.append(Record(record.value, record.key, astray))
    return records


def abort(url: str, lines: list[bytes]) -> None:
    """A transaction that comes to nothing, and one that does not."""
    with producer(url, transactional_id="t") as writer:
        writer.init_transactions()
        for part, end in (
            (lines[: len(lines) // 2], writer.abort_transaction),
            (lines[len(lines) // 2 :], writer.commit_transaction),
        ):
            writer.begin_transaction()
            send(writer, url, good(part))
            end()


def everything(lake: Lake) -> dict[str, list[tuple[Any, ...]]]:
    """All that a speed layer leaves behind, but for times and the names of entries."""
    return {
        "events": lake.rows(
            'SELECT * EXCLUDE (appended_at) FROM sys.events ORDER BY 1, 2, "offset"'
        ),
        "holes": lake.rows("SELECT * FROM sys.holes ORDER BY ALL"),
        "quarantine": lake.rows("SELECT origin, reason, raw FROM sys.quarantine ORDER BY ALL"),
        "counts": lake.rows("SELECT sum(events), sum(repeats) FROM sys.commits"),
    }


def assert_alike(one: Home, other: Home) -> None:
    """Two homes on one topic hold and serve the same, cell by cell, and both can prove it."""
    with one.lake() as first, other.lake() as second:
        wrong = differences(served(first, TABLES), served(second, TABLES))
        assert not wrong, "\n".join(wrong[:20])
        found, expected = everything(first), everything(second)
        for name, rows in expected.items():
            assert found[name] == rows, name
        assert found["events"]
    for home in (one, other):
        home.check()


def test_both_layers_make_the_same_of_one_topic_whatever_is_in_it(
    kafka: Cluster, spark: SparkSession, tmp_path: Path
) -> None:
    url, lines = fresh_topic(kafka), combined(31, shops=3)
    here, there = (make_home(tmp_path / name, url) for name in ("spark", "local"))
    half = len(lines) // 2
    produce(url, messy(lines[:half]))
    first = streamed(here, spark, commit_events=half // 2)
    assert len(first) > 2
    there.once()
    abort(url, lines[half : half + 40])
    produce(url, [*messy(lines[half:]), *good(lines[:20])], compression_type="zstd")
    streamed(here, spark)
    there.once(commit_events=100)
    assert_alike(here, there)
    with here.lake() as lake:
        kinds = {r.split(":")[0] for (r,) in lake.rows("SELECT reason FROM sys.quarantine")}
        assert {"value", "subject", "conflict"} <= kinds
        assert lake.row("SELECT sum(repeats) FROM sys.commits")[0] > 0


def test_each_layer_goes_on_where_the_other_stopped(
    kafka: Cluster, spark: SparkSession, tmp_path: Path
) -> None:
    url, lines = fresh_topic(kafka), combined(32, shops=2)
    home = make_home(tmp_path / "home", url)
    size = -(-len(lines) // 4)
    parts = [lines[i : i + size] for i in range(0, len(lines), size)]
    for part, on_spark in zip(parts, cycle((True, False)), strict=False):
        produce(url, messy(part))
        before = home.json("status")["events"]
        commits = streamed(home, spark) if on_spark else home.once()["commits"]
        assert commits
        assert home.json("status")["events"] > before
        home.check()
        if len(part) == size and on_spark:
            home.json("batch", "--engine", "duckdb", "--incremental")
    assert streamed(home, spark) == []
    replayed = home.json("replay", "--from", "beginning", "--promote")
    assert (replayed["equal"], replayed["promoted"]) == (True, True)
    produce(url, good(lines[:5]))
    assert sum(commit.repeats for commit in streamed(home, spark)) == 5
    home.check()


def test_of_two_layers_at_once_neither_commits_what_the_other_has(
    kafka: Cluster, spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, lines = fresh_topic(kafka), combined(33)
    home = make_home(tmp_path / "home", url)
    produce(url, good(lines))
    prepared: list[int] = []
    compute = Stream._compute

    def overtaken(self: Stream, *arguments: Any) -> Any:
        """Spark prepares a commit; before it can land, the local layer makes two."""
        made = compute(self, *arguments)
        prepared.append(made[0].events.num_rows)
        if len(prepared) == 2:
            with writable(home, commit_events=20) as lake, Speed.open(lake) as speed:
                steps = (commit for commit in loop.once(lake, speed))
                assert len(list(steps)) > 2
        return made

    monkeypatch.setattr(Stream, "_compute", overtaken)
    commits = streamed(home, spark, commit_events=40)
    assert len(commits) == 1, "the second was overtaken, and nothing was left for a third"
    assert len(prepared) == 2
    home.check()
    assert home.json("status")["events"] == len(lines)


def test_a_local_commit_that_spark_overtook_does_not_land(
    kafka: Cluster, spark: SparkSession, tmp_path: Path
) -> None:
    url, lines = fresh_topic(kafka), combined(34)
    home = make_home(tmp_path / "home", url)
    produce(url, good(lines))
    with writable(home) as lake, Speed.open(lake) as speed:
        line = speed.ready(Log(lake).end())
        assert line is not None
        with open_topic(lake) as log:
            fetched = log.fetch(line.position, 30, timedelta(seconds=20))
        assert not fetched.empty
        assert sum(c.events for c in streamed(home, spark)) == len(lines)
        assert speed.land(line, fetched) is None
        assert speed.take(fetched) is None
    home.check()


def test_a_broker_that_goes_away_is_waited_for_and_a_stop_is_heard(
    kafka: Cluster, spark: SparkSession, tmp_path: Path
) -> None:
    url, lines = fresh_topic(kafka), combined(37)
    home = make_home(tmp_path / "home", url)
    produce(url, good(lines))
    (broker,) = kafka.brokers
    stop, back = threading.Event(), threading.Timer(2, broker.start)
    commits: list[Commit] = []

    def told(commit: Commit) -> None:
        commits.append(commit)
        if len(commits) == 2:
            broker.kill()
            back.start()
        if sum(c.events for c in commits) == len(lines):
            stop.set()

    with writable(home, commit_events=len(lines) // 4, kafka_timeout=5) as lake:
        streaming.follow(lake, spark, told, stop)
    back.join()
    assert len(commits) > 3
    home.check()


def test_records_that_expired_before_spark_read_them_are_missed_loudly(
    kafka: Cluster, spark: SparkSession, tmp_path: Path
) -> None:
    url, lines = fresh_topic(kafka), combined(35)
    home = make_home(tmp_path / "home", url)
    produce(url, good(lines[:40]))
    streamed(home, spark)
    produce(url, good(lines[40:]))
    with home.lake() as lake:
        end = registry.read(lake).position
    expire(url, {0: end.offsets[0] + 1})
    with pytest.raises(LogError, match="have expired"):
        streamed(home, spark)
    home.check()


def wait_until(true: Callable[[], bool], what: str) -> None:
    """Wait for something that must come about."""
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end, f"not in a minute: {what}"
        time.sleep(0.2)


class Clustered:
    """`headrace` with a cluster's settings."""

    def __init__(self, home: Home, spark: Standalone, jars: Path) -> None:
        self.home = home
        self.settings = {"spark_master": spark.url, "spark_jars": jars, "spark_memory": "1g"}

    def stream(self, *more: str, **given: object) -> subprocess.Popen[str]:
        """Start the speed layer on the cluster."""
        call = ("speed", "--engine", "spark", "--json", *more)
        return self.home.start(*call, **{**self.settings, **given})


def test_a_cluster_of_two_workers_streams_survives_a_kill_and_makes_a_batch(
    kafka: Cluster, jars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, lines = fresh_topic(kafka), combined(36, shops=2)
    here, there = (make_home(tmp_path / name, url) for name in ("spark", "local"))
    produce(url, messy(lines))
    with standalone() as spark:
        for name, value in spark.environment.items():
            monkeypatch.setenv(name, value)
        on = Clustered(here, spark, jars)
        with on.stream("--once", commit_events=60, crash_at="commit.committed:2") as killed:
            _, told = killed.communicate(timeout=250)
            assert killed.returncode == -9, told
        wait_until(lambda: spark.status()["activeapps"] == [], "the driver's Java is gone")
        with here.lake() as lake:
            assert lake.rows("SELECT count(*) FROM sys.commits") == [(2,)]
        with on.stream("--once") as again:
            _, told = again.communicate(timeout=250)
            assert again.returncode == 0, told
        there.once()
        assert_alike(here, there)
        base = here.json("batch", "--engine", "spark", **on.settings)
        assert (base["published"], base["engine"]) == (True, "spark")
        here.check()
        wait_until(lambda: spark.apps() == ["batch", "speed", "speed"], "three apps are done")
