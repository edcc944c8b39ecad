"""Events by order: finds what an order did before, at a cost that follows the question.

The log is ordered by arrival; the fold needs events by order. This index holds the log's typed
events again, sorted by order hash, in runs: Arrow files, mapped into memory and searched by
bisection. New events make a small run; runs of like size are merged, so there are about log(n)
of them. It is a cache of an immutable log, of no generation and no logic: it serves every reader
at any position below its own, and is made again from the log when it is missing or damaged.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import ipc

from headrace.pipelines.errors import LockError
from headrace.pipelines.lake import checksums, durable
from headrace.pipelines.lake.lake import Lake
from headrace.pipelines.log.embedded import Log
from headrace.pipelines.log.erased import newest
from headrace.pipelines.logs import logger
from headrace.pipelines.position import Position, step_towards
from headrace.pipelines.progress import Progress, silent
from headrace.schemas.tables import TYPED_COLUMNS

_FLUSH_ROWS = 400_000
"""Rows held in memory before they are written: what a restart has to read again, at most."""
_LARGEST_RUN = 2_000_000
"""Rows of a run that is merged no further: about 400 MB while it is being merged."""
_CATCH_UP = 500_000
"""Events read from the log at once while the index is behind it."""


@dataclass(frozen=True)
class Run:
    """Events sorted by order hash. `path` is None while the run is only in memory."""

    table: pa.Table
    hashes: npt.NDArray[np.int32]
    path: Path | None

    @classmethod
    def of(cls, events: pa.Table, path: Path | None = None) -> Run:
        """A run over a sorted table of one chunk a column."""
        return cls(events, events.column("order_hash").to_numpy(), path)

    @classmethod
    def sorted(cls, events: pa.Table) -> Run:
        """A run of events in any order."""
        return cls.of(_sorted(events))

    def find(self, wanted: npt.NDArray[np.int32]) -> pa.Table | None:
        """The events of the wanted order hashes (sorted, unique), or None."""
        low = np.searchsorted(self.hashes, wanted, "left")
        high = np.searchsorted(self.hashes, wanted, "right")
        counts = high - low
        total = int(counts.sum())
        if total == 0:
            return None
        starts = np.repeat(low - np.concatenate(([0], np.cumsum(counts)[:-1])), counts)
        return self.table.take(pa.array(starts + np.arange(total)))


class OrderIndex:
    """The index of one lake's log. One process at a time writes it; others keep a private tail."""

    def __init__(self, lake: Lake, log: Log, folder: Path, *, shared: bool) -> None:
        self._lake = lake
        self._log = log
        self._folder = folder
        self._shared = shared
        self._fresh: list[Run] = []
        self.erasures = newest(lake)
        self._runs, self.position = self._load()

    @classmethod
    @contextlib.contextmanager
    def open(cls, lake: Lake, log: Log) -> Iterator[OrderIndex]:
        """Open the lake's index; private if another process is writing it."""
        with contextlib.ExitStack() as stack:
            folder, shared = lake.home.index, True
            folder.mkdir(exist_ok=True)
            try:
                stack.enter_context(lake.home.lock("index", wait=0))
            except LockError:
                shared = False
                lake.home.scratch.mkdir(exist_ok=True)
                folder = Path(tempfile.mkdtemp(prefix="index-", dir=lake.home.scratch))
                stack.callback(shutil.rmtree, folder, ignore_errors=True)
            yield cls(lake, log, folder, shared=shared)

    def events_of(self, wanted: npt.NDArray[np.int32]) -> pa.Table:
        """All indexed events of these order hashes (sorted, unique), in no order.

        A few events of other orders may come along where hashes collide; the caller joins by
        order id anyway.
        """
        found = [t for run in [*self._runs, *self._fresh] if (t := run.find(wanted)) is not None]
        return pa.concat_tables(found) if found else _empty(self._schema())

    def files(self) -> list[Path]:
        """All indexed events as files that `search` reads, in any process, until the next flush."""
        self.flush()
        return [run.path for run in self._runs if run.path is not None]

    def add(self, events: Run, position: Position) -> None:
        """Take in sorted events that end at `position`, directly above what is indexed."""
        self._fresh.append(events)
        self.position = position
        while len(self._fresh) > 1 and _like(self._fresh[-2], self._fresh[-1]):
            self._fresh[-2:] = [_merged(self._fresh[-2:])]
        if sum(len(r.hashes) for r in self._fresh) >= _FLUSH_ROWS:
            self.try_to_flush()

    def catch_up(self, position: Position, progress: Progress = silent) -> None:
        """Read the log until the index covers `position`.

        Two generations move in steps of their own, so neither position need cover the other.
        """
        self.forget_erased()
        start, goal = self.position, self.position.highest(position)
        missing = goal.minus(start)
        while self.position != goal:
            step = step_towards(self.position, goal, _CATCH_UP)
            found = read_events(self._lake, self._log, self.position, step)
            self.add(Run.sorted(found), step)
            progress(self.position.minus(start), missing)

    def forget_erased(self) -> None:
        """Begin anew where somebody was erased since: what is indexed may name him."""
        number = newest(self._lake)
        if number != self.erasures:
            self.erasures, self._runs, self._fresh = number, [], []
            self.position = Position.zero(self._lake.home.partitions)

    def try_to_flush(self) -> None:
        """Flush; where the disk refuses, go on from memory: what it lacks is read again."""
        try:
            self.flush()
        except OSError as e:
            logger("order index").warning("not written", cause=str(e), folder=str(self._folder))

    def flush(self) -> None:
        """Write what is only in memory, merge runs of like size, record the position."""
        if not self._fresh or newest(self._lake) != self.erasures:  # what names somebody stays out
            return
        self._runs.append(self._write(_merged(self._fresh)))
        self._fresh = []
        while len(self._runs) > 1 and _like(self._runs[-2], self._runs[-1]):
            self._runs[-2:] = [self._write(_merged(self._runs[-2:]))]
        self._record()

    def _record(self) -> None:
        """Name the runs and the position in one small file, replaced at once; drop old runs."""
        paths = [r.path for r in self._runs if r.path is not None]
        names = [path.name for path in paths]
        manifest: dict[str, Any] = {
            "log_id": self._log.identity,
            "columns": list(TYPED_COLUMNS),
            "erasures": self.erasures,
            "position": self.position.text(),
            "runs": {path.name: checksums.digest(path) for path in paths},
        }
        manifest["sum"] = durable.sum_of(manifest)
        fresh = self._folder / "manifest.json.new"
        fresh.write_text(json.dumps(manifest), encoding="utf-8")
        durable.sync_file(fresh)
        fresh.replace(self._folder / "manifest.json")
        for file in self._folder.glob("*.arrow"):
            if file.name not in names:
                file.unlink()  # those who have it mapped keep their view of it

    def _load(self) -> tuple[list[Run], Position]:
        """The recorded runs; nothing if they are missing, damaged, or of another log."""
        folder = self._lake.home.index
        try:
            manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
            position = Position.parse(manifest["position"])
            usable = (
                manifest["sum"] == durable.sum_of(manifest)
                and manifest["log_id"] == self._log.identity
                and manifest["columns"] == list(TYPED_COLUMNS)
                and manifest.get("erasures", 0) == self.erasures
                and self._log.end().covers(position)
            )
            if usable and _whole(folder, manifest["runs"]):
                return [_map(folder / name) for name in manifest["runs"]], position
        except (OSError, ValueError, KeyError, AttributeError, pa.ArrowInvalid):
            pass  # a cache: it is built again from the log
        return [], Position.zero(self._lake.home.partitions)

    def _write(self, run: Run) -> Run:
        path = self._folder / f"{uuid.uuid4()}.arrow"
        with pa.OSFile(str(path), "wb") as sink, ipc.new_file(sink, run.table.schema) as writer:
            writer.write_table(run.table)
        durable.sync_file(path)
        return _map(path)

    def _schema(self) -> pa.Schema:
        nothing = Position.zero(self._lake.home.partitions)
        return read_events(self._lake, self._log, nothing, nothing).schema


@contextlib.contextmanager
def sorting(events: pa.Table) -> Iterator[Future[Run]]:
    """Sort events for `OrderIndex.add` while something else is done."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(Run.sorted, events)


def search(files: Sequence[Path], wanted: npt.NDArray[np.int32]) -> pa.Table | None:
    """All events of these order hashes (sorted, unique) in the files of an index, or None."""
    found = [t for file in files if (t := _map(file).find(wanted)) is not None]
    return pa.concat_tables(found) if found else None


def read_events(lake: Lake, log: Log, start: Position, end: Position) -> pa.Table:
    """The typed events of the log from `start` up to `end`, in no order.

    Raises:
        DamageError: a segment that holds them is not as it was written.
    """
    checksums.check_log(lake, start, end)
    columns = ", ".join(f'"{name}"' for name in TYPED_COLUMNS)
    return lake.con.execute(log.read(start, end, columns)).to_arrow_table()


def _sorted(events: pa.Table) -> pa.Table:
    order = np.argsort(events.column("order_hash").to_numpy(), kind="stable")
    return events.take(pa.array(order)).combine_chunks()


def _merged(runs: list[Run]) -> Run:
    if len(runs) == 1:
        return runs[0]
    return Run.sorted(pa.concat_tables([r.table for r in runs]))


def _like(older: Run, newer: Run) -> bool:
    """Whether two neighbouring runs are to be merged: the older is at most twice the newer."""
    rows = len(older.hashes) + len(newer.hashes)
    return len(older.hashes) <= 2 * len(newer.hashes) and rows <= _LARGEST_RUN


def _whole(folder: Path, runs: dict[str, str]) -> bool:
    """Whether runs are as they were written: a changed one would give wrong deltas."""
    with ThreadPoolExecutor(2) as pool:
        found = pool.map(lambda name: checksums.digest(folder / name), runs)
        return list(found) == list(runs.values())


def _map(path: Path) -> Run:
    table = ipc.open_file(pa.memory_map(os.fspath(path))).read_all()
    return Run.of(table, path)


def _empty(schema: pa.Schema) -> pa.Table:
    return schema.empty_table()
