"""Conflicts: events redelivered with other content than the first time.

The fold counts the first delivery and nothing else. Whoever first passes the later one, the speed
layer or a batch, lists it in quarantine in its own transaction, once. The same other content that
comes again is the same entry, seen again.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from headrace.pipelines.fold.redeliveries import Suspect
from headrace.pipelines.lake import checksums, tables
from headrace.pipelines.lake.connect import literal
from headrace.pipelines.lake.connection import Connection
from headrace.pipelines.lake.transaction import Transaction
from headrace.pipelines.position import Position

CONFLICT = "conflict: "
"""How the reason of a quarantined conflict begins."""
_ORIGIN = "log partition "

_SAME_EVENT = "f.order_id = a.order_id AND f.source = a.source AND f.id = a.id"


def in_log(lake: Connection, start: Position, end: Position) -> list[Suspect]:
    """Suspects from `start` up to `end`, found by reading the log's keys up to `end`."""
    from headrace.pipelines.log.scan import between

    zero = Position.zero(len(end.offsets))
    log = f"(SELECT * FROM sys.events WHERE {between(zero, end)})"
    rows = lake.rows(f"""
        WITH again AS (
          SELECT order_id, source, id, "partition", "offset", digest
          FROM sys.events WHERE {between(start, end)}
        ), firsts AS (
          SELECT f.order_id, f.source, f.id, min(f."offset") AS "offset",
            arg_min(f.digest, f."offset") AS digest
          FROM {log} AS f SEMI JOIN again AS a ON {_SAME_EVENT}
          GROUP BY f.order_id, f.source, f.id HAVING count(*) > 1
        )
        SELECT a."partition", a."offset", f."offset" FROM again AS a JOIN firsts AS f
        ON {_SAME_EVENT} WHERE a."offset" > f."offset" AND a.digest <> f.digest
        ORDER BY ALL""")
    return [Suspect(*row) for row in rows]


def record(tx: Transaction, suspects: Sequence[Suspect]) -> int:
    """List real conflicts in quarantine; gives how many are new there.

    A redelivery that is written otherwise but says the same is no conflict.
    """
    if not suspects:
        return 0
    from headrace.pipelines.log import rejects
    from headrace.schemas.decode import same_content

    raws = _raw(tx.lake, suspects)
    listed = _listed(tx.lake)
    found = []
    for s in suspects:
        origin = f"{_ORIGIN}{s.partition} offset {s.offset}"
        raw = raws[s.partition, s.offset]
        if origin in listed or same_content(raw, raws[s.partition, s.first]):
            continue
        reason = (
            f"{CONFLICT}source and id are those of the event at partition {s.partition} offset "
            f"{s.first}, but the content differs; the first delivery counts, this one does not"
        )
        name = f"c{s.partition}-{s.offset}"
        found.append(rejects.Reject(name, origin, reason, raw.encode()))
    if not found:
        return 0
    return len(found) - rejects.put(tx, found, tx.lake.clock(), by_origin=False)


def _listed(lake: Connection) -> set[str]:
    """The places of the later deliveries that are listed, or counted, already."""
    select = f"SELECT origin FROM sys.quarantine WHERE starts_with(reason, {literal(CONFLICT)})"
    if tables.there(lake, "quarantine_sightings"):
        select += (
            " UNION SELECT origin FROM sys.quarantine_sightings "
            f"WHERE starts_with(origin, {literal(_ORIGIN)})"
        )
    return {row[0] for row in lake.rows(select)}


def _raw(lake: Connection, suspects: Sequence[Suspect]) -> dict[tuple[int, int], str]:
    import pyarrow as pa

    places = sorted({(s.partition, o) for s in suspects for o in (s.offset, s.first)})
    low, high = [sys.maxsize] * lake.home.partitions, [0] * lake.home.partitions
    for partition, offset in places:
        low[partition] = min(low[partition], offset)
        high[partition] = max(high[partition], offset + 1)
    checksums.check_log(lake, Position(tuple(low)), Position(tuple(high)))
    wanted = pa.table(
        {
            "partition": pa.array([p for p, _ in places], pa.int32()),
            "offset": pa.array([o for _, o in places], pa.int64()),
        }
    )
    lake.con.register("places", wanted)
    try:
        rows = lake.rows(
            'SELECT e."partition", e."offset", e.raw FROM sys.events AS e SEMI JOIN places AS w '
            'ON e."partition" = w."partition" AND e."offset" = w."offset"'
        )
    finally:
        lake.con.unregister("places")
    return {(p, o): raw for p, o, raw in rows}
