"""One Spark session for all cases, and a batch that runs its job in it."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING, Any

import pytest

from headrace.pipelines.batch import engines
from headrace.pipelines.batch import run as batch
from tests.kafka.broker import CannotFetchError
from tests.kafka.spark import source_jars

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pyspark.sql import SparkSession

    from headrace.pipelines.lake.lake import Lake
    from headrace.pipelines.progress import Report
    from tests.conformance.paths import SparkBatch


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkSession]:
    """A session as the jobs make their own; with the Kafka source, where its jars can be had."""
    from headrace.jobs.batch import session

    conf = {}
    with contextlib.suppress(CannotFetchError):  # who needs it asks for it, and is skipped
        conf["spark.jars"] = ",".join(str(jar) for jar in source_jars().glob("*.jar"))
    os.environ["PYSPARK_PYTHON"] = sys.executable
    made = session("local[2]", {"memory": "1g", "shuffle_partitions": 2, "conf": conf})
    yield made
    made.stop()


@pytest.fixture
def spark_batch(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> SparkBatch:
    """`batch.run` with Spark, the job in this process: a start of Java costs 10 s, a case 3 s."""
    from headrace.jobs.batch import run

    def in_this_process(plan: dict[str, Any], folder: Path, report: Report) -> dict[str, Any]:
        spark.catalog.clearCache()
        return run(spark, plan)

    monkeypatch.setattr(engines, "_spark", in_this_process)

    def start(lake: Lake, *, incremental: bool = False) -> batch.Batch | None:
        return batch.run(lake, engine="spark", incremental=incremental)

    return start
