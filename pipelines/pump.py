"""Moves the live generation to the end of the home's log, whichever log that is.

The lake's own log: the speed layer reads it where it lies. A topic: records are fetched, and each
commit archives what it used. While one portion is committed, the next is fetched.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING

from pipelines.errors import BrokerError
from pipelines.log import Log
from pipelines.logs import logger
from pipelines.open_log import open_topic
from pipelines.progress import Progress, silent
from pipelines.speed import Commit, Speed

if TYPE_CHECKING:
    from pipelines.event_log import Fetched
    from pipelines.kafka_log import KafkaLog
    from pipelines.lake import Lake
    from pipelines.position import Position

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
        for commit in _commits(lake, speed, log, goal):
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
                yield from _commits(lake, speed, log, None)
        except BrokerError as e:
            logger("speed").warning("broker", cause=str(e))
            time.sleep(_AGAIN)


def _commits(lake: Lake, speed: Speed, log: KafkaLog, goal: Position | None) -> Iterator[Commit]:
    """Fetch and commit until the goal is reached; for ever, if there is none."""
    archive, wait = Log(lake), max(lake.settings.poll, timedelta(milliseconds=50))
    limit = lake.settings.commit_events
    here = archive.end()
    log.check(here)
    with ThreadPoolExecutor(1) as fetcher:  # one thread: a consumer is not shared
        coming: Future[Fetched] = fetcher.submit(log.fetch, here, limit, wait)
        shown = fetcher.submit(log.show, here)
        try:
            while goal is None or not here.covers(goal):
                fetched = coming.result()
                coming = fetcher.submit(log.fetch, fetched.end, limit, wait)
                if fetched.empty:
                    continue
                commit = speed.take(fetched)
                if commit is None:  # another process moved the archive: read on from its end
                    with contextlib.suppress(BrokerError):
                        coming.result()
                    here = archive.end()
                    coming = fetcher.submit(log.fetch, here, limit, wait)
                    continue
                here = commit.position
                if shown.done():
                    shown = fetcher.submit(log.show, here)
                yield commit
            shown = fetcher.submit(log.show, here)
        finally:
            with contextlib.suppress(Exception):  # the first error is the one to tell
                coming.result()
