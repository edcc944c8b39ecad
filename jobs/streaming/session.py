"""The Spark session of the streaming job: its jars, its Python, our code on its executors."""

from __future__ import annotations

import os
import sys
import zipfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.jobs import batch
from headrace.jobs.streaming.source import connector
from headrace.pipelines.batch.engines import cause
from headrace.pipelines.errors import JobError
from headrace.pipelines.processes import ROOT

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from headrace.pipelines.settings import Settings

LOG = "spark.log"
"""In the home's scratch folder: what Java prints."""
_SHIPPED = ("pipelines", "schemas", "jobs")


def open_session(settings: Settings, scratch: Path) -> SparkSession:
    """Start Spark, as the settings say.

    Args:
        settings: the master, the driver's memory, the executors' Python, the jars.
        scratch: where the archive with our code is written for executors on other machines.

    Raises:
        UsageError: the folder with jars has none.
        JobError: Spark did not start.
    """
    os.environ["PYSPARK_PYTHON"] = settings.spark_python or sys.executable
    os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
    conf = {
        **connector(settings),
        "spark.sql.streaming.noDataMicroBatches.enabled": "false",
        "spark.sql.streaming.minBatchesToRetain": "2",
        "spark.task.maxFailures": "4",
    }
    plan = {
        "name": "headrace-speed",
        "memory": settings.spark_memory,
        "shuffle_partitions": 1,
        "conf": conf,
    }
    try:
        spark = batch.session(settings.spark_master, plan)
    except Exception as e:
        raise JobError(
            f"Spark did not start: {_cause(scratch / LOG, e)}. Its own words are in "
            f"{scratch / LOG}. Check Java 17 and spark_master; `spark_jars` names a folder with "
            "the jars of its Kafka source where they cannot be fetched"
        ) from e
    if not settings.spark_master.startswith("local"):
        spark.sparkContext.addPyFile(str(pack(scratch / "headrace.zip")))
    return spark


def _cause(log: Path, error: Exception) -> str:
    if log.exists() and (told := log.read_text(encoding="utf-8", errors="replace").splitlines()):
        return cause([line for line in told[-60:] if line.strip()])
    return (str(error).splitlines() or [type(error).__name__])[0]


def pack(file: Path) -> Path:
    """Our packages as an archive that Python imports from."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(ROOT.glob("*.py")):
            archive.write(path, f"headrace/{path.name}")
        for package in _SHIPPED:
            folder = (ROOT / package).resolve()  # a link, in a checkout
            for path in sorted(folder.rglob("*")):
                if path.suffix in {".py", ".sql", ".json"}:
                    archive.write(path, Path("headrace", package, path.relative_to(folder)))
    return file


def keep_quiet(log: Path) -> None:
    """Let what Java prints go to a file; our own words go on to where they went before.

    A Java machine that is started after this inherits the file.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    sys.stdout = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    sys.stderr = os.fdopen(os.dup(2), "w", encoding="utf-8", buffering=1)
    log.parent.mkdir(exist_ok=True)
    with closing(log.open("wb")) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
