"""Spark for tests: the jars of its Kafka source, and a standalone cluster of real processes."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from headrace.jobs.batch import QUICK_JAVA
from tests.kafka.broker import fetched, free_port

POM = Path(__file__).with_name("spark-pom.xml")
QUICK = QUICK_JAVA
"""Java's options for a Spark that lives for one test; conftest gives them to every driver."""
_STARTS_WITHIN = 90
"""Seconds; ten are usual."""


def source_jars() -> Path:
    """The folder with the jars of Spark's Kafka source.

    Raises:
        CannotFetchError: they cannot be had; says why.
    """
    return fetched(POM, "spark-sql-kafka-0-10_2.13", "spark-source")


@dataclass(frozen=True)
class Standalone:
    """A running master with its workers."""

    url: str
    status_url: str
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """What a driver has to be started with, to be reached and to be quick."""
        return {"SPARK_LOCAL_IP": "127.0.0.1", "SPARK_CONF_DIR": str(self.folder)}

    def status(self) -> dict[str, object]:
        """What the master says of itself."""
        where, _, path = self.status_url.removeprefix("http://").partition("/")
        with contextlib.closing(http.client.HTTPConnection(where, timeout=5)) as connection:
            connection.request("GET", f"/{path}")
            told: dict[str, object] = json.loads(connection.getresponse().read())
        return told

    def apps(self) -> list[str]:
        """What ran on it and has ended: the last part of each name."""
        ended = self.status()["completedapps"]
        assert isinstance(ended, list)
        return sorted(app["name"].rpartition("-")[2] for app in ended)


@contextlib.contextmanager
def standalone(workers: int = 2) -> Iterator[Standalone]:
    """A master and workers of one core and 1 GB each, from pyspark's own jars."""
    import pyspark

    home = Path(pyspark.__file__).parent
    port, web = free_port(), free_port()
    url = f"spark://127.0.0.1:{port}"
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith("SPARK_")},
        "SPARK_HOME": str(home),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_DAEMON_MEMORY": "256m",
        "SPARK_DAEMON_JAVA_OPTS": QUICK,
    }
    started: list[subprocess.Popen[bytes]] = []

    def start(name: str, *arguments: object) -> None:
        with (folder / f"{name}.out").open("wb") as out:
            command = [home / "bin" / "spark-class", f"org.apache.spark.deploy.{name}", *arguments]
            started.append(
                subprocess.Popen(
                    [str(part) for part in command], env=environment, cwd=folder,
                    stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                )
            )  # fmt: skip

    with tempfile.TemporaryDirectory(prefix="spark-", ignore_cleanup_errors=True) as made:
        folder = Path(made)
        (folder / "spark-defaults.conf").write_text(
            f"spark.driver.extraJavaOptions {QUICK}\nspark.executor.extraJavaOptions {QUICK}\n"
        )
        cluster = Standalone(url, f"http://127.0.0.1:{web}/json/", folder)
        try:
            start("master.Master", "--host", "127.0.0.1", "--port", port, "--webui-port", web)
            for n in range(workers):
                start(
                    "worker.Worker", "--host", "127.0.0.1", "--cores", 1, "--memory", "1g",
                    "--webui-port", 0, "--work-dir", folder / f"work-{n}", url,
                )  # fmt: skip
            _wait(cluster, workers, started)
            yield cluster
        finally:
            for process in started[::-1]:
                process.terminate()  # a worker ends its executors then
            for process in started:
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def _wait(cluster: Standalone, workers: int, started: list[subprocess.Popen[bytes]]) -> None:
    end = time.monotonic() + _STARTS_WITHIN
    while time.monotonic() < end and all(process.poll() is None for process in started):
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError):  # not up yet
            if cluster.status()["aliveworkers"] == workers:
                return
        time.sleep(0.2)
    told = "\n".join(
        f"{file.name}: {file.read_text(errors='replace')[-800:]}"
        for file in cluster.folder.glob("*.out")
    )
    raise RuntimeError(f"the Spark cluster did not start: {told}")
