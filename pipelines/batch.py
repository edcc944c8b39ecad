"""The batch path: cut, recompute, audit, publish. Lambda's slow half, and its safety net.

A base is made at a cut by Spark (or DuckDB), staged as files, checked, and published in one
transaction that also retires the deltas below the cut. Until then the old base serves. When the
views have changed, the base starts a new generation beside the live one instead.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
import uuid
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from pipelines import conflicts, generations
from pipelines.errors import JobError, SeamError
from pipelines.generations import Generation
from pipelines.incremental import run_plan
from pipelines.lake import Lake
from pipelines.log import Log
from pipelines.order_index import OrderIndex, read_events
from pipelines.position import Position
from pipelines.progress import Report, quiet
from pipelines.recompute import write_base
from pipelines.views import View

ENGINES = ("spark", "duckdb")


@dataclass(frozen=True)
class Batch:
    """What a batch did. `generation` is the live one, or a new one when the views changed."""

    generation: int
    base: int
    cut: Position
    engine: str
    mode: str
    rows: Mapping[str, int]
    events_read: int
    repeats: int
    seconds: float
    logic_changed: bool


def run(
    lake: Lake,
    *,
    engine: str = "spark",
    incremental: bool = False,
    views: Mapping[str, View] | None = None,
    report: Report = quiet,
) -> Batch | None:
    """Make a base at the log's end and publish it; None if there is nothing to recompute.

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
        changed = generations.logic_of(wanted) != line.logic
        if cut.total == 0 or (incremental and cut == line.cut and not changed):
            return None
        mode = "incremental" if incremental and line.cut.total and not changed else "full"
        folder = lake.home.staging / uuid.uuid4().hex
        folder.mkdir(parents=True)
        try:
            started = time.monotonic()
            report(f"cut at {cut}, {cut.total:,} events")
            repeats, read = _make(lake, log, line, wanted, cut, folder, engine, mode, report)
            rows = audit(lake, wanted, cut, folder, repeats)
            report("audited; publishing")
            seconds = time.monotonic() - started
            made = _publish(lake, line, wanted, cut, folder, engine, mode, seconds, changed)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return Batch(made.number, made.base, cut, engine, mode, rows, read, repeats, seconds, changed)


def _choose_cut(lake: Lake, log: Log) -> tuple[Generation, Position]:
    """Cut at the log's end, and ask the speed layer to end a commit exactly there."""
    with lake.writing("cut") as tx:
        line = generations.read(lake)
        cut = log.end()
        log.check(line.position)
        tx.record("cuts", line.number, lake.clock(), cut.text())
    return line, cut


def _make(
    lake: Lake,
    log: Log,
    line: Generation,
    views: Mapping[str, View],
    cut: Position,
    folder: Path,
    engine: str,
    mode: str,
    report: Report,
) -> tuple[int, int]:
    """Run the engine; gives the redelivered events below the cut, and the events it read."""
    if engine == "duckdb" and mode == "full":
        tell = lambda done, of: report(f"slice {done} of {of}")  # noqa: E731
        return write_base(lake, log, views, cut, folder, tell), cut.total
    plan = _plan(lake, log, line, views, cut, folder, mode)
    result = run_plan(lake, plan) if engine == "duckdb" else _spark(plan, folder, report)
    return int(result["repeats"]), int(plan["events_read"])


def _plan(
    lake: Lake,
    log: Log,
    line: Generation,
    views: Mapping[str, View],
    cut: Position,
    folder: Path,
    mode: str,
) -> dict[str, Any]:
    """What the job reads and writes, as it stands in its plan file."""
    start = line.cut if mode == "incremental" else Position.zero(len(cut.offsets))
    ranges = {
        str(p): [a, b] for p, (a, b) in enumerate(zip(start.offsets, cut.offsets, strict=True))
    }
    plan: dict[str, Any] = {
        "mode": mode,
        "cut": cut.as_dict(),
        "views": {name: view.sql for name, view in views.items()},
        "event_files": log.files_between(start, cut),
        "ranges": ranges,
        "output": str(folder),
        "master": lake.settings.spark_master,
        "memory": lake.settings.spark_memory,
        "previous_repeats": 0,
        "events_read": cut.minus(start),
        "shuffle_partitions": max(4, min(200, cut.total // 500_000)),
    }
    if mode == "incremental":
        counted = lake.row(f"SELECT coalesce(sum(event_count), 0) FROM {line.base_table('orders')}")
        plan["previous_repeats"] = line.cut.total - int(counted[0])
        touched = _write_touched(lake, log, start, cut, folder)
        plan["touched_files"] = [str(touched)]
        plan["events_read"] += pq.read_metadata(touched).num_rows
        plan["previous"] = {
            name: [
                row[0]
                for row in lake.rows(
                    f"SELECT data_file FROM ducklake_list_files('lake', 'b{line.base}_{name}', "
                    f"schema => '{line.schema}')"
                )
            ]
            for name in line.tables
        }
    return plan


def _write_touched(lake: Lake, log: Log, start: Position, cut: Position, folder: Path) -> Path:
    """The earlier events of the orders that new events touch, found through the order index."""
    new = read_events(lake, log, start, cut).select(["order_hash"])
    with OrderIndex.open(lake, log) as index:
        index.catch_up(start)
        found = index.events_of(np.unique(new.column("order_hash").to_numpy()))
    limits = np.array(start.offsets, dtype=np.int64)
    below = found.column("offset").to_numpy() < limits[found.column("partition").to_numpy()]
    path = folder / "touched.parquet"
    pq.write_table(found.filter(below), path, compression="zstd")
    return path


def _spark(plan: dict[str, Any], folder: Path, report: Report) -> dict[str, Any]:
    """Run the Spark job as a process of its own and wait for its result."""
    file = folder / "plan.json"
    file.write_text(json.dumps(plan), encoding="utf-8")
    tail: deque[str] = deque(maxlen=30)
    command = [sys.executable, "-m", "jobs.batch", "--plan", str(file)]
    with subprocess.Popen(  # noqa: S603 - our own module with our own plan
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        cwd=Path(__file__).resolve().parent.parent,
    ) as job:
        try:
            for line in job.stdout or ():
                if line.startswith("progress: "):
                    report(line.removeprefix("progress: ").strip())
                else:
                    tail.append(line.rstrip())
        except BaseException:
            job.kill()
            raise
    done = folder / "result.json"
    if job.returncode != 0 or not done.exists():
        raise JobError(
            f"the Spark job ended with exit code {job.returncode}: {_cause(tail)}. The old base "
            "serves on. Check Java 17 and the memory, or use --engine duckdb"
        )
    result: dict[str, Any] = json.loads(done.read_text(encoding="utf-8"))
    return result


def _cause(tail: deque[str]) -> str:
    """The line of a job's output that says most about why it failed."""
    telling = [line for line in tail if "Error" in line or "Exception" in line]
    return (telling or list(tail) or ["it printed nothing"])[-1].strip()[:300]


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
    if events + repeats != cut.total:
        problems.append(
            f"it counts {events:,} events and {repeats:,} repeats, the log holds {cut.total:,}"
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
    lake: Lake,
    line: Generation,
    views: Mapping[str, View],
    cut: Position,
    folder: Path,
    engine: str,
    mode: str,
    seconds: float,
    changed: bool,  # noqa: FBT001 - one of many facts about a batch
) -> Generation:
    filling = {
        name: sorted((folder / name).glob("*.parquet")) for name in generations.table_columns(views)
    }
    suspects = conflicts.in_log(lake, line.position, cut)
    with lake.writing("publish") as tx:
        conflicts.record(tx, suspects)
        if changed:
            number = generations.create(
                tx,
                views,
                origin=f"batch ({engine})",
                cut=cut,
                filling=filling,
                engine=f"{engine} {mode}",
                seconds=seconds,
            )
            return generations.read(lake, number)
        if generations.live_number(lake) != line.number:
            raise SeamError(
                f"generation {line.number} is no longer live; the base was not published. Run the "
                "batch again"
            )
        return generations.publish(
            tx, line.number, cut=cut, filling=filling, engine=f"{engine} {mode}", seconds=seconds
        )
