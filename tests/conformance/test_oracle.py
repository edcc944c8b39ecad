"""The oracle itself: a few answers worked out by hand, and that the cases leave nothing out."""

from collections import defaultdict
from datetime import date, datetime
from decimal import Decimal

import pytest

from tests import oracle
from tests.conformance.streams import NOON, Shop, cancelled, combined, placed, returned
from tests.oracle import Event, Table


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
    found: set[str] = set()
    kinds = [event.type for event in events]
    places = [n for n, kind in enumerate(kinds) if kind == "OrderPlaced"]
    back = [n for n, kind in enumerate(kinds) if kind == "ItemsReturned"]
    cancels = [n for n, kind in enumerate(kinds) if kind == "OrderCancelled"]
    if places and places[0] > 0:
        found.add("event before its order")
    if len(places) > 1:
        found.add("placed twice")
    if not places and back:
        found.add("return without order")
    if places and any(a < b for a in cancels for b in back):
        found.add("return after cancellation")
    if places and any(a > b for a in cancels for b in back):
        found.add("cancellation after return")
    if any(e.type == "AdjustmentBooked" and Decimal(e.data["amount"]) < 0 for e in events):
        found.add("negative adjustment")
    placed_events = [event for event in events if event.type == "OrderPlaced"]
    for event in placed_events:
        prices = [Decimal(line["unit_price"]) for line in event.data["lines"]]
        if event.data["customer_id"] is None:
            found.add("guest")
        if 0 in prices:
            found.add("zero price")
        if any(price != round(price, 2) for price in prices):
            found.add("price of four digits")
    if len(placed_events) == 1 and back:
        (order,) = placed_events
        currency = order.data["currency"]
        if any(events[n].data["currency"] != currency for n in back):
            found.add("return in other money")
        came_back = oracle.returned([events[n] for n in back], currency)
        for product, (pieces, _) in oracle.sold(order).items():
            gone = came_back.get(product, (0, None))[0]
            if 0 < gone < pieces:
                found.add("partial return")
            if gone > pieces:
                found.add("more came back than was sold")
    return found


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
    from random import Random

    lines = Shop(Random(5), orders=80).events(500)
    assert situations_in(lines) == EVERYTHING


def test_a_shop_without_conflicts_has_none() -> None:
    from random import Random

    lines = Shop(Random(5), orders=80, conflicts=False).events(500)
    assert situations_in(lines) == EVERYTHING - {"conflict"}


def test_the_same_seed_gives_the_same_stream() -> None:
    assert combined(7) == combined(7)
    assert combined(7) != combined(8)
    assert NOON.isoformat() == "2026-03-01T12:00:00"
