"""The speed layer, both ways to a base (Lambda's batch, Kappa's replay), the switch, the proof."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from headrace.pipelines.errors import UsageError
from headrace.pipelines.progress import Progress, Report, quiet, silent
from headrace.pipelines.verbs.place import Place, opened

if TYPE_CHECKING:
    from headrace.pipelines.batch.run import Batch
    from headrace.pipelines.generations.generation import Generation
    from headrace.pipelines.position import Position
    from headrace.pipelines.quality.check import Checked
    from headrace.pipelines.quality.verify import Certificate
    from headrace.pipelines.replay.build import Replay
    from headrace.pipelines.speed.layer import Commit

BEGINNING: Final = "beginning"
"""As the time of a replay: the log's beginning."""


@dataclass(frozen=True)
class CaughtUp:
    """What a run of the speed layer did, and where the live views stand after it."""

    commits: tuple[Commit, ...]
    position: Position
    seconds: float

    @property
    def events(self) -> int:
        """How many events were read."""
        return sum(commit.events for commit in self.commits)

    @property
    def repeats(self) -> int:
        """How many of them were redelivered, and counted once."""
        return sum(commit.repeats for commit in self.commits)


def speed(
    home: Place, *, progress: Progress = silent, report: Report = quiet, **given: Any
) -> CaughtUp:
    """Bring the live views to the log's end, a commit after the other.

    Args:
        home: where; made if there is none.
        progress: told (events done, events to do).
        report: told what a person should know, such as views that wait.
        given: settings, such as `commit_events` and `workers`.

    Raises:
        LockError: the speed layer runs on this home already.
        SeamError: the live generation does not fit together; nothing was committed.
        LogError: the log is another one, or lost events.
        BrokerError: Kafka could not be reached. What is committed stays.
    """
    from headrace.pipelines.generations import registry
    from headrace.pipelines.speed import loop
    from headrace.pipelines.speed.layer import Speed

    with opened(home, make=True, **given) as lake, lake.home.lock("speed", wait=0):
        waiting = registry.adopt_views(lake)
        if waiting:
            report(waiting)
        started = time.monotonic()
        with Speed.open(lake) as layer:
            commits = loop.once(lake, layer, progress)
        position = registry.read(lake).position
        return CaughtUp(tuple(commits), position, time.monotonic() - started)


def follow(
    home: Place, *, report: Report = quiet, told: Callable[[Commit], None], **given: Any
) -> None:
    """Keep the live views at the log's end, until it is interrupted. Arguments as of `speed`.

    Args:
        home: where; made if there is none.
        report: told what a person should know.
        told: called after each commit.
        given: settings.
    """
    from headrace.pipelines.generations import registry
    from headrace.pipelines.speed import loop
    from headrace.pipelines.speed.layer import Speed

    with opened(home, make=True, **given) as lake, lake.home.lock("speed", wait=0):
        waiting = registry.adopt_views(lake)
        if waiting:
            report(waiting)
        with Speed.open(lake) as layer:
            for commit in loop.follow(lake, layer):
                told(commit)


def batch(
    home: Place,
    *,
    engine: str = "spark",
    incremental: bool = False,
    report: Report = quiet,
    **given: Any,
) -> Batch | None:
    """Recompute a base at the log's end, audit it as the settings say, publish it in one step.

    Args:
        home: where.
        engine: `spark` or `duckdb`.
        incremental: start from the live base and read only new events.
        report: told about each step.
        given: settings, such as `audit` and `spark_master`.

    Returns:
        What was published; None if there is nothing new.

    Raises:
        LockError: another batch runs.
        JobError: the job failed, or its base did not pass the audit and is kept aside. The old
            base serves on.
        SeamError: the base does not meet the deltas. The old base serves on.
    """
    from headrace.pipelines.batch import run
    from headrace.pipelines.quality.audit import chosen

    with opened(home, **given) as lake:
        auditor = chosen(lake.settings)
        return run.run(lake, engine=engine, incremental=incremental, auditor=auditor, report=report)


def publish(
    home: Place, *, forced: str | None = None, report: Report = quiet, **given: Any
) -> Batch:
    """Publish the base that an audit refused last, after auditing it again.

    Args:
        home: where.
        forced: why it is published whatever is found; it is recorded.
        report: told about each step.
        given: settings, such as `audit`.

    Raises:
        UsageError: no base is kept, or the reason is empty.
        JobError: it still does not pass.
        SeamError: it does not meet the deltas any more, or a newer base is live.
    """
    from headrace.pipelines.batch import run
    from headrace.pipelines.quality.audit import chosen

    with opened(home, **given) as lake:
        auditor = chosen(lake.settings)
        return run.publish_refused(lake, auditor=auditor, forced=forced, report=report)


def replay(
    home: Place,
    since: datetime | str = BEGINNING,
    *,
    views: str | Path | None = None,
    progress: Progress = silent,
    **given: Any,
) -> Replay:
    """Build a generation beside the live one from the log, and compare both. Readers see nothing.

    Args:
        home: where.
        since: event time, as a datetime with a zone, ISO 8601 text (UTC unless it says otherwise),
            or `beginning`.
        views: a folder of .sql files in place of the home's own.
        progress: told (events read, events to read).
        given: settings.

    Returns:
        What was built, and its `diff`; `diff.promotable` says whether it may go live.

    Raises:
        UsageError: `since` is no time, or `views` no folder.
        ViewError: a view cannot be maintained.
        SeamError: the log or a generation does not fit together; live serving goes on.
    """
    from headrace.pipelines.generations import registry
    from headrace.pipelines.replay import build

    moment = _moment(since)
    with opened(home, **given) as lake:
        wanted = registry.current_views(lake.home, None if views is None else Path(views))
        return build.replay(lake, moment, views=wanted, progress=progress)


def _moment(since: datetime | str) -> datetime | None:
    """The time of a replay in UTC, without a zone; None for the beginning."""
    from headrace.pipelines.serving.time_travel import parse_time

    if isinstance(since, str):
        return None if since == BEGINNING else parse_time(since)
    if since.tzinfo is None:
        raise UsageError(
            f"{since.isoformat()} has no zone; give it one, such as datetime(…, tzinfo=UTC)"
        )
    return since.astimezone(UTC).replace(tzinfo=None)


def promote(
    home: Place,
    generation: int | None = None,
    *,
    reason: str = "promote",
    progress: Progress = silent,
    **given: Any,
) -> Generation:
    """Make a generation live (the newest by default), once it has caught up, in one step.

    Raises:
        PromotionError: it is live already, or its logic is the live one's and its numbers are not.
    """
    from headrace.pipelines.replay import promote as switch

    with opened(home, **given) as lake:
        return switch.promote(lake, generation, reason=reason, progress=progress)


def rollback(home: Place, *, progress: Progress = silent, **given: Any) -> Generation:
    """Make the generation live that was live before, once it has caught up, in one step.

    Raises:
        PromotionError: there was none.
    """
    from headrace.pipelines.replay import promote as switch

    with opened(home, **given) as lake:
        return switch.rollback(lake, progress=progress)


def verify(
    home: Place, generation: int | None = None, *, progress: Progress = silent, **given: Any
) -> Certificate:
    """Recompute what is served from the log, compare every cell, store the certificate.

    Args:
        home: where.
        generation: another one than the live one.
        progress: told (slices done, slices to do).
        given: settings.

    Returns:
        The certificate; `equal` says whether every cell was.
    """
    from headrace.pipelines.quality import verify as proof

    with opened(home, **given) as lake:
        return proof.verify(lake, generation, progress=progress)


def check(home: Place, suite: str = "served", **given: Any) -> Checked:
    """Check `events` (what arrived since the last check) or `served`, with Great Expectations.

    Raises:
        UsageError: Great Expectations is not installed.
    """
    from headrace.pipelines.quality import check as checks

    with opened(home, **given) as lake:
        return checks.check(lake, suite)
