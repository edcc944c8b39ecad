"""The Spark batch job: folds the log up to a cut and writes a base as Parquet files.

It reads a plan (JSON) that names its input files and its output folder, touches nothing else,
and writes `result.json` last. It knows no catalog and publishes nothing: that is the caller's
part. `headrace batch` starts it; on a cluster the same file runs with

    spark-submit jobs/batch.py --plan PLAN
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace.pipelines.fold import base_plan
from headrace.pipelines.views.packed import unpack

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

QUICK_JAVA = (
    "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=256m -XX:+UseSerialGC -XX:MetaspaceSize=256m"
)
"""Most of a short job is the virtual machine compiling itself; the quick compiler halves it.

Without the other compiler Java keeps 48 MB for code. Three jobs of ten views in one session filled
that; from then on new code was interpreted, and the third took 21 s instead of 13.
"""

EVENTS_READ = (
    "`partition`, `offset`, source, id, type, time, order_id, sequence, customer_id, currency, "
    "country, channel, amount, shipping, discount, goods, units, lines"
)
"""The log's columns that the fold reads; the original text stays on disk."""


_PLANS = {
    "full": base_plan.full,
    "incremental": base_plan.incremental,
    "views": base_plan.views_alone,
}


def main(argv: list[str] | None = None) -> int:
    """Run the job; gives the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plan", required=True, type=Path, help="JSON, written by headrace batch")
    parser.add_argument("--master", help="Spark master; by default spark-submit's or the plan's")
    options = parser.parse_args(argv)
    plan = json.loads(options.plan.read_text(encoding="utf-8"))
    started = time.monotonic()
    spark = session(options.master or plan.get("master"), plan)
    try:
        report("spark started")
        result = run(spark, plan)
    finally:
        spark.stop()
    result["seconds"] = time.monotonic() - started
    done = Path(plan["output"]) / "result.json"
    done.write_text(json.dumps(result), encoding="utf-8")
    return 0


def session(master: str | None, plan: dict[str, Any]) -> SparkSession:
    """A session whose arithmetic and clock agree with the lake's."""
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.appName(plan.get("name", "headrace-batch"))
    if master:
        builder = builder.master(master)
    settings = {
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.ansi.enabled": "true",
        "spark.sql.decimalOperations.allowPrecisionLoss": "false",
        "spark.sql.parquet.inferTimestampNTZ.enabled": "true",
        "spark.sql.timestampType": "TIMESTAMP_NTZ",
        "spark.sql.parquet.compression.codec": "zstd",
        "spark.sql.shuffle.partitions": str(plan["shuffle_partitions"]),
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.driver.memory": plan.get("memory", "2g"),
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
    }
    if plan.get("short"):
        settings["spark.driver.extraJavaOptions"] = " ".join([QUICK_JAVA, *plan.get("java", [])])
    if master and not master.startswith("local"):
        settings.pop("spark.driver.bindAddress")
        settings.pop("spark.driver.host")
    for key, value in {**settings, **plan.get("conf", {})}.items():
        builder = builder.config(key, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    return spark


def run(spark: SparkSession, plan: dict[str, Any]) -> dict[str, Any]:
    """Read, fold, aggregate, write. Gives the redelivered events below the cut, as `repeats`."""
    views = unpack(plan["views"], "view")
    mode = plan["mode"]
    made = _PLANS[mode](views, "spark")
    _read_inputs(spark, plan)
    output = Path(plan["output"])
    for name, sql in made.steps:
        frame = spark.sql(sql)
        if name in made.reused:
            frame = _kept(spark, frame, output / "_steps" / name)
        frame.createOrReplaceTempView(name)
    for number, (name, sql) in enumerate(made.tables.items(), start=1):
        files = 1 if name in views else int(plan["shuffle_partitions"])
        spark.sql(sql).coalesce(files).write.mode("overwrite").parquet(str(output / name))
        report(f"{number}/{len(made.tables)} {name}")
    repeats = plan["previous_repeats"] + int(spark.sql(made.repeats).collect()[0][0])
    return {"repeats": repeats}


def _kept(spark: SparkSession, frame: DataFrame, folder: Path) -> DataFrame:
    """Write a step that is read more than once, and read it back.

    With `cache()` each later query is planned over the whole history of steps; on 45,000 events
    that planning took two thirds of the job's processor time. Files cut the history off, and
    survive the loss of an executor.
    """
    frame.write.mode("overwrite").parquet(str(folder))
    return spark.read.schema(frame.schema).parquet(str(folder))


def _read_inputs(spark: SparkSession, plan: dict[str, Any]) -> None:
    """Register `events` (and the base before) from the files that the plan names.

    Or `orders` and `ledger` as they are, where only views are to be made.
    """
    for name, files in plan.get("tables", {}).items():
        spark.read.parquet(*files).createOrReplaceTempView(name)
    if plan["mode"] == "views":
        return
    below = " OR ".join(
        f"(`partition` = {p} AND `offset` >= {low} AND `offset` < {high})"
        for p, (low, high) in plan["ranges"].items()
        if high > low
    )
    parts = []
    if plan["event_files"]:
        spark.read.parquet(*plan["event_files"]).createOrReplaceTempView("log")
        parts.append(f"SELECT {EVENTS_READ} FROM log WHERE {below or 'false'}")
    if plan.get("touched_files"):
        spark.read.parquet(*plan["touched_files"]).createOrReplaceTempView("earlier")
        parts.append(f"SELECT {EVENTS_READ} FROM earlier")
    spark.sql(" UNION ALL ".join(parts)).createOrReplaceTempView("events")
    for name, files in plan.get("previous", {}).items():
        spark.read.parquet(*files).createOrReplaceTempView(f"prev_{name}")


def report(text: str) -> None:
    """One line of progress for whoever started the job."""
    sys.stdout.write(f"progress: {text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
