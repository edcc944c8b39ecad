"""Good and bad events of the contract, shared by its tests."""

from __future__ import annotations

import json
from typing import Any

PLACED: dict[str, Any] = {
    "customer_id": "c-7",
    "currency": "EUR",
    "country": "DE",
    "channel": "web",
    "lines": [
        {"product_id": "mug", "quantity": 2, "unit_price": "7.50"},
        {"product_id": "cup", "quantity": 3, "unit_price": "0.3333", "category": "home"},
    ],
    "shipping": "4.90",
    "discount": "1",
}
PLACED_V1: dict[str, Any] = {
    "customer": "c-7",
    "currency": "EUR",
    "lines": [{"sku": "mug", "qty": 2, "price": "7.50"}],
    "shipping": "4.90",
}
RETURNED: dict[str, Any] = {
    "currency": "EUR",
    "lines": [{"product_id": "mug", "quantity": 2, "refund": "14.99"}],
    "customer_id": "c-7",
    "reason": "broken",
}
ADJUSTED: dict[str, Any] = {"currency": "EUR", "amount": "-3.25", "reason": "bad debt"}
VOIDED: dict[str, Any] = {"events": ["e-1", "e-2"], "reason": "wrong file", "import": "a1b2"}
PAID: dict[str, Any] = {"amount": "15.00", "method": "card", "transaction_id": "t-1"}


def event(event_type: str, data: Any, **attributes: Any) -> bytes:
    """Write one event; an attribute of None is left out."""
    envelope = {
        "specversion": "1.0",
        "id": "e-1",
        "source": "shop/eu",
        "type": event_type,
        "subject": "order-1",
        "time": "2026-03-01T09:30:00Z",
        **attributes,
    }
    document = {key: value for key, value in envelope.items() if value is not None}
    return json.dumps({**document, "data": data}).encode()


def placed(**changes: Any) -> bytes:
    return event("OrderPlaced", {**PLACED, **changes})


def placed_line(**changes: Any) -> bytes:
    return placed(lines=[{**PLACED["lines"][0], **changes}])


def placed_at(moment: Any) -> bytes:
    return event("OrderPlaced", PLACED, time=moment)


def without(event_type: str, data: dict[str, Any], name: str) -> bytes:
    return event(event_type, {key: value for key, value in data.items() if key != name})


def swapped(old: str, new: str, line: bytes | None = None) -> bytes:
    """Swap JSON text, for what json.dumps would not write."""
    text = (placed() if line is None else line).decode()
    assert old in text, old
    return text.replace(old, new, 1).encode()


def returned_line(**changes: Any) -> bytes:
    return event("ItemsReturned", {**RETURNED, "lines": [{**RETURNED["lines"][0], **changes}]})


GOOD: dict[str, bytes] = {
    "an order": placed(),
    "an order of a guest": placed(customer_id=None),
    "an order with null for every optional field": placed(
        country=None, channel=None, shipping=None, discount=None
    ),
    "an order in version 1": event("OrderPlaced", PLACED_V1, dataschema="x://y/OrderPlaced/1"),
    "an order that names version 2": event("OrderPlaced", PLACED, dataschema="/OrderPlaced/2"),
    "a payment": event("PaymentCaptured", PAID),
    "a payment of nothing": event("PaymentCaptured", {"amount": "-0.00"}),
    "a payment that names its version": event(
        "PaymentCaptured", PAID, dataschema="https://shop.example/schemas/PaymentCaptured/1"
    ),
    "a shipment": event("OrderShipped", {"carrier": "dhl", "tracking": ""}),
    "a shipment without data": event("OrderShipped", None),
    "a delivery": event("OrderDelivered", {}),
    "a cancellation": event("OrderCancelled", {"reason": "too late"}),
    "a return": event("ItemsReturned", RETURNED),
    "an adjustment": event("AdjustmentBooked", ADJUSTED),
    "a void": event("EventsVoided", VOIDED),
    "a void of one": event("EventsVoided", {"events": ["ä"], "reason": "x"}),
    "a void of most": event("EventsVoided", {**VOIDED, "events": [f"e-{n}" for n in range(1_000)]}),
    "an adjustment upwards": event("AdjustmentBooked", {**ADJUSTED, "amount": "3.25"}),
    "money as a number": placed_line(unit_price=7.5),
    "money as a whole number": placed_line(unit_price=12),
    "the highest price": placed_line(quantity=1, unit_price="99999999999999.9999"),
    "the highest quantity": placed_line(quantity=2_147_483_647, unit_price="46566.1287"),
    "a sequence as a number": event("OrderPlaced", PLACED, sequence=7),
    "a sequence as digits": event("OrderPlaced", PLACED, sequence="0007"),
    "a time with an offset": placed_at("2026-03-01T10:30:00.5+01:00"),
    "a time in small letters": placed_at("2026-03-01t09:30:00z"),
    "a time with nanoseconds": placed_at("2026-03-01T09:30:00.123456789Z"),
    "a country in words": placed(country="United Kingdom"),
    "text that is not ASCII": placed(customer_id="Ängström-😀"),
    "an unknown attribute": event("OrderPlaced", PLACED, traceparent="00-ab"),
    "an unknown data field of any kind": placed(extra={"deep": [1, 2.5e3, None]}, amount="many"),
    "a payment with an order's fields": event(
        "PaymentCaptured",
        {**PAID, "currency": "EUR", "customer_id": "c-7", "shipping": "1", "country": "DE"},
    ),
    "a payment with an order's lines": event(
        "PaymentCaptured", {**PAID, "lines": PLACED["lines"], "channel": "web"}
    ),
    "an unknown field given twice": swapped('"data": {', '"x": 1, "x": 2, "data": {'),
    "whitespace around the line": b" \t" + placed() + b"\r\n",
}

Bad = tuple[bytes, str]
"""A line, and how its reason begins."""

BAD: dict[str, Bad] = {
    "empty line": (b"", "the line is empty"),
    "blank line": (b" \t\r\n", "the line is empty"),
    "no JSON": (b"hello", "the line is"),
    "cut off": (placed()[:-9], "the line is"),
    "trailing comma": (swapped('"1"}', '"1",}'), "the line is"),
    "two objects": (placed() + placed(), "the line is"),
    "an array": (b"[1]", "the line is a list"),
    "a text": (b'"OrderPlaced"', "the line is"),
    "byte order mark": (b"\xef\xbb\xbf" + placed(), "the line is"),
    "no UTF-8": (placed().replace(b"shop/eu", b"shop/\xff"), "the line is"),
    "encoded surrogate": (placed().replace(b"shop/eu", b"\xed\xa0\x80"), "the line is"),
    "lone surrogate": (swapped("c-7", "\\ud800"), "data.customer_id"),
    "NaN": (swapped('"4.90"', "NaN"), "the line is"),
    "NaN in an unknown field": (swapped('"data": {', '"data": {"x": NaN, '), "the line is"),
    "infinity": (swapped('"data": {', '"x": -Infinity, "data": {'), "the line is"),
    "raw control character": (swapped("shop/eu", "shop\teu"), "the line is"),
    "nested 65 deep": (
        swapped('"data": {', '"x": ' + "[" * 64 + "]" * 64 + ', "data": {'),
        "the line is",
    ),
    "id twice": (swapped('"id"', '"id": "e-0", "id"'), "id is given more than once"),
    "id twice, once in disguise": (swapped('"id"', '"\\u0069d": "e-0", "id"'), "id is given"),
    "data twice": (swapped('"data"', '"data": {}, "data"'), "data is given more than once"),
    "data field twice": (swapped('"currency"', '"currency": "USD", "currency"'), "data.currency"),
    "line field twice": (
        swapped('"quantity"', '"quantity": 1, "quantity"'),
        "data.lines[0].quantity is given",
    ),
    "no specversion": (event("OrderPlaced", PLACED, specversion=None), "specversion is missing"),
    "other specversion": (event("OrderPlaced", PLACED, specversion="0.3"), 'specversion is "0.3"'),
    "specversion as a number": (event("OrderPlaced", PLACED, specversion=1.0), "specversion is"),
    "no id": (event("OrderPlaced", PLACED, id=None), "id is missing"),
    "null id": (swapped('"e-1"', "null"), "id is null"),
    "empty id": (event("OrderPlaced", PLACED, id=""), 'id is ""'),
    "id as a number": (event("OrderPlaced", PLACED, id=7), "id is 7"),
    "id too long": (event("OrderPlaced", PLACED, id="x" * 1_025), "id is"),
    "no source": (event("OrderPlaced", PLACED, source=None), "source is missing"),
    "control character": (event("OrderPlaced", PLACED, source="shop\n"), "source is"),
    "delete character": (event("OrderPlaced", PLACED, subject="a\x7fb"), "subject is"),
    "empty subject": (event("OrderPlaced", PLACED, subject=""), "subject is"),
    "no type": (event("OrderPlaced", PLACED, type=None), "type is missing"),
    "unknown type": (event("OrderLost", PLACED), 'type is "OrderLost"'),
    "no time": (placed_at(None), "time is missing"),
    "time without offset": (placed_at("2026-03-01T09:30:00"), "time is"),
    "time as a number": (placed_at(1_772_357_400), "time is 1772357400"),
    "day that is not": (placed_at("2026-02-29T00:00:00Z"), "time is"),
    "leap second": (placed_at("2016-12-31T23:59:60Z"), "time is"),
    "hour 24": (placed_at("2026-03-01T24:00:00Z"), "time is"),
    "offset of 24 hours": (placed_at("2026-03-01T09:30:00+24:00"), "time is"),
    "offset of 60 minutes": (placed_at("2026-03-01T09:30:00+01:60"), "time is"),
    "before 1970": (placed_at("1969-12-31T23:59:59Z"), "time is"),
    "before 1970 by its offset": (placed_at("1970-01-01T00:30:00+01:00"), "time is"),
    "from 2262 on": (placed_at("2262-01-01T00:00:00Z"), "time is"),
    "past the calendar": (placed_at("9999-12-31T23:59:59-23:00"), "time is"),
    "dataschema of another type": (
        event("OrderPlaced", PLACED, dataschema="x/PaymentCaptured/1"),
        "dataschema is",
    ),
    "unknown version": (
        event("OrderPlaced", PLACED, dataschema="x/OrderPlaced/3"),
        'dataschema is "x/OrderPlaced/3"; the known versions',
    ),
    "dataschema without version": (
        event("OrderPlaced", PLACED, dataschema="x/OrderPlaced"),
        "dataschema is",
    ),
    "negative sequence": (event("OrderPlaced", PLACED, sequence=-1), "sequence is -1"),
    "sequence of letters": (event("OrderPlaced", PLACED, sequence="7a"), 'sequence is "7a"'),
    "sequence too high": (event("OrderPlaced", PLACED, sequence=2**63), "sequence is"),
    "sequence with a point": (event("OrderPlaced", PLACED, sequence=7.0), "sequence is 7.0"),
    "no data": (event("OrderPlaced", None), "data is"),
    "data as text": (event("OrderDelivered", "done"), 'data is "done"'),
    "no customer": (without("OrderPlaced", PLACED, "customer_id"), "data.customer_id is missing"),
    "empty customer": (placed(customer_id=""), "data.customer_id is"),
    "no currency": (without("OrderPlaced", PLACED, "currency"), "data.currency is missing"),
    "currency in small letters": (placed(currency="eur"), 'data.currency is "eur"'),
    "currency with a line break": (placed(currency="EUR\n"), "data.currency is"),
    "empty country": (placed(country=""), "data.country is"),
    "country too long": (placed(country="x" * 65), "data.country is"),
    "channel as a number": (placed(channel=3), "data.channel is 3"),
    "no lines": (placed(lines=[]), "data.lines has 0 lines"),
    "lines as an object": (placed(lines={}), "data.lines is an object"),
    "too many lines": (placed(lines=[PLACED["lines"][0]] * 10_001), "data.lines has 10001"),
    "null line": (placed(lines=[PLACED["lines"][0], None]), "data.lines[1] is"),
    "no product": (placed_line(product_id=None), "data.lines[0].product_id is null"),
    "quantity 0": (placed_line(quantity=0), "data.lines[0].quantity is 0"),
    "negative quantity": (placed_line(quantity=-2), "data.lines[0].quantity is -2"),
    "quantity 2.0": (placed_line(quantity=2.0), "data.lines[0].quantity is 2.0"),
    "quantity true": (placed_line(quantity=True), "data.lines[0].quantity is true"),
    "quantity as text": (placed_line(quantity="2"), 'data.lines[0].quantity is "2"'),
    "quantity too high": (placed_line(quantity=2**31), "data.lines[0].quantity is"),
    "negative price": (placed_line(unit_price="-0.01"), 'data.lines[0].unit_price is "-0.01"'),
    "price with five decimals": (placed_line(unit_price="1.00001"), "data.lines[0].unit_price"),
    "price with an exponent": (placed_line(unit_price="1e3"), "data.lines[0].unit_price is"),
    "number with an exponent": (swapped('"7.50"', "1e3"), "data.lines[0].unit_price is 1e3"),
    "number with five decimals": (swapped('"7.50"', "7.50000"), "data.lines[0].unit_price is"),
    "price with a sign": (placed_line(unit_price="+1"), "data.lines[0].unit_price is"),
    "price without whole digits": (placed_line(unit_price=".5"), "data.lines[0].unit_price is"),
    "price with a comma": (placed_line(unit_price="7,50"), "data.lines[0].unit_price is"),
    "price in other digits": (placed_line(unit_price="٣"), "data.lines[0].unit_price is"),
    "price of 15 digits": (placed_line(unit_price="1" * 15), "data.lines[0].unit_price is"),
    "price true": (placed_line(unit_price=True), "data.lines[0].unit_price is true"),
    "line of too much money": (
        placed_line(quantity=2_147_483_647, unit_price="46566.1288"),
        "data.lines[0] is 100000000102095.7336",
    ),
    "line of too much money by 2^64 units": (
        placed_line(quantity=2**20, unit_price="1759218604.4416"),
        "data.lines[0] is 1844674407370955.1616",
    ),
    "lines of too much money": (
        placed(lines=[{**PLACED["lines"][0], "quantity": 1, "unit_price": "5" + "0" * 13}] * 2),
        "data.lines is 100000000000000",
    ),
    "negative shipping": (placed(shipping="-1"), "data.shipping is"),
    "negative discount": (placed(discount="-1"), "data.discount is"),
    "negative payment": (event("PaymentCaptured", {"amount": "-1"}), "data.amount is"),
    "payment method as a number": (
        event("PaymentCaptured", {**PAID, "method": 4}),
        "data.method is 4",
    ),
    "carrier with a control character": (
        event("OrderShipped", {"carrier": "\x00"}),
        "data.carrier is",
    ),
    "no refund": (returned_line(refund=None), "data.lines[0].refund is null"),
    "negative refund": (returned_line(refund="-1"), "data.lines[0].refund is"),
    "no reason": (without("AdjustmentBooked", ADJUSTED, "reason"), "data.reason is missing"),
    "a void without a reason": (
        without("EventsVoided", VOIDED, "reason"),
        "data.reason is missing",
    ),
    "a void of nothing": (
        event("EventsVoided", {**VOIDED, "events": []}),
        "data.events has 0 ids",
    ),
    "a void of too many": (
        event("EventsVoided", {**VOIDED, "events": [f"e-{n}" for n in range(1_001)]}),
        "data.events has 1001 ids",
    ),
    "a void of a text": (
        event("EventsVoided", {**VOIDED, "events": "e-1"}),
        'data.events is "e-1"',
    ),
    "a void of a number": (
        event("EventsVoided", {**VOIDED, "events": ["e-1", 7]}),
        "data.events[1] is 7",
    ),
    "a void of an empty id": (
        event("EventsVoided", {**VOIDED, "events": [""]}),
        'data.events[0] is ""',
    ),
    "a void that names an event twice": (
        event("EventsVoided", {**VOIDED, "events": ["a", "b", "a"]}),
        'data.events[2] is "a"; it is data.events[0] already',
    ),
    "old data with a wrong field": (
        event(
            "OrderPlaced",
            {**PLACED_V1, "lines": [{"sku": "mug", "qty": 0, "price": "7.50"}]},
            dataschema="x/OrderPlaced/1",
        ),
        "data.lines[0].qty is 0",
    ),
    "new data under an old version": (
        event("OrderPlaced", PLACED, dataschema="x/OrderPlaced/1"),
        "data.customer is missing",
    ),
}
