"""The entries of the quarantine, read: bytes, origin and reason of each, and what became of it.

Nothing leaves it. An entry is open until it gets an outcome: it was accepted on a retry, a
corrected line was accepted in its place, or a person discarded it. The bytes stay in any case.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from headrace.pipelines.errors import UsageError
from headrace.pipelines.lake import checksums, tables
from headrace.pipelines.lake.connect import literal
from headrace.pipelines.log import reasons
from headrace.pipelines.log.conflicts import CONFLICT

if TYPE_CHECKING:
    from headrace.pipelines.lake.lake import Lake

_AT_ONCE = 1_000
"""Entries that are held in memory, with their bytes, where all of them are gone through."""
_SIGHTINGS = (
    "(SELECT id, sum(times)::BIGINT AS times, max(recorded_at) AS last "
    "FROM sys.quarantine_sightings GROUP BY id)"
)
_DECISIONS = "sys.quarantine_decisions"
_NOBODY_SAW = "(SELECT NULL::VARCHAR AS id, 0::BIGINT AS times, NULL::TIMESTAMP AS last LIMIT 0)"
_NOBODY_SAID = "(SELECT NULL::VARCHAR AS id, NULL::VARCHAR AS who, NULL::VARCHAR AS reason LIMIT 0)"
_ORDER = "ORDER BY q.recorded_at, length(q.origin), q.origin, q.id"


@dataclass(frozen=True)
class Entry:
    """One rejected event. `raw` is exactly what came in.

    `seen` is how often it came, `last_seen` when last. A closed one has an `outcome` (`accepted`,
    `corrected` or `discarded`), `closed_at`, and where a person decided it, `who` and `why`.
    """

    id: str
    recorded_at: datetime
    origin: str
    reason: str
    raw: bytes
    seen: int
    last_seen: datetime
    outcome: str | None
    closed_at: datetime | None
    who: str | None
    why: str | None

    @property
    def is_conflict(self) -> bool:
        """Whether it is in the log already, and only its content is not what came first."""
        return self.reason.startswith(CONFLICT)


@dataclass(frozen=True)
class Selection:
    """Which entries: by id (or its beginning), by reason and by origin; all that is said must hold.

    In `reason_like`, `%` and `…` stand for anything. `origin` is a whole origin, or one without its
    line.
    """

    ids: Sequence[str] = ()
    reason_like: str | None = None
    origin: str | None = None

    @property
    def empty(self) -> bool:
        """Whether nothing is said."""
        return not self.ids and self.reason_like is None and self.origin is None

    def takes(self, origin: str, reason: str) -> bool:
        """Whether an entry is meant, but for its id."""
        return (
            self.reason_like is None or reasons.matches(self.reason_like, reason)
        ) and self.origin in {None, origin, reasons.origin_class(origin)}


def entries(lake: Lake, *, limit: int | None = None, closed: bool = False) -> list[Entry]:
    """The open entries, oldest first; with `closed`, the others as well."""
    cut = "" if limit is None else f"LIMIT {int(limit)}"
    _check(lake)
    return [Entry(*row) for row in lake.rows(f"{_select(lake, closed=closed)} {_ORDER} {cut}")]


def each(lake: Lake, ids: Sequence[str]) -> Iterator[Entry]:
    """These entries, oldest first, without all of them in memory."""
    _check(lake)
    for start in range(0, len(ids), _AT_ONCE):
        listed = ", ".join(map(literal, ids[start : start + _AT_ONCE]))
        sql = f"{_select(lake, closed=True)} AND q.id IN ({listed}) {_ORDER}"
        yield from (Entry(*row) for row in lake.rows(sql))


def closed(lake: Lake, ids: Sequence[str]) -> dict[str, bool]:
    """Which of these entries are closed; those that are not there are left out."""
    _check(lake)
    found: dict[str, bool] = {}
    for start in range(0, len(ids), _AT_ONCE):
        listed = ", ".join(map(literal, ids[start : start + _AT_ONCE]))
        columns = "q.id, o.id IS NOT NULL"
        sql = f"{_select(lake, columns, closed=True)} AND q.id IN ({listed})"
        found.update(lake.rows(sql))
    return found


def count(lake: Lake, *, closed: bool = False) -> int:
    """How many entries are open; with `closed`, how many there are."""
    _check(lake)
    return int(lake.row(f"SELECT count(*) FROM ({_select(lake, 'q.id', closed=closed)})")[0])


def oldest(lake: Lake) -> datetime | None:
    """When the open entry came that waits for the longest; None if none is open."""
    _check(lake)
    found: datetime | None = lake.row(_select(lake, "min(q.recorded_at)"))[0]
    return found


def older(lake: Lake, than: datetime) -> int:
    """How many open entries came before a time."""
    _check(lake)
    select = f"{_select(lake, 'count(*)')} AND q.recorded_at < {literal(than)}"
    return int(lake.row(select)[0])


def find(lake: Lake, entry_id: str) -> Entry:
    """One entry, by its id or the beginning of it.

    Raises:
        UsageError: there is none, or several.
    """
    _check(lake)
    select = _select(lake, closed=True)
    found = lake.rows(f"{select} AND starts_with(q.id, {literal(entry_id)}) LIMIT 2")
    exact = lake.rows(f"{select} AND q.id = {literal(entry_id)}") if len(found) > 1 else found
    if len(exact) != 1:
        what = "several entries" if found else "no entry"
        raise UsageError(f"{what} with id {entry_id!r}; `headrace quarantine ls` lists them")
    return Entry(*exact[0])


def chosen(lake: Lake, selection: Selection) -> list[str]:
    """The ids of the open entries that are meant, oldest first; of all, if nothing is said.

    Raises:
        UsageError: an id is of no entry or of several, or its entry is closed; or there is
            something said, and no open entry is like that.
    """
    named = [find(lake, entry_id) for entry_id in selection.ids]
    for entry in named:
        if entry.outcome is not None:
            raise UsageError(
                f"the entry {entry.id} is closed: it was {entry.outcome} at "
                f"{entry.closed_at} UTC; `headrace quarantine show {entry.id}` shows it"
            )
    found = [
        (entry.id, entry.origin, entry.reason) for entry in named
    ] if named else list(_open(lake))  # fmt: skip
    ids = [entry_id for entry_id, origin, reason in found if selection.takes(origin, reason)]
    if not ids and not selection.empty:
        raise UsageError(
            "no open entry is like that; `headrace quarantine summary` shows reasons and origins"
        )
    return list(dict.fromkeys(ids))


def rows(lake: Lake, columns: str) -> Iterator[tuple[Any, ...]]:
    """Columns of the open entries, oldest first, read as they are needed.

    `q` has the quarantine's own columns, `s` has `times` and `last` of the sightings.
    """
    _check(lake)
    found = lake.con.execute(f"{_select(lake, columns)} {_ORDER}")
    while batch := found.fetchmany(_AT_ONCE):
        yield from batch


def _open(lake: Lake) -> Iterator[tuple[Any, ...]]:
    return rows(lake, "q.id, q.origin, q.reason")


def _check(lake: Lake) -> None:
    names = ["quarantine", "quarantine_outcomes", "quarantine_sightings", "quarantine_decisions"]
    checksums.check(lake, [("sys", name) for name in names])


def _select(lake: Lake, columns: str | None = None, *, closed: bool = False) -> str:
    """SELECT of entries, with a WHERE; a home of an earlier version may lack two of the tables."""
    sightings = _SIGHTINGS if tables.there(lake, "quarantine_sightings") else _NOBODY_SAW
    decisions = _DECISIONS if tables.there(lake, "quarantine_decisions") else _NOBODY_SAID
    wanted = columns or (
        "q.id, q.recorded_at, q.origin, q.reason, q.raw, 1 + coalesce(s.times, 0) AS seen, "
        "coalesce(s.last, q.recorded_at) AS last_seen, o.outcome, o.recorded_at AS closed_at, "
        "d.who, d.reason AS why"
    )
    return (
        f"SELECT {wanted} FROM sys.quarantine AS q "
        "LEFT JOIN sys.quarantine_outcomes AS o ON o.id = q.id "
        f"LEFT JOIN {sightings} AS s ON s.id = q.id LEFT JOIN {decisions} AS d ON d.id = q.id "
        f"WHERE {'true' if closed else 'o.id IS NULL'}"
    )
