"""The oracle: orders, ledger and views from event lines, in plain Python, written from the design.

It imports nothing of the project, keeps everything in dicts and does no two things at once, so
that what it says can be checked by reading. Money is Decimal; no float ever appears.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from tests.oracle.views import (
    LEDGER,
    OF_ORDERS,
    ORDERS,
    PLACEMENT,
    USER_VIEWS,
    VIEWS,
    ZERO,
    Row,
    Table,
    quotient,
    total,
)

__all__ = [
    "LEDGER",
    "ORDERS",
    "PLACEMENT",
    "USER_VIEWS",
    "VIEWS",
    "Event",
    "Row",
    "Table",
    "conflicts",
    "counted_events",
    "fold",
    "quotient",
    "read",
    "recompute",
    "repeats",
    "returned",
    "sold",
]


@dataclass(frozen=True)
class Event:
    """One line of the log, as read."""

    partition: int
    offset: int
    source: str
    id: str
    type: str
    time: datetime
    order_id: str
    sequence: int | None
    data: Row


def recompute(log: Iterable[tuple[int, int, str]]) -> dict[str, Table]:
    """All tables of a log of (partition, offset, JSON line): `orders`, `ledger` and each view."""
    by_order: dict[str, list[Event]] = defaultdict(list)
    for partition, offset, line in log:
        event = read(partition, offset, line)
        by_order[event.order_id].append(event)
    orders: list[Row] = []
    ledger: list[Row] = []
    for order_id in sorted(by_order):
        row, movements = fold(order_id, by_order[order_id])
        orders.append(row)
        ledger.extend(movements)
    tables = {"orders": Table.of(ORDERS, orders), "ledger": Table.of(LEDGER, ledger)}
    for name, (columns, view) in VIEWS.items():
        source = orders if name in OF_ORDERS else ledger
        tables[name] = Table.of(columns.split(), view(source))
    return tables


def read(partition: int, offset: int, line: str) -> Event:
    """Parse one line; a version 1 order gets the names of version 2."""
    raw = json.loads(line, parse_float=Decimal)
    data = raw.get("data") or {}
    schema = raw.get("dataschema")
    if raw["type"] == "OrderPlaced" and schema is not None and schema.endswith("/OrderPlaced/1"):
        lines = [
            {"product_id": x["sku"], "quantity": x["qty"], "unit_price": x["price"]}
            for x in data["lines"]
        ]
        # Version 1 has no discount; a field of that name is an unknown extra.
        data = {**data, "customer_id": data["customer"], "lines": lines, "discount": None}
    sequence = raw.get("sequence")
    return Event(
        partition,
        offset,
        raw["source"],
        raw["id"],
        raw["type"],
        datetime.fromisoformat(raw["time"].upper()).astimezone(UTC).replace(tzinfo=None),
        raw["subject"],
        None if sequence is None else int(sequence),
        data,
    )


def money(value: Any) -> Decimal:
    """A JSON string or number as exact money; absent is 0."""
    return ZERO if value is None else Decimal(value)


def counted_events(events: Iterable[Event]) -> list[Event]:
    """Each (source, id) once: the delivery with the lowest offset."""
    first: dict[tuple[str, str], Event] = {}
    for event in sorted(events, key=lambda e: e.offset):
        first.setdefault((event.source, event.id), event)
    return list(first.values())


def voided(events: Iterable[Event]) -> set[tuple[str, str]]:
    """Source and id of what was taken back by the same source; a void stays."""
    found = list(events)
    named = {(e.source, i) for e in found if e.type == "EventsVoided" for i in e.data["events"]}
    return named & {(e.source, e.id) for e in found if e.type != "EventsVoided"}


def repeats(log: Iterable[tuple[int, int, str]]) -> int:
    """How many lines redeliver an event of their order."""
    events = [read(*place) for place in log]
    return len(events) - len({(e.order_id, e.source, e.id) for e in events})


def conflicts(log: Iterable[tuple[int, int, str]]) -> set[tuple[int, int]]:
    """Where lines redeliver an event of their order with other content than its first delivery."""
    first: dict[tuple[str, str, str], Any] = {}
    found = set()
    for partition, offset, line in sorted(log):
        content = json.loads(line, parse_float=Decimal)
        key = (content["subject"], content["source"], content["id"])
        if first.setdefault(key, content) != content:
            found.add((partition, offset))
    return found


def fold(order_id: str, delivered: list[Event]) -> tuple[Row, list[Row]]:
    """The `orders` row and the `ledger` rows of one order."""
    events = counted_events(delivered)
    taken_back = voided(events)
    of_type: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        if (event.source, event.id) not in taken_back:
            of_type[event.type].append(event)
    placed = min(
        of_type["OrderPlaced"],
        key=lambda e: (
            e.time,
            e.sequence is None,
            0 if e.sequence is None else e.sequence,
            e.source,
            e.id,
        ),
        default=None,
    )
    returns, adjustments = of_type["ItemsReturned"], of_type["AdjustmentBooked"]

    order: Row = {"order_id": order_id}
    for name in ("customer_id", "country"):
        order[name] = None if placed is None else placed.data.get(name)
        if order[name] is None:
            order[name] = smallest(e.data.get(name) for e in returns)
    if placed is not None:
        order["currency"] = placed.data["currency"]
    else:
        order["currency"] = smallest(e.data["currency"] for e in returns)
        if order["currency"] is None:
            order["currency"] = smallest(e.data["currency"] for e in adjustments)
    order["channel"] = None if placed is None else placed.data.get("channel")

    movements = booked(order, placed, returns, adjustments, of_type["OrderCancelled"])

    own = [m for m in movements if m["currency"] == order["currency"]]
    order["status"] = status(order["currency"], placed, of_type) or "voided"
    order["placed_at"] = None if placed is None else placed.time
    order["paid_at"] = earliest(of_type["PaymentCaptured"])
    order["shipped_at"] = earliest(of_type["OrderShipped"])
    order["delivered_at"] = earliest(of_type["OrderDelivered"])
    order["cancelled_at"] = earliest(of_type["OrderCancelled"])
    order["gross"] = total(m for m in own if m["kind"] in {"sale", "shipping", "discount"})
    order["paid"] = sum((money(e.data["amount"]) for e in of_type["PaymentCaptured"]), ZERO)
    order["refunded"] = -total(m for m in own if m["kind"] == "return")
    order["net"] = total(own)
    order["units"] = sum(m["quantity"] for m in own)
    order["event_count"] = len(events)
    order["first_offset"] = min(e.offset for e in events)
    order["last_offset"] = max(e.offset for e in events)
    (order["partition"],) = {e.partition for e in events}
    return order, movements


def booked(
    order: Row,
    placed: Event | None,
    returns: list[Event],
    adjustments: list[Event],
    cancellations: list[Event],
) -> list[Row]:
    """The `ledger` rows of one order."""
    rows: list[Row] = []

    def book(
        kind: str,
        at: datetime | None,
        currency: str,
        amount: Decimal,
        product: str | None = None,
        quantity: int = 0,
    ) -> None:
        row: Row = {"kind": kind, "booked_at": at, "currency": currency, "amount": amount}
        row |= {"product_id": product, "quantity": quantity}
        row |= {name: order[name] for name in ("order_id", "customer_id", "country", "channel")}
        rows.append(row)

    for event in returns:
        for line in event.data["lines"]:
            refund, pieces = money(line["refund"]), line["quantity"]
            book("return", event.time, event.data["currency"], -refund, line["product_id"], -pieces)
    for event in adjustments:
        book("adjustment", event.time, event.data["currency"], money(event.data["amount"]))
    if placed is None:
        return rows

    currency, at = placed.data["currency"], placed.time
    shipping, discount = money(placed.data.get("shipping")), money(placed.data.get("discount"))
    book("placed", at, currency, ZERO)
    for line in placed.data["lines"]:
        price, pieces = money(line["unit_price"]), line["quantity"]
        book("sale", at, currency, price * pieces, line["product_id"], pieces)
    if shipping != 0:
        book("shipping", at, currency, shipping)
    if discount != 0:
        book("discount", at, currency, -discount)

    if cancellations:
        at_cancel = earliest(cancellations)
        came_back = returned(returns, currency)
        for product, (pieces, amount) in sold(placed).items():
            back_pieces, back_amount = came_back.get(product, (0, ZERO))
            gone, taken = max(pieces - back_pieces, 0), max(amount - back_amount, ZERO)
            if gone != 0 or taken != 0:
                book("cancellation", at_cancel, currency, -taken, product, -gone)
        if shipping != 0:
            book("cancellation", at_cancel, currency, -shipping)
        if discount != 0:
            book("cancellation", at_cancel, currency, discount)
    return rows


def sold(placed: Event) -> dict[str, tuple[int, Decimal]]:
    """Pieces and money sold, by product."""
    found: dict[str, tuple[int, Decimal]] = {}
    for line in placed.data["lines"]:
        pieces, amount = found.get(line["product_id"], (0, ZERO))
        price = money(line["unit_price"])
        found[line["product_id"]] = (
            pieces + line["quantity"],
            amount + price * line["quantity"],
        )
    return found


def returned(returns: list[Event], currency: str | None) -> dict[str, tuple[int, Decimal]]:
    """Pieces and money that came back in one currency, by product."""
    found: dict[str, tuple[int, Decimal]] = {}
    for event in returns:
        if event.data["currency"] != currency:
            continue
        for line in event.data["lines"]:
            pieces, amount = found.get(line["product_id"], (0, ZERO))
            found[line["product_id"]] = (
                pieces + line["quantity"],
                amount + money(line["refund"]),
            )
    return found


def status(
    currency: str | None, placed: Event | None, of_type: Mapping[str, list[Event]]
) -> str | None:
    """How far the order got; None where nothing is left of it."""
    returns = of_type.get("ItemsReturned", [])
    if placed is None and (returns or of_type.get("AdjustmentBooked")):
        return "unplaced"
    if placed is not None and returns:
        came_back = returned(returns, currency)
        if all(
            came_back.get(product, (0, ZERO))[0] >= pieces
            for product, (pieces, _) in sold(placed).items()
        ):
            return "returned"
    for event_type, name in (
        ("OrderCancelled", "cancelled"),
        ("OrderDelivered", "delivered"),
        ("OrderShipped", "shipped"),
        ("PaymentCaptured", "paid"),
        ("OrderPlaced", "placed"),
    ):
        if of_type.get(event_type):
            return name
    return None


def smallest(values: Iterable[str | None]) -> str | None:
    return min((value for value in values if value is not None), default=None)


def earliest(events: Iterable[Event]) -> datetime | None:
    return min((event.time for event in events), default=None)
