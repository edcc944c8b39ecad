"""What of an event stays when its customer is erased: all that is counted, nothing that identifies.

Pure, and the same for the same line: an event that comes again after an erasure becomes exactly
what is stored of it, so it is a redelivery like any other.
"""

from __future__ import annotations

import json
from typing import Final

from headrace.schemas.events import ENVELOPE, SHAPES
from headrace.schemas.strict_json import JsonObject, NotJsonError, Number, parse

_ALSO: Final = ("data", "datacontenttype", "importid")
_CUSTOMER: Final = ("customer_id", "customer")
"""The customer's name in any version of the contract."""
_PERSONAL: Final = frozenset({"tracking", "transaction_id", "reason"})
"""Known fields with free text, or with the reference of somebody who knows the customer."""
GONE: Final = "erased"
"""What stands where a text must stand."""


def redacted(raw: str, pseudonym: str) -> str:
    """The event with its customer under a pseudonym, and only the fields of the contract.

    Free text and references go, and all fields that the contract does not know. Key, order, time,
    goods and money stay as they were written, digit by digit.

    Raises:
        NotJsonError: it is no JSON object.
    """
    document = parse(raw.encode(errors="surrogatepass"))
    if not isinstance(document, JsonObject):
        raise NotJsonError("an event is a JSON object")
    known = {field.name for field in ENVELOPE} | set(_ALSO)
    kept = {name: value for name, value in document.items() if name in known}
    data = kept.get("data")
    if isinstance(data, JsonObject):
        kept["data"] = _data(str(document.get("type")), data, pseudonym)
    text = _written(kept)
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a pair, which only an escape can write
        return _written(kept, ascii_only=True)
    return text


def _data(event_type: str, data: JsonObject, pseudonym: str) -> dict[str, object]:
    fields = {f.name: f for shape in SHAPES if shape.type == event_type for f in shape.fields}
    kept: dict[str, object] = {}
    for name, value in data.items():
        field = fields.get(name)
        if field is None:
            continue
        if name in _CUSTOMER:
            kept[name] = value if value is None else pseudonym
        elif name in _PERSONAL:
            if field.required:
                kept[name] = GONE
        elif isinstance(value, list):
            items = _item_names(event_type)
            kept[name] = [
                {k: v for k, v in each.items() if k in items} if isinstance(each, dict) else each
                for each in value
            ]
        else:
            kept[name] = value
    return kept


def _item_names(event_type: str) -> set[str]:
    """The fields of a line, in any version."""
    shapes = [shape for shape in SHAPES if shape.type == event_type]
    return {item.name for shape in shapes for f in shape.fields for item in f.items or ()}


def _written(value: object, *, ascii_only: bool = False) -> str:
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, dict):
        parts = (
            f"{json.dumps(k, ensure_ascii=ascii_only)}:{_written(v, ascii_only=ascii_only)}"
            for k, v in value.items()
        )
        return "{" + ",".join(parts) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_written(each, ascii_only=ascii_only) for each in value) + "]"
    return json.dumps(value, ensure_ascii=ascii_only)
