"""One order: its state, its ledger and its events, now or as of an earlier position of the log.

All of it is folded from the order's events. At the position that is served, it must be what is
served; if it is not, that is said.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import duckdb

from headrace.pipelines.errors import UsageError
from headrace.pipelines.generations import registry
from headrace.pipelines.lake import checksums
from headrace.pipelines.lake.connect import literal
from headrace.pipelines.lake.guarded_sql import plain
from headrace.pipelines.log.embedded import Log
from headrace.pipelines.serving import order_events
from headrace.pipelines.serving.explanation import Listed
from headrace.schemas.tables import TABLES

if TYPE_CHECKING:
    from headrace.pipelines.generations.generation import Generation
    from headrace.pipelines.lake.lake import Lake
    from headrace.pipelines.position import Position


@dataclass(frozen=True)
class OrderHistory:
    """What one order is, and what made it so.

    Attributes:
        order_id: which order.
        state: its row of `orders`, column to value.
        ledger: its rows of `ledger`.
        events: its events, each with what is odd about it.
        as_served: whether state and ledger are what is served; None at another position.
        cut: where the base ends.
        position: the position at which all of this is true.
        logic: the logic version.
        generation: which generation it is of.
    """

    order_id: str
    state: Mapping[str, Any]
    ledger: Listed
    events: Listed
    as_served: bool | None
    cut: Position
    position: Position
    logic: str
    generation: int

    def as_json(self) -> dict[str, Any]:
        """What `order show --json` prints."""
        return {
            "order_id": self.order_id,
            "state": {name: plain(value) for name, value in self.state.items()},
            "ledger": self.ledger.as_json(),
            "events": self.events.as_json(),
            "as_served": self.as_served,
            "cut": self.cut.as_dict(),
            "position": self.position.as_dict(),
            "logic": self.logic,
            "generation": self.generation,
        }


def order_history(lake: Lake, order_id: str, at: Position | None = None) -> OrderHistory:
    """Read one order's state, ledger and events.

    Args:
        lake: where.
        order_id: which order.
        at: a position of the log; by default the one that is served.

    Raises:
        UsageError: there are no events of such an order below the position.
        LogError: the log does not reach that far.
        SeamError, DamageError: what is served does not fit together, or is damaged.
    """
    with lake.reading():
        line = registry.trusted(registry.read(lake))
        position = line.position if at is None else at
        Log(lake).check(position)
        checksums.check(lake, {("sys", "events"), *line.stored(*TABLES)})
        try:
            order_events.refold(lake, f"SELECT {literal(order_id)}", position)
            return _history(lake, line, order_id, position)
        finally:
            with contextlib.suppress(duckdb.TransactionException):  # its rollback drops them
                order_events.drop(lake)


def _history(lake: Lake, line: Generation, order_id: str, position: Position) -> OrderHistory:
    events = _listed(lake, f'{order_events.marked(line.cut)} ORDER BY e."offset"')
    if not events.total:
        raise UsageError(
            f'there is no order {order_id!r} below {position}; `headrace query "SELECT order_id '
            'FROM orders"` shows those that there are'
        )
    found = {name: order_events.rows(name, line.columns(name)) for name in TABLES}
    state, ledger = (_listed(lake, f"{found[n]} ORDER BY ALL") for n in ("orders", "ledger"))
    same = None
    if position == line.position:
        same = all(
            _equal(lake, found[name], f"{_of(line, name)} WHERE order_id = {literal(order_id)}")
            for name in TABLES
        )
    return OrderHistory(
        order_id=order_id,
        state=dict(zip(state.columns, state.rows[0], strict=True)) if state.rows else {},
        ledger=ledger,
        events=events,
        as_served=same,
        cut=line.cut,
        position=position,
        logic=line.logic,
        generation=line.number,
    )


def _of(line: Generation, name: str) -> str:
    return f"SELECT * FROM ({line.select(name)})"


def _equal(lake: Lake, one: str, other: str) -> bool:
    (differ,) = lake.row(
        f"SELECT count(*) FROM ((({one}) EXCEPT ALL ({other})) "
        f"UNION ALL (({other}) EXCEPT ALL ({one})))"
    )
    return int(differ) == 0


def _listed(lake: Lake, select: str) -> Listed:
    cursor = lake.con.execute(select)
    columns = tuple(column[0] for column in cursor.description or ())
    rows = tuple(cursor.fetchall())
    return Listed(columns, rows, len(rows))
