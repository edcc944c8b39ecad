"""The speed layer on Spark: Structured Streaming reads the topic, executors fold, we commit.

The position comes from the lake, at each start and in each commit. Archive, deltas and position
are one transaction of the lake, made by the same code as the local speed layer's, so either can
take over from the other at any moment. Spark's checkpoint is thrown away: nothing depends on it.

    headrace speed --follow --engine spark
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import shutil
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.jobs.streaming import session as stream_session
from headrace.jobs.streaming.query import Stream, Tell
from headrace.pipelines import logs, settings
from headrace.pipelines.bootstrap import open_lake
from headrace.pipelines.cli import console
from headrace.pipelines.cli.speed import speed_told
from headrace.pipelines.errors import BrokerError, HeadraceError, JobError
from headrace.pipelines.generations import registry
from headrace.pipelines.lake import failpoints
from headrace.pipelines.log.binding import open_topic
from headrace.pipelines.logs import logger
from headrace.pipelines.speed.layer import Commit, Speed
from headrace.pipelines.verbs.layers import CaughtUp

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from headrace.pipelines.lake.lake import Lake

_AGAIN = 2.0
"""Seconds until a query that failed is started again."""
_TRIES = 5
"""Failures in a row, without one commit between them, after which we give up."""
_STOPPED = "stopped; what is committed stays"


def once(lake: Lake, spark: SparkSession, tell: Tell, stop: threading.Event | None = None) -> None:
    """Commit up to the topic's end as it is now, or until `stop` is set.

    Raises:
        LogError: the topic is another one, or lost events.
        BrokerError: Kafka could not be reached. What is committed stays.
        JobError: Spark failed. What is committed stays.
    """
    with Speed.open(lake) as speed:
        for commit in speed.run():
            tell(commit)
        finished, asked = False, stop or threading.Event()
        while not finished and not asked.is_set():
            with open_topic(lake) as log:
                finished = Stream(lake, log, speed, spark, tell, asked).run(follow=False)


def follow(lake: Lake, spark: SparkSession, tell: Tell, stop: threading.Event) -> None:
    """Commit what comes, until `stop` is set. What goes away, broker or executor, is waited for.

    Raises:
        LogError: the topic is another one, or lost events.
        JobError: Spark failed time and again.
    """
    failures = 0

    def told(commit: Commit) -> None:
        nonlocal failures
        failures = 0
        tell(commit)

    with Speed.open(lake) as speed:
        while not stop.is_set():
            try:
                with open_topic(lake) as log:
                    Stream(lake, log, speed, spark, told, stop).run(follow=True)
            except BrokerError as e:
                logger("speed").warning("broker", cause=str(e))
                stop.wait(_AGAIN)
            except JobError as e:
                failures += 1
                if failures == _TRIES:
                    raise
                logger("speed").warning("spark", cause=str(e))
                stop.wait(_AGAIN)


def main(argv: list[str] | None = None) -> int:
    """Run the job; gives the exit code."""
    parser = argparse.ArgumentParser(prog="headrace.jobs.streaming.main", description=__doc__)
    parser.add_argument("--home", required=True, type=Path, help="bound to a topic")
    parser.add_argument("--follow", action="store_true", help="stay at the topic's end")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    options = parser.parse_args(argv)
    try:
        _main(options.home, stay=options.follow, as_json=options.json)
    except HeadraceError as e:
        console.note(f"headrace: {e}")
        return e.exit_code
    except KeyboardInterrupt:
        console.note(_STOPPED)
    except Exception as e:
        if os.environ.get("HEADRACE_DEBUG"):
            raise
        first = (str(e).splitlines() or [""])[0]
        console.note(f"headrace: {type(e).__name__}: {first}. Set HEADRACE_DEBUG=1 to see where")
        return 1
    return 0


def _main(path: Path, *, stay: bool, as_json: bool) -> None:
    chosen = settings.load(path)
    started = time.monotonic()
    with contextlib.ExitStack() as stack:
        lake = stack.enter_context(open_lake(chosen))
        stack.enter_context(lake.home.lock("speed", wait=0))
        scratch = lake.home.scratch.resolve()
        stream_session.keep_quiet(scratch / "spark.log")
        logs.configure(chosen)
        logging.disable()  # of py4j and kafka-python: what they have to say comes as exceptions
        failpoints.arm(os.environ.get("HEADRACE_CRASH_AT"))
        _sweep(scratch, lake.home.staging.resolve())
        spark = stream_session.open_session(chosen, scratch)
        stack.callback(_end, spark)
        stop = _asked_to_stop()
        if stay:
            follow(lake, spark, _say, stop)
            console.note(_STOPPED)
            return
        commits: list[Commit] = []
        once(lake, spark, commits.append, stop)
        seconds = time.monotonic() - started
        done = CaughtUp(tuple(commits), registry.read(lake).position, seconds)
    console.emit(*speed_told(done), as_json=as_json)


def _end(spark: SparkSession) -> None:
    """Stop Spark; where Java is dead already, what it died of is the error to tell."""
    with contextlib.suppress(Exception):
        spark.stop()


def _asked_to_stop() -> threading.Event:
    """Set by ctrl-C or SIGTERM: a commit that is being made is finished, then we end."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    return stop


def _sweep(*folders: Path) -> None:
    """Remove what a killed predecessor left; the lock says that nobody needs it."""
    for folder in folders:
        for left in folder.glob("stream-*"):
            shutil.rmtree(left, ignore_errors=True)


def _say(commit: Commit) -> None:
    console.note(f"commit {commit.number}: {commit.events:,} events, at {commit.position}")


if __name__ == "__main__":
    sys.exit(main())
