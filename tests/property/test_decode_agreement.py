"""The fast decoder and the reference validator give the same events and the same rejections."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.schemas.decode import EVENTS_SCHEMA, decode, decode_by_reference
from headrace.schemas.events import TYPES


class Token(str):
    """A JSON token written as it is, good or bad."""

    __slots__ = ()


# An object is a list of pairs in a tuple, so that a key can come twice.
Pairs = tuple[tuple[str, Any], ...]


def _object(**fields: Any) -> Pairs:
    return tuple(fields.items())


def _write(value: Any) -> str:
    if isinstance(value, Token):
        return str(value)
    if isinstance(value, tuple):
        return "{" + ",".join(json.dumps(key) + ":" + _write(item) for key, item in value) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_write, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


_LINE = _object(product_id="mug", quantity=2, unit_price="7.50", category="home")
_DATA: dict[str, Pairs] = {
    "OrderPlaced": _object(
        customer_id="c-7",
        currency="EUR",
        country="DE",
        channel="web",
        lines=[_LINE, _object(product_id="cup", quantity=1, unit_price="0.3333")],
        shipping="4.90",
        discount="1",
    ),
    "PaymentCaptured": _object(amount="15.00", method="card", transaction_id="t-1"),
    "OrderShipped": _object(carrier="dhl", tracking="1Z"),
    "OrderDelivered": _object(),
    "OrderCancelled": _object(reason="too late"),
    "ItemsReturned": _object(
        currency="EUR",
        lines=[_object(product_id="mug", quantity=1, refund="7.50")],
        customer_id="c-7",
        country="DE",
        reason="broken",
    ),
    "AdjustmentBooked": _object(currency="EUR", amount="-3.25", reason="bad debt"),
    "EventsVoided": _object(events=["e-1", "e-2"], reason="wrong file"),
}
_OLD = _object(
    customer="c-7", currency="EUR", lines=[_object(sku="mug", qty=2, price="7.50")], shipping="1"
)


def _event(event_type: str, data: Any, *extra: tuple[str, Any]) -> Pairs:
    return (
        *_object(
            specversion="1.0",
            id="e-1",
            source="shop/eu",
            type=event_type,
            subject="order-1",
            time="2026-03-01T09:30:00Z",
        ),
        *extra,
        ("data", data),
    )


_EVENTS = [
    *(_event(name, _DATA[name]) for name in TYPES),
    _event("PaymentCaptured", (*_DATA["PaymentCaptured"], *_DATA["OrderPlaced"])),
    _event("OrderPlaced", _DATA["OrderPlaced"], ("sequence", "7")),
    _event("OrderPlaced", _DATA["OrderPlaced"], ("sequence", 7)),
    _event("OrderPlaced", _DATA["OrderPlaced"], ("dataschema", "https://x/OrderPlaced/2")),
    _event("OrderPlaced", _OLD, ("dataschema", "https://x/OrderPlaced/1")),
    _event("OrderPlaced", _object(customer_id=None, currency="EUR", lines=[_LINE])),
]

_ODD_TEXT = [
    "", " ", "x", "é", "\x00", "a\nb", "\x7f", "\u2028", "😀", "EUR\n", "eur", "7", "NaN", "Inf",
    "x" * 64, "x" * 65, "é" * 64, "é" * 65, "x" * 1024, "x" * 1025, "é" * 1024, "1.0", "\ufeff",
    *TYPES, "https://x/OrderPlaced/1", "https://x/OrderPlaced/2", "https://x/OrderPlaced/02",
    "/PaymentCaptured/1", "https://x/Nothing/1", "OrderPlaced/2",
]  # fmt: skip
_ODD_MONEY = [
    "0", "-0", "-0.00", "0.0001", "-0.0001", "00012.5", "99999999999999.9999", "100000000000000",
    "-99999999999999.9999", "1.00001", "1e3", "1E0", "+1", ".5", "5.", " 1", "1 ", "1,5", "٣",
    "0x1",
    "46566.1287", "46566.1288", "4999999999.9999", "--1", "-", "1.5\n",
]  # fmt: skip
_ODD_TIME = [
    "2026-03-01T09:30:00z", "2026-03-01t09:30:00Z", "2026-03-01 09:30:00Z", "2026-03-01T09:30:00",
    "2026-03-01T09:30:00.123Z", "2026-03-01T09:30:00.123456Z", "2026-03-01T09:30:00.1234569Z",
    "2026-03-01T09:30:00.1Z", "2026-03-01T09:30:00.Z", "2026-03-01T09:30:00+02:00",
    "2026-03-01T09:30:00-23:59", "2026-03-01T09:30:00.123-05:30",
    "2026-03-01T09:30:00.123456+00:00",
    "2026-03-01T09:30:00-00:00", "2026-03-01T09:30:00+24:00", "2026-03-01T09:30:00+02:60",
    "2026-03-01T09:30:60Z", "2026-03-01T24:00:00Z", "2026-03-01T09:60:00Z", "2026-02-29T00:00:00Z",
    "2024-02-29T00:00:00Z", "2026-04-31T00:00:00Z", "2026-00-10T00:00:00Z", "2026-13-10T00:00:00Z",
    "2026-03-00T00:00:00Z", "2026-03-01T09:30:00+0200", "1970-01-01T00:00:00Z",
    "1969-12-31T23:59:59Z", "1970-01-01T01:00:00+02:00", "1969-12-31T23:00:00-02:00",
    "2261-12-31T23:59:59.999999Z", "2262-01-01T00:00:00Z", "2262-01-01T00:30:00+01:00",
    "0000-01-01T00:00:00Z", "9999-12-31T23:59:59-23:00", "0001-01-01T00:00:00+05:00",
    "2026-03-01T09:30:0٣Z", "2026-3-01T009:30:00Z", "2026-03-01T09:30:00 Z", "20260301T093000Z",
]  # fmt: skip
_TOKENS = [
    "0", "1", "-1", "-0", "2147483647", "2147483648", "9223372036854775807", "9223372036854775808",
    "18446744073709551616", "1.0", "2.0", "7.50", "12", "1e3", "1E2", "1.00001", "1e999999", "0.1",
    "100000000000000", "NaN", "Infinity", "-Infinity", "Inf", "true", "false", "null", "nul", "01",
    "+1", "1.", "[]", "{}", "[null]", "[{}]", "[[]]", '"\\ud800"', '"\\u0041"', '"\\u0000"',
    '"\\/"',
    '"\\ud83d\\ude00"', '"\\x"', '"\t"', '"a', "", "[1,]", '{"a":1,"a":2}', '{"a":1,}',
    '"' + "9" * 40 + '"',
    "9" * 5000, '"' + "0" * 30 + '5"',
    "[" * 63 + "]" * 63, "[" * 62 + "]" * 62, "[" * 64 + "]" * 64,
    "[" * 61 + "]" * 61, '{"a":' * 62 + "1" + "}" * 62, '"' + "[" * 100 + '"', "[" * 70,
]  # fmt: skip
_ODD_VALUES = st.one_of(
    st.sampled_from(_ODD_TEXT),
    st.sampled_from(_ODD_MONEY),
    st.sampled_from(_ODD_TIME),
    st.sampled_from(_TOKENS).map(Token),
    st.text(max_size=5),
    st.integers(-3, 2**65),
    st.decimals(-(10**15), 10**15, places=3).map(str),
    st.decimals(-10, 10, places=2).map(lambda amount: Token(f"{amount:f}")),
)
_KNOWN_KEYS = [
    "id", "data", "lines", "amount", "currency", "customer_id", "quantity", "unit_price", "refund",
    "reason", "sequence", "dataschema", "specversion", "customer", "sku", "extra", "", "\x00", "é",
]  # fmt: skip


@st.composite
def _mutated(draw: st.DrawFn, value: Any) -> Any:
    """Change one place of a JSON value: replace, remove, repeat or add something."""
    if isinstance(value, tuple) and value and draw(st.integers(0, 7)):
        place = draw(st.integers(0, len(value) - 1))
        key, item = value[place]
        change = draw(st.sampled_from(["inside", "inside", "inside", "remove", "repeat", "add"]))
        if change == "inside":
            middle: Pairs = ((key, draw(_mutated(item))),)
        elif change == "remove":
            middle = ()
        elif change == "repeat":
            middle = ((key, item), (key, item))
        else:
            middle = ((key, item), (draw(st.sampled_from(_KNOWN_KEYS)), draw(_ODD_VALUES)))
        return (*value[:place], *middle, *value[place + 1 :])
    if isinstance(value, list) and value and draw(st.integers(0, 7)):
        place = draw(st.integers(0, len(value) - 1))
        return [*value[:place], draw(_mutated(value[place])), *value[place + 1 :]]
    return draw(_ODD_VALUES)


@st.composite
def _line_bytes(draw: st.DrawFn) -> bytes:
    event: Any = draw(st.sampled_from(_EVENTS))
    for _ in range(draw(st.sampled_from([0, 1, 1, 1, 2, 3]))):
        event = draw(_mutated(event))
    line = _write(event).encode(errors="surrogatepass")
    change = draw(st.integers(0, 24))
    if change == 0:
        place = draw(st.integers(0, len(line)))
        line = line[:place] + draw(st.binary(max_size=3)) + line[place + draw(st.integers(0, 2)) :]
    elif change == 1:
        line = draw(st.sampled_from([b"", b" ", b"\xef\xbb\xbf", b"{}", b"[", b"\n"])) + line
    elif change == 2:
        line += draw(st.sampled_from([b"\r", b" ", b"\x0c", b"{}", b"\n{}", b",", b"}", b"\x00"]))
    return line


def _assert_agreement(lines: list[bytes]) -> None:
    fast, reference = decode(lines), decode_by_reference(lines)
    assert fast.rejected == reference.rejected
    assert fast.indices.tolist() == reference.indices.tolist()
    assert fast.events.to_pylist() == reference.events.to_pylist()
    assert fast.events.schema == EVENTS_SCHEMA
    fast.events.validate(full=True)
    places = [*fast.indices.tolist(), *(rejected.index for rejected in fast.rejected)]
    assert sorted(places) == list(range(len(lines)))


@settings(max_examples=400, deadline=None)
@given(_line_bytes())
def test_one_mutated_line_means_the_same_to_both_paths(line: bytes) -> None:
    _assert_agreement([line])


@settings(max_examples=150, deadline=None)
@given(st.lists(_line_bytes(), max_size=60))
def test_a_block_of_mutated_lines_means_the_same_to_both_paths(lines: list[bytes]) -> None:
    _assert_agreement(lines)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(_EVENTS), st.sampled_from(_ODD_MONEY), st.sampled_from(_ODD_MONEY))
def test_odd_money_in_two_places_means_the_same_to_both_paths(
    event: Pairs, first: str, second: str
) -> None:
    text = _write(event).replace("7.50", first, 1).replace("0.3333", second, 1)
    _assert_agreement(
        [text.encode(), text.replace('"quantity":2', '"quantity":2147483647').encode()]
    )


@given(st.sampled_from(_ODD_TIME))
def test_an_odd_time_means_the_same_to_both_paths(moment: str) -> None:
    lines = [_write(event).replace("2026-03-01T09:30:00Z", moment).encode() for event in _EVENTS]
    _assert_agreement(lines)


def test_where_one_line_is_bad_only_that_line_is_rejected() -> None:
    good = _write(_EVENTS[0]).encode()
    lines = [good] * 3_000
    lines[1_234] = b'{"specversion":'
    decoded = decode(lines)
    assert [rejected.index for rejected in decoded.rejected] == [1_234]
    assert np.array_equal(decoded.indices, np.delete(np.arange(3_000), 1_234))
    assert decoded.events["raw"].unique().to_pylist() == [good.decode()]
