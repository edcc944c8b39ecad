"""The reference validator: one line in, one typed event or one reason out.

Slow and exact. The fast decoder accepts only what this accepts, with the same values.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from decimal import Context, Decimal
from typing import TYPE_CHECKING, Any, Final

from headrace.schemas.events import (
    END_YEAR,
    ENVELOPE,
    FIRST_YEAR,
    MAX_EVENT_BYTES,
    MAX_LINES,
    MAX_SEQUENCE,
    MAX_VOIDED,
    MONEY_LIMIT,
    MONEY_PATTERN,
    NEWEST,
    Event,
    Field,
    Kind,
    Line,
    Shape,
    shape_of,
    versions_of,
)
from headrace.schemas.strict_json import (
    WHITESPACE,
    JsonObject,
    NotJsonError,
    Number,
    fingerprint,
    parse,
)
from headrace.schemas.upcast import upcast

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_SHOWN_CHARACTERS: Final = 80
_MONEY = re.compile(MONEY_PATTERN)
_WHOLE = re.compile(r"-?[0-9]{1,19}")
_DIGITS = re.compile(r"[0-9]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_DATASCHEMA = re.compile(r"(?:.*)/([^/]*)/([1-9][0-9]{0,4})", re.DOTALL)
_TIME = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt ]([0-9]{2}):([0-9]{2}):([0-9]{2})"
    r"(?:\.([0-9]+))?(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))"
)
# A quantity has 10 digits and a price 18, so every product and sum below is exact in 40.
_EXACT: Final = Context(prec=40)


class Rejection(ValueError):  # noqa: N818 - an outcome for the quarantine, not a failure of ours
    """The event cannot be accepted. It goes to quarantine with `reason`.

    Attributes:
        reason: Field, value and rule, as one sentence.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def validate(line: bytes, *, max_event_bytes: int = MAX_EVENT_BYTES) -> Event:
    """Check one line and return its event, lifted to the newest version of its type.

    Args:
        line: One CloudEvents JSON document. Whitespace around it is ignored.
        max_event_bytes: Longest line accepted.

    Raises:
        Rejection: The line is not an acceptable event. It names field, value and rule.
    """
    line = line.strip(WHITESPACE)
    document = _document(line, max_event_bytes)
    head = _read_fields(document, ENVELOPE, "", also_known=("data",))
    shape = _shape(head)
    data = _read_fields(_data(document, shape), shape.fields, "data.")
    newest = upcast(shape.type, shape.version, data)
    lines = _lines(newest, NEWEST[shape.type])
    goods = None if shape.type == "EventsVoided" else lines
    return Event(
        source=head["source"],
        id=head["id"],
        type=shape.type,
        version=shape.version,
        time=head["time"],
        order_id=head["subject"],
        sequence=head.get("sequence"),
        customer_id=newest.get("customer_id"),
        currency=newest.get("currency"),
        country=newest.get("country"),
        channel=newest.get("channel"),
        amount=newest.get("amount"),
        shipping=newest.get("shipping"),
        discount=newest.get("discount"),
        goods=None if goods is None else _goods(goods),
        units=None if goods is None else sum(line.quantity for line in goods),
        lines=lines,
        digest=fingerprint(line),
        raw=line.decode(),
    )


def _document(line: bytes, max_event_bytes: int) -> JsonObject:
    if not line:
        raise Rejection("the line is empty; it must be one JSON object")
    if len(line) > max_event_bytes:
        raise Rejection(f"the line has {len(line)} bytes; at most {max_event_bytes} are accepted")
    try:
        document = parse(line)
    except NotJsonError as error:
        raise Rejection(f"the line is {_shown_bytes(line)}; {error}") from None
    if not isinstance(document, JsonObject):
        raise Rejection(f"the line is {_shown(document)}; it must be one JSON object")
    return document


def _shape(head: Mapping[str, Any]) -> Shape:
    """Find the declared shape: the version `dataschema` names, else the newest."""
    event_type, named = head["type"], head.get("dataschema")
    if named is None:
        return NEWEST[event_type]
    match = _DATASCHEMA.fullmatch(named)
    if match is None or match[1] != event_type:
        raise Rejection(f"dataschema is {_shown(named)}; it must end in /{event_type}/VERSION")
    shape = shape_of(event_type, int(match[2]))
    if shape is None:
        known = " and ".join(str(version) for version in versions_of(event_type))
        raise Rejection(
            f"dataschema is {_shown(named)}; the known versions of {event_type} are: {known}"
        )
    return shape


def _data(document: JsonObject, shape: Shape) -> JsonObject:
    data = document.get("data")
    if data is None and not shape.needs_data:
        return JsonObject([])
    if not isinstance(data, JsonObject):
        raise Rejection(f"data is {_shown(data)}; it must be the object of {shape.type}")
    return data


def _read_fields(
    found: JsonObject, fields: tuple[Field, ...], path: str, also_known: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Read the declared fields of one object. Fields that are absent are left out."""
    values: dict[str, Any] = {}
    for name in (*(field.name for field in fields), *also_known):
        if name in found.repeated:
            raise Rejection(f"{path}{name} is given more than once; it must be given once")
    for field in fields:
        name = path + field.name
        value = found.get(field.name)
        if value is not None:
            values[field.name] = _READERS[field.kind](value, field, name)
        elif field.nullable and field.name in found:
            values[field.name] = None
        elif field.required:
            given = "null" if field.name in found else "missing"
            hint = ", or null" if field.nullable else ""
            raise Rejection(f"{name} is {given}; {field.rule()}{hint}")
    return values


def _read_text(value: object, field: Field, name: str) -> str:
    if isinstance(value, Number) or not isinstance(value, str):
        raise _wrong(name, value, field.rule())
    if field.choices:
        if value not in field.choices:
            raise _wrong(name, value, field.rule())
        return value
    if not field.min_length <= len(value) <= field.max_length or _CONTROL.search(value):
        raise _wrong(name, value, field.rule())
    if field.pattern is not None and re.fullmatch(field.pattern, value) is None:
        raise _wrong(name, value, field.rule())
    if not value.isascii() and _SURROGATE.search(value):
        raise _wrong(name, value, "it must be Unicode text without lone surrogates")
    return value


def _read_money(value: object, field: Field, name: str) -> Decimal:
    # Number is a str too: the same grammar holds for the number's own text.
    if not isinstance(value, str) or _MONEY.fullmatch(value) is None:
        raise _wrong(name, value, field.rule())
    amount = Decimal(value)
    if field.minimum is not None and amount < field.minimum:
        raise _wrong(name, value, field.rule())
    return _EXACT.plus(amount)  # plus turns -0 into 0: the table has no negative zero


def _read_whole(value: object, field: Field, name: str) -> int:
    if not isinstance(value, Number) or _WHOLE.fullmatch(value) is None:
        raise _wrong(name, value, field.rule())
    whole = int(value)
    if (field.minimum is not None and whole < field.minimum) or (
        field.maximum is not None and whole > field.maximum
    ):
        raise _wrong(name, value, field.rule())
    return whole


def _read_sequence(value: object, field: Field, name: str) -> int:
    pattern = _WHOLE if isinstance(value, Number) else _DIGITS
    if not isinstance(value, str) or len(value) > field.max_length:
        raise _wrong(name, value, field.rule())
    if pattern.fullmatch(value) is None or not 0 <= int(value) <= MAX_SEQUENCE:
        raise _wrong(name, value, field.rule())
    return int(value)


def _read_time(value: object, field: Field, name: str) -> datetime:
    if isinstance(value, Number) or not isinstance(value, str) or len(value) > field.max_length:
        raise _wrong(name, value, field.rule())
    match = _TIME.fullmatch(value)
    if match is None:
        raise _wrong(name, value, field.rule())
    year, month, day, hour, minute, second, fraction, sign, off_hours, off_minutes = match.groups()
    if int(off_minutes or 0) >= 60:  # noqa: PLR2004 - minutes of an hour
        raise _wrong(name, value, field.rule())
    try:
        offset = timedelta(hours=int(off_hours or 0), minutes=int(off_minutes or 0))
        moment = datetime(
            int(year),
            int(month),
            int(day),
            int(hour),
            int(minute),
            int(second),
            int((fraction or "").ljust(6, "0")[:6]),
            tzinfo=timezone(-offset if sign == "-" else offset),
        ).astimezone(UTC)
    except (ValueError, OverflowError):
        raise _wrong(name, value, field.rule()) from None
    if not FIRST_YEAR <= moment.year < END_YEAR:
        raise _wrong(name, value, field.rule())
    return moment.replace(tzinfo=None)


def _read_lines(value: object, field: Field, name: str) -> list[dict[str, Any]]:
    if not isinstance(value, list):
        raise _wrong(name, value, field.rule())
    if not 1 <= len(value) <= MAX_LINES:
        raise Rejection(f"{name} has {len(value)} lines; {field.rule()}")
    lines = []
    for index, item in enumerate(value):
        place = f"{name}[{index}]"
        if not isinstance(item, JsonObject):
            raise _wrong(place, item, "it must be an object")
        lines.append(_read_fields(item, field.items, place + "."))
    return lines


def _read_ids(value: object, field: Field, name: str) -> list[str]:
    if not isinstance(value, list):
        raise _wrong(name, value, field.rule())
    if not 1 <= len(value) <= MAX_VOIDED:
        raise Rejection(f"{name} has {len(value)} ids; {field.rule()}")
    known: dict[str, int] = {}
    for index, item in enumerate(value):
        place = f"{name}[{index}]"
        text = _read_text(item, _ID, place)
        if known.setdefault(text, index) != index:
            raise _wrong(place, text, f"it is {name}[{known[text]}] already; name each event once")
    return list(known)


_ID: Final = next(field for field in ENVELOPE if field.name == "id")
_READERS: Final[dict[Kind, Callable[[object, Field, str], Any]]] = {
    Kind.TEXT: _read_text,
    Kind.MONEY: _read_money,
    Kind.WHOLE: _read_whole,
    Kind.SEQUENCE: _read_sequence,
    Kind.TIME: _read_time,
    Kind.LINES: _read_lines,
    Kind.IDS: _read_ids,
}


def _lines(data: Mapping[str, Any], shape: Shape) -> tuple[Line, ...] | None:
    """Turn the newest shape's lines into typed ones; None for a type without lines."""
    if shape.type == "EventsVoided":
        return tuple(Line(event_id, 0, Decimal(0)) for event_id in data["events"])
    if not any(field.kind is Kind.LINES for field in shape.fields):
        return None
    lines = []
    for index, line in enumerate(data["lines"]):
        amount = (
            line["refund"]
            if "refund" in line
            else _EXACT.multiply(line["quantity"], line["unit_price"])
        )
        if amount >= MONEY_LIMIT:
            raise _wrong(
                f"data.lines[{index}]", Number(amount), "a line must amount to less than 10^14"
            )
        lines.append(Line(line["product_id"], line["quantity"], amount))
    return tuple(lines)


def _goods(lines: tuple[Line, ...]) -> Decimal:
    goods = Decimal(0)
    for line in lines:
        goods = _EXACT.add(goods, line.amount)
    if goods >= MONEY_LIMIT:
        raise _wrong("data.lines", Number(goods), "the lines must add up to less than 10^14")
    return goods


def _wrong(name: str, value: object, rule: str) -> Rejection:
    return Rejection(f"{name} is {_shown(value)}; {rule}")


def _shown(value: object) -> str:
    """Write a JSON value for a reason: short, printable, one line."""
    if value is None:
        return "missing or null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    text = str(value)
    if len(text) > _SHOWN_CHARACTERS:
        text = text[: _SHOWN_CHARACTERS - 1] + "…"
    return text if isinstance(value, Number) else '"' + _printable(text) + '"'


def _shown_bytes(line: bytes) -> str:
    return _shown(line[: 4 * _SHOWN_CHARACTERS].decode(errors="replace"))


def _printable(text: str) -> str:
    return "".join(
        character if character.isprintable() else f"\\u{ord(character):04x}" for character in text
    )
