"""A graph in Pathway over the finished file, in its static mode.

Pathway has no decimals: money is counted in ten-thousandths. Its outputs carry the time and the
difference of each change; they are added up here.
"""

from __future__ import annotations

import csv
import os
from collections import Counter
from pathlib import Path

os.environ.setdefault("PATHWAY_THREADS", str(min(os.cpu_count() or 1, 8)))

import pathway as pw

from bench.peers import KEYS, STEPS, VALUES, Rows, money, run, units


class Event(pw.Schema):
    """What the views need of an event; `id` is a name of Pathway's own."""

    source: str
    event: str
    type: str
    order: str
    time: str
    currency: str | None = pw.column_definition(default_value=None)
    shipping: str | None = pw.column_definition(default_value=None)
    discount: str | None = pw.column_definition(default_value=None)
    lines: pw.Json | None = pw.column_definition(default_value=None)


PATHS = {
    "event": "/id",
    "order": "/subject",
    "currency": "/data/currency",
    "shipping": "/data/shipping",
    "discount": "/data/discount",
    "lines": "/data/lines",
}


@pw.udf
def amounts(kind: str, lines: pw.Json) -> list[tuple[str, int, int]]:
    """Product, gross and returned of each line."""
    found = lines.as_list()
    if kind == "OrderPlaced":
        return [(i["product_id"], i["quantity"] * units(i["unit_price"]), 0) for i in found]
    return [(i["product_id"], 0, -units(i["refund"])) for i in found]


@pw.udf
def extra(kind: str, shipping: str | None, discount: str | None) -> int:
    """What a placement adds beside its lines."""
    return units(shipping) - units(discount) if kind == "OrderPlaced" else 0


def compute(events: str, out: Path) -> dict[str, Rows]:
    """The three views."""
    raw = pw.io.jsonlines.read(events, schema=Event, mode="static", json_field_paths=PATHS)
    once = raw.groupby(raw.source, raw.event).reduce(
        **{
            name: pw.reducers.any(raw[name])
            for name in ("type", "order", "time", "currency", "shipping", "discount", "lines")
        }
    )
    log = once.with_columns(day=pw.this.time.str.slice(0, 10))
    booked = log.filter((log.type == "OrderPlaced") | (log.type == "ItemsReturned"))
    booked = booked.select(
        pw.this.day,
        currency=pw.unwrap(pw.this.currency),
        placed=pw.cast(int, pw.this.type == "OrderPlaced"),
        extra=extra(pw.this.type, pw.this.shipping, pw.this.discount),
        item=amounts(pw.this.type, pw.unwrap(pw.this.lines)),
    )
    lines = booked.flatten(pw.this.item).select(
        pw.this.day,
        pw.this.currency,
        product_id=pw.this.item[0],
        orders=0,
        gross=pw.this.item[1],
        returned=pw.this.item[2],
    )
    extras = booked.select(
        pw.this.day, pw.this.currency, orders=pw.this.placed, gross=pw.this.extra, returned=0
    )
    columns = (pw.this.day, pw.this.currency, pw.this.orders, pw.this.gross, pw.this.returned)
    every = lines.select(*columns).concat_reindex(extras)
    is_step = {
        column: pw.cast(int, log.type == step)
        for column, step in zip(VALUES["order_funnel"], STEPS, strict=True)
    }
    course = log.select(
        pw.this.order, day=pw.if_else(log.type == "OrderPlaced", log.day, ""), **is_step
    )
    course = course.groupby(course.order).reduce(
        day=pw.reducers.max(course.day), **{name: pw.reducers.max(course[name]) for name in is_step}
    )
    tables = {
        "revenue_by_day": every,
        "order_funnel": course.filter(course.day != ""),
        "product_sales": lines,
    }
    for view, table in tables.items():
        keys = [table[name] for name in KEYS[view]]
        sums = {name: pw.reducers.sum(table[name]) for name in VALUES[view]}
        pw.io.csv.write(table.groupby(*keys).reduce(*keys, **sums), out / f"{view}.changes.csv")
    pw.run(monitoring_level=pw.MonitoringLevel.NONE)
    return {view: settled(out / f"{view}.changes.csv", view) for view in tables}


def settled(file: Path, view: str) -> Rows:
    """The rows that are left when all changes are added up."""
    left: Counter[tuple[str, ...]] = Counter()
    with file.open(newline="", encoding="utf-8") as changes:
        for row in csv.DictReader(changes):
            left[tuple(row[name] for name in (*KEYS[view], *VALUES[view]))] += int(row["diff"])
    names = (*KEYS[view], *VALUES[view])
    for values, count in left.items():
        if count:
            yield [
                money(int(value)) if name in {"gross", "returned"} else value
                for name, value in zip(names, values, strict=True)
            ]


if __name__ == "__main__":
    run("pathway", compute)
