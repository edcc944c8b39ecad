"""What is in the log by mistake, and the events that take it back.

Facts stay facts: nothing leaves the log. For each order an `EventsVoided` of the same source names
the events that count no longer, with a reason; the order without them is what the fold gives then.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from itertools import islice

import orjson

from headrace.pipelines.errors import UsageError
from headrace.pipelines.ingest.import_runs import VOIDED
from headrace.pipelines.ingest.ndjson import Line
from headrace.pipelines.lake import checksums
from headrace.pipelines.lake.connect import literal
from headrace.pipelines.lake.lake import Lake
from headrace.pipelines.log.binding import open_log
from headrace.pipelines.log.embedded import Log
from headrace.schemas.events import MAX_VOIDED
from headrace.schemas.strict_json import IMPORT_MARK

_MOST_BYTES = 500_000
"""Of the ids in one void: a line of the contract has at most twice as many."""


@dataclass(frozen=True)
class Voids:
    """Events to take back: by order and source, their ids in the order of the log.

    `known` events came with the import, but had been there before it: they stay. `gone` ones were
    taken back before.
    """

    import_id: str | None
    events: Sequence[tuple[str, str, Sequence[str]]]
    known: int = 0
    gone: int = 0

    @property
    def count(self) -> int:
        """How many events."""
        return sum(len(ids) for _, _, ids in self.events)

    @property
    def orders(self) -> int:
        """Of how many orders."""
        return len({order for order, _, _ in self.events})

    def lines(self, reason: str, now: datetime) -> list[Line]:
        """The `EventsVoided` lines, at the time `now` (UTC)."""
        return [
            Line(self._line(order, source, part, reason, now), f"void of {order}")
            for order, source, ids in self.events
            for part in _parts(ids)
        ]

    def _line(
        self, order: str, source: str, ids: Sequence[str], reason: str, now: datetime
    ) -> bytes:
        # Made of what it says: if it is sent twice, it is the same event.
        named = "\n".join([order, *ids]).encode(errors="surrogatepass")
        data = {"events": list(ids), "reason": reason}
        if self.import_id is not None:
            data["import"] = self.import_id
        return orjson.dumps(
            {
                "specversion": "1.0",
                "id": f"void-{blake2b(named, digest_size=8).hexdigest()}",
                "source": source,
                "type": "EventsVoided",
                "subject": order,
                "time": f"{now.isoformat()}Z",
                "data": data,
            }
        )


def find_voids(
    lake: Lake,
    *,
    import_id: str | None = None,
    order_id: str | None = None,
    source: str | None = None,
) -> Voids:
    """Find what an import run brought, or what a source said of an order; void events apart.

    Args:
        lake: whose log.
        import_id: of an import run: the events that were new with it.
        order_id: else, of an order,
        source: the events of this source.

    Raises:
        UsageError: there is nothing of the kind in the log, or the topic is ahead of it.
    """
    _check_read(lake)
    checksums.check(lake, {("sys", "events")})
    if import_id is not None:
        mark = literal(f'{IMPORT_MARK.decode()}{import_id}"')
        which, what = f"starts_with(raw, {mark})", f"no event of an import {import_id!r}"
        remedy = "`headrace log imports` lists them"
    else:
        which = f"order_id = {literal(order_id)} AND source = {literal(source)}"
        what = f"no event of the source {source!r} for the order {order_id!r}"
        remedy = f"`headrace log show --order {order_id}` lists what there is"
    rows = lake.rows(f"""
        WITH mine AS (
          SELECT order_id, source, id, min("offset") AS "offset" FROM sys.events
          WHERE {which} AND type <> 'EventsVoided' GROUP BY order_id, source, id
        ), earlier AS (
          SELECT DISTINCT m.order_id, m.source, m.id FROM mine AS m JOIN sys.events AS e
          ON m.order_id = e.order_id AND m.source = e.source AND m.id = e.id
          WHERE e."offset" < m."offset"
        ), taken AS ({VOIDED}), told AS (
          SELECT m.order_id, m.source, m.id, m."offset", e.id IS NOT NULL AS known,
            t.id IS NOT NULL AS gone
          FROM mine AS m
          LEFT JOIN earlier AS e USING (order_id, source, id)
          LEFT JOIN taken AS t USING (order_id, source, id)
        )
        SELECT order_id, source, list(id ORDER BY "offset") FILTER (WHERE NOT known AND NOT gone),
          count(*) FILTER (WHERE known), count(*) FILTER (WHERE gone AND NOT known)
        FROM told GROUP BY order_id, source ORDER BY order_id, source""")
    if not rows:
        raise UsageError(f"there is {what} in the log; {remedy}")
    return Voids(
        import_id,
        [(order, found, ids) for order, found, ids, _, _ in rows if ids],
        sum(row[3] for row in rows),
        sum(row[4] for row in rows),
    )


def _check_read(lake: Lake) -> None:
    """See that all of a topic is in the lake: what is not there could not be taken back."""
    if lake.log_kind == "embedded":
        return
    with open_log(lake) as topic:
        waiting = topic.end().total - Log(lake).end().total
    if waiting:
        raise UsageError(
            f"{waiting:,} offsets of the topic are not in the lake yet, and could hold what is to "
            "be taken back; run `headrace speed --once` first"
        )


def _parts(ids: Sequence[str]) -> Iterator[list[str]]:
    """The ids in lists that one event can hold."""
    coming = iter(ids)
    while part := list(islice(coming, 1)):
        size = len(part[0])
        for each in coming:
            part.append(each)
            size += len(each)
            if len(part) == MAX_VOIDED or 4 * size > _MOST_BYTES:
                break
        yield part
