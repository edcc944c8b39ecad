"""The oracle itself: a few answers worked out by hand, and that the cases leave nothing out."""

from collections import defaultdict
from datetime import date, datetime
from decimal import Decimal
from random import Random

import pytest

from tests.conformance.streams import Shop, cancelled, combined, placed, returned
from tests.oracle import fold as oracle
from tests.oracle.fold import Event, Table


def recompute(lines: list[bytes]) -> dict[str, Table]:
    return oracle.recompute([(0, offset, line.decode()) for offset, line in enumerate(lines)])


def only_row(table: Table) -> dict[str, object]:
    (row,) = table.rows
    return dict(zip(table.columns, row, strict=True))


def test_an_order_of_two_mugs_is_worth_15_euros_on_its_day() -> None:
    tables = recompute([placed("o1", ("mug", 2, "7.50"))])
    assert only_row(tables["revenue_by_day"]) == {
        "day": date(2026, 3, 1),
        "currency": "EUR",
        "orders": 1,
        "gross": Decimal(15),
        "cancelled": 0,
        "returned": 0,
        "net": Decimal(15),
        "average_order": Decimal(15),
    }


def test_a_cancellation_takes_back_what_did_not_come_back_already() -> None:
    lines = [
        placed("o1", ("mug", 3, "7.50"), ("tea", 1, "3.00"), shipping="4.90", discount="2.00"),
        returned("o1", ("mug", 1, "7.00")),
        cancelled("o1"),
    ]
    tables = recompute(lines)
    booked = [dict(zip(oracle.LEDGER, row, strict=True)) for row in tables["ledger"].rows]
    taken = {
        (row["product_id"], row["quantity"], row["amount"])
        for row in booked
        if row["kind"] == "cancellation"
    }
    # Mugs: 22.50 sold less 7.00 given back; tea whole; 4.90 shipping and 2.00 discount reversed.
    assert taken == {
        ("mug", -2, Decimal("-15.50")),
        ("tea", -1, Decimal("-3.00")),
        (None, 0, Decimal("-4.90")),
        (None, 0, Decimal("2.00")),
    }
    order = only_row(tables["orders"])
    assert (order["status"], order["net"], order["units"]) == ("cancelled", 0, 0)
    assert (order["gross"], order["refunded"]) == (Decimal("28.40"), Decimal("7.00"))


def test_the_lowest_offset_counts_whatever_came_later() -> None:
    order = only_row(recompute([placed("o1"), placed("o1", ("lamp", 9, "99"))])["orders"])
    assert (order["net"], order["event_count"], order["last_offset"]) == (Decimal("7.5"), 1, 0)


@pytest.mark.parametrize(
    ("top", "bottom", "expected"),
    [
        (Decimal("0.0001"), 2, Decimal("0.0001")),
        (Decimal("-0.0001"), 2, Decimal("-0.0001")),
        (Decimal("0.0001"), 3, Decimal(0)),
        (Decimal(2), Decimal("0.0003"), Decimal("6666.6667")),
        (Decimal(-7), -2, Decimal("3.5")),
        (Decimal(1), 0, None),
        (None, 3, None),
    ],
)
def test_a_quotient_is_rounded_half_away_from_zero(
    top: Decimal | None, bottom: Decimal | int, expected: Decimal | None
) -> None:
    assert oracle.quotient(top, bottom) == expected


def situations_in(lines: list[bytes]) -> set[str]:
    """Which of the situations that a stream must bring are in these lines."""
    found: set[str] = set()
    first: dict[tuple[str, str, str], bytes] = {}
    by_order: dict[str, list[Event]] = defaultdict(list)
    newest = datetime.min  # noqa: DTZ901 - naive UTC
    for offset, line in enumerate(lines):
        event = oracle.read(0, offset, line.decode())
        key = (event.order_id, event.source, event.id)
        if key in first:
            found.add("duplicate" if first[key] == line else "conflict")
        else:
            first[key] = line
            by_order[event.order_id].append(event)
        if event.time.date() < newest.date():
            found.add("late for its day")
        newest = max(newest, event.time)
        if event.type == "OrderPlaced" and b'"qty"' in line:
            found.add("old version")
    for events in by_order.values():
        found |= _of_one_order(events)
    return found


def _of_one_order(events: list[Event]) -> set[str]:
    kinds = [event.type for event in events]
    back = [n for n, kind in enumerate(kinds) if kind == "ItemsReturned"]
    cancels = [n for n, kind in enumerate(kinds) if kind == "OrderCancelled"]
    orders = [event for event in events if event.type == "OrderPlaced"]
    prices = [Decimal(line["unit_price"]) for e in orders for line in e.data["lines"]]
    booked = [Decimal(e.data["amount"]) for e in events if e.type == "AdjustmentBooked"]
    facts = {
        "event before its order": bool(orders) and kinds[0] != "OrderPlaced",
        "placed twice": len(orders) > 1,
        "return without order": bool(back) and not orders,
        "return after cancellation": bool(orders) and any(a < b for a in cancels for b in back),
        "cancellation after return": bool(orders) and any(a > b for a in cancels for b in back),
        "negative adjustment": any(amount < 0 for amount in booked),
        "guest": any(e.data["customer_id"] is None for e in orders),
        "zero price": 0 in prices,
        "price of four digits": any(price != round(price, 2) for price in prices),
    }
    found = {name for name, true in facts.items() if true}
    if len(orders) == 1 and back:
        found |= _of_returns(orders[0], [events[n] for n in back])
    return found


def _of_returns(order: Event, returns: list[Event]) -> set[str]:
    currency = order.data["currency"]
    came_back = oracle.returned(returns, currency)
    both = [
        (came_back.get(product, (0,))[0], pieces)
        for product, (pieces, _) in oracle.sold(order).items()
    ]
    facts = {
        "return in other money": any(e.data["currency"] != currency for e in returns),
        "partial return": any(0 < back < sold for back, sold in both),
        "more came back than was sold": any(back > sold for back, sold in both),
    }
    return {name for name, true in facts.items() if true}


EVERYTHING = {
    "duplicate", "conflict", "late for its day", "old version", "event before its order",
    "placed twice", "return without order", "return after cancellation",
    "cancellation after return", "negative adjustment", "guest", "zero price",
    "price of four digits", "return in other money", "partial return",
    "more came back than was sold",
}  # fmt: skip


@pytest.mark.parametrize("seed", [1, 2])
def test_the_combined_cases_bring_every_situation(seed: int) -> None:
    assert situations_in(combined(seed)) == EVERYTHING


def test_a_random_shop_alone_brings_every_situation() -> None:
    lines = Shop(Random(5), orders=80).events(500)
    assert situations_in(lines) == EVERYTHING


def test_a_shop_without_conflicts_has_none() -> None:
    lines = Shop(Random(5), orders=300, conflicts=False).events(2000)
    assert situations_in(lines) == EVERYTHING - {"conflict"}


def test_the_same_seed_gives_the_same_stream() -> None:
    assert combined(7) == combined(7)
    assert combined(7) != combined(8)
