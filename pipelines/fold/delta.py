"""What new events change: their orders folded without them and with them, as rows for the deltas.

Pure but for the connection that it is given. An order's events never cross partitions, so any
split by partition, on one machine or on many, gives parts that add up to the whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa

from headrace.pipelines.fold import redeliveries
from headrace.pipelines.fold.fold import fold
from headrace.pipelines.fold.redeliveries import Suspect
from headrace.pipelines.position import Position
from headrace.pipelines.views.load import View
from headrace.pipelines.views.stacked import over_tables
from headrace.schemas.tables import TABLES

if TYPE_CHECKING:
    import duckdb
    import numpy.typing as npt


@dataclass(frozen=True)
class Change:
    """What a commit will write: for each table, the rows to add to its deltas.

    Without those of views over views, which follow from these and from what the lake has.
    """

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
    sides = _numbered(position, before, new)
    for name, table in zip(("earlier", "fresh", "names"), sides, strict=True):
        con.register(name, table)
    try:
        both = TWO_SIDES
        if new.num_rows < _FEW:
            con.execute(f"CREATE OR REPLACE TEMP TABLE few AS {TWO_SIDES}")
            both = "SELECT * FROM few"
        fold(con, both, "both_")
        rows = {name: _rows(con, name, sides.names) for name in TABLES}
        for name, view in over_tables(views).items():
            partial = view.partial_sql(_weighted(view), weight="_weight")
            rows[name] = con.execute(partial).to_arrow_table()
        (repeats,) = con.execute(
            'SELECT count(*) FILTER (WHERE "partition" >= 0) '
            '- count(*) FILTER (WHERE "partition" < 0) FROM both_repeats'
        ).fetchall()[0]
        suspects = redeliveries.in_fold(con, "fresh", AFTER, "both_") if repeats else []
    finally:
        for name in sides._fields:
            con.unregister(name)
    return Change(new.num_rows, repeats, suspects, rows)


def compute_apart(
    cons: Sequence[duckdb.DuckDBPyConnection],
    position: Position,
    views: Mapping[str, View],
    before: pa.Table,
    new: pa.Table,
) -> Change:
    """The same as `compute`, of some orders on each connection, at the same time.

    DuckDB shares out whole row groups of 122,880 rows, so a commit would keep one core busy.
    """
    count = len(cons)
    if count == 1:
        return compute(cons[0], position, views, before, new)
    parts = [(_of(before, nth, count), _of(new, nth, count)) for nth in range(count)]
    busy = [(con, *part) for con, part in zip(cons, parts, strict=True) if part[1].num_rows]
    with ThreadPoolExecutor(count) as pool:
        made = list(pool.map(lambda each: compute(each[0], position, views, *each[1:]), busy))
    return added_up(cons[0], views, made)


def _of(events: pa.Table, nth: int, count: int) -> pa.Table:
    """The events of one share of the orders: all of an order, and of any one partition some."""
    return events.filter(pa.array(events.column("order_hash").to_numpy() % count == nth))


def added_up(
    con: duckdb.DuckDBPyConnection, views: Mapping[str, View], parts: Sequence[Change]
) -> Change:
    """One change from the changes of partitions: rows of orders side by side, groups added up."""
    rows: dict[str, pa.Table] = {}
    for name in (*TABLES, *over_tables(views)) if parts else ():
        tables = [part.rows[name] for part in parts]
        rows[name] = pa.concat_tables(tables)
        if name in views and len(tables) > 1:
            view = views[name]
            keys = ", ".join(f'"{c.name}"' for c in view.places)
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


_FEW = 10_000
"""New events: below it, to copy them is quicker than to read Arrow's columns several times."""


class Sides(NamedTuple):
    """Events of the touched orders, those before and the new ones, with numbers for order ids."""

    earlier: pa.Table
    fresh: pa.Table
    names: pa.Table


AFTER = "SELECT * FROM earlier UNION ALL BY NAME SELECT * FROM fresh"
"""The touched orders' events with the new ones."""

TWO_SIDES = f"""
    SELECT * REPLACE (2 * order_id AS order_id, -1 - "partition" AS "partition") FROM earlier
    UNION ALL BY NAME
    SELECT * REPLACE (2 * order_id + 1 AS order_id) FROM ({AFTER})"""
"""Both states of each touched order in one relation, as two orders, so that one fold does both.

The fold looks at ids only to tell orders apart, so numbers will do: even ones for the old side. The
places of the old side are mirrored below zero: an event that counts on one side may be surplus on
the other.
"""


def _numbered(position: Position, before: pa.Table, new: pa.Table) -> Sides:
    """Number the orders by their ids' text, and leave out what no new event touches."""
    ids = pa.chunked_array(
        [*before.column("order_id").chunks, *new.column("order_id").chunks], pa.string()
    )
    coded = ids.combine_chunks().dictionary_encode()
    if isinstance(coded, pa.ChunkedArray):
        coded = coded.combine_chunks()
    numbers = coded.indices.to_numpy()
    old, fresh = numbers[: before.num_rows], numbers[before.num_rows :]
    touched = np.zeros(len(coded.dictionary), dtype=bool)
    touched[fresh] = True
    limits = np.array(position.offsets, dtype=np.int64)
    below = before.column("offset").to_numpy() < limits[before.column("partition").to_numpy()]
    wanted = below & touched[old]
    if not wanted.all():
        before, old = before.filter(pa.array(wanted)), old[wanted]
    names = pa.table({"number": np.arange(len(touched)), "order_id": coded.dictionary})
    return Sides(_with_ids(before, old), _with_ids(new, fresh), names)


def _with_ids(events: pa.Table, numbers: npt.NDArray[np.int32]) -> pa.Table:
    place = events.schema.get_field_index("order_id")
    return events.set_column(place, "order_id", pa.array(numbers.astype(np.int64)))


def _rows(con: duckdb.DuckDBPyConnection, name: str, names: pa.Table) -> pa.Table:
    """The folded rows of the new side."""
    columns = ", ".join(
        "order_id // 2 AS order_id" if c == "order_id" else f'"{c}"' for c in TABLES[name]
    )
    rows = con.execute(f"SELECT {columns} FROM both_{name} WHERE order_id % 2 = 1").to_arrow_table()
    texts = names.column("order_id").take(rows.column("order_id"))
    return rows.set_column(rows.schema.get_field_index("order_id"), "order_id", texts)


def _weighted(view: View) -> str:
    """The folded rows of both sides that a view reads, with weight +1 (new) and -1 (old)."""
    name = view.source
    replaced = ["n.order_id AS order_id"]
    if name == "orders":
        replaced.append('greatest(o."partition", -1 - o."partition") AS "partition"')
    return (
        f"(SELECT o.* REPLACE ({', '.join(replaced)}), "
        "CASE WHEN o.order_id % 2 = 1 THEN 1 ELSE -1 END AS _weight "
        f"FROM both_{name} AS o JOIN names AS n ON o.order_id // 2 = n.number)"
    )
