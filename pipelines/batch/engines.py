"""The engines that make a base: Spark as a process of its own, or DuckDB in this one.

Both write the same files into the task's folder and publish nothing.
"""

from __future__ import annotations

import json
import subprocess
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from headrace.pipelines.batch import class_archive
from headrace.pipelines.batch.duckdb_engine import run_plan, write_base
from headrace.pipelines.errors import JobError, UsageError
from headrace.pipelines.generations.generation import Generation
from headrace.pipelines.lake import checksums
from headrace.pipelines.lake.connect import literal
from headrace.pipelines.lake.lake import Lake
from headrace.pipelines.log.embedded import Log
from headrace.pipelines.log.order_index import OrderIndex, read_events
from headrace.pipelines.position import Position
from headrace.pipelines.processes import start_python
from headrace.pipelines.progress import Report
from headrace.pipelines.views.load import View
from headrace.pipelines.views.packed import pack

ENGINES = ("spark", "duckdb")
_SHORT = 2_000_000
"""Events. Below it, a Spark job is mostly start-up."""


_PATTERN = frozenset("[]{}*?\\")


@dataclass(frozen=True)
class Task:
    """A base to be made: of which views, at which cut, how, and into which folder.

    `previous` is the generation whose base an incremental run starts from; None means full.
    """

    views: Mapping[str, View]
    cut: Position
    engine: str
    previous: Generation | None
    folder: Path

    @property
    def start(self) -> Position:
        """Where the events begin that have to be read."""
        if self.previous is None:
            return Position.zero(len(self.cut.offsets))
        return self.previous.cut

    @property
    def mode(self) -> str:
        """The word for it in messages and in the plan."""
        return "full" if self.previous is None else "incremental"


def make(lake: Lake, log: Log, task: Task, report: Report) -> tuple[int, int]:
    """Run the engine; gives the redelivered events below the cut, and the events it read.

    Raises:
        UsageError: Spark would take the home's path for a pattern, and read other files.
        JobError: the engine failed; nothing was published.
    """
    if task.engine == "spark":
        _refuse_patterns(lake)
    if task.engine == "duckdb" and task.previous is None:

        def tell(done: int, of: int) -> None:
            report(f"slice {done} of {of}")

        repeats = write_base(lake, log, task.views, task.cut, task.folder, tell)
        zero = Position.zero(len(task.cut.offsets))
        return repeats, log.events_between(zero, task.cut)
    plan = _plan(lake, log, task)
    result = run_plan(lake, plan) if task.engine == "duckdb" else _spark(plan, task.folder, report)
    return int(result["repeats"]), int(plan["events_read"])


def views_in_spark(
    lake: Lake,
    views: Mapping[str, View],
    tables: Mapping[str, Path],
    folder: Path,
    report: Report,
) -> None:
    """Make the partials of views over `orders` and `ledger` in Spark: `{folder}/{name}/*.parquet`.

    Raises:
        UsageError: Spark would take the home's path for a pattern.
        JobError: Spark failed.
    """
    _refuse_patterns(lake)
    plan: dict[str, Any] = {
        "mode": "views",
        "name": "headrace-views",
        "views": pack(views),
        "tables": {name: [str(path)] for name, path in tables.items()},
        "output": str(folder),
        "master": lake.settings.spark_master,
        "memory": lake.settings.spark_memory,
        "previous_repeats": 0,
        "shuffle_partitions": 4,
        "short": True,
    }
    _spark(plan, folder, report)


def _refuse_patterns(lake: Lake) -> None:
    pattern = sorted(set(str(lake.home.path)) & _PATTERN)
    if pattern:
        raise UsageError(
            f"the path {lake.home.path} holds {pattern[0]!r}, which Spark takes for a pattern; "
            "move the home, or use --engine duckdb"
        )


def _plan(lake: Lake, log: Log, task: Task) -> dict[str, Any]:
    """What the job reads and writes, as it stands in its plan file."""
    start, cut, previous = task.start, task.cut, task.previous
    checksums.check_log(lake, start, cut)
    ranges = {
        str(p): [a, b] for p, (a, b) in enumerate(zip(start.offsets, cut.offsets, strict=True))
    }
    plan: dict[str, Any] = {
        "mode": task.mode,
        "cut": cut.as_dict(),
        "views": pack(task.views),
        "event_files": log.files_between(start, cut),
        "ranges": ranges,
        "output": str(task.folder),
        "master": lake.settings.spark_master,
        "memory": lake.settings.spark_memory,
        "previous_repeats": 0,
        "events_read": log.events_between(start, cut),
        "shuffle_partitions": max(4, min(200, cut.total // 500_000)),
        "short": cut.minus(start) < _SHORT,
    }
    if previous is not None:
        checksums.check(lake, previous.stored())
        counted = lake.row(
            f"SELECT coalesce(sum(event_count), 0) FROM {previous.base_table('orders')}"
        )
        zero = Position.zero(len(cut.offsets))
        plan["previous_repeats"] = log.events_between(zero, previous.cut) - int(counted[0])
        touched = _write_touched(lake, log, start, cut, task.folder)
        plan["touched_files"] = [str(touched)]
        plan["events_read"] += pq.read_metadata(touched).num_rows
        plan["previous"] = {
            name: _files_of(lake, previous.schema, f"b{previous.base}_{name}", task.folder)
            for name in previous.tables
        }
    return plan


def _files_of(lake: Lake, schema: str, table: str, folder: Path) -> list[str]:
    """A base table as Parquet files. A few rows have none: they lie in the catalog itself."""
    listed = f"ducklake_list_files('lake', '{table}', schema => '{schema}')"
    files = [row[0] for row in lake.rows(f"SELECT data_file FROM {listed}")]
    if not files:
        files = [str(folder / f"{table}.parquet")]
        lake.con.execute(f'COPY {schema}."{table}" TO {literal(files[0])} (FORMAT parquet)')
    return files


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
    if plan["short"]:
        plan["java"] = class_archive.options(folder)
    file = folder / "plan.json"
    file.write_text(json.dumps(plan), encoding="utf-8")
    tail: deque[str] = deque(maxlen=30)
    with start_python(
        *("headrace.jobs.batch", "--plan", str(file)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
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
            f"the Spark job ended with exit code {job.returncode}: {cause(tail)}. The old base "
            "serves on. Check Java 17 and the memory, or use --engine duckdb"
        )
    class_archive.keep(folder)
    result: dict[str, Any] = json.loads(done.read_text(encoding="utf-8"))
    return result


def cause(tail: Sequence[str]) -> str:
    """The line of a job's output that says most about why it failed."""
    telling = [line for line in tail if "Error" in line or "Exception" in line]
    return (telling or list(tail) or ["it printed nothing"])[-1].strip()[:300]
