"""The quarantine: what could not be accepted, with its bytes, its origin and the reason.

Nothing leaves it. An entry that was accepted on a retry gets an outcome; one that was refused
again stays open.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from headrace.pipelines.errors import UsageError
from headrace.pipelines.lake import checksums
from headrace.pipelines.lake.connect import literal
from headrace.pipelines.lake.lake import Lake
from headrace.pipelines.log.conflicts import CONFLICT
from headrace.pipelines.log.embedded import Log
from headrace.pipelines.log.port import Appended

_OPEN = (
    "SELECT id, recorded_at, origin, reason, raw FROM sys.quarantine AS q WHERE NOT EXISTS "
    "(SELECT 1 FROM sys.quarantine_outcomes AS o WHERE o.id = q.id)"
)

_STORED = (("sys", "quarantine"), ("sys", "quarantine_outcomes"))


@dataclass(frozen=True)
class Entry:
    """One rejected event. `raw` is exactly what came in."""

    id: str
    recorded_at: datetime
    origin: str
    reason: str
    raw: bytes


def entries(lake: Lake, *, limit: int | None = None) -> list[Entry]:
    """The open entries, oldest first."""
    checksums.check(lake, _STORED)
    cut = "" if limit is None else f" LIMIT {int(limit)}"
    return [
        Entry(*row)
        for row in lake.rows(f"{_OPEN} ORDER BY recorded_at, length(origin), origin, id{cut}")
    ]


def count(lake: Lake) -> int:
    """How many entries are open."""
    checksums.check(lake, _STORED)
    return int(lake.row(f"SELECT count(*) FROM ({_OPEN})")[0])


def find(lake: Lake, entry_id: str) -> Entry:
    """One entry, by its id or the beginning of it.

    Raises:
        UsageError: there is none, or several.
    """
    checksums.check(lake, _STORED)
    found = lake.rows(
        "SELECT id, recorded_at, origin, reason, raw FROM sys.quarantine "
        f"WHERE starts_with(id, {literal(entry_id)})"
    )
    if len(found) != 1:
        what = "no entry" if not found else f"{len(found)} entries"
        raise UsageError(f"{what} with id {entry_id!r}; `headrace quarantine ls` lists them")
    return Entry(*found[0])


def retry(lake: Lake, ids: list[str] | None = None) -> Appended:
    """Decode open entries again and append those that are accepted now, in one unit of work.

    Args:
        lake: where they are.
        ids: which entries; all that are open by default. Conflicts are never retried: their
            event is in the log already.
    """
    from headrace.pipelines.log.binding import open_log
    from headrace.schemas.decode import decode

    chosen = [find(lake, i) for i in ids] if ids else entries(lake)
    chosen = [entry for entry in chosen if not entry.reason.startswith(CONFLICT)]
    decoded = decode([e.raw for e in chosen], max_event_bytes=lake.settings.max_event_bytes)
    accepted = [chosen[int(i)] for i in decoded.indices]
    if lake.log_kind == "kafka" and accepted:
        # Produced first: if this dies before the outcomes are written, the events come in twice
        # at the next retry, and count once.
        with open_log(lake) as topic:
            topic.append([entry.raw for entry in accepted], [entry.origin for entry in accepted])
        decoded = replace(decoded, events=decoded.events.slice(0, 0))
    log = Log(lake)
    with lake.writing("quarantine") as tx:
        resolved = {row[0] for row in lake.rows("SELECT id FROM sys.quarantine_outcomes")}
        if any(entry.id in resolved for entry in accepted):
            raise UsageError("some of these entries were retried already; list them again")
        appended = log.record(tx, decoded.events, [], [f"quarantine {e.id}" for e in accepted])
        if accepted:
            listed = ", ".join(f"('{entry.id}')" for entry in accepted)
            now = literal(lake.clock())
            select = f"SELECT id, {now}, 'accepted' FROM (VALUES {listed}) AS t(id)"
            tx.insert("sys", "quarantine_outcomes", select)
    return Appended(len(accepted), len(decoded.rejected), appended.position)
