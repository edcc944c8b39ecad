"""One streaming query over a topic: from the lake's position on, a micro-batch a commit.

Spark's checkpoint only tells where a micro-batch ends, and is thrown away with the query.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.jobs.streaming import task as stream_task
from headrace.jobs.streaming.source import source_options
from headrace.jobs.streaming.task import ANSWER, Work
from headrace.pipelines.errors import HeadraceError, JobError
from headrace.pipelines.fold import delta as changes
from headrace.pipelines.fold.delta import Change
from headrace.pipelines.generations.generation import Generation
from headrace.pipelines.lake.connect import engine
from headrace.pipelines.log.embedded import Log
from headrace.pipelines.log.port import Fetched
from headrace.pipelines.position import Position
from headrace.pipelines.speed import shards
from headrace.pipelines.speed.layer import Commit, Speed
from headrace.pipelines.speed.shards import Part
from headrace.pipelines.views.packed import pack

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.streaming.query import StreamingQuery

    from headrace.pipelines.lake.lake import Lake
    from headrace.pipelines.log.kafka.topic_log import KafkaLog

Tell = Callable[[Commit], None]

_LOOK = 0.1
"""Seconds between two looks at a query that runs."""


class Stream:
    """One query: from the lake's position on, until it is done, fails, or is overtaken."""

    def __init__(
        self,
        lake: Lake,
        log: KafkaLog,
        speed: Speed,
        spark: SparkSession,
        tell: Tell,
        stop: threading.Event,
    ) -> None:
        self._lake = lake
        self._log = log
        self._speed = speed
        self._spark = spark
        self._tell = tell
        self._stop = stop
        self._busy = threading.Lock()
        self._at = Log(lake).end()
        self._checkpoint = Path()
        self._cause: BaseException | None = None

    def run(self, *, follow: bool) -> bool:
        """Run the query; False if somebody else moved the lake: start anew from its position."""
        from py4j.protocol import Py4JError  # type: ignore[import-untyped]  # ships no types
        from pyspark.errors import PySparkException

        self._log.check(self._at)
        scratch = self._lake.home.scratch.resolve()
        scratch.mkdir(exist_ok=True)
        self._checkpoint = Path(tempfile.mkdtemp(prefix="stream-", dir=scratch))
        try:
            self._run_query(follow=follow)
        except (PySparkException, Py4JError, OSError) as e:
            if isinstance(self._cause, _OvertakenError) or self._stop.is_set():
                return False
            raise self._failure(e) from e
        finally:
            shutil.rmtree(self._checkpoint, ignore_errors=True)
        return True

    def _run_query(self, *, follow: bool) -> None:
        options = source_options(self._log.address, self._at, self._lake.settings)
        records = self._spark.readStream.format("kafka").options(**options).load()
        writer = (
            records.select("partition", "offset", "value")
            .writeStream.foreachBatch(self._batch)
            .option("checkpointLocation", self._checkpoint.as_uri())
        )
        pause = f"{int(self._lake.settings.poll.total_seconds() * 1000)} milliseconds"
        chosen = (
            writer.trigger(processingTime=pause) if follow else writer.trigger(availableNow=True)
        )
        query = chosen.start()
        try:
            self._look_on(query)
            if self._stop.is_set():
                self._spark.sparkContext.cancelAllJobs()
            else:
                query.awaitTermination()  # raises what went wrong
        finally:
            with self._busy, contextlib.suppress(Exception):  # the first error is the one to tell
                query.stop()

    def _look_on(self, query: StreamingQuery) -> None:
        """Wait until it ends or we are asked to stop; meanwhile show others how far we are."""
        with contextlib.closing(self._log.another_watch()) as watch:
            shown = self._at
            while query.isActive and not self._stop.wait(_LOOK):
                if self._at != shown:
                    watch.show(shown := self._at)
            if self._at != shown:
                watch.show(self._at)

    def _batch(self, frame: DataFrame, number: int) -> None:
        """A micro-batch: called by Spark in a thread of its own, in the order of the log."""
        with self._busy:
            try:
                self._check_start(number)
                self._commit(frame, self._end_of(number))
            except BaseException as e:
                self._cause = e
                raise

    def _check_start(self, number: int) -> None:
        """See that a micro-batch begins where the last one that we committed ended."""
        if self._stop.is_set() or (number and self._end_of(number - 1) != self._at):
            raise _OvertakenError

    def _end_of(self, number: int) -> Position:
        """Where a micro-batch ends. Spark notes it before it starts one; a frame cannot tell."""
        noted = (self._checkpoint / "offsets" / str(number)).read_text(encoding="utf-8")
        ends = json.loads(noted.splitlines()[-1])[self._log.address.topic]
        return Position(tuple(ends[str(p)] for p in range(len(self._at.offsets))))

    def _commit(self, frame: DataFrame, end: Position) -> None:
        if end == self._at:
            return
        line = self._speed.ready(self._at)
        if line is None:
            raise _OvertakenError
        self._lake.home.staging.mkdir(exist_ok=True)
        staging = self._lake.home.staging.resolve()
        folder = Path(tempfile.mkdtemp(prefix="stream-", dir=staging))
        try:
            fetched, change = self._compute(frame, line, end, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        self._log.confirm()  # what was read is of the topic that was opened
        commit = self._speed.land(line, fetched, change)
        if commit is None:
            raise _OvertakenError
        self._at = end
        self._tell(commit)

    def _compute(
        self, frame: DataFrame, line: Generation, end: Position, folder: Path
    ) -> tuple[Fetched, Change]:
        """Let the executors do the work, and put together what they staged."""
        chosen = self._lake.settings
        work = Work(
            self._at,
            end,
            self._log.address,
            chosen.max_event_bytes,
            pack(line.views),
            [file.resolve() for file in self._speed.earlier()],
            folder,
            chosen.memory_limit,
        )
        answers = frame.mapInArrow(partial(stream_task.run, work), ANSWER).collect()
        staged = [json.loads(answer.done) for answer in answers]
        found = [shards.read(folder, told, line.views) for told in staged]
        fetched = joined(work, found)
        with contextlib.closing(engine(self._lake.home, chosen)) as con:
            return fetched, changes.added_up(con, line.views, [part.change for part in found])

    def _failure(self, error: Exception) -> HeadraceError:
        """What to tell of a query that failed: our own error, the topic's, or else Spark's."""
        if isinstance(self._cause, HeadraceError):
            return self._cause
        try:
            self._log.check(self._at)
            self._log.confirm()
        except HeadraceError as told:
            return told
        first = str(self._cause or error).strip().splitlines()
        return JobError(
            f"Spark's query failed: {first[0] if first else type(error).__name__}. What is "
            "committed stays; start it again, or go on with the local speed layer"
        )


def joined(work: Work, found: Sequence[Part]) -> Fetched:
    """What all tasks read, as one; offsets of partitions without records are holes.

    Raises:
        JobError: two tasks had the same partition, so an order may have been folded in halves.
    """
    places = [p for part in found for p in part.partitions]
    if len(set(places)) != len(places):
        raise JobError(
            f"Spark split a partition of {work.address} between tasks ({sorted(places)}); nothing "
            "of it was committed. Set neither minPartitions nor maxRecordsPerPartition"
        )
    silent = [p for p in range(len(work.start.offsets)) if p not in places]
    ordered = [part.fetched for part in sorted(found, key=lambda part: part.partitions)]
    return shards.side_by_side(work.start, [*ordered, work.of(silent, {})])


class _OvertakenError(Exception):
    """Somebody else committed: the query's position is no longer the lake's."""
