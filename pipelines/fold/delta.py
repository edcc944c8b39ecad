"""What new events change: their orders folded without them and with them, as rows for the deltas.

Pure but for the connection that it is given. An order's events never cross partitions, so any
split by partition, on one machine or on many, gives parts that add up to the whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from headrace.pipelines.fold import redeliveries
from headrace.pipelines.fold.fold import fold
from headrace.pipelines.fold.redeliveries import Suspect
from headrace.pipelines.position import Position
from headrace.pipelines.views.load import View
from headrace.schemas.tables import TABLES

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True)
class Change:
    """What a commit will write: for each table, the rows to add to its deltas."""

    events: int
    repeats: int
    suspects: Sequence[Suspect]
    rows: Mapping[str, pa.Table]


def compute(
    con: duckdb.DuckDBPyConnection,
    position: Position,
    views: Mapping[str, View],
    before: pa.Table,
    new: pa.Table,
) -> Change:
    """What new events change in all tables.

    Args:
        con: where to compute; only temporary objects are made.
        position: where the new events begin; of `before`, only what lies below it is used.
        views: the generation's views.
        before: earlier events of the touched orders at least.
        new: the new events.
    """
    con.register("events_new", new)
    con.register("events_before", before)
    con.execute(f"""
        CREATE OR REPLACE TEMP TABLE known AS SELECT b.* FROM events_before AS b
        SEMI JOIN events_new AS n ON b.order_id = n.order_id WHERE {_below(position)}""")
    try:
        fold(con, TWO_SIDES, "both_")
        rows = {}
        for name, columns in TABLES.items():
            listed = ", ".join(f'"{c}"' for c in columns)
            query = f"SELECT {listed} FROM {_weighted(name)} WHERE _weight > 0"
            rows[name] = con.execute(query).to_arrow_table()
        for name, view in views.items():
            partial = view.partial_sql(_weighted(view.source), weight="_weight")
            rows[name] = con.execute(partial).to_arrow_table()
        (repeats,) = con.execute(
            'SELECT count(*) FILTER (WHERE "partition" >= 0) '
            '- count(*) FILTER (WHERE "partition" < 0) FROM both_repeats'
        ).fetchall()[0]
        suspects = redeliveries.in_fold(con, "events_new", AFTER, "both_") if repeats else []
    finally:
        con.unregister("events_new")
        con.unregister("events_before")
    return Change(new.num_rows, repeats, suspects, rows)


def added_up(
    con: duckdb.DuckDBPyConnection, views: Mapping[str, View], parts: Sequence[Change]
) -> Change:
    """One change from the changes of partitions: rows of orders side by side, groups added up."""
    rows: dict[str, pa.Table] = {}
    for name in (*TABLES, *views) if parts else ():
        tables = [part.rows[name] for part in parts]
        rows[name] = pa.concat_tables(tables)
        if name in views and len(tables) > 1:
            view = views[name]
            keys = ", ".join(f'"{c.name}"' for c in view.keys)
            sums = ", ".join(
                f'CAST(sum("{c.name}") AS {c.type}) AS "{c.name}"' for c in view.partials
            )
            changed = " OR ".join(f'sum("{c.name}") <> 0' for c in view.partials)
            con.register("parts", rows[name])
            rows[name] = con.execute(
                f"SELECT {keys}, {sums} FROM parts GROUP BY {keys} HAVING {changed}"
            ).to_arrow_table()
            con.unregister("parts")
    suspects = sorted(s for part in parts for s in part.suspects)
    events, repeats = sum(p.events for p in parts), sum(p.repeats for p in parts)
    return Change(events, repeats, suspects, rows)


AFTER = "SELECT * FROM known UNION ALL BY NAME SELECT * FROM events_new"
"""The touched orders' events with the new ones."""

TWO_SIDES = f"""
    SELECT * REPLACE ('-' || order_id AS order_id, -1 - "partition" AS "partition") FROM known
    UNION ALL BY NAME
    SELECT * REPLACE ('+' || order_id AS order_id) FROM ({AFTER})"""
"""Both states of each touched order in one relation, as two orders, so that one fold does both.

The fold looks at ids only to tell orders apart. The places of the old side are mirrored below
zero: an event that counts on one side may be surplus on the other.
"""


def _weighted(name: str) -> str:
    """The folded rows of both sides as they are served, with weight +1 (new) and -1 (old)."""
    places = ', greatest("partition", -1 - "partition") AS "partition"' if name == "orders" else ""
    return (
        f"(SELECT * REPLACE (substr(order_id, 2) AS order_id{places}), "
        "CASE WHEN starts_with(order_id, '+') THEN 1 ELSE -1 END AS _weight "
        f"FROM both_{name})"
    )


def _below(position: Position) -> str:
    parts = [f'(b."partition" = {p} AND b."offset" < {o})' for p, o in enumerate(position.offsets)]
    return "(" + " OR ".join(parts) + ")"
