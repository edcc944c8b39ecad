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
from pathlib import Path

from pipelines import conflicts, engines, generations, integrity
from pipelines.audit import Audited
from pipelines.engines import Task
from pipelines.errors import DamageError, JobError, SeamError
from pipelines.generations import Generation
from pipelines.lake import Lake
from pipelines.log import Log
from pipelines.logs import logger
from pipelines.position import Position
from pipelines.progress import Report, quiet
from pipelines.views import View


@dataclass(frozen=True)
class Batch:
    """What a batch did.

    `live` says whether readers see the base now. If the views changed they do not: the base then
    began a new generation, which waits to be promoted.
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
    restated: int = 0
    revised: int = 0
    audit: Audited | None = None


def run(
    lake: Lake,
    *,
    engine: str = "spark",
    incremental: bool = False,
    views: Mapping[str, View] | None = None,
    report: Report = quiet,
) -> Batch | None:
    """Make a base at the log's end and publish it; None if there is nothing to recompute.

    A live generation whose seam is broken, or whose files are damaged, is replaced by a new one,
    made from the log alone.

    Args:
        lake: where to read and publish.
        engine: `spark` or `duckdb`.
        incremental: start from the live base and read only the log's new events.
        views: the views to compute; the files as they are now by default.
        report: told about each step.

    Raises:
        LockError: another batch runs on this lake.
        JobError: the job failed, or its base did not pass the audit. The old base serves on.
        SeamError: the base does not meet the deltas. The old base serves on.
    """
    log = Log(lake)
    wanted = generations.current_views(lake.home) if views is None else views
    with lake.home.lock("batch", wait=0):
        line, cut = _choose_cut(lake, log)
        same = line is not None and generations.logic_of(wanted) == line.logic
        from_base = line if line is not None and incremental and same and line.cut.total else None
        if cut.total == 0 or (from_base is not None and from_base.cut == cut):
            return None
        task = Task(wanted, cut, engine, from_base, lake.home.staging / uuid.uuid4().hex)
        task.folder.mkdir(parents=True)
        try:
            started = time.monotonic()
            report(f"cut at {cut}, {log.events_below(cut):,} events")
            repeats, read = engines.make(lake, log, task, report)
            rows = audit(lake, wanted, cut, task.folder, repeats)
            report("audited; publishing")
            seconds = time.monotonic() - started
            made, live = _publish(lake, task, line if same else None, seconds)
        finally:
            shutil.rmtree(task.folder, ignore_errors=True)
    logger("batch").info(
        "publish",
        generation=made.number,
        base=made.base,
        live=live,
        cut=cut.as_dict(),
        events_read=read,
        seconds=round(seconds, 3),
    )
    return Batch(made.number, made.base, cut, engine, task.mode, rows, read, repeats, seconds, live)


def _choose_cut(lake: Lake, log: Log) -> tuple[Generation | None, Position]:
    """Cut at the log's end, and ask the speed layer to end a commit exactly there.

    Gives no generation if the live one's seam is broken, or its files are damaged.
    """
    with lake.writing("cut") as tx:
        cut = log.end()
        try:
            line = generations.read(lake)
            integrity.check(lake, line.stored())
        except (SeamError, DamageError):
            for reached in generations.reached(lake):
                log.check(reached, cut)
            return None, cut
        log.check(line.position)
        generations.ask_for_cut(tx, line.number, cut)
    return line, cut


def audit(
    lake: Lake, views: Mapping[str, View], cut: Position, folder: Path, repeats: int
) -> dict[str, int]:
    """Check a staged base before anybody reads it: complete, unique, and in itself consistent.

    Gives its rows by table.

    Raises:
        JobError: it is not; what is wrong is in the message.
    """
    files = {
        name: f"read_parquet('{folder}/{name}/*.parquet')"
        for name in generations.table_columns(views)
    }
    rows = {n: int(lake.row(f"SELECT count(*) FROM {file}")[0]) for n, file in files.items()}
    events, distinct = lake.row(
        f"SELECT coalesce(sum(event_count), 0), count(DISTINCT order_id) FROM {files['orders']}"
    )
    problems = []
    held = Log(lake).events_below(cut)
    if events + repeats != held:
        problems.append(
            f"it counts {events:,} events and {repeats:,} repeats, the log holds {held:,}"
        )
    if rows["orders"] != distinct:
        problems.append(f"it has {rows['orders'] - distinct:,} orders more than once")
    for name, view in views.items():
        unsound = int(lake.row(f"SELECT count(*) FROM ({view.unsound_sql(files[name])})")[0])
        if unsound:
            problems.append(f"view {name} has {unsound:,} groups that cannot be")
    if problems:
        raise JobError(
            f"the staged base at {cut} did not pass its audit: {'; '.join(problems)}. It was not "
            "published, the old base serves on"
        )
    return rows


def _publish(
    lake: Lake, task: Task, line: Generation | None, seconds: float
) -> tuple[Generation, bool]:
    """Put the base under a generation, or begin a new one with it; says whether it is live."""
    filling = {
        name: sorted((task.folder / name).glob("*.parquet"))
        for name in generations.table_columns(task.views)
    }
    engine = f"{task.engine} {task.mode}"
    zero = Position.zero(len(task.cut.offsets))
    suspects = conflicts.in_log(lake, zero if line is None else line.position, task.cut)
    with lake.writing("publish") as tx:
        conflicts.record(tx, suspects)
        if line is None:
            number = generations.create(
                tx,
                task.views,
                origin=f"batch ({task.engine})",
                cut=task.cut,
                filling=filling,
                engine=engine,
                seconds=seconds,
            )
            unserved = _unserved(lake)
            if unserved is not None:
                generations.switch(tx, number, reason=unserved)
            return generations.read(lake, number), unserved is not None
        if generations.live_number(lake) != line.number:
            raise SeamError(
                f"generation {line.number} is no longer live; the base was not published. Run the "
                "batch again"
            )
        made = generations.publish(
            tx, line.number, cut=task.cut, filling=filling, engine=engine, seconds=seconds
        )
    return made, True


def _unserved(lake: Lake) -> str | None:
    """Why a new generation may go live at once: nobody could read a number from the live one."""
    try:
        live = generations.read(lake)
        integrity.check(lake, live.stored())
    except (SeamError, DamageError) as e:
        return f"repair: {e}"
    return "the live generation had not read any event" if live.position.total == 0 else None
