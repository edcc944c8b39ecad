"""The generator: seeded, realistic, valid where it should be and invalid where it should be."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from datetime import date, datetime
from decimal import Decimal
from hashlib import sha256
from itertools import islice, pairwise
from typing import Any

import pytest

from headrace.pipelines.errors import UsageError
from headrace.pipelines.generator.cloudevents import encode
from headrace.pipelines.generator.faults import POISON, poison_line
from headrace.pipelines.generator.generator import generate
from headrace.pipelines.generator.shop import MARKET_OF
from headrace.pipelines.orders.events import OrderPlaced, OrderShipped, SaleLine
from headrace.schemas.validate import Rejection, validate

ORDERS = 2_000
# Of the stream below. A change here changes everybody's generated data: say so in CHANGELOG.
GOLDEN = "6ba09709e0738f94c1dfd9464ba583dbc48c36cff2896aa608e169adb0882aa0"


@pytest.fixture(scope="module")
def lines() -> list[bytes]:
    return list(generate(ORDERS, 7))


@pytest.fixture(scope="module")
def events(lines: list[bytes]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines]


def of_type(events: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [event for event in events if event["type"] == name]


def time_of(line: bytes) -> datetime:
    return datetime.fromisoformat(json.loads(line)["time"])


def test_the_same_seed_gives_the_same_bytes_on_every_machine_and_version() -> None:
    stream = generate(500, 7, duplicates=0.05, disorder=0.05, late=0.05, poison=0.05)
    assert sha256(b"\n".join(stream)).hexdigest() == GOLDEN


def test_two_seeds_share_no_order_and_no_event(events: list[dict[str, Any]]) -> None:
    others = [json.loads(line) for line in generate(ORDERS, 8)]
    for key in ("subject", "id"):
        assert not {event[key] for event in events} & {event[key] for event in others}


def test_every_order_asked_for_is_placed_once(events: list[dict[str, Any]]) -> None:
    placed = Counter(event["subject"] for event in of_type(events, "OrderPlaced"))
    assert len(placed) == ORDERS
    assert set(placed.values()) == {1}


def test_no_event_id_is_used_twice(events: list[dict[str, Any]]) -> None:
    assert len({event["id"] for event in events}) == len(events)


def test_without_faults_events_come_in_the_order_of_their_time(lines: list[bytes]) -> None:
    assert all(time_of(earlier) <= time_of(later) for earlier, later in pairwise(lines))


def test_orders_are_placed_within_the_days_asked_for() -> None:
    start = date(2025, 12, 30)
    days = {
        event["time"][:10]
        for event in map(json.loads, generate(300, 1, start=start, days=3))
        if event["type"] == "OrderPlaced"
    }
    assert days == {"2025-12-30", "2025-12-31", "2026-01-01"}


def test_every_event_keeps_the_contract(lines: list[bytes]) -> None:
    for line in lines:
        validate(line)


def test_a_few_orders_are_written_in_version_1(events: list[dict[str, Any]]) -> None:
    old = [event for event in events if event.get("dataschema", "").endswith("/OrderPlaced/1")]
    assert 0 < len(old) < ORDERS * 0.03
    assert {frozenset(line) for event in old for line in event["data"]["lines"]} == {
        frozenset({"sku", "qty", "price"})
    }


def test_an_order_with_a_discount_is_never_written_in_version_1() -> None:
    line = SaleLine("mug", 1, Decimal("7.50"))
    time = datetime.fromisoformat("2026-03-01T09:30:00Z")
    event = OrderPlaced("e", "o", time, None, "EUR", (line,), discount=Decimal(1))
    with pytest.raises(ValueError, match="event e cannot be written in version 1"):
        encode(event, "shop/eu", old=True)


def test_an_event_that_never_had_a_version_1_is_not_written_in_it() -> None:
    time = datetime.fromisoformat("2026-03-01T09:30:00Z")
    with pytest.raises(ValueError, match="event e cannot be written in version 1"):
        encode(OrderShipped("e", "o", time), "shop/eu", old=True)


def test_orders_are_cancelled_and_returned_as_often_as_in_a_real_shop(
    events: list[dict[str, Any]],
) -> None:
    assert 0.03 < len(of_type(events, "OrderCancelled")) / ORDERS < 0.055
    returned = {event["subject"] for event in of_type(events, "ItemsReturned")}
    assert 0.045 < len(returned) / ORDERS < 0.08
    assert 0 < len(of_type(events, "AdjustmentBooked")) / ORDERS < 0.01


def test_a_payment_is_goods_and_shipping_without_the_discount(
    events: list[dict[str, Any]],
) -> None:
    paid = {
        event["subject"]: Decimal(event["data"]["amount"])
        for event in of_type(events, "PaymentCaptured")
    }
    assert len(paid) > ORDERS * 0.9
    for event in of_type(events, "OrderPlaced"):
        data = event["data"]
        goods = sum(
            line.get("quantity", line.get("qty"))
            * Decimal(line.get("unit_price", line.get("price")))
            for line in data["lines"]
        )
        due = goods + Decimal(data.get("shipping", 0)) - Decimal(data.get("discount", 0))
        assert paid.get(event["subject"], due) == due


def test_the_country_decides_the_currency(events: list[dict[str, Any]]) -> None:
    placed = of_type(events, "OrderPlaced")
    assert {event["data"]["country"] for event in placed} == set(MARKET_OF)
    for event in placed:
        data = event["data"]
        assert data["currency"] == MARKET_OF[data["country"]].currency.code


def test_a_product_has_one_price_in_a_currency(events: list[dict[str, Any]]) -> None:
    prices = defaultdict(set)
    for event in of_type(events, "OrderPlaced"):
        for line in event["data"]["lines"]:
            if "product_id" in line:
                prices[line["product_id"], event["data"]["currency"]].add(line["unit_price"])
    assert len(prices) > 500
    assert {len(texts) for texts in prices.values()} == {1}


def test_a_tenth_of_the_products_makes_most_of_the_sales(events: list[dict[str, Any]]) -> None:
    sold = Counter(
        line["product_id"]
        for event in of_type(events, "OrderPlaced")
        for line in event["data"]["lines"]
        if "product_id" in line
    )
    top = sum(count for _, count in sold.most_common(120))
    assert 0.6 < top / sold.total() < 0.85


def test_customers_come_back_and_stay_in_their_country(events: list[dict[str, Any]]) -> None:
    countries = defaultdict(list)
    for event in of_type(events, "OrderPlaced"):
        data = event["data"]
        countries[data.get("customer_id", data.get("customer"))].append(data["country"])
    guests = countries.pop(None)
    assert 0.005 < len(guests) / ORDERS < 0.04
    assert {len(set(seen)) for seen in countries.values()} == {1}
    repeated = sum(len(seen) > 1 for seen in countries.values())
    assert 0.2 < repeated / len(countries) < 0.8


def test_evenings_are_busier_than_nights_and_sundays_than_fridays() -> None:
    placed = [
        datetime.fromisoformat(event["time"])
        for event in map(json.loads, generate(3_000, 3, days=28))
        if event["type"] == "OrderPlaced"
    ]
    hours = Counter(time.hour for time in placed)
    weekdays = Counter(time.weekday() for time in placed)
    assert hours[20] > 5 * hours[3]
    assert weekdays[6] > 1.2 * weekdays[4]


def test_baskets_hold_one_to_eight_lines(events: list[dict[str, Any]]) -> None:
    sizes = Counter(len(event["data"]["lines"]) for event in of_type(events, "OrderPlaced"))
    assert set(sizes) == set(range(1, 9))
    assert sizes[1] > sizes[2] > sizes[4] > sizes[8]


def test_a_billion_orders_begin_at_once() -> None:
    assert len(list(islice(generate(1_000_000_000, 1), 3))) == 3


def test_no_orders_are_no_lines() -> None:
    assert list(generate(0, 1, poison=1.0)) == []


@pytest.mark.parametrize("fault", ["duplicates", "disorder", "late"])
def test_a_delivery_fault_changes_no_event(fault: str, lines: list[bytes]) -> None:
    chances: dict[str, Any] = {fault: 0.2}
    arrived = list(generate(ORDERS, 7, **chances))
    assert arrived != lines
    assert set(arrived) == set(lines)
    assert len(arrived) > len(lines) if fault == "duplicates" else len(arrived) == len(lines)


def test_a_copy_arrives_later_with_the_same_bytes(lines: list[bytes]) -> None:
    copies = Counter(generate(ORDERS, 7, duplicates=0.2))
    assert set(copies.values()) == {1, 2}
    share = sum(count == 2 for count in copies.values()) / len(lines)
    assert 0.18 < share < 0.22


def test_a_late_event_arrives_hours_after_its_time() -> None:
    newest = datetime.fromisoformat("1970-01-01T00:00:00Z")
    behind = 0
    arrived = list(generate(ORDERS, 7, late=0.1))
    for line in arrived:
        time = time_of(line)
        behind += (newest - time).total_seconds() > 3_000
        newest = max(newest, time)
    assert 0.07 < behind / len(arrived) < 0.12


def test_disorder_moves_an_event_by_some_places_only(lines: list[bytes]) -> None:
    place = {line: number for number, line in enumerate(lines)}
    moves = [number - place[line] for number, line in enumerate(generate(ORDERS, 7, disorder=0.1))]
    assert max(moves) > 10
    assert all(-50 <= move <= 50 for move in moves)


def test_poison_is_extra_and_the_good_events_stay(lines: list[bytes]) -> None:
    arrived = list(generate(ORDERS, 7, poison=0.1))
    good = set(lines)
    assert [line for line in arrived if line in good] == lines
    assert 0.08 < (len(arrived) - len(lines)) / len(lines) < 0.12


@pytest.mark.parametrize("kind", POISON)
def test_every_class_of_poison_is_refused_by_the_contract(kind: str) -> None:
    with pytest.raises(Rejection):
        validate(poison_line(kind, 17))


@pytest.mark.parametrize("kind", POISON)
def test_every_class_of_poison_is_one_line(kind: str) -> None:
    line = poison_line(kind, 17)
    assert line.strip() == line != b""
    assert b"\n" not in line
    assert b"17" in line


def test_all_classes_of_poison_come_up() -> None:
    good = set(generate(300, 7))
    bad = [line for line in generate(300, 7, poison=1.0) if line not in good]
    kinds = {
        kind
        for number, line in enumerate(bad)
        for kind in POISON
        if poison_line(kind, number) == line
    }
    assert kinds == set(POISON)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"orders": -1}, "orders is -1; give 0 or more"),
        ({"seed": -1}, "seed is -1; give 0 or more"),
        ({"days": 0}, "days is 0; give 1 or more"),
        ({"late": 1.5}, "late is 1.5; a probability lies between 0 and 1"),
        ({"poison": -0.1}, "poison is -0.1; a probability"),
        ({"duplicates": float("nan")}, "duplicates is nan; a probability"),
        ({"start": date(1969, 12, 31)}, "start is 1969-12-31; give a day from 1970"),
    ],
)
def test_an_argument_out_of_range_is_refused_before_the_first_line(
    arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        generate(**{"orders": 1, "seed": 1, **arguments})
