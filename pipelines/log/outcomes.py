"""What becomes of quarantined entries: accepted on a retry, corrected, or discarded.

The events that go in and the outcomes of their entries are one unit of work, so that each goes in
once, whatever dies. To a topic, they are sent before: if it dies in between, the events come in
again at the next retry, and count once.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from headrace.pipelines.errors import UsageError
from headrace.pipelines.lake import tables
from headrace.pipelines.log import entries
from headrace.pipelines.log.embedded import Log

if TYPE_CHECKING:
    from headrace.pipelines.lake.lake import Lake
    from headrace.pipelines.lake.transaction import Transaction
    from headrace.pipelines.log.entries import Entry

_BATCH_BYTES = 64 << 20
ACCEPTED, CORRECTED, DISCARDED = "accepted", "corrected", "discarded"


@dataclass(frozen=True)
class Attempt:
    """A line that is tried in the place of an entry; `why` says where a corrected one came from."""

    entry: Entry
    line: bytes
    why: str = ""

    @property
    def edited(self) -> bool:
        """Whether it differs from what came in."""
        return self.line != self.entry.raw


@dataclass
class Tried:
    """What a retry did: `corrected` of the accepted ones were edited, `closed` ones were before.

    `refused` has the id of each entry that stays open, and why its line is not accepted.
    `conflicts` are those that were left alone: their event is in the log.
    """

    accepted: int = 0
    corrected: int = 0
    closed: int = 0
    conflicts: int = 0
    refused: list[tuple[str, str]] = field(default_factory=list)

    @property
    def quarantined(self) -> int:
        """How many stay open."""
        return len(self.refused)


def retry(lake: Lake, ids: Sequence[str]) -> Tried:
    """Try the entries again as they came in."""
    tried = Tried()
    attempts = (Attempt(entry, entry.raw) for entry in entries.each(lake, ids))
    try_all(lake, attempts, tried, by="")
    return tried


def try_all(lake: Lake, attempts: Iterable[Attempt], tried: Tried, *, by: str) -> None:
    """Append what is accepted now and close its entries, batch by batch; each is durable.

    Args:
        lake: where they are.
        attempts: an entry each. Conflicts that nobody edited are left alone.
        tried: what is done is added to it.
        by: who corrected them.

    Raises:
        UsageError: somebody else closed one of them meanwhile. Nothing of its batch was recorded.
    """
    for batch in _batches(attempts, lake.settings.append_events):
        left = [a for a in batch if not a.entry.is_conflict or a.edited]
        tried.conflicts += len(batch) - len(left)
        _try(lake, left, tried, by)


def discard(lake: Lake, ids: Sequence[str], *, by: str, reason: str) -> int:
    """Close entries without an event, in one unit of work."""
    if not reason.strip():
        raise UsageError("a reason is needed: say why these entries are discarded, with --reason")
    if not ids:
        return 0
    with lake.writing("quarantine") as tx:
        _close(tx, [(entry, DISCARDED) for entry in ids])
        _decide(tx, [(entry, by, reason) for entry in ids])
    return len(ids)


def _batches(attempts: Iterable[Attempt], size: int) -> Iterator[list[Attempt]]:
    batch: list[Attempt] = []
    held = 0
    for attempt in attempts:
        batch.append(attempt)
        held += len(attempt.line) + len(attempt.entry.raw)
        if len(batch) >= size or held >= _BATCH_BYTES:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch


def _try(lake: Lake, attempts: Sequence[Attempt], tried: Tried, by: str) -> None:
    from headrace.pipelines.log.binding import open_log
    from headrace.schemas.decode import decode

    decoded = decode([a.line for a in attempts], max_event_bytes=lake.settings.max_event_bytes)
    tried.refused += [(attempts[r.index].entry.id, r.reason) for r in decoded.rejected]
    accepted = [attempts[int(i)] for i in decoded.indices]
    if not accepted:
        return
    edited = [a for a in accepted if a.edited]
    origins = [f"quarantine {a.entry.id}" for a in accepted]
    if lake.log_kind == "kafka":
        with open_log(lake) as topic:
            topic.append([a.line for a in accepted], origins)
        decoded = replace(decoded, events=decoded.events.slice(0, 0))
    with lake.writing("quarantine") as tx:
        Log(lake).record(tx, decoded.events, [], origins)
        _close(tx, [(a.entry.id, CORRECTED if a.edited else ACCEPTED) for a in accepted])
        _decide(tx, [(a.entry.id, by, a.why) for a in edited])
    tried.accepted += len(accepted)
    tried.corrected += len(edited)


def _close(tx: Transaction, outcomes: Sequence[tuple[str, str]]) -> None:
    """Give entries their outcome, unless somebody else did meanwhile."""
    closed = {row[0] for row in tx.lake.rows("SELECT id FROM sys.quarantine_outcomes")}
    again = [entry for entry, _ in outcomes if entry in closed]
    if again:
        raise UsageError(
            f"the entry {again[0]} was closed meanwhile, and nothing of this was recorded; list "
            "them again"
        )
    now = tx.lake.clock()
    _insert(tx, "quarantine_outcomes", [(entry, now, outcome) for entry, outcome in outcomes])


def _decide(tx: Transaction, decisions: Sequence[tuple[str, str, str]]) -> None:
    """Record who decided, and why."""
    if decisions:
        tables.complete(tx, "quarantine_decisions")
        now = tx.lake.clock()
        _insert(tx, "quarantine_decisions", [(entry, now, *said) for entry, *said in decisions])


def _insert(tx: Transaction, name: str, rows: Sequence[tuple[object, ...]]) -> None:
    import pyarrow as pa

    columns = list(itertools.zip_longest(*rows))
    types = [pa.string(), pa.timestamp("us"), *[pa.string()] * (len(columns) - 2)]
    arrays = [pa.array(values, kind) for values, kind in zip(columns, types, strict=True)]
    tx.con.register("coming", pa.table(arrays, names=[f"c{n}" for n in range(len(columns))]))
    try:
        tx.insert("sys", name, "SELECT * FROM coming")
    finally:
        tx.con.unregister("coming")
