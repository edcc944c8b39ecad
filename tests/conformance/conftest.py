"""A batch that runs its job in the Spark session of the tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from headrace.pipelines.batch import engines
from headrace.pipelines.batch import run as batch

if TYPE_CHECKING:
    from pathlib import Path

    from pyspark.sql import SparkSession

    from headrace.pipelines.lake.lake import Lake
    from headrace.pipelines.progress import Report
    from tests.conformance.paths import SparkBatch


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
