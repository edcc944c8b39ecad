"""The fuzzer's readers, and the judge of what they were told.

A reader asks for everything in one query, so all of it has one position: the answer's own. The
judge compares each cell with the oracle at that position.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from headrace.pipelines.errors import QueryError
from headrace.pipelines.position import Position
from headrace.pipelines.serving import query as serving
from headrace.pipelines.serving.query import Answer
from tests.fuzz.model import Model, Offsets, Totals
from tests.oracle import fold as oracle
from tests.oracle.fold import Table

_BUILT_IN = {"orders", "ledger", *oracle.VIEWS} - set(oracle.USER_VIEWS)
_KEYS = {"orders": 1, "order_funnel": 1, "ledger": len(oracle.LEDGER)}
"""Columns of the key; two for all others."""
_PAUSE = 0.02
"""Seconds between two questions of the watcher, at least. It rests as long as it has worked."""
AT_ONCE = 3
"""Tables of one question where all would take too long: each costs 10 to 20 ms, two can be torn."""
_NAMES = (
    "SELECT list(table_name ORDER BY table_name) FROM information_schema.tables "
    "WHERE table_catalog = 'lake' AND table_schema = 'main' AND table_type = 'VIEW'"
)
_CONFLICTS = (
    "SELECT id AS name FROM sys.quarantine WHERE reason LIKE 'conflict: %' UNION ALL "
    "SELECT regexp_replace(origin, 'log partition (\\d+) offset (\\d+)', 'c\\1-\\2') "
    "FROM sys.quarantine_sightings WHERE origin LIKE 'log partition %'"
)
"""Those that are listed, and those of the same content that were seen again."""
_EXTRAS = {
    "names": f"({_NAMES})",
    "log_end": "(SELECT position FROM sys.appends ORDER BY append_no DESC LIMIT 1)",
    "accepted": "(SELECT coalesce(sum(accepted), 0)::BIGINT FROM sys.appends)",
    "quarantined": "(SELECT coalesce(sum(quarantined), 0)::BIGINT FROM sys.appends)",
    "conflicts": f"(SELECT list(name) FROM ({_CONFLICTS}))",
}


@dataclass(frozen=True)
class Failure:
    """What went wrong. Two failures are the same if `kind` and `where` are.

    Only a wrong cell is like any other: in which table a reader meets it first is chance.
    """

    kind: str
    where: str
    text: str

    def same(self, other: Failure | None) -> bool:
        """Whether both went wrong in the same way."""
        if other is None or self.kind != other.kind:
            return False
        return self.kind == "wrong" or self.where == other.where

    def __str__(self) -> str:
        return f"{self.kind}, {self.where}: {self.text}"


class FailedError(Exception):
    """The fuzzer found something."""

    def __init__(self, kind: str, where: str, text: str) -> None:
        super().__init__(text)
        self.failure = Failure(kind, where, text)


@dataclass(frozen=True)
class Told:
    """What one reader was told at once: all tables, and the log and quarantine beside them."""

    position: Position
    generation: int
    tables: dict[str, list[dict[str, Any]]]
    totals: Totals
    conflicts: frozenset[str]
    names: frozenset[str]


class Reader:
    """A connection that asks for everything, and never sees the log go backwards."""

    def __init__(self, name: str, home: Path, partitions: int) -> None:
        self.name = name
        self._home = home
        self._served = serving.connect(home, threads=1)
        self._zero = Position.zero(partitions)
        self._names: tuple[str, ...] = tuple(sorted(_BUILT_IN))
        self._last = self._zero

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._served.close()

    def reopen(self) -> None:
        """Go on over a new connection."""
        self._served.close()
        self._served = serving.connect(self._home, threads=1)

    def ask(self, first: int = 0, most: int | None = None) -> Answer:
        """The answer to everything; the same object while nothing has changed.

        Args:
            first: the table to begin with, counted round and round.
            most: tables to ask for; all of them by default.
        """
        for _ in range(3):
            start = first % len(self._names)
            asked = (self._names[start:] + self._names[:start])[:most]
            try:
                answer = self._served.query(_everything(asked))
            except QueryError:
                # A view that is gone fails the query; a second question says what there is.
                (found,) = self._served.query(_NAMES).rows
                if tuple(found[0]) == self._names:
                    raise
                self._names = tuple(found[0])
                continue
            here = tuple(answer.rows[0][answer.columns.index("names")])
            if here == self._names:
                return answer
            self._names = here
        raise QueryError(f"the views of {self.name} change faster than they can be read")

    def understood(self, answer: Answer) -> Told:
        """An answer taken apart.

        Raises:
            FailedError: it stands before one that this reader was given earlier.
        """
        row = dict(zip(answer.columns, answer.rows[0], strict=True))
        if not answer.position.covers(self._last) or not answer.position.covers(answer.cut):
            raise FailedError(
                "backwards",
                self.name,
                f"at {answer.position} on a base at {answer.cut}, after {self._last}",
            )
        self._last = answer.position
        end = self._zero if row["log_end"] is None else Position.parse(row["log_end"])
        tables = {name: row[f"t_{name}"] or [] for name in row["names"] if f"t_{name}" in row}
        return Told(
            answer.position,
            answer.generation,
            tables,
            Totals(end.offsets, row["accepted"], row["quarantined"]),
            frozenset(row["conflicts"] or ()),
            frozenset(row["names"]),
        )

    def raw(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of another query."""
        return list(self._served.query(sql).rows)


class Watcher:
    """Opens a connection and asks on and on, in a thread of its own, while a step happens.

    What it was told is judged when the step is over.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.answers: list[Answer] = []
        self.refusals: list[Exception] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        first, worked = 0, 0.0
        while first == 0 or not self._over.wait(max(_PAUSE, worked)):
            started = time.monotonic()
            try:
                if first == 0:
                    self._reader.reopen()
                first += AT_ONCE
                answer = self._reader.ask(first, AT_ONCE)
            except Exception as e:  # noqa: BLE001 - judged when the step is over
                self.refusals.append(e)
            else:
                if not any(answer is known for known in self.answers[-10:]):
                    self.answers.append(answer)
            worked = time.monotonic() - started


def judge(told: Told, model: Model, reader: str) -> int:
    """Compare everything that a reader was told with the oracle; gives the cells compared.

    Raises:
        FailedError: a cell differs, or the position is none of this log.
    """
    position: Offsets = told.position.offsets
    if not model.holds(position):
        raise FailedError(
            "beyond", reader, f"at {told.position}, the log ends at {model.totals().end}"
        )
    missing = _BUILT_IN - told.names
    if missing:
        raise FailedError("missing", reader, f"no {', '.join(sorted(missing))}")
    expected = model.tables(position)
    cells = 0
    for name, rows in told.tables.items():
        found = difference(name, rows, expected[name])
        if found is not None:
            raise FailedError("wrong", name, f"{found}, at {told.position}, told to {reader}")
        cells += len(rows) * len(expected[name].columns)
    must, may = model.conflicts(position), model.conflicts(model.totals().end)
    if not must <= told.conflicts <= may:
        wrong = sorted((must - told.conflicts) | (told.conflicts - may))
        raise FailedError("wrong", "quarantine", f"conflicts {wrong}, at {told.position}")
    return cells


def difference(name: str, rows: Sequence[dict[str, Any]], expected: Table) -> str | None:
    """The first cell in which rows differ from what they should be, in words."""
    columns = expected.columns
    if rows and tuple(rows[0]) != columns:
        return f"columns {tuple(rows[0])} instead of {columns}"
    found = Counter(tuple(row.values()) for row in rows)
    if found == expected.rows:
        return None
    surplus, lacking = _sorted(found - expected.rows), _sorted(expected.rows - found)
    keys = _KEYS.get(name, 2)
    row = (surplus or lacking)[0]
    key = ", ".join(f"{c}={_shown(v)}" for c, v in zip(columns[:keys], row[:keys], strict=True))
    ours = next((r for r in surplus if r[:keys] == row[:keys]), None)
    theirs = next((r for r in lacking if r[:keys] == row[:keys]), None)
    if ours is None or theirs is None:
        what = "served, but should not be there" if theirs is None else "not served"
        times = max(found[row], expected.rows[row])
        return f"{name} [{key}]: {what} ({times} times, {found[row]} served)"
    n = next(n for n, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b)
    return f"{name} [{key}] {columns[n]}: served {_shown(ours[n])}, expected {_shown(theirs[n])}"


def _everything(names: Iterable[str]) -> str:
    parts = [f'(SELECT list(t) FROM "{name}" AS t) AS "t_{name}"' for name in names]
    parts += [f"{sql} AS {name}" for name, sql in _EXTRAS.items()]
    return f"SELECT {', '.join(parts)}"


def _sorted(rows: Counter[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return sorted(rows, key=lambda row: [str(value) for value in row])


def _shown(value: object) -> str:
    return "NULL" if value is None else str(value)
