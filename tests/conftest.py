"""Fixtures that several folders share: homes in temporary directories, one Spark, one Kafka."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings as hypothesis_settings

from tests.kafka.broker import CannotFetchError, Cluster
from tests.kafka.running import cluster
from tests.kafka.spark import QUICK, source_jars

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from headrace.pipelines.lake.lake import Lake

# The same examples on every run and machine: a red test stays red until it is repaired.
hypothesis_settings.register_profile("headrace", derandomize=True, deadline=None, database=None)
hypothesis_settings.load_profile("headrace")

# Read by Spark's own start script, so that it reaches every driver, whoever starts it.
os.environ.setdefault("SPARK_SUBMIT_OPTS", QUICK)

MakeLake = Callable[..., "Lake"]


@pytest.fixture
def make_lake(tmp_path: Path) -> Iterator[MakeLake]:
    """Makes lakes in homes of their own: `make_lake(partitions=2, views={"name": "SELECT …"})`.

    `home` names a home's directory and opens it again. All are closed at the end.
    """
    from headrace.pipelines.bootstrap import open_lake
    from headrace.pipelines.settings import load

    with ExitStack() as opened:

        def make(
            home: str | Path = "home",
            *,
            views: dict[str, str] | None = None,
            read_only: bool = False,
            **settings: Any,
        ) -> Lake:
            path = tmp_path / home
            for name, sql in (views or {}).items():
                (path / "views").mkdir(parents=True, exist_ok=True)
                (path / "views" / f"{name}.sql").write_text(sql, encoding="utf-8")
            chosen = load(path, environ={}, **{"threads": 1, **settings})
            return opened.enter_context(open_lake(chosen, read_only=read_only))

        yield make


@pytest.fixture
def lake(make_lake: MakeLake) -> Lake:
    """One lake of two partitions."""
    return make_lake(partitions=2)


@pytest.fixture(scope="session")
def kafka() -> Iterator[Cluster]:
    """One real broker for all tests of the group `kafka`; each has a topic of its own."""
    with cluster() as made:
        yield made


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkSession]:
    """One session for all tests of the group `spark`, as the jobs make their own.

    With the Kafka source, where its jars can be had.
    """
    from headrace.jobs.batch import session

    conf = {}
    with contextlib.suppress(CannotFetchError):  # who needs it asks for it, and is skipped
        conf["spark.jars"] = ",".join(str(jar) for jar in source_jars().glob("*.jar"))
    os.environ["PYSPARK_PYTHON"] = sys.executable
    made = session("local[2]", {"memory": "1g", "shuffle_partitions": 2, "conf": conf})
    yield made
    made.stop()
