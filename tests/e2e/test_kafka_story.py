"""Lambda and Kappa over a real Kafka, told with the command only, as in docs/guides/kafka.md."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.e2e.command import REPOSITORY, SCRIPT, Headrace, environment
from tests.e2e.orders import Truth, events, write
from tests.kafka.broker import Cluster
from tests.kafka.homes import Home, Record, placed, produce
from tests.kafka.running import fresh_topic

pytestmark = [pytest.mark.kafka, pytest.mark.xdist_group("kafka")]

GUIDE = REPOSITORY / "docs" / "guides" / "kafka.md"
BLOCK = re.compile(r"<!-- story -->\n```sh\n(.*?)```", re.DOTALL)
LINES = events(60, seed=61)


def test_events_in_kafka_are_served_merged_replayed_and_proved(
    kafka: Cluster, tmp_path: Path
) -> None:
    first, second = LINES[:90], LINES[90:]
    headrace, url = Headrace(tmp_path / "home"), fresh_topic(kafka)
    assert headrace.json("--log", url, "init", "--partitions", "3")["partitions"] == 3
    assert headrace.json("append", write(tmp_path / "1.ndjson", first))["accepted"] == len(first)
    assert headrace.json("speed", "--once")["events"] == len(first)
    base = headrace.json("batch", "--engine", "duckdb")
    assert (base["published"], base["events"]) == (True, len(first))
    headrace.json("append", write(tmp_path / "2.ndjson", second))
    headrace.json("speed", "--once")
    merged = headrace.json("query", "SELECT sum(orders) FROM revenue_by_day")
    assert sum(merged["cut"].values()) == len(first)
    assert sum(merged["position"].values()) == len(LINES)
    Truth.of(LINES).check(headrace)
    replayed = headrace.json("replay", "--from", "2026-03-04", "--promote")
    assert (replayed["equal"], replayed["promoted"]) == (True, True)
    assert headrace.json("status")["generation"] == replayed["generation"]
    Truth.of(LINES).check(headrace)
    assert headrace.json("verify")["equal"] is True


@pytest.mark.thorough
def test_the_walk_through_of_the_guide_works(kafka: Cluster, tmp_path: Path) -> None:
    url = fresh_topic(kafka)
    blocks = BLOCK.findall(GUIDE.read_text(encoding="utf-8"))
    script = "\n".join(blocks).replace("kafka://localhost:9092/orders", url)
    assert script.count(url) == 1
    env = environment({"home": tmp_path / "home"})
    env["PATH"] = f"{SCRIPT.parent}{os.pathsep}{env['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        env=env, capture_output=True, text=True, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "EQUAL" in done.stdout
    assert "NOT EQUAL" not in done.stdout
    Home(tmp_path / "home", url).check()


@pytest.mark.thorough
@pytest.mark.spark
def test_spark_recomputes_a_topic_with_holes(kafka: Cluster, tmp_path: Path) -> None:
    home = Home(tmp_path / "home", fresh_topic(kafka), partitions=2)
    home.json("init")
    produce(home.url, [r for line in LINES for r in (placed(line, 2), Record(b"?", None, 0))])
    home.once()
    base = home.json("batch", "--engine", "spark", spark_master="local[1]", spark_memory="512m")
    assert (base["published"], base["events"]) == (True, len(LINES))
    Truth.of(LINES).check(home)
    home.check()
