"""The events of some orders, folded by themselves: what each of them did, and what came of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.pipelines.fold import fold
from headrace.pipelines.lake.connect import literal
from headrace.pipelines.log.embedded import Log
from headrace.pipelines.position import Position
from headrace.schemas.tables import TYPED_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headrace.pipelines.lake.lake import Lake

EVENTS = "refolded_events"
"""The temporary table of the events."""
_PREFIX = "refolded_"
_ODD = "CASE o.what WHEN 1 THEN 'redelivered' WHEN 2 THEN 'voided' WHEN 3 THEN 'placed again' END"
"""What the fold's step `odd` says of an event."""


def refold(lake: Lake, orders: str, position: Position) -> None:
    """Read the events of orders below a position, and fold them.

    Leaves temporary tables behind until `drop`.

    Args:
        lake: whose log; its files were checked.
        orders: a SELECT of order ids.
        position: where to end.
    """
    columns = ", ".join(f'"{c}"' for c in (*TYPED_COLUMNS, "appended_at"))
    log = Log(lake).read(Position.zero(len(position.offsets)), position, columns)
    lake.con.execute(
        f"CREATE OR REPLACE TEMP TABLE {EVENTS} AS "
        f"SELECT {columns} FROM ({log}) WHERE order_id IN ({orders})"
    )
    typed = ", ".join(f'"{c}"' for c in TYPED_COLUMNS)
    fold.fold(lake.con, f"SELECT {typed} FROM {EVENTS}", f"{_PREFIX}fold_")


def rows(name: str, columns: Mapping[str, str]) -> str:
    """A SELECT of the rows of `orders` or `ledger` that came of them."""
    listed = ", ".join(f'"{c}"' for c in columns)
    return f"SELECT {listed} FROM {_PREFIX}fold_{name}"


def marked(cut: Position) -> str:
    """A SELECT of the events, each with whether base or deltas hold it, and what is odd about it.

    Args:
        cut: where the base ends.
    """
    return f"""
        SELECT e.order_id, e."partition", e."offset", e.time, e.type, e.amount, e.source, e.id,
          e.appended_at,
          CASE WHEN e."offset" < {literal(list(cut.offsets))}[e."partition" + 1]
            THEN 'base' ELSE 'deltas' END AS counted_in,
          array_to_string(list_filter([{_ODD},
            CASE WHEN e.time < max(e.time) OVER (
              PARTITION BY e.order_id ORDER BY e."offset"
              ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
            ) THEN 'came after a later one' END], x -> x IS NOT NULL), ', ') AS odd
        FROM {EVENTS} AS e
        LEFT JOIN {_PREFIX}fold_odd AS o
          ON e."partition" = o."partition" AND e."offset" = o."offset\""""


def drop(lake: Lake) -> None:
    """Give back what `refold` left behind."""
    fold.drop(lake.con, f"{_PREFIX}fold_")
    lake.con.execute(f"DROP TABLE IF EXISTS temp.{EVENTS}")
