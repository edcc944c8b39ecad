"""The same three views by other systems, each a process: `python -m bench.peers.NAME EVENTS OUT`.

EVENTS is NDJSON, in the order of the log; an event counts once, by (source, id). OUT gets a CSV
file for each view. This module is imported by all peers and needs only the standard library.

    revenue_by_day   day (UTC), currency | orders placed, gross, returned (0 or negative)
    order_funnel     day of the placement | placed, paid, shipped, delivered, cancelled
    product_sales    product, currency    | gross, returned (0 or negative)
"""

from __future__ import annotations

import csv
import json
import sys
import time
from collections.abc import Callable, Iterable
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Any

KEYS = {
    "revenue_by_day": ("day", "currency"),
    "order_funnel": ("day",),
    "product_sales": ("product_id", "currency"),
}
VALUES = {
    "revenue_by_day": ("orders", "gross", "returned"),
    "order_funnel": ("placed", "paid", "shipped", "delivered", "cancelled"),
    "product_sales": ("gross", "returned"),
}
STEPS = ("OrderPlaced", "PaymentCaptured", "OrderShipped", "OrderDelivered", "OrderCancelled")
"""The types of events behind the columns of `order_funnel`, in their order."""

Rows = Iterable[Iterable[Any]]


def run(library: str, compute: Callable[[str, Path], dict[str, Rows]]) -> None:
    """Compute, write, and print the seconds from the first byte read to the last one written."""
    events, out = sys.argv[1], Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    for view, rows in compute(events, out).items():
        write(out, view, rows)
    seconds = time.perf_counter() - started
    print(json.dumps({"seconds": round(seconds, 3), "version": version(library)}))


def write(out: Path, view: str, rows: Rows) -> None:
    """Write a view's rows, keys first."""
    with (out / f"{view}.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow((*KEYS[view], *VALUES[view]))
        writer.writerows(rows)


def units(money: str | None) -> int:
    """Ten-thousandths, for systems that have no decimals: `units("6.90") == 69000`."""
    return int(Decimal(money or 0).scaleb(4))


def money(ten_thousandths: int) -> str:
    """Back again, exactly."""
    return str(Decimal(ten_thousandths).scaleb(-4))
