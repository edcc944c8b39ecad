"""JSON Schemas (draft 2020-12) of every event type and version, generated from the contract.

Every accepted event is valid against its schema. The reverse is not promised: JSON Schema
cannot see repeated keys, how a number is written, or what lines add up to.

Run `python -m headrace.schemas.contract_json` to write them again after a change of the contract.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from headrace.schemas.events import (
    ENVELOPE,
    MAX_LINES,
    MAX_SEQUENCE,
    MAX_TEXT,
    MAX_VOIDED,
    MONEY_LIMIT,
    MONEY_PATTERN,
    NEWEST,
    SHAPES,
    Field,
    Kind,
    Shape,
)

FOLDER: Final = Path(__file__).with_name("json")
_CONTROL: Final = "[\\u0000-\\u001F\\u007F]"
_AT_LEAST_ZERO: Final = r"^([0-9]{1,14}(\.[0-9]{1,4})?|-0{1,14}(\.0{1,4})?)$"
_TIME: Final = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?"
    r"([Zz]|[+-][0-9]{2}:[0-9]{2})$"
)

Schema = dict[str, Any]


def json_schema(shape: Shape) -> Schema:
    """Return the schema of a whole CloudEvents document with this shape's data."""
    envelope = _object(ENVELOPE)
    envelope["properties"]["type"] = {"const": shape.type}
    ending = {"type": "string", "pattern": f"/{shape.type}/{shape.version}$"}
    newest = shape is NEWEST[shape.type]
    envelope["properties"]["dataschema"] = _or_null(ending) if newest else ending
    data = _object(shape.fields)
    envelope["properties"]["data"] = data if shape.needs_data else _or_null(data)
    if not newest:
        envelope["required"].append("dataschema")
    if shape.needs_data:
        envelope["required"].append("data")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:headrace:schema:{shape.type}:{shape.version}",
        "title": f"{shape.type}, version {shape.version}",
        "description": shape.about,
        "$comment": "Generated from schemas/events.py by python -m headrace.schemas.contract_json.",
        **envelope,
    }


def files() -> dict[str, str]:
    """Return name and text of every schema file."""
    return {
        f"{shape.type}.v{shape.version}.json": json.dumps(json_schema(shape), indent=2) + "\n"
        for shape in SHAPES
    }


def write(folder: Path = FOLDER) -> list[Path]:
    """Write all schema files and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, text in files().items():
        path = folder / name
        path.write_text(text, encoding="utf-8")
        paths.append(path)
    return paths


def _object(fields: tuple[Field, ...]) -> Schema:
    return {
        "type": "object",
        "properties": {field.name: _property(field) for field in fields},
        "required": [field.name for field in fields if field.required],
    }


def _property(field: Field) -> Schema:
    schema = _or_null(_value(field)) if field.nullable or not field.required else _value(field)
    return {"description": field.about, **schema}


def _value(field: Field) -> Schema:
    if field.choices:
        return {"enum": list(field.choices)}
    return {
        Kind.TEXT: _text,
        Kind.MONEY: _money,
        Kind.WHOLE: _whole,
        Kind.SEQUENCE: _sequence,
        Kind.TIME: _time,
        Kind.LINES: _lines,
        Kind.IDS: _ids,
    }[field.kind](field)


def _text(field: Field) -> Schema:
    schema: Schema = {
        "type": "string",
        "minLength": field.min_length,
        "maxLength": field.max_length,
        "not": {"pattern": _CONTROL},
    }
    if field.pattern is not None:
        schema["pattern"] = f"^{field.pattern}$"
    return schema


def _money(field: Field) -> Schema:
    number: Schema = {"type": "number", "exclusiveMaximum": MONEY_LIMIT}
    if field.minimum is None:
        number["exclusiveMinimum"] = -MONEY_LIMIT
        return {"anyOf": [{"type": "string", "pattern": f"^{MONEY_PATTERN}$"}, number]}
    number["minimum"] = field.minimum
    return {"anyOf": [{"type": "string", "pattern": _AT_LEAST_ZERO}, number]}


def _whole(field: Field) -> Schema:
    return {"type": "integer", "minimum": field.minimum, "maximum": field.maximum}


def _sequence(_: Field) -> Schema:
    return {
        "anyOf": [
            {"type": "integer", "minimum": 0, "maximum": MAX_SEQUENCE},
            {"type": "string", "pattern": "^[0-9]+$"},
        ]
    }


def _time(_: Field) -> Schema:
    return {"type": "string", "pattern": _TIME}


def _lines(field: Field) -> Schema:
    return {
        "type": "array",
        "minItems": 1,
        "maxItems": MAX_LINES,
        "items": _object(field.items),
    }


def _ids(_: Field) -> Schema:
    text = {"type": "string", "minLength": 1, "maxLength": MAX_TEXT, "not": {"pattern": _CONTROL}}
    return {
        "type": "array",
        "minItems": 1,
        "maxItems": MAX_VOIDED,
        "uniqueItems": True,
        "items": text,
    }


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


if __name__ == "__main__":
    write()
