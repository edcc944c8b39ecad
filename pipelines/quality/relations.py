"""What the expectations of bases and served views look at, as temporary views of one connection.

Besides `orders`, `ledger` and each view as a reader sees it:

_groups     view, key, times          groups that a view stores more than once
_totals     figure, found, expected   sums of each view, and the events, from both sides
_cells      view, key, measure, found, expected   cells that are not the sum of their rows
_missing    order_id, in_log, counted   orders without all of their events
_live_days  day, placed               orders of a day as they are served now
_arrivals   appended_at               of the events that the views do not have
_clock      now
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headrace.pipelines.generations import data_diff
from headrace.pipelines.generations.generation import Generation
from headrace.pipelines.lake.connect import literal
from headrace.pipelines.lake.lake import Lake
from headrace.pipelines.log.embedded import Log
from headrace.pipelines.log.scan import between
from headrace.pipelines.position import Position
from headrace.pipelines.views.load import View
from headrace.pipelines.views.stacked import rows_of

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True)
class Stored:
    """What is to be looked at: relations of `orders`, `ledger` and of each view's partial rows.

    `repeats` is None where nobody counted them.
    """

    views: Mapping[str, View]
    tables: Mapping[str, str]
    position: Position
    repeats: int | None
    unique: bool


def prepare(
    con: duckdb.DuckDBPyConnection, lake: Lake, stored: Stored, live: Generation | None
) -> None:
    """Make the views. They go with the connection."""
    for name in ("orders", "ledger"):
        _view(con, name, f"FROM {stored.tables[name]}")
    for name, view in stored.views.items():
        _view(con, name, view.served_sql(stored.tables[name]))
    _view(con, "_clock", f"SELECT {literal(lake.clock())} AS now")
    zero = Position.zero(len(stored.position.offsets))
    end = Log(lake).end()
    waiting = f"SELECT appended_at FROM sys.events WHERE {between(stored.position, end)}"
    _view(con, "_arrivals", waiting)
    days = "SELECT CAST(NULL AS DATE) AS day, CAST(0 AS BIGINT) AS placed WHERE false"
    if live is not None and live.cut.total:
        days = (
            "SELECT CAST(placed_at AS DATE) AS day, count(*) AS placed "
            f"FROM ({live.select('orders')}) WHERE placed_at IS NOT NULL GROUP BY 1"
        )
    _view(con, "_live_days", days)
    _recomputed(con, stored)
    whole = _totals(con, lake, stored)
    in_log = (
        "SELECT order_id, count(DISTINCT (source, id)) AS events FROM sys.events "
        f"WHERE {between(zero, stored.position)} GROUP BY order_id"
    )
    _view(
        con,
        "_missing",
        "SELECT coalesce(l.order_id, o.order_id) AS order_id, l.events AS in_log, "
        f"o.event_count AS counted FROM ({in_log}) AS l FULL JOIN orders AS o "
        "ON l.order_id = o.order_id WHERE l.events IS DISTINCT FROM o.event_count"
        + (" AND false" if whole else ""),
    )


def _recomputed(con: duckdb.DuckDBPyConnection, stored: Stored) -> None:
    """Each view from its rows, and what differs from what is stored."""
    groups, differ = [], []
    for name, view in stored.views.items():
        if view.lookup is not None:  # nothing to compute
            con.execute(f'CREATE TEMP TABLE "_again_{name}" AS FROM {stored.tables[name]}')
            continue
        again = f'"_again_{name}"'
        rows = rows_of(view, '"{}"'.format)
        con.execute(f"CREATE TEMP TABLE {again} AS {view.partial_sql(rows)}")
        keys = [c.name for c in view.places]
        listed = ", ".join(f'"{k}"' for k in keys)
        packed = ", ".join(f'"{k}" := "{k}"' for k in keys)
        if stored.unique:
            groups.append(
                f"SELECT '{name}' AS view, CAST(to_json(struct_pack({packed})) AS VARCHAR) AS key, "
                f"count(*) AS times FROM {stored.tables[name]} GROUP BY {listed} "
                "HAVING count(*) > 1"
            )
        merged = view.merge_sql(stored.tables[name])
        partials = [c.name for c in view.partials]
        differ.append(f"({data_diff.differing(name, keys, partials, merged, f'FROM {again}')})")
    nothing = "SELECT '' AS view, '' AS key, CAST(0 AS BIGINT) AS times WHERE false"
    _view(con, "_groups", " UNION ALL ".join([nothing, *groups]))
    con.execute(
        "CREATE TEMP TABLE _cells AS SELECT view, key, measure, old AS found, new AS expected "
        f"FROM ({' UNION ALL '.join(differ)})"
    )


def _totals(con: duckdb.DuckDBPyConnection, lake: Lake, stored: Stored) -> bool:
    """The totals from both sides; says whether all events are accounted for."""
    rows = []
    for name, view in stored.views.items():
        for column in view.partials:
            total = f'CAST(coalesce(sum("{column.name}"), 0) AS VARCHAR)'
            found = f"(SELECT {total} FROM {stored.tables[name]})"
            expected = f'(SELECT {total} FROM "_again_{name}")'
            rows.append(f"SELECT '{name}.{column.name}', {found}, {expected}")
    whole = False
    if stored.repeats is not None:
        held = Log(lake).events_below(stored.position)
        counted = "SELECT coalesce(sum(event_count), 0) FROM orders"
        accounted = int(con.execute(counted).fetchall()[0][0]) + stored.repeats
        rows.append(f"SELECT 'events', '{accounted}', '{held}'")
        whole = accounted == held
    header = "SELECT '' AS figure, '' AS found, '' AS expected WHERE false"
    con.execute(f"CREATE TEMP TABLE _totals AS {' UNION ALL '.join([header, *rows])}")
    return whole


def _view(con: duckdb.DuckDBPyConnection, name: str, select: str) -> None:
    con.execute(f'CREATE OR REPLACE TEMP VIEW "{name}" AS {select}')
