"""What is rejected on its way into quarantine: listed once, and counted each time it comes.

An entry is known by its bytes, its origin and its reason. A conflict has a place of its own each
time: it is known by its reason and its bytes, without the mark of the import that brought it. What
is known gets a row in `sys.quarantine_sightings`.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa

from headrace.pipelines.errors import DamageError
from headrace.pipelines.lake import checksums, tables
from headrace.pipelines.lake.connect import literal
from headrace.schemas.strict_json import unmarked

if TYPE_CHECKING:
    from headrace.pipelines.lake.connection import Connection
    from headrace.pipelines.lake.transaction import Transaction
    from headrace.schemas.decode import Rejected

SIGHTINGS = "quarantine_sightings"


class Reject(NamedTuple):
    """What is to be in quarantine, under `id` if it is new there."""

    id: str
    origin: str
    reason: str
    raw: bytes


def quarantine(
    tx: Transaction, rejected: Sequence[Rejected], origins: Sequence[str], now: datetime
) -> int:
    """Put rejected events there, in the unit of work that takes in the others.

    Returns:
        How many of them were there already: these are counted, and not listed again.
    """
    coming = [Reject(uuid.uuid4().hex[:12], origins[r.index], r.reason, r.raw) for r in rejected]
    return put(tx, coming, now, by_origin=True)


def put(tx: Transaction, coming: Sequence[Reject], now: datetime, *, by_origin: bool) -> int:
    """List what is new and count what is known; gives how many are.

    Args:
        tx: the unit of work.
        coming: what came, in its order.
        now: when.
        by_origin: the same from another place is another entry.
    """
    known = _known(tx.lake, coming, by_origin=by_origin)
    fresh: list[Reject] = []
    seen: Counter[tuple[str, str]] = Counter()
    for reject in coming:
        key = _key(reject, by_origin=by_origin)
        if key in known:
            seen[known[key], reject.origin] += 1
        else:
            known[key] = reject.id
            fresh.append(reject)
    if fresh:
        _insert(tx, "quarantine", _table(fresh, now))
    if seen:
        tables.complete(tx, SIGHTINGS)
        sighted = pa.table(
            {
                "id": pa.array([entry for entry, _ in seen]),
                "at": pa.array([now] * len(seen), pa.timestamp("us")),
                "origin": pa.array([origin for _, origin in seen]),
                "times": pa.array(list(seen.values()), pa.int64()),
            }
        )
        _insert(tx, SIGHTINGS, sighted)
    return seen.total()


_Key = tuple[str | None, str, bytes]


def _key(reject: Reject, *, by_origin: bool) -> _Key:
    if by_origin:
        return (reject.origin, reject.reason, reject.raw)
    return (None, reject.reason, unmarked(reject.raw))


def _known(lake: Connection, coming: Sequence[Reject], *, by_origin: bool) -> dict[_Key, str]:
    """Which of these are in quarantine, and under which id.

    Where the quarantine cannot be read, none is: to list one twice loses nothing.
    """
    try:
        checksums.check(lake, {("sys", "quarantine")})
    except DamageError:
        return {}
    if not by_origin:
        return _known_conflicts(lake, {reject.reason for reject in coming})
    lake.con.register("rejected", _table(coming, None))
    try:
        # Bytes are compared only if there are candidates: most often nothing came before, and then
        # the largest column is not read.
        near = (
            "FROM sys.quarantine AS q JOIN rejected AS r "
            "ON q.reason = r.reason AND q.origin = r.origin"
        )
        if not lake.row(f"SELECT count(*) {near}")[0]:
            return {}
        found = lake.rows(f"SELECT r.n, min(q.id) {near} AND q.raw = r.raw GROUP BY r.n")
    finally:
        lake.con.unregister("rejected")
    return {_key(coming[n], by_origin=True): entry for n, entry in found}


def _known_conflicts(lake: Connection, reasons: set[str]) -> dict[_Key, str]:
    """The conflicts with these reasons: with the same events, that is."""
    listed = ", ".join(map(literal, sorted(reasons)))
    found = lake.rows(
        f"SELECT id, reason, raw FROM sys.quarantine WHERE reason IN ({listed}) "
        "ORDER BY recorded_at DESC, id DESC"
    )
    return {(None, reason, unmarked(raw)): entry for entry, reason, raw in found}


def _table(rejects: Sequence[Reject], now: datetime | None) -> pa.Table:
    """As the quarantine has them; without a time, each with its number."""
    first = (
        {"n": pa.array(range(len(rejects)), pa.int64())}
        if now is None
        else {
            "id": pa.array([r.id for r in rejects]),
            "at": pa.array([now] * len(rejects), pa.timestamp("us")),
        }
    )
    return pa.table(
        {
            **first,
            "origin": pa.array([r.origin for r in rejects]),
            "reason": pa.array([r.reason for r in rejects]),
            "raw": pa.array([r.raw for r in rejects], pa.large_binary()),
        }
    )


def _insert(tx: Transaction, name: str, rows: pa.Table) -> None:
    tx.con.register("coming", rows)
    try:
        tx.insert("sys", name, "SELECT * FROM coming")
    finally:
        tx.con.unregister("coming")
