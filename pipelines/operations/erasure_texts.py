"""Where a person is named in texts of the lake: reports, keys of restatements, the quarantine.

Pure. A name counts as a whole only: c-1 is not in c-10. In a report, a text that is the name is
taken for the person, unless it stands as a product.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

import pyarrow as pa

from headrace.pipelines.log.conflicts import CONFLICT
from headrace.pipelines.log.erased import GONE, WHY, stands_in

if TYPE_CHECKING:
    from collections.abc import Sequence

TEXTS: Final = {
    "audits": ("findings", "report", "forced_reason"),
    "diffs": ("report",),
    "certificates": ("report",),
    "live": ("reason",),
    "generations": ("origin",),
    "appends": ("origin",),
    "restatements": ("key", "old", "new"),
    "quarantine": ("origin", "reason", "raw"),
    "quarantine_sightings": ("origin",),
    "quarantine_decisions": ("who", "reason"),
}
"""The lake's own tables in which somebody may be named, and the columns with texts."""
_PRODUCTS: Final = frozenset({"product_id", "sku"})


@dataclass(frozen=True)
class Person:
    """Who is erased: the name (None for a guest), the new one, the orders, and names of columns."""

    name: str | None
    pseudonym: str
    orders: frozenset[str]
    columns: frozenset[str] = frozenset({"customer_id"})


def changed(table: str, rows: pa.Table, person: Person) -> pa.Table | None:
    """Rows of a table of `sys` without the person; None if they do not name it."""
    found, touched = rows.to_pylist(), False
    for row in found:
        fresh = _row(table, row, person)
        touched = touched or fresh != row
        row.update(fresh)
    return pa.Table.from_pylist(found, schema=rows.schema) if touched else None


def _row(table: str, row: dict[str, Any], person: Person) -> dict[str, Any]:
    if table == "quarantine":
        return _entry(row, person)
    if table == "restatements":
        key = scrubbed(row["key"], person)
        values = {n: row[n] for n in ("old", "new")}
        if row["measure"] in person.columns:
            values = {n: person.pseudonym if v == person.name else v for n, v in values.items()}
        return {**row, "key": key, **values} if person.name is not None else row
    return {**row, **{n: scrubbed(row[n], person) for n in TEXTS[table] if n in row}}


def _entry(row: dict[str, Any], person: Person) -> dict[str, Any]:
    """A rejected event: its bytes go where they name the person or one of the orders."""
    raw = bytes(row["raw"])
    if raw == GONE or not (names(raw, person) or names(row["reason"].encode(), person)):
        origin = scrubbed(row["origin"], person)
        return {**row, "origin": origin}
    why = row["reason"] if row["reason"].startswith(CONFLICT) else WHY
    return {**row, "raw": GONE, "reason": why, "origin": scrubbed(row["origin"], person)}


def names(raw: bytes, person: Person) -> bool:
    """Whether some bytes name the person or one of the orders."""
    wanted = {*person.orders, *([person.name] if person.name is not None else [])}
    try:
        return _in(json.loads(raw), wanted)
    except (ValueError, RecursionError):
        return any(stands_in(name.encode(), raw) for name in wanted)


def _in(value: object, wanted: Collection[str]) -> bool:
    if isinstance(value, str):
        return value in wanted
    if isinstance(value, dict):
        return any(_in(v, wanted) for k, v in value.items() if k not in _PRODUCTS)
    if isinstance(value, list):
        return any(_in(each, wanted) for each in value)
    return not isinstance(value, bool) and isinstance(value, int) and str(value) in wanted


def scrubbed(text: str | None, person: Person) -> str | None:
    """A text, JSON or not, with the pseudonym where the name stood."""
    if text is None or person.name is None or person.name not in text:
        return _escaped(text, person)
    try:
        value = json.loads(text, parse_float=_Digits)
    except ValueError:
        return _replaced(text, person.name, person.pseudonym)
    if not isinstance(value, dict | list):
        return _replaced(text, person.name, person.pseudonym)
    fresh = _scrub(value, person)
    return text if fresh == value else json.dumps(fresh)


def _escaped(text: str | None, person: Person) -> str | None:
    """A name that is no ASCII may stand in JSON in escapes."""
    if text is None or person.name is None or person.name.isascii() or "\\u" not in text:
        return text
    plain = json.dumps(person.name)[1:-1]
    return text.replace(plain, person.pseudonym)


class _Digits(float):
    """A number with the text that it was written in."""

    def __new__(cls, text: str) -> Self:
        made = super().__new__(cls, text)
        made.text = text
        return made

    text: str

    def __repr__(self) -> str:
        return self.text


def _scrub(value: Any, person: Person, key: str = "") -> Any:
    if isinstance(value, dict):
        of_product = value.get("column") in _PRODUCTS
        return {
            k: v if of_product and isinstance(v, str) else _scrub(v, person, k)
            for k, v in value.items()
        }
    if isinstance(value, list):
        return [_scrub(each, person, key) for each in value]
    if isinstance(value, str) and key not in _PRODUCTS and person.name is not None:
        return _replaced(value, person.name, person.pseudonym)
    return value


def _replaced(text: str, name: str, pseudonym: str) -> str:
    """The text with another name where this one stands alone."""
    raw, wanted, parts, done = text.encode(), name.encode(), [], 0
    at = raw.find(wanted)
    while at >= 0:
        around = raw[max(0, at - 1) : at + len(wanted) + 1]
        if stands_in(wanted, around):
            parts += [raw[done:at], pseudonym.encode()]
            done = at + len(wanted)
        at = raw.find(wanted, at + max(1, len(wanted)))
    return b"".join([*parts, raw[done:]]).decode()


def told(texts: Sequence[str], name: str) -> bool:
    """Whether any of these texts names somebody, in any case of its letters."""
    return any(stands_in(name.casefold().encode(), text.casefold().encode()) for text in texts)
