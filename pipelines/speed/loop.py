"""Moves the live generation to the end of the home's log, whichever log that is.

The lake's own log: the speed layer reads it where it lies. A topic: records are fetched, and each
commit archives what it used. While one portion is committed, the next is fetched; the longer that
takes, the more there is of it, because an event costs less in a large commit than in a small one.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from threading import Event
from typing import TYPE_CHECKING

from headrace.pipelines.errors import BrokerError
from headrace.pipelines.log.binding import open_topic
from headrace.pipelines.log.embedded import Log
from headrace.pipelines.log.port import in_sequence
from headrace.pipelines.logs import logger
from headrace.pipelines.progress import Progress, silent
from headrace.pipelines.speed import worker_pool
from headrace.pipelines.speed.layer import Commit, Speed

if TYPE_CHECKING:
    from headrace.pipelines.lake.lake import Lake
    from headrace.pipelines.log.kafka.topic_log import KafkaLog
    from headrace.pipelines.log.port import Fetched
    from headrace.pipelines.position import Position

_AT_MOST = 4
"""Times the usual size of a commit, while we are far behind: about a gigabyte at the default."""
_SHORT = timedelta(milliseconds=20)
_AGAIN = 2.0
"""Seconds until a broker that did not answer is asked again."""


def once(lake: Lake, speed: Speed, progress: Progress = silent) -> list[Commit]:
    """Commit up to the log's end as it is now.

    Raises:
        LogError: the log is another one, or lost events.
        BrokerError: Kafka could not be reached. What is committed stays.
    """
    done = speed.run(progress=progress)
    if lake.log_kind == "embedded":
        return done
    with open_topic(lake) as log:
        goal = log.end()
        missing = goal.minus(Log(lake).end())
        for commit in _commits_of(lake)(lake, speed, log, goal):
            done.append(commit)
            progress(max(0, missing - goal.minus(commit.position)), missing)
    return done


def follow(lake: Lake, speed: Speed) -> Iterator[Commit]:
    """Commit what comes, for ever. A broker that goes away is waited for.

    Raises:
        LogError: the log is another one, or lost events.
    """
    while True:
        try:
            yield from speed.run()
            if lake.log_kind == "embedded":
                time.sleep(lake.settings.poll.total_seconds())
                continue
            with open_topic(lake) as log:
                yield from _commits_of(lake)(lake, speed, log, None)
        except BrokerError as e:
            logger("speed").warning("broker", cause=str(e))
            time.sleep(_AGAIN)


def _commits_of(lake: Lake) -> Callable[..., Iterator[Commit]]:
    """Who reads a topic: this process, or workers as well."""
    return _commits if lake.settings.workers == 1 else worker_pool.commits


def _commits(lake: Lake, speed: Speed, log: KafkaLog, goal: Position | None) -> Iterator[Commit]:
    """Fetch and commit until the goal is reached; for ever, if there is none."""
    archive, wait = Log(lake), max(lake.settings.poll, timedelta(milliseconds=50))
    here = archive.end()
    log.check(here)
    with ThreadPoolExecutor(1) as fetcher:  # one thread: a consumer is not shared
        hungry = Event()

        def ask(start: Position) -> Future[Fetched]:
            hungry.clear()
            return fetcher.submit(_gathered, log, start, lake.settings.commit_events, wait, hungry)

        coming = ask(here)
        shown = fetcher.submit(log.show, here)
        try:
            while goal is None or not here.covers(goal):
                hungry.set()
                fetched = coming.result()
                coming = ask(fetched.end)
                if fetched.empty:
                    continue
                commit = speed.take(fetched)
                if commit is None:  # another process moved the archive: read on from its end
                    hungry.set()
                    with contextlib.suppress(BrokerError):
                        coming.result()
                    here = archive.end()
                    coming = ask(here)
                    continue
                here = commit.position
                if shown.done():
                    shown = fetcher.submit(log.show, here)
                yield commit
            shown = fetcher.submit(log.show, here)
        finally:
            hungry.set()
            with contextlib.suppress(Exception):  # the first error is the one to tell
                coming.result()


def _gathered(
    log: KafkaLog, start: Position, limit: int, wait: timedelta, hungry: Event
) -> Fetched:
    """Read on until somebody wants it; meanwhile up to so many times the events of a commit."""
    parts = [log.fetch(start, limit, wait)]
    while (
        not hungry.is_set()
        and parts[-1].events.num_rows
        and sum(part.events.num_rows for part in parts) < _AT_MOST * limit
    ):
        parts.append(log.fetch(parts[-1].end, limit, _SHORT))
    return in_sequence(parts)
