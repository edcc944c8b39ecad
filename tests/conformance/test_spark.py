"""The batch jobs in Spark give what the oracle gives, in every cell."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from headrace.pipelines.batch import run as batch
from headrace.pipelines.generations import registry
from headrace.pipelines.views.zone_trial import telling_moments
from headrace.pipelines.views.zoned import shifted
from headrace.schemas import zones
from tests.conformance.paths import append, assert_exact, conflicts, logged, run_speed
from tests.conformance.streams import combined
from tests.oracle import fold as oracle

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from headrace.pipelines.lake.lake import Lake
    from tests.conformance.paths import SparkBatch
    from tests.conftest import MakeLake

pytestmark = [pytest.mark.spark, pytest.mark.xdist_group("spark"), pytest.mark.thorough]


@pytest.fixture
def shop_lake(make_lake: MakeLake) -> Lake:
    return make_lake(partitions=3, views=oracle.USER_VIEWS, spark_memory="1g")


def test_full_and_incremental_batches_in_spark(shop_lake: Lake, spark_batch: SparkBatch) -> None:
    lines = combined(21, shops=8)
    half = len(lines) // 2
    for part, incremental, mode in (
        (lines[:half], False, "full"),
        (lines[half:] + lines[: half // 4], True, "incremental"),
    ):
        append(shop_lake, part)
        done = spark_batch(shop_lake, incremental=incremental)
        assert done is not None
        assert (done.engine, done.mode) == ("spark", mode)
        assert done.repeats == oracle.repeats(logged(shop_lake, done.cut))
        assert_exact(shop_lake)


def test_spark_goes_on_from_duckdb_and_the_speed_layer_and_they_from_it(
    shop_lake: Lake, spark_batch: SparkBatch
) -> None:
    lines = combined(22)
    third = len(lines) // 3
    append(shop_lake, lines[:third])
    batch.run(shop_lake, engine="duckdb")
    append(shop_lake, lines[third : 2 * third])
    run_speed(shop_lake, 50)
    done = spark_batch(shop_lake, incremental=True)
    assert done is not None
    assert (done.engine, done.mode) == ("spark", "incremental")
    assert_exact(shop_lake)
    append(shop_lake, lines[2 * third :])
    run_speed(shop_lake, 50)
    line = registry.read(shop_lake)
    assert (line.cut.total, line.position.total) == (2 * third, len(lines))
    assert_exact(shop_lake)
    batch.run(shop_lake, engine="duckdb", incremental=True)
    assert_exact(shop_lake)


def test_the_job_as_a_process_of_its_own(shop_lake: Lake) -> None:
    lines = combined(24, shops=1)
    append(shop_lake, lines)
    heard: list[str] = []
    done = batch.run(shop_lake, engine="spark", report=heard.append)
    assert done is not None
    assert (done.engine, done.events_read) == ("spark", len(lines))
    assert "spark started" in heard
    assert not any(shop_lake.home.staging.iterdir())
    assert sum(conflicts(shop_lake).values()) > 0
    assert_exact(shop_lake)


@pytest.mark.parametrize("zone", ["Australia/Lord_Howe", "Africa/Casablanca", "Pacific/Apia"])
def test_local_time_in_spark_is_what_python_has_around_every_change(
    spark: SparkSession, zone: str
) -> None:
    table, clock = zones.rules(zone), zones.clock(zone)
    moments = [(moment,) for moment in telling_moments(table)]
    spark.createDataFrame(moments, "us BIGINT").createOrReplaceTempView("moments")
    rows = spark.sql(
        f"SELECT us, {shifted('t', table, 'spark')} AS found FROM "
        "(SELECT us, CAST(timestamp_micros(us) AS TIMESTAMP_NTZ) AS t FROM moments)"
    ).collect()
    assert len(rows) == len(moments)
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    for us, found in rows:
        expected = (epoch + timedelta(microseconds=us)).astimezone(clock).replace(tzinfo=None)
        assert found == expected
