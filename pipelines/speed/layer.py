"""The speed layer: moves a generation from its position to the log's end, a commit at a time.

A commit is one transaction with the deltas of all views and the new position. It finds what the
touched orders did before, folds their events without and with the new ones, and records the
difference. It may be killed at any point: what is not committed was never there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from headrace.pipelines.errors import SeamError
from headrace.pipelines.fold import delta as changes
from headrace.pipelines.fold.delta import Change
from headrace.pipelines.generations import registry
from headrace.pipelines.generations.generation import Generation
from headrace.pipelines.generations.view_changes import with_views_over_views
from headrace.pipelines.lake.connect import halves
from headrace.pipelines.lake.lake import Lake
from headrace.pipelines.lake.transaction import Transaction
from headrace.pipelines.lake.unchanged import unchanged
from headrace.pipelines.log import conflicts
from headrace.pipelines.log.embedded import Log
from headrace.pipelines.log.erased import newest, without_erased
from headrace.pipelines.log.order_index import OrderIndex, read_events, sorting
from headrace.pipelines.log.port import Fetched
from headrace.pipelines.logs import logger
from headrace.pipelines.position import Position, step_towards
from headrace.pipelines.progress import Progress, silent
from headrace.schemas.tables import TABLES, TYPED_COLUMNS

_SHARED = 10_000
"""New events from which on two halves of them are faster than one whole."""


@dataclass(frozen=True)
class Commit:
    """What one commit did."""

    number: int
    events: int
    repeats: int
    position: Position


class Speed:
    """Moves one generation forward. Not shared between threads."""

    def __init__(self, lake: Lake, log: Log, index: OrderIndex, commit_events: int) -> None:
        self._lake = lake
        self._log = log
        self._index = index
        self._commit_events = commit_events
        self._known: dict[int, Generation] = {}
        self._true_at: dict[int, tuple[Generation, int]] = {}
        self._lookups: dict[int, dict[str, pa.Table]] = {}
        # The fold needs no lake; apart from it, no name is ever looked up in the catalog.
        self._engines = halves(lake.home, lake.settings)

    @classmethod
    @contextlib.contextmanager
    def open(cls, lake: Lake, *, commit_events: int | None = None) -> Iterator[Speed]:
        """Get ready to move generations of this lake."""
        log = Log(lake)
        with OrderIndex.open(lake, log) as index:
            yield cls(lake, log, index, commit_events or lake.settings.commit_events)
            index.try_to_flush()

    def run(
        self,
        number: int | None = None,
        *,
        until: Position | None = None,
        progress: Progress = silent,
    ) -> list[Commit]:
        """Commit until a generation (the live one) reaches `until` (the log's end as it is now).

        Raises:
            SeamError: the generation does not fit together; nothing was committed.
            LogError: the log is shorter than what was already read from it.
        """
        with self._lake.reading():
            chosen = registry.live_number(self._lake) if number is None else number
            line = self._known.get(chosen) or self._read(chosen)
            end = self._log.end()
            self._log.check(line.position, end)
        goal = until or end
        self._known[chosen] = line
        start, missing = line.position, max(goal.total - line.position.total, 0)
        done: list[Commit] = []
        while (commit := self.step(chosen, goal)) is not None:
            done.append(commit)
            progress(commit.position.minus(start), missing)
        return done

    def step(self, number: int, goal: Position) -> Commit | None:
        """Make the next commit on the way to `goal`; None if there is nothing to read.

        What the last commit left is remembered, and compared with the lake inside the next
        one's transaction; if somebody else moved the generation, it is read again.
        """
        self._lake.refresh()
        while True:
            with contextlib.suppress(_MovedError):
                return self._step(number, goal)

    def _step(self, number: int, goal: Position) -> Commit | None:
        line = self._known.get(number)
        if line is not None and self._target(line, goal) == line.position:
            return None
        self._known.pop(number, None)
        with self._lake.reading():
            line = line or self._read(number)
            target = self._target(line, goal)
            if target == line.position:
                self._known[number] = line
                return None
            self._index.catch_up(line.position)
            new = read_events(self._lake, self._log, line.position, target)
            expected = self._log.events_between(line.position, target)
        if new.num_rows != expected:
            raise SeamError(
                f"the log holds {new.num_rows} events from {line.position} to {target}, not "
                f"{expected}; run headrace doctor"
            )
        return self._land(line, target, new)

    def take(self, fetched: Fetched) -> Commit | None:
        """Commit to the live generation what was just read from a broker, and archive it.

        Archive, deltas and position are one transaction, so that nothing of it is ever read
        twice or not at all. None if the archive does not end where it starts, any longer.

        Raises:
            SeamError: the generation does not fit together; nothing was committed.
        """
        line = self.ready(fetched.start)
        return None if line is None else self.land(line, fetched)

    def ready(self, start: Position) -> Generation | None:
        """The live generation, brought to the archive's end; None if that is not `start`.

        Raises:
            SeamError: the generation does not fit together; nothing was committed.
        """
        self.run()
        with self._lake.reading():
            number = registry.live_number(self._lake)
            line = self._known.get(number) or self._read(number)
            if line.position != start or self._log.end() != start:
                return None
            self._index.catch_up(line.position)
        return line

    def earlier(self) -> list[Path]:
        """Files with all archived events, each sorted by order hash, for other processes."""
        return self._index.files()

    def land(
        self, line: Generation, fetched: Fetched, change: Change | None = None
    ) -> Commit | None:
        """Archive what was read and commit what it changes; None if somebody else was quicker.

        Args:
            line: the generation as it was when the change was prepared.
            fetched: what was read, from its position on.
            change: what it changes, if that was computed elsewhere.
        """
        with self._lake.reading():
            fetched, erased = without_erased(self._lake, fetched)
        if erased:
            change = None
        new = fetched.events.select(TYPED_COLUMNS)
        with contextlib.suppress(_MovedError):
            return self._land(line, fetched.end, new, fetched, change)
        return None

    def _land(
        self,
        line: Generation,
        target: Position,
        new: pa.Table,
        fetched: Fetched | None = None,
        change: Change | None = None,
    ) -> Commit:
        """Compute what new events change, if nobody has yet, and commit it."""
        number = line.number
        self._known.pop(number, None)
        change = self._change(line, new) if change is None else change
        with sorting(new) as ready:
            with self._lake.writing("commit") as tx:
                here = self._still(line, target)
                if fetched is not None:
                    self._log.archive(tx, fetched)
                known = self._lookups.setdefault(number, {})
                rows = with_views_over_views(tx.con, self._engines[0], here, change.rows, known)
                commit = self._commit(tx, here, target, replace(change, rows=rows))
            events = ready.result()
        moved = replace(here, position=target, last_commit=commit.number)
        self._known[number] = moved
        self._true_at[number] = (moved, self._lake.committed)
        logger("speed").info(
            "commit",
            generation=number,
            commit=commit.number,
            events=commit.events,
            repeats=commit.repeats,
            position=target.as_dict(),
        )
        if self._index.position == line.position:
            self._index.add(events, target)
        return commit

    def _read(self, number: int) -> Generation:
        line = registry.trusted(registry.read(self._lake, number))
        self._true_at[number] = (line, self._lake.snapshot())
        return line

    def _target(self, line: Generation, goal: Position) -> Position:
        """Where the next commit ends: at most `commit_events` or so further on."""
        return step_towards(line.position, _allowed(line, goal), self._commit_events)

    def _still(self, line: Generation, target: Position) -> Generation:
        """The generation as it is inside the transaction, if the prepared commit still fits it.

        This is the fence: a writer that was paused and lost its turn cannot get past it.
        """
        known, at = self._true_at.get(line.number, (None, -1))
        if known is line and at >= 0 and unchanged(self._lake, at, registry.READ_FROM):
            here = line
        else:
            here = registry.read(self._lake, line.number)
        if newest(self._lake) != self._index.erasures:  # what was read names somebody
            raise _MovedError
        if here.position != line.position or _allowed(here, target) != target:
            raise _MovedError
        return here

    def _change(self, line: Generation, new: pa.Table) -> Change:
        """What the new events change: fold the orders they touch without them and with them."""
        before = new.schema.empty_table()
        if line.position.total:
            before = self._index.events_of(np.unique(new.column("order_hash").to_numpy()))
        engines = self._engines if new.num_rows >= _SHARED else self._engines[:1]
        return changes.compute_apart(engines, line.position, line.views, before, new)

    def _commit(
        self, tx: Transaction, here: Generation, target: Position, change: Change
    ) -> Commit:
        """Write deltas and position."""
        number = here.last_commit + 1
        for name, rows in change.rows.items():
            if rows.num_rows:
                tx.con.register("delta", rows)
                # An older generation may have fewer columns than are folded today.
                listed = ", ".join(f'"{c}"' for c in here.columns(name)) if name in TABLES else "*"
                select = f"SELECT {number}, {listed} FROM delta"
                tx.insert(here.schema, f"d{here.base}_{name}", select)
                tx.con.unregister("delta")
        conflicts.record(tx, change.suspects)
        tx.record(
            "commits",
            here.number,
            number,
            self._lake.clock(),
            here.position.text(),
            target.text(),
            change.events,
            change.repeats,
        )
        return Commit(number, change.events, change.repeats, target)


class _MovedError(Exception):
    """The generation moved, or a batch asked for a cut, while a commit was prepared."""


def _allowed(line: Generation, goal: Position) -> Position:
    """How far a commit may go on the way to `goal`: not beyond a cut that a batch waits for.

    Not how many events it takes: that rounds, so to ask it twice could give two answers.
    """
    end, cut = goal, line.wanted_cut
    if cut is not None and not line.position.covers(cut):
        end = end.lowest(cut)
    return end.highest(line.position)
