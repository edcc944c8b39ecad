"""A dataflow in Bytewax, one worker: an order's state by key, then sums by the views' keys.

Bytewax has no views and no retractions, so this is a run over a finished file: each order gives
what it adds when the input is at its end. Money is counted in ten-thousandths.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bytewax.operators as op
from bytewax.connectors.files import FileSource
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSink, run_main

from bench.peers import STEPS, VALUES, Rows, money, run, units


class Order:
    """What is known of an order: which events were seen, and what they add."""

    def __init__(self) -> None:
        self.seen: set[tuple[str, str]] = set()
        self.steps: set[str] = set()
        self.day: str | None = None
        self.adds: list[tuple[tuple[str, ...], list[int]]] = []

    def take(self, event: dict[str, Any]) -> Order:
        """One more event; a second delivery changes nothing."""
        name = (event["source"], event["id"])
        if name in self.seen:
            return self
        self.seen.add(name)
        kind, data, day = event["type"], event["data"], event["time"][:10]
        if kind in STEPS:
            self.steps.add(kind)
        if kind not in {"OrderPlaced", "ItemsReturned"}:
            return self
        placed, currency = kind == "OrderPlaced", data["currency"]
        total = units(data.get("shipping")) - units(data.get("discount")) if placed else 0
        for line in data["lines"]:
            amount = (
                line["quantity"] * units(line["unit_price"]) if placed else -units(line["refund"])
            )
            total += amount
            key = ("product_sales", line["product_id"], currency)
            self.adds.append((key, [amount, 0] if placed else [0, amount]))
        key = ("revenue_by_day", day, currency)
        self.adds.append((key, [1, total, 0] if placed else [0, 0, total]))
        if placed:
            self.day = day
        return self

    def all_adds(self) -> Iterator[tuple[str, list[int]]]:
        """What the order adds to the views, by key."""
        if self.day is not None:
            reached = [int(step in self.steps) for step in STEPS]
            yield "\t".join(("order_funnel", self.day)), reached
        for key, values in self.adds:
            yield "\t".join(key), values


def keyed(line: str) -> tuple[str, dict[str, Any]]:
    """An event beside its order."""
    event = json.loads(line)
    return event["subject"], event


def added(total: list[int], values: list[int]) -> list[int]:
    """Sums, column by column."""
    return [a + b for a, b in zip(total, values, strict=True)] if total else values


def compute(events: str, _: Path) -> dict[str, Rows]:
    """The three views."""
    flow, found = Dataflow("views"), []
    lines = op.input("lines", flow, FileSource(events))
    orders = op.fold_final("orders", op.map("events", lines, keyed), Order, Order.take)
    adds = op.flat_map("adds", orders, lambda item: item[1].all_adds())
    op.output("out", op.fold_final("sums", adds, list, added), TestingSink(found))
    run_main(flow)
    views: dict[str, list[list[Any]]] = {view: [] for view in VALUES}
    for key, values in found:
        view, *names = key.split("\t")
        columns = zip(VALUES[view], values, strict=True)
        shown = [money(v) if column in {"gross", "returned"} else v for column, v in columns]
        views[view].append([*names, *shown])
    return dict(views)


if __name__ == "__main__":
    run("bytewax", compute)
