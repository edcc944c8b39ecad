"""The batch path: cut, recompute, audit, publish. Lambda's slow half, and its safety net.

A base is made at a cut by Spark (or DuckDB), staged as files, checked, and published in one
transaction that also retires the deltas below the cut. Until then the old base serves. When the
views have changed, the base starts a new generation beside the live one instead.
"""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from headrace.pipelines.batch import engines, publish
from headrace.pipelines.batch.engines import Task
from headrace.pipelines.batch.publish import Published
from headrace.pipelines.batch.rejected import Candidate
from headrace.pipelines.errors import DamageError, SeamError
from headrace.pipelines.generations import registry
from headrace.pipelines.generations.generation import Generation
from headrace.pipelines.generations.staged import Staged
from headrace.pipelines.lake import checksums
from headrace.pipelines.lake.lake import Lake
from headrace.pipelines.log.embedded import Log
from headrace.pipelines.logs import logger
from headrace.pipelines.position import Position
from headrace.pipelines.progress import Report, quiet
from headrace.pipelines.quality.audit import Audited, Auditor, Core
from headrace.pipelines.views.load import View


@dataclass(frozen=True)
class Batch:
    """What a batch did.

    `live` says whether readers see the base now. If the views changed they do not: the base then
    began a new generation, which waits to be promoted. `restated` cells changed at the cut itself
    (none on unchanged logic; None if nothing was served there that could be compared), `revised`
    ones belong to days and minutes that were over.
    """

    generation: int
    base: int
    cut: Position
    engine: str
    mode: str
    rows: Mapping[str, int]
    events_read: int
    repeats: int
    seconds: float
    live: bool
    restated: int | None = None
    revised: int = 0
    audit: Audited | None = None


def run(
    lake: Lake,
    *,
    engine: str = "spark",
    incremental: bool = False,
    views: Mapping[str, View] | None = None,
    auditor: Auditor | None = None,
    report: Report = quiet,
) -> Batch | None:
    """Make a base at the log's end and publish it; None if there is nothing to recompute.

    A live generation whose seam is broken, whose files are damaged, or of which an earlier version
    misread a view, is replaced by a new one, made from the log alone.

    Args:
        lake: where to read and publish.
        engine: `spark` or `duckdb`.
        incremental: start from the live base and read only the log's new events.
        views: the views to compute; the files as they are now by default.
        auditor: how to audit; structural checks alone by default, `audit.chosen` for the setting.
        report: told about each step.

    Raises:
        LockError: another batch runs on this lake.
        JobError: the job failed, or its base did not pass the audit: it is kept aside. The
            old base serves on.
        SeamError: the base does not meet the deltas. The old base serves on.
    """
    log = Log(lake)
    wanted = registry.current_views(lake.home) if views is None else views
    auditor = auditor or Core()
    with lake.home.lock("batch", wait=0):
        line, cut = _choose_cut(lake, log)
        same = line is not None and registry.logic_of(wanted) == line.logic
        from_base = line if line is not None and incremental and same and line.cut.total else None
        if cut.total == 0 or (from_base is not None and from_base.cut == cut):
            return None
        task = Task(wanted, cut, engine, from_base, lake.home.staging / uuid.uuid4().hex)
        task.folder.mkdir(parents=True)
        try:
            with auditor.ready(lake) as judge:
                started = time.monotonic()
                report(f"cut at {cut}, {log.events_below(cut):,} events")
                repeats, read = engines.make(lake, log, task, report)
                staged = Staged(task.folder, wanted, cut, repeats)
                staged.complete(lake.con)
                seconds = time.monotonic() - started
                goes_on = line if same else None
                number = None if goes_on is None else goes_on.number
                base = None if goes_on is None else goes_on.base
                candidate = Candidate(staged, number, base, engine, task.mode, read, seconds)
                done = publish.settle(lake, candidate, judge, report)
        finally:
            shutil.rmtree(task.folder, ignore_errors=True)
    return told(candidate, done)


def publish_refused(
    lake: Lake, *, auditor: Auditor | None = None, forced: str | None = None, report: Report = quiet
) -> Batch:
    """Publish the base that was refused last, after auditing it again.

    Args:
        lake: where.
        auditor: how; structural checks alone by default.
        forced: why it is published whatever is found; recorded in `sys.audits`.
        report: told about each step.

    Raises:
        UsageError: no base is kept, or the reason is empty.
        JobError: it still does not pass. The old base serves on.
        SeamError: it does not meet the deltas any more, or a newer base is live.
        LockError: a batch runs on this lake.
    """
    candidate, done = publish.again(lake, auditor or Core(), forced=forced, report=report)
    return told(candidate, done)


def told(candidate: Candidate, done: Published) -> Batch:
    """What a batch did, logged as well."""
    made, cut = done.generation, candidate.staged.cut
    logger("batch").info(
        "publish",
        generation=made.number,
        base=made.base,
        live=done.live,
        cut=cut.as_dict(),
        events_read=candidate.events_read,
        seconds=round(candidate.seconds, 3),
    )
    return Batch(
        made.number,
        made.base,
        cut,
        candidate.engine,
        candidate.mode,
        done.audited.rows,
        candidate.events_read,
        candidate.staged.repeats,
        candidate.seconds,
        done.live,
        None if done.restated is None or not done.restated.compared else done.restated.total,
        0 if done.revised is None else done.revised.total,
        done.audited,
    )


def _choose_cut(lake: Lake, log: Log) -> tuple[Generation | None, Position]:
    """Cut at the log's end, and ask the speed layer to end a commit exactly there.

    Gives no generation if the live one's seam is broken, or its files are damaged.
    """
    with lake.writing("cut") as tx:
        cut = log.end()
        try:
            line = registry.read(lake)
            checksums.check(lake, registry.trusted(line).stored())
        except (SeamError, DamageError):
            for reached in registry.reached(lake):
                log.check(reached, cut)
            return None, cut
        log.check(line.position)
        registry.ask_for_cut(tx, line.number, cut)
    return line, cut
