"""The published JSON Schemas are the contract's, and they agree with the validator."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator

from headrace.schemas.contract_json import FOLDER, files, write
from headrace.schemas.validate import validate
from tests.unit.contract_samples import BAD, GOOD

if TYPE_CHECKING:
    from pathlib import Path

# What no JSON Schema can see: the line as bytes, repeated keys, the calendar, the way a
# number is written, what lines add up to, and surrogates.
_BEYOND_JSON_SCHEMA = (
    "twice",
    "surrogate",
    "day that is not",
    "leap second",
    "hour 24",
    "offset of",
    "before 1970",
    "from 2262",
    "past the calendar",
    "sequence with a point",
    "quantity 2.0",
    "number with",
    "of too much money",
    "nested",
    "NaN",
    "infinity",
)
_JSON_BAD = {
    name: line
    for name, (line, reason) in BAD.items()
    if not reason.startswith("the line is")
    and not any(hard in name for hard in _BEYOND_JSON_SCHEMA)
}


def _schema_for(document: Any) -> Draft202012Validator | None:
    """Choose as the contract does: what `dataschema` names, else the newest."""
    event_type = document.get("type")
    named = document.get("dataschema")
    versions = sorted(FOLDER.glob(f"{event_type}.v*.json"))
    if named is not None:
        versions = [FOLDER / f"{event_type}.v{named.rsplit('/', 1)[-1]}.json"]
    if not versions or not versions[-1].exists():
        return None
    return Draft202012Validator(json.loads(versions[-1].read_text(encoding="utf-8")))


def test_the_files_are_what_the_contract_generates() -> None:
    on_disk = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.json")}
    assert on_disk == files()


def test_writing_them_again_changes_nothing(tmp_path: Path) -> None:
    assert sorted(path.name for path in write(tmp_path)) == sorted(files())
    assert {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()} == files()


@pytest.mark.parametrize("text", files().values(), ids=files().keys())
def test_each_file_is_a_valid_schema(text: str) -> None:
    Draft202012Validator.check_schema(json.loads(text))


@pytest.mark.parametrize("line", GOOD.values(), ids=GOOD.keys())
def test_an_accepted_event_passes_its_schema(line: bytes) -> None:
    validate(line)
    schema = _schema_for(json.loads(line))
    assert schema is not None
    assert list(schema.iter_errors(json.loads(line))) == []


@pytest.mark.parametrize("line", _JSON_BAD.values(), ids=_JSON_BAD.keys())
def test_a_rejected_event_fails_its_schema(line: bytes) -> None:
    schema = _schema_for(json.loads(line))
    assert schema is None or not schema.is_valid(json.loads(line))
