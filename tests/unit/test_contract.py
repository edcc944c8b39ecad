"""The event contract: what is accepted, with which values, and why something is not."""

from __future__ import annotations

import json
from datetime import datetime
from decimal import Decimal

import pytest

from headrace.schemas import upcast as upcasting
from headrace.schemas.decode import _decode_block, decode, decode_by_reference
from headrace.schemas.events import NEWEST, SHAPES, TYPES, Line, shape_of, versions_of
from headrace.schemas.strict_json import canonical, fingerprint, same_content
from headrace.schemas.upcast import missing_upcasters, order_placed_1_to_2
from headrace.schemas.validate import Rejection, validate
from tests.unit.contract_samples import (
    BAD,
    GOOD,
    PLACED_V1,
    event,
    placed,
    placed_at,
    placed_line,
    swapped,
)

_PLAIN = {
    "an order",
    "an order of a guest",
    "an order that names version 2",
    "a payment",
    "a shipment",
    "a shipment without data",
    "a delivery",
    "a cancellation",
    "a return",
    "an adjustment",
    "a sequence as digits",
    "a country in words",
    "text that is not ASCII",
    "an unknown attribute",
}


@pytest.mark.parametrize("line", GOOD.values(), ids=GOOD.keys())
def test_a_good_event_is_accepted_with_its_raw_json(line: bytes) -> None:
    assert validate(line).raw == line.decode().strip()


@pytest.mark.parametrize("line", GOOD.values(), ids=GOOD.keys())
def test_a_good_event_has_the_same_values_by_the_fast_path(line: bytes) -> None:
    assert decode([line]).events.to_pylist() == decode_by_reference([line]).events.to_pylist()


@pytest.mark.parametrize(("line", "reason"), BAD.values(), ids=BAD.keys())
def test_a_bad_event_is_rejected_with_a_reason_that_names_the_field(
    line: bytes, reason: str
) -> None:
    with pytest.raises(Rejection) as caught:
        validate(line)
    assert caught.value.reason.startswith(reason)
    assert len(caught.value.reason) < 400


@pytest.mark.parametrize(("line", "reason"), BAD.values(), ids=BAD.keys())
def test_a_bad_event_is_rejected_in_a_block_of_good_ones(line: bytes, reason: str) -> None:
    decoded = decode([placed(), line, placed()])
    assert decoded.indices.tolist() == [0, 2]
    assert [(found.index, found.raw) for found in decoded.rejected] == [(1, line)]
    assert decoded.rejected[0].reason.startswith(reason)


def test_the_reason_names_field_value_and_rule() -> None:
    with pytest.raises(Rejection) as caught:
        validate(placed_line(quantity=0))
    assert caught.value.reason == (
        "data.lines[0].quantity is 0; it must be a whole number from 1 to 2147483647"
    )


def test_a_long_value_is_shortened_in_the_reason() -> None:
    with pytest.raises(Rejection) as caught:
        validate(placed(country="x" * 5_000))
    assert caught.value.reason.startswith('data.country is "' + "x" * 79 + '…"; ')


def test_control_characters_are_not_printed_raw_in_the_reason() -> None:
    with pytest.raises(Rejection) as caught:
        validate(placed(channel="\x1b[31m\n"))
    assert caught.value.reason.isprintable()


def test_all_fields_of_an_order_are_read() -> None:
    found = validate(event("OrderPlaced", json.loads(placed())["data"], sequence="12"))
    assert found.type == "OrderPlaced"
    assert found.version == 2
    assert (found.source, found.id, found.order_id) == ("shop/eu", "e-1", "order-1")
    assert (found.time, found.sequence) == (datetime(2026, 3, 1, 9, 30), 12)  # noqa: DTZ001
    assert (found.customer_id, found.currency) == ("c-7", "EUR")
    assert (found.country, found.channel) == ("DE", "web")
    assert (found.shipping, found.discount) == (Decimal("4.90"), Decimal(1))
    assert found.lines == (Line("mug", 2, Decimal(15)), Line("cup", 3, Decimal("0.9999")))
    assert (found.goods, found.units) == (Decimal("15.9999"), 5)
    assert found.amount is None


def test_a_refund_is_the_money_of_the_whole_line() -> None:
    found = validate(GOOD["a return"])
    assert found.lines == (Line("mug", 2, Decimal("14.99")),)
    assert (found.goods, found.units) == (Decimal("14.99"), 2)


@pytest.mark.parametrize(
    ("token", "amount"),
    [
        ('"0.1"', "0.1"),
        ("0.1", "0.1"),
        ("0.3", "0.3"),
        ("90071992547409.93", "90071992547409.93"),
        ('"99999999999999.9999"', "99999999999999.9999"),
        ("99999999999999.9999", "99999999999999.9999"),
        ("7", "7"),
    ],
)
def test_money_is_exact_as_text_and_as_a_number(token: str, amount: str) -> None:
    line = swapped('"15.00"', token, GOOD["a payment"])
    assert validate(line).amount == Decimal(amount)
    assert decode([line]).events["amount"].to_pylist() == [Decimal(amount)]


def test_a_negative_zero_is_zero() -> None:
    assert str(validate(GOOD["a payment of nothing"]).amount) == "0.00"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2026-03-01T09:30:00+02:00", datetime(2026, 3, 1, 7, 30)),  # noqa: DTZ001
        ("2026-03-01 00:30:00-23:59", datetime(2026, 3, 2, 0, 29)),  # noqa: DTZ001
        ("2026-03-01T09:30:00.1234569Z", datetime(2026, 3, 1, 9, 30, 0, 123456)),  # noqa: DTZ001
        ("1970-01-01T00:00:00Z", datetime(1970, 1, 1)),  # noqa: DTZ001
        ("2261-12-31T23:59:59.999999Z", datetime(2261, 12, 31, 23, 59, 59, 999999)),  # noqa: DTZ001
    ],
)
def test_a_time_is_utc_in_microseconds(written: str, meant: datetime) -> None:
    assert validate(placed_at(written)).time == meant
    assert decode([placed_at(written)]).events["time"].to_pylist() == [meant]


def test_unknown_fields_are_kept_in_raw() -> None:
    found = validate(GOOD["an unknown data field of any kind"])
    assert json.loads(found.raw)["data"]["extra"] == {"deep": [1, 2500.0, None]}
    assert found.amount is None


def test_a_line_of_exactly_the_limit_is_accepted_and_one_byte_more_is_not() -> None:
    line = placed()
    assert validate(line, max_event_bytes=len(line)).id == "e-1"
    with pytest.raises(Rejection, match=f"has {len(line)} bytes"):
        validate(line, max_event_bytes=len(line) - 1)


@pytest.mark.parametrize("levels", [65, 10_000, 200_000])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"x":', "}"), ('{"data":', "}")])
def test_deep_nesting_is_rejected_and_never_crashes(
    levels: int, opening: str, closing: str
) -> None:
    nested = opening * levels + "1" + closing * levels
    lines = [swapped('"data": {', f'"x": {nested}, "data": {{'), nested.encode(), placed()]
    decoded = decode(lines, max_event_bytes=1 << 24)
    assert decoded.indices.tolist() == [2]
    assert "64 levels" in decoded.rejected[0].reason
    assert "64 levels" in decoded.rejected[1].reason


def test_half_a_million_levels_left_open_are_rejected() -> None:
    decoded = decode([b'{"data":{"lines":' + b"[" * 500_000 + b"}", b'{"a":' * 500_000 + b"}"])
    assert len(decoded.rejected) == 2


def test_brackets_inside_a_text_are_not_nesting() -> None:
    assert validate(placed(channel="[" * 500 + '\\"{')).channel == "[" * 500 + '\\"{'


def test_a_million_escaped_quotes_do_not_take_quadratic_time() -> None:
    decoded = decode([b'{"a":[' * 65 + b'"' + b'\\"' * 500_000])
    assert "more than 64 levels" in decoded.rejected[0].reason


def test_a_block_that_is_too_big_for_one_table_is_refused() -> None:
    with pytest.raises(ValueError, match="pass fewer lines"):
        decode([b"{" + b" " * (1 << 20)] * 1_025)


def test_a_plain_event_of_every_type_needs_no_second_look() -> None:
    lines = [line for name, line in GOOD.items() if name in _PLAIN]
    assert len(lines) == len(_PLAIN)
    _, proved = _decode_block(lines)
    assert proved.tolist() == list(range(len(lines)))


def test_the_counts_add_up_and_nothing_is_lost() -> None:
    lines = [*GOOD.values(), *(line for line, _ in BAD.values())]
    decoded = decode(lines)
    assert decoded.indices.tolist() == list(range(len(GOOD)))
    assert [rejected.index for rejected in decoded.rejected] == list(range(len(GOOD), len(lines)))
    assert decoded.events.equals(decode_by_reference(lines).events)


# Versions


def test_version_1_is_lifted_and_remembers_how_it_arrived() -> None:
    found = validate(GOOD["an order in version 1"])
    assert found.version == 1
    assert found.customer_id == "c-7"
    assert found.lines == (Line("mug", 2, Decimal(15)),)
    assert (found.shipping, found.discount) == (Decimal("4.90"), None)


def test_lifting_changes_nothing_but_names() -> None:
    before = json.dumps(PLACED_V1)
    assert order_placed_1_to_2(PLACED_V1) == {
        "customer_id": "c-7",
        "currency": "EUR",
        "lines": [{"product_id": "mug", "quantity": 2, "unit_price": "7.50"}],
        "shipping": "4.90",
    }
    assert json.dumps(PLACED_V1) == before


def test_every_old_version_has_an_upcaster() -> None:
    assert missing_upcasters() == []


def test_a_lifted_sample_of_every_old_version_has_the_next_version_s_fields() -> None:
    for event_type, version in upcasting.UPCASTERS:
        newer = shape_of(event_type, version + 1)
        assert newer is not None
        lifted = upcasting.UPCASTERS[event_type, version](PLACED_V1)
        assert {field.name for field in newer.fields if field.required} <= set(lifted)


def test_a_missing_upcaster_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(upcasting.UPCASTERS, ("OrderPlaced", 1))
    assert missing_upcasters() == [("OrderPlaced", 1)]
    with pytest.raises(LookupError, match="no upcaster for OrderPlaced version 1"):
        validate(GOOD["an order in version 1"])


def test_versions_are_declared_without_gaps_from_old_to_new() -> None:
    for event_type in TYPES:
        known = versions_of(event_type)
        assert known == tuple(range(1, len(known) + 1))
        assert NEWEST[event_type].version == known[-1]
    assert len({(shape.type, shape.version) for shape in SHAPES}) == len(SHAPES)


# Content


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('{"a":1,"b":[1.50,"x"]}', ' { "b" : [15e-1, "\\u0078"], "a": 1.0 }'),
        ('{"a":-0}', '{"a":0.0}'),
        ('{"a":1e400}', '{"a":10E+399}'),
        ('{"a":100}', '{"a":1e2}'),
    ],
)
def test_order_spacing_and_spelling_do_not_make_other_content(one: str, other: str) -> None:
    assert same_content(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('{"a":1}', '{"a":"1"}'),
        ('{"a":1}', '{"a":true}'),
        ('{"a":null}', "{}"),
        ('{"a":[1,2]}', '{"a":[2,1]}'),
        ('{"a":0.1}', '{"a":0.10000000000000000001}'),
        ('{"a":9007199254740993}', '{"a":9007199254740992}'),
        ('{"a":1e99999999999999999999}', '{"a":1e99999999999999999998}'),
        ('{"a":[]}', '{"a":{}}'),
        ('{"a":1,"a":2}', '{"a":2}'),
    ],
)
def test_other_values_are_other_content(one: str, other: str) -> None:
    assert not same_content(one, other)
    assert canonical(one) == canonical(one + " ")


def test_the_fingerprint_of_given_bytes_never_changes() -> None:
    assert fingerprint(b'{"id":"e-1"}') == -1125611683727496354
    assert decode([placed() + b"\r"]).events["digest"].to_pylist() == [fingerprint(placed())]
