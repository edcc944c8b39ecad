"""The oracle's tables: their columns, and each view as plain Python over `orders` and `ledger`.

Like the rest of the oracle it imports nothing of the project's own machinery. Money is Decimal.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

Row = dict[str, Any]

ZERO = Decimal(0)
ORDERS = (
    *("order_id", "customer_id", "currency", "country", "channel", "status"),
    *("placed_at", "paid_at", "shipped_at", "delivered_at", "cancelled_at"),
    *("gross", "paid", "refunded", "net", "units"),
    *("event_count", "first_offset", "last_offset", "partition"),
)
LEDGER = (
    *("order_id", "customer_id", "product_id", "country", "channel"),
    *("kind", "booked_at", "currency", "quantity", "amount"),
)
PLACEMENT = {"first_offset", "last_offset", "partition"}
"""Columns of `orders` that say where events lie, not what they mean."""


@dataclass(frozen=True)
class Table:
    """Columns and a bag of rows."""

    columns: tuple[str, ...]
    rows: Counter[tuple[Any, ...]]

    @classmethod
    def of(cls, columns: Iterable[str], rows: Iterable[Row]) -> "Table":
        """A table of rows as dicts."""
        names = tuple(columns)
        return cls(names, Counter(tuple(row[name] for name in names) for row in rows))

    def without(self, dropped: set[str]) -> "Table":
        """The same bag without some columns."""
        kept = [i for i, name in enumerate(self.columns) if name not in dropped]
        rows: Counter[tuple[Any, ...]] = Counter()
        for row, times in self.rows.items():
            rows[tuple(row[i] for i in kept)] += times
        return Table(tuple(self.columns[i] for i in kept), rows)


def total(rows: Iterable[Row]) -> Decimal:
    """The sum of their amounts."""
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
    """The ledger rows of these kinds."""
    return [row for row in rows if row["kind"] in kinds]


def revenue_by_day(ledger: list[Row]) -> Iterable[Row]:
    """Built in: money by day of booking."""
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
    """Built in: money by minute of booking."""

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
    """Built in: pieces and money by product."""
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
    """Built in: what a customer is worth."""
    for (customer, currency), rows in grouped(ledger, lambda r: (r["customer_id"], r["currency"])):
        orders, net = len(of_kind(rows, "placed")), total(rows)
        yield {"customer_id": customer, "currency": currency, "orders": orders, "net": net}


def country_sales(ledger: list[Row]) -> Iterable[Row]:
    """Built in: money by country."""
    for (country, currency), rows in grouped(ledger, lambda r: (r["country"], r["currency"])):
        orders, net = len(of_kind(rows, "placed")), total(rows)
        yield {"country": country, "currency": currency, "orders": orders, "net": net}


def order_funnel(orders: list[Row]) -> Iterable[Row]:
    """Built in: how far the orders of a day got."""
    placed = [row for row in orders if row["placed_at"] is not None]
    for (day,), rows in grouped(placed, lambda r: (r["placed_at"].date(),)):
        steps = ("paid", "shipped", "delivered", "cancelled")
        reached = {s: sum(row[f"{s}_at"] is not None for row in rows) for s in steps}
        yield {"day": day, "placed": len(rows), **reached}


def basket_by_day(orders: list[Row]) -> Iterable[Row]:
    """Built in: what an order of a day was worth."""
    placed = [row for row in orders if row["placed_at"] is not None]
    for (day, currency), rows in grouped(placed, lambda r: (r["placed_at"].date(), r["currency"])):
        worth = [row["gross"] for row in rows]
        yield {
            "day": day,
            "currency": currency,
            "orders": len(rows),
            "median": between(worth, Decimal("0.5")),
            "p90": at_share(worth, Decimal("0.9")),
            "largest": max(worth),
        }


def customer_days(ledger: list[Row]) -> Iterable[Row]:
    """Built in: what moved for a customer on a day."""
    known = [row for row in ledger if row["customer_id"] is not None]

    def key(row: Row) -> tuple[Any, ...]:
        return row["customer_id"], row["booked_at"].date(), row["currency"]

    for (customer, day, currency), rows in grouped(known, key):
        yield {
            "customer_id": customer,
            "day": day,
            "currency": currency,
            "orders": len(of_kind(rows, "placed")),
            "net": total(rows),
        }


def customer_history(ledger: list[Row]) -> Iterable[Row]:
    """Built in: a customer's orders over time."""
    placed = [row for row in of_kind(ledger, "placed") if row["customer_id"] is not None]
    for (customer,), rows in grouped(placed, lambda r: (r["customer_id"],)):
        days = {row["booked_at"].date() for row in rows}
        yield {
            "customer_id": customer,
            "first_day": min(days),
            "last_day": max(days),
            "days": len(days),
            "orders": len(rows),
        }


def _first_days(ledger: list[Row]) -> dict[str, Any]:
    return {row["customer_id"]: row["first_day"] for row in customer_history(ledger)}


def customers_by_day(ledger: list[Row]) -> Iterable[Row]:
    """Built in: who ordered on a day, for the first time or again."""
    first = _first_days(ledger)
    placed = [row for row in of_kind(ledger, "placed") if row["customer_id"] is not None]
    for (day,), rows in grouped(placed, lambda r: (r["booked_at"].date(),)):
        who = {row["customer_id"] for row in rows}
        new = {each for each in who if first[each] == day}
        yield {
            "day": day,
            "customers": len(who),
            "new": len(new),
            "returning": len(who - new),
        }


def cohorts(ledger: list[Row]) -> Iterable[Row]:
    """Built in: what became of the customers of a month."""
    first = _first_days(ledger)

    def key(row: Row) -> tuple[Any, ...]:
        day, began = row["booked_at"].date(), first.get(row["customer_id"])
        if began is None:
            return None, None, row["currency"]
        months = (day.year - began.year) * 12 + day.month - began.month
        return began.replace(day=1), months, row["currency"]

    known = [row for row in ledger if row["customer_id"] is not None]
    for (cohort, months, currency), rows in grouped(known, key):
        yield {
            "cohort": cohort,
            "months": months,
            "currency": currency,
            "customers": len({row["customer_id"] for row in of_kind(rows, "placed")}),
            "net": total(rows),
        }


def repeat_rate(ledger: list[Row]) -> Iterable[Row]:
    """Built in: how many customers came back."""
    customers = list(customer_history(ledger))
    if customers:
        returned = sum(row["days"] > 1 for row in customers)
        yield {
            "scope": "all",
            "customers": len(customers),
            "returned": returned,
            "rate": quotient(returned, len(customers)),
            "orders": sum(row["orders"] for row in customers),
        }


def tiers(ledger: list[Row]) -> Iterable[Row]:
    """A user's view over a view: customers by how often they ordered."""
    for (orders, currency), rows in grouped(
        customer_value(ledger), lambda r: (r["orders"], r["currency"])
    ):
        if len(rows) < 2:
            continue
        worth = [row["net"] for row in rows]
        yield {
            "orders": orders,
            "currency": currency,
            "customers": len(rows),
            "middle": between(worth, Decimal("0.5")),
            "best": max(worth),
            "net": sum(worth, ZERO),
        }


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


def between(values: list[Any], share: Decimal) -> Decimal | None:
    """The value that lies the share of the way from the smallest to the largest, to 4 digits."""
    if not values:
        return None
    ordered = sorted(values)
    way = share * (len(ordered) - 1)
    low = int(way)
    high = min(low + 1, len(ordered) - 1)
    exact = ordered[low] + (ordered[high] - ordered[low]) * (way - low)
    return quotient(exact, 1)


def at_share(values: list[Any], share: Decimal) -> Any:
    """The smallest value that at least the share of all does not exceed."""
    if not values:
        return None
    return next(v for v in sorted(values) if sum(w <= v for w in values) >= share * len(values))


def most_common(values: list[Any]) -> Any:
    """The value that is there most often; of several, the smallest."""
    often = Counter(values)
    return min(often, key=lambda v: (-often[v], v), default=None)


def sizes(ledger: list[Row]) -> Iterable[Row]:
    """A user's view of values: distinct, extremes, quantiles, the one that was largest."""
    for (kind, country), rows in grouped(ledger, lambda r: (r["kind"], r["country"])):
        if len(rows) < 2:
            continue
        amounts = [row["amount"] for row in rows]
        products = [row["product_id"] for row in rows if row["product_id"] is not None]
        known = {row["customer_id"] for row in rows if row["customer_id"] is not None}
        taken = [row["amount"] for row in rows if row["quantity"] < 0]
        yield {
            "kind": kind,
            "country": country,
            "movements": len(rows),
            "customers": len(known),
            "least": min(amounts),
            "most": max(amounts),
            "spread": max(amounts) - min(amounts),
            "taken": max(taken, default=None),
            "first": min(row["booked_at"] for row in rows),
            "middle": between(amounts, Decimal("0.5")),
            "third": between([row["quantity"] for row in rows], Decimal("0.333")),
            "p90": at_share(amounts, Decimal("0.9")),
            "usual": most_common(products),
            "largest": max((row["amount"], row["order_id"]) for row in rows)[1],
            "smallest": min((row["amount"], row["order_id"]) for row in rows)[1],
            "net": total(rows),
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
    "basket_by_day": ("day currency orders median p90 largest", basket_by_day),
    "customer_days": ("customer_id day currency orders net", customer_days),
    "customer_history": ("customer_id first_day last_day days orders", customer_history),
    "customers_by_day": ("day customers new returning", customers_by_day),
    "cohorts": ("cohort months currency customers net", cohorts),
    "repeat_rate": ("scope customers returned rate orders", repeat_rate),
    "tiers": ("orders currency customers middle best net", tiers),
    "shelf": (
        "customer_id product_id movements lands taken mean pieces refunds share",
        shelf,
    ),
    "doors": (
        "channel status orders shipped mean_net mean_units unpaid paid_per_net events",
        doors,
    ),
    "sizes": (
        """kind country movements customers least most spread taken first middle third p90 usual
        largest smallest net""",
        sizes,
    ),
}
"""Name to columns and rows: the built-in views and those that a user might add."""

OF_ORDERS = {"order_funnel", "basket_by_day", "doors"}

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
    "sizes": """
        SELECT kind, country, count(*) AS movements, count(DISTINCT customer_id) AS customers,
          min(amount) AS least, max(amount) AS most, most - least AS spread,
          max(amount) FILTER (WHERE quantity < 0) AS taken, min(booked_at) AS first,
          median(amount) AS middle, quantile_cont(quantity, 0.333) AS third,
          quantile_disc(amount, 0.9) AS p90, mode(product_id) AS usual,
          arg_max(order_id, amount) AS largest, arg_min(order_id, amount) AS smallest,
          sum(amount) AS net
        FROM ledger GROUP BY kind, country HAVING count(*) > 1""",
    "tiers": """
        SELECT orders, currency, count(*) AS customers, median(net) AS middle, max(net) AS best,
          sum(net) AS net
        FROM customer_value GROUP BY ALL HAVING count(*) > 1""",
}
"""The SQL of the views that a user might add, next to what they mean."""
