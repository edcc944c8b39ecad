"""The restatement ledger: which served cells changed, from what to what, and why.

Two kinds. A *restatement* changes a cell at one and the same position of the log: the logic
changed, or what was served was wrong. On unchanged logic there is none. A *revision* changes a
cell of a day or minute that was over, because later events belong to it; it is named at each
publish, against the base before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import starmap
from typing import TYPE_CHECKING, Any

from headrace.pipelines.generations import data_diff, registry, served_sql
from headrace.pipelines.generations.generation import Generation
from headrace.pipelines.lake import checksums
from headrace.pipelines.lake.connect import literal
from headrace.pipelines.lake.lake import Lake
from headrace.pipelines.log.scan import between
from headrace.pipelines.position import Position
from headrace.pipelines.views.load import View

if TYPE_CHECKING:
    from headrace.pipelines.generations.staged import Staged
    from headrace.pipelines.lake.transaction import Transaction

LISTED = 10_000
"""Cells that are kept of one publish; all are counted."""
_MOVING = (
    "OrderPlaced", "ItemsReturned", "OrderCancelled", "AdjustmentBooked", "EventsVoided",
)  # fmt: skip
"""Types that move money or goods: only they can change the ledger."""


@dataclass(frozen=True)
class Change:
    """One cell that changed. `key` is JSON; values are exact text, None where there was no row.

    `events` and `offsets` (by partition, first and last) are of the events that changed it.
    """

    view: str
    key: str
    measure: str
    old: str | None
    new: str | None
    cause: str
    events: int | None = None
    offsets: str | None = None

    def __str__(self) -> str:
        return f"{self.view} {self.key} {self.measure}: {self.old} -> {self.new}"


@dataclass(frozen=True)
class Changed:
    """Cells that changed from one position to another: how many, and the first of them.

    `compared` is False where nothing was ever served that could be compared.
    """

    total: int
    cells: tuple[Change, ...]
    start: Position
    end: Position
    compared: bool = True


def at_cut(lake: Lake, number: int, staged: Staged) -> Changed:
    """What a base of unchanged logic would change at its own cut; nothing, if all is well.

    Base, and deltas up to the cut, do not change while the batch lock is held, so this holds
    for the publish that follows.

    Raises:
        SeamError: the live generation does not fit together.
        DamageError: its files are not as they were written.
    """
    cut = staged.cut
    with lake.reading():
        line = registry.read(lake, number)
        through = registry.commit_at(lake, line, cut)
        if through is None:
            return Changed(0, (), cut, cut, compared=False)
        checksums.check(lake, line.stored())
        parts = []
        for name, view in line.views.items():
            new = view.served_sql(staged.relation(name))
            parts.append(_view_cells(view, line.select(name, through), new))
        for name in ORDERS_LEDGER:
            columns = line.columns(name)
            old, new = line.select(name, through), f"FROM {staged.relation(name)}"
            if _fingerprint(lake, old, columns) != _fingerprint(lake, new, columns):
                parts.append(_row_cells(name, columns, old, new))
        return _collected(lake, parts, "repair", cut, cut)


def between_generations(
    lake: Lake, live: Generation, other: Generation, common: Mapping[str, Sequence[str]]
) -> Changed:
    """What changes for readers if `other` goes live; both stand at one position.

    Args:
        lake: whose generations.
        live: what is served.
        other: what is to be served.
        common: the views that both have, with the columns to compare.
    """
    parts = [
        _view_cells(
            other.views[name], served_sql.as_served(live, name), other.select(name), columns
        )
        for name, columns in common.items()
    ]
    parts += [
        _row_cells(name, both_have(live, other, name), live.select(name), other.select(name))
        for name in ORDERS_LEDGER
    ]
    cause = "repair" if live.logic == other.logic else "changed logic"
    if live.misread:
        cause = "repair: " + "; ".join(f"{what} in {name}" for name, what in live.misread.items())
    return _collected(lake, parts, cause, live.position, other.position)


ORDERS_LEDGER = ("orders", "ledger")


def both_have(live: Generation, other: Generation, name: str) -> list[str]:
    """The columns of `orders` or `ledger` that two generations have both."""
    return [c for c in live.columns(name) if c in other.columns(name)]


def revised(lake: Lake, line: Generation, staged: Staged) -> Changed:
    """Cells of days and minutes that were over at the cut before, and that this base changes.

    A cell counts as over if it lies before the newest one of its view at that cut.
    """
    start, end = line.cut, staged.cut
    views = {name: (view, key) for name, view in line.views.items()
             if (key := _time_key(view)) is not None and view.lookup is None}  # fmt: skip
    if not start.total or start == end or not views:
        return Changed(0, (), start, end, compared=bool(start.total))
    with lake.reading():
        checksums.check(lake, {(line.schema, f"b{line.base}_{n}") for n in line.tables})
        _changed_rows(lake, line, staged)
        parts = []
        for name, (view, key) in views.items():
            base = line.base_table(name)
            over = f'"{key}" < (SELECT max("{key}") FROM {base})'
            old = f"SELECT * FROM ({view.served_sql(base)}) WHERE {over}"
            new = f"SELECT * FROM ({view.served_sql(staged.relation(name))}) WHERE {over}"
            parts.append(_with_causes(view, f"({_view_cells(view, old, new)})"))
        return _collected(lake, parts, None, start, end)


def record(
    tx: Transaction, changed: Changed, *, generation: int, base: int, cause: str | None = None
) -> None:
    """Keep cells in `sys.restatements`, inside the unit of work that changes them.

    Args:
        tx: where.
        changed: the cells.
        generation: which generation serves them now.
        base: and which base.
        cause: recorded in one row without cells where old values cannot be read.
    """
    import pyarrow as pa

    listed = list(changed.cells)
    if cause is not None:
        listed.append(Change("*", "{}", "*", None, None, cause))
    if not listed:
        return
    now, n = tx.lake.clock(), len(listed)
    columns: Mapping[str, pa.Array] = {
        "recorded_at": pa.array([now] * n, pa.timestamp("us")),
        "generation": pa.array([generation] * n, pa.int32()),
        "base": pa.array([base] * n, pa.int32()),
        **{
            name: pa.array([getattr(c, name) for c in listed], pa.string())
            for name in ("view", "key", "measure", "old", "new", "cause")
        },
        "events": pa.array([c.events for c in listed], pa.int64()),
        "offsets": pa.array([c.offsets for c in listed], pa.string()),
        "from_position": pa.array([changed.start.text()] * n),
        "to_position": pa.array([changed.end.text()] * n),
        "cells": pa.array([changed.total] * n, pa.int64()),
    }
    tx.con.register("restated", pa.table(columns))
    try:
        tx.insert("sys", "restatements", "SELECT * FROM restated")
    finally:
        tx.con.unregister("restated")


def _collected(
    lake: Lake, parts: list[str], cause: str | None, start: Position, end: Position
) -> Changed:
    """Run the parts; count all cells, give back the first."""
    if not parts:
        return Changed(0, (), start, end)
    more = "" if cause is None else f", {literal(cause)} AS cause, NULL AS events, NULL AS offsets"
    listed = " UNION ALL ".join(f"SELECT *{more} FROM ({part})" for part in parts)
    lake.con.execute(f"CREATE OR REPLACE TEMP TABLE _restated AS {listed}")
    total = int(lake.row("SELECT count(*) FROM _restated")[0])
    rows = lake.rows(f"FROM _restated ORDER BY view, key, measure LIMIT {LISTED}")
    lake.con.execute("DROP TABLE temp._restated")
    return Changed(total, tuple(starmap(Change, rows)), start, end)


def _view_cells(view: View, old: str, new: str, columns: Sequence[str] | None = None) -> str:
    keys = list(view.row_key)
    listed = [c.name for c in view.outputs] if columns is None else columns
    measures = [name for name in listed if name not in keys]
    return data_diff.differing(view.name, keys, measures, old, new)


def _row_cells(name: str, columns: Iterable[str], old: str, new: str) -> str:
    """Cells of `orders`; of the ledger, which has no key, the sums of each order."""
    if name == "orders":
        measures = [c for c in columns if c != "order_id"]
        return data_diff.differing(name, ["order_id"], measures, old, new)
    listed = ", ".join(f'"{c}"' for c in columns)
    by_order = (
        "SELECT order_id, count(*) AS entries, sum(quantity) AS quantity, sum(amount) AS amount, "
        f"sum(hash({listed})) AS fingerprint FROM ({{}}) GROUP BY order_id"
    )
    measures = ["entries", "quantity", "amount", "fingerprint"]
    return data_diff.differing(
        name, ["order_id"], measures, by_order.format(old), by_order.format(new)
    )


def _fingerprint(lake: Lake, select: str, columns: Mapping[str, str]) -> tuple[Any, ...]:
    """Equal for equal bags of rows."""
    listed = ", ".join(f'"{c}"' for c in columns)
    return lake.row(f"SELECT count(*), sum(hash({listed})) FROM ({select})")


def _time_key(view: View) -> str | None:
    """The key that says when, if a view has one."""
    return next((c.name for c in view.keys if c.type in {"DATE", "TIMESTAMP"}), None)


def _changed_rows(lake: Lake, line: Generation, staged: Staged) -> None:
    """Temp tables: the new events, and the rows of orders and ledger that they changed."""
    start, end = line.cut, staged.cut
    zero = Position.zero(len(start.offsets))
    lake.con.execute(f"""
        CREATE OR REPLACE TEMP TABLE _fresh AS
        SELECT order_id, type, "partition", "offset",
          time < (SELECT max(time) FROM sys.events WHERE {between(zero, start)}) AS late
        FROM sys.events WHERE {between(start, end)}""")
    for name in ORDERS_LEDGER:
        listed = ", ".join(f'"{c}"' for c in line.columns(name))
        touched = "order_id IN (SELECT order_id FROM _fresh)"
        lake.con.execute(f"""
            CREATE OR REPLACE TEMP TABLE _moved_{name} AS SELECT {listed} FROM (
              SELECT -1 AS _side, {listed} FROM {line.base_table(name)} WHERE {touched}
              UNION ALL
              SELECT 1 AS _side, {listed} FROM {staged.relation(name)} WHERE {touched})
            GROUP BY ALL HAVING sum(_side) <> 0""")


def _with_causes(view: View, listed: str) -> str:
    """SQL that adds cause, events and offsets to changed cells of a view."""
    if view.inner:
        cause = f"rows of {', '.join(view.inner)}"
        return f"SELECT *, {literal(cause)} AS cause, NULL AS events, NULL AS offsets FROM {listed}"
    key = ", ".join(f'"{c.name}" := "_key_{n}"' for n, c in enumerate(view.keys, start=1))
    only = f" AND f.type IN {_MOVING}" if view.source == "ledger" else ""
    causes = " ".join(_cause_branches())
    return f"""
        WITH here AS (
          SELECT DISTINCT CAST(to_json(struct_pack({key})) AS VARCHAR) AS key, order_id
          FROM ({view.rows_sql(f"_moved_{view.source}")})
        ), each AS (
          SELECT h.key, f."partition" AS p, count(*) AS events, min(f."offset") AS first,
            max(f."offset") AS last, list(DISTINCT CASE {causes} END) AS causes
          FROM here AS h JOIN _fresh AS f ON h.order_id = f.order_id{only}
          GROUP BY h.key, f."partition"
        ), why AS (
          SELECT key, CAST(sum(events) AS BIGINT) AS events,
            CAST(json_group_object(CAST(p AS VARCHAR), [first, last]) AS VARCHAR) AS offsets,
            array_to_string(list_sort(list_distinct(flatten(list(causes)))), ', ') AS cause
          FROM each GROUP BY key)
        SELECT c.*, coalesce(w.cause, 'late events') AS cause, w.events, w.offsets
        FROM {listed} AS c LEFT JOIN why AS w ON c.key = w.key"""


def _cause_branches() -> Iterator[str]:
    yield "WHEN f.type = 'EventsVoided' THEN 'voids'"
    yield "WHEN f.type = 'ItemsReturned' THEN 'returns'"
    yield "WHEN f.type = 'OrderCancelled' THEN 'cancellations'"
    yield "WHEN f.type = 'AdjustmentBooked' THEN 'adjustments'"
    yield "WHEN f.late THEN 'late events'"
    yield "WHEN f.type = 'OrderPlaced' THEN 'new orders'"
    yield "ELSE 'progress'"
