"""The oracle: orders, ledger and views from event lines, in plain Python, written from the design.

It imports nothing of the project, keeps everything in dicts and does no two things at once, so
that what it says can be checked by reading. Money is Decimal; no float ever appears.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

Row = dict[str, Any]

ZERO = Decimal(0)
ORDERS = [
    "order_id",
    "customer_id",
    "currency",
    "country",
    "channel",
    "status",
    "placed_at",
    "paid_at",
    "shipped_at",
    "delivered_at",
    "cancelled_at",
    "gross",
    "paid",
    "refunded",
    "net",
    "units",
    "event_count",
    "first_offset",
    "last_offset",
    "partition",
]
LEDGER = [
    "order_id",
    "customer_id",
    "product_id",
    "country",
    "kind",
    "booked_at",
    "currency",
    "quantity",
    "amount",
]
PLACEMENT = {"first_offset", "last_offset", "partition"}
"""Columns of `orders` that say where events lie, not what they mean."""


@dataclass(frozen=True)
class Table:
    """Columns and a bag of rows."""

    columns: tuple[str, ...]
    rows: Counter[tuple[Any, ...]]

    @classmethod
    def of(cls, columns: Iterable[str], rows: Iterable[Row]) -> "Table":
        names = tuple(columns)
        return cls(names, Counter(tuple(row[name] for name in names) for row in rows))

    def without(self, dropped: set[str]) -> "Table":
        """The same bag without some columns."""
        kept = [i for i, name in enumerate(self.columns) if name not in dropped]
        rows: Counter[tuple[Any, ...]] = Counter()
        for row, times in self.rows.items():
            rows[tuple(row[i] for i in kept)] += times
        return Table(tuple(self.columns[i] for i in kept), rows)


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


def repeats(log: Iterable[tuple[int, int, str]]) -> int:
    """How many lines redeliver an event of their order."""
    events = [read(*place) for place in log]
    return len(events) - len({(e.order_id, e.source, e.id) for e in events})


def fold(order_id: str, delivered: list[Event]) -> tuple[Row, list[Row]]:
    """The `orders` row and the `ledger` rows of one order."""
    events = counted_events(delivered)
    of_type: dict[str, list[Event]] = defaultdict(list)
    for event in events:
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
    order["status"] = status(order["currency"], placed, of_type)
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
        row |= {name: order[name] for name in ("order_id", "customer_id", "country")}
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
    """How far the order got."""
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


def total(rows: Iterable[Row]) -> Decimal:
    return sum((row["amount"] for row in rows), ZERO)


def quotient(top: Decimal | int | None, bottom: Decimal | int | None) -> Decimal | None:
    """Exact division to 4 digits, half away from zero; nothing over 0, or without either part."""
    if top is None or bottom is None or bottom == 0:
        return None
    n, m = Decimal(top).as_integer_ratio()
    p, q = Decimal(bottom).as_integer_ratio()
    over, under = n * q * 10_000, m * p
    whole, rest = divmod(abs(over), abs(under))
    whole += 2 * rest >= abs(under)
    return Decimal(whole if (over < 0) == (under < 0) else -whole).scaleb(-4)


def grouped(rows: Iterable[Row], key: Callable[[Row], tuple[Any, ...]]) -> Iterable[Any]:
    """Pairs of key and its rows."""
    groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        groups[key(row)].append(row)
    return groups.items()


def of_kind(rows: Iterable[Row], *kinds: str) -> list[Row]:
    return [row for row in rows if row["kind"] in kinds]


def revenue_by_day(ledger: list[Row]) -> Iterable[Row]:
    for (day, currency), rows in grouped(ledger, lambda r: (r["booked_at"].date(), r["currency"])):
        orders, net = len(of_kind(rows, "placed")), total(rows)
        yield {
            "day": day,
            "currency": currency,
            "orders": orders,
            "gross": total(of_kind(rows, "sale", "shipping", "discount")),
            "cancelled": total(of_kind(rows, "cancellation")),
            "returned": total(of_kind(rows, "return")),
            "net": net,
            "average_order": quotient(net, orders),
        }


def revenue_by_minute(ledger: list[Row]) -> Iterable[Row]:
    def key(row: Row) -> tuple[Any, ...]:
        return row["booked_at"].replace(second=0, microsecond=0), row["currency"]

    for (minute, currency), rows in grouped(ledger, key):
        yield {
            "minute": minute,
            "currency": currency,
            "orders": len(of_kind(rows, "placed")),
            "gross": total(of_kind(rows, "sale", "shipping", "discount")),
            "net": total(rows),
        }


def product_sales(ledger: list[Row]) -> Iterable[Row]:
    of_products = [row for row in ledger if row["product_id"] is not None]
    for (product, currency), rows in grouped(
        of_products, lambda r: (r["product_id"], r["currency"])
    ):
        yield {
            "product_id": product,
            "currency": currency,
            "units": sum(row["quantity"] for row in rows),
            "gross": total(of_kind(rows, "sale")),
            "returned": total(of_kind(rows, "return")),
            "net": total(rows),
        }


def customer_value(ledger: list[Row]) -> Iterable[Row]:
    for (customer, currency), rows in grouped(ledger, lambda r: (r["customer_id"], r["currency"])):
        orders, net = len(of_kind(rows, "placed")), total(rows)
        yield {"customer_id": customer, "currency": currency, "orders": orders, "net": net}


def country_sales(ledger: list[Row]) -> Iterable[Row]:
    for (country, currency), rows in grouped(ledger, lambda r: (r["country"], r["currency"])):
        orders, net = len(of_kind(rows, "placed")), total(rows)
        yield {"country": country, "currency": currency, "orders": orders, "net": net}


def order_funnel(orders: list[Row]) -> Iterable[Row]:
    placed = [row for row in orders if row["placed_at"] is not None]
    for (day,), rows in grouped(placed, lambda r: (r["placed_at"].date(),)):
        steps = ("paid", "shipped", "delivered", "cancelled")
        reached = {s: sum(row[f"{s}_at"] is not None for row in rows) for s in steps}
        yield {"day": day, "placed": len(rows), **reached}


def shelf(ledger: list[Row]) -> Iterable[Row]:
    """A user's view of the ledger: averages, a ratio, NULL keys, sums of nothing."""
    for (customer, product), rows in grouped(ledger, lambda r: (r["customer_id"], r["product_id"])):
        sales, back = of_kind(rows, "sale"), of_kind(rows, "return")
        refunds = total(back) if back else None
        sale = total(sales) if sales else None
        yield {
            "customer_id": customer,
            "product_id": product,
            "movements": len(rows),
            "lands": sum(row["country"] is not None for row in rows),
            "taken": sum(row["product_id"] is not None and row["amount"] < 0 for row in rows),
            "mean": quotient(total(rows), len(rows)),
            "pieces": quotient(sum(row["quantity"] for row in sales), len(sales)),
            "refunds": refunds,
            "share": quotient(refunds, sale),
        }


def doors(orders: list[Row]) -> Iterable[Row]:
    """A user's view of the orders: keys that are NULL, averages of money and of pieces."""
    for (channel, how), rows in grouped(orders, lambda r: (r["channel"], r["status"])):
        paid = sum((row["paid"] for row in rows), ZERO)
        net = sum((row["net"] for row in rows), ZERO)
        yield {
            "channel": channel,
            "status": how,
            "orders": len(rows),
            "shipped": sum(row["shipped_at"] is not None for row in rows),
            "mean_net": quotient(net, len(rows)),
            "mean_units": quotient(sum(row["units"] for row in rows), len(rows)),
            "unpaid": net - paid,
            "paid_per_net": quotient(paid, net),
            "events": sum(row["event_count"] for row in rows),
        }


VIEWS: dict[str, tuple[str, Callable[[list[Row]], Iterable[Row]]]] = {
    "revenue_by_day": (
        "day currency orders gross cancelled returned net average_order",
        revenue_by_day,
    ),
    "revenue_by_minute": ("minute currency orders gross net", revenue_by_minute),
    "product_sales": ("product_id currency units gross returned net", product_sales),
    "customer_value": ("customer_id currency orders net", customer_value),
    "order_funnel": ("day placed paid shipped delivered cancelled", order_funnel),
    "country_sales": ("country currency orders net", country_sales),
    "shelf": (
        "customer_id product_id movements lands taken mean pieces refunds share",
        shelf,
    ),
    "doors": (
        "channel status orders shipped mean_net mean_units unpaid paid_per_net events",
        doors,
    ),
}
"""Name to columns and rows: the six built-in views and two that a user might add."""

OF_ORDERS = {"order_funnel", "doors"}

USER_VIEWS = {
    "shelf": """
        SELECT customer_id, product_id, count(*) AS movements, count(country) AS lands,
          count(product_id) FILTER (WHERE amount < 0) AS taken, avg(amount) AS mean,
          avg(quantity) FILTER (WHERE kind = 'sale') AS pieces,
          sum(amount) FILTER (WHERE kind = 'return') AS refunds,
          sum(amount) FILTER (WHERE kind = 'return') / sum(amount) FILTER (WHERE kind = 'sale')
            AS share
        FROM ledger GROUP BY customer_id, product_id""",
    "doors": """
        SELECT channel, status, count(*) AS orders, count(shipped_at) AS shipped,
          avg(net) AS mean_net, avg(units) AS mean_units, sum(net - paid) AS unpaid,
          sum(paid) / sum(net) AS paid_per_net, sum(event_count) AS events
        FROM orders GROUP BY channel, status""",
}
"""The SQL of the views that a user might add, next to what they mean."""
