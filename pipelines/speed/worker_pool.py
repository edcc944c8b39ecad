"""The speed layer over a topic with several processes: workers read and fold, one process commits.

Each worker has partitions of its own, so that no order is shared. What they staged is added up
and committed as one, by the same code and under the same fence as a commit of a single process.
A worker that dies takes nothing with it: what is not committed is read again.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace.pipelines import settings
from headrace.pipelines.errors import BrokerError
from headrace.pipelines.fold import delta as changes
from headrace.pipelines.lake.connect import engine
from headrace.pipelines.log.embedded import Log
from headrace.pipelines.processes import start_python
from headrace.pipelines.speed import shards
from headrace.pipelines.speed.shards import Part
from headrace.pipelines.views.packed import pack

if TYPE_CHECKING:
    from headrace.pipelines.generations.generation import Generation
    from headrace.pipelines.lake.lake import Lake
    from headrace.pipelines.log.kafka.topic_log import KafkaLog
    from headrace.pipelines.position import Position
    from headrace.pipelines.speed.layer import Commit, Speed


def commits(lake: Lake, speed: Speed, log: KafkaLog, goal: Position | None) -> Iterator[Commit]:
    """Commit until the goal is reached; for ever, if there is none.

    Raises:
        LogError: the topic lost events, or is another one now.
        BrokerError: Kafka could not be reached, or a worker died.
    """
    archive = Log(lake)
    here = archive.end()
    log.check(here)
    with _hired(lake, log) as crew, contextlib.closing(engine(lake.home, lake.settings)) as con:
        while goal is None or not here.covers(goal):
            line = speed.ready(here)
            if line is None:  # another process moved the archive: read on from its end
                here = archive.end()
                continue
            with _folder(lake) as folder:
                try:
                    found = crew.take(here, line, speed.earlier(), folder)
                except BrokerError:
                    log.check(here)  # it says what is missing
                    raise
            if not found:
                continue
            log.confirm()
            fetched = shards.side_by_side(here, [part.fetched for part in found])
            change = changes.added_up(con, line.views, [part.change for part in found])
            commit = speed.land(line, fetched, change)
            if commit is None:
                here = archive.end()
                continue
            here = commit.position
            log.show(here)
            yield commit


class Crew:
    """Worker processes, each with partitions of its own."""

    def __init__(self, workers: Sequence[subprocess.Popen[str]]) -> None:
        self._workers = workers

    def take(
        self, start: Position, line: Generation, index: Sequence[Path], folder: Path
    ) -> list[Part]:
        """Let all of them read on from `start` and compute; gives the parts with something in them.

        Raises:
            BrokerError: one could not reach Kafka, or died.
        """
        asked = {
            "start": start.text(),
            "views": pack(line.views),
            "index": [str(file.resolve()) for file in index],
            "folder": str(folder),
        }
        for worker in self._workers:
            _send(worker, asked)
        told = [_received(worker) for worker in self._workers]
        for answer in told:
            if "error" in answer:
                raise BrokerError(answer["error"])
        return [shards.read(folder, answer, line.views) for answer in told if answer["partitions"]]


@contextlib.contextmanager
def _hired(lake: Lake, log: KafkaLog) -> Iterator[Crew]:
    """As many workers as the settings say, at most one a partition; gone at the end."""
    count = min(lake.settings.workers, log.topic.partitions)
    environment = settings.as_environment(lake.settings)
    given = ("--home", str(lake.home.path), "--topic", str(log.address))
    workers = []
    try:
        for nth in range(count):
            own = ",".join(map(str, range(nth, log.topic.partitions, count)))
            workers.append(
                start_python(
                    "headrace.pipelines.speed.worker",
                    *(*given, "--all", str(log.topic.partitions), "--partitions", own),
                    env=environment,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
        yield Crew(workers)
    finally:
        for worker in workers:
            worker.kill()  # it has nothing that anybody would miss
            worker.communicate()


@contextlib.contextmanager
def _folder(lake: Lake) -> Iterator[Path]:
    """Where workers stage their parts."""
    lake.home.staging.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="parts-", dir=lake.home.staging))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _send(worker: subprocess.Popen[str], asked: dict[str, Any]) -> None:
    assert worker.stdin is not None  # noqa: S101 - for the type checker
    with contextlib.suppress(BrokenPipeError):  # it is told below that it died
        worker.stdin.write(json.dumps(asked) + "\n")
        worker.stdin.flush()


def _received(worker: subprocess.Popen[str]) -> dict[str, Any]:
    assert worker.stdout is not None  # noqa: S101
    line = worker.stdout.readline()
    if not line:
        raise BrokerError(
            f"a worker of the speed layer ended (exit code {worker.wait()}); nothing of its part "
            "was committed. Start the speed layer again, or leave --workers out"
        )
    told: dict[str, Any] = json.loads(line)
    return told
