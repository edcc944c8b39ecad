"""The rows on which a view is tried: near its constants, and as large as the contract allows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import TYPE_CHECKING, Final

import sqlglot
from sqlglot import exp

from headrace.pipelines.views.types import decimal_size, is_decimal
from headrace.schemas.events import MAX_LINES, MAX_QUANTITY
from headrace.schemas.tables import LEDGER_KINDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from headrace.pipelines.views.view import View

_ROWS: Final = 192
_MONEY_DIGITS: Final = 18
_MET: Final = 5
"""Values of a column that is joined on."""
_ALIKE: Final = 4
"""Rows of which all numbers are at the same edge."""
_RECENT: Final = int(datetime(2027, 1, 1, tzinfo=UTC).timestamp())
_UNIT: Final = Decimal("0.0001")
_EDGE_AMOUNT: Final = Decimal("99999999999999.9999")
_EDGES: Final[dict[str, tuple[object, ...]]] = {
    "DECIMAL(18,4)": (_EDGE_AMOUNT, -_EDGE_AMOUNT),
    "DECIMAL(38,4)": (_EDGE_AMOUNT * MAX_LINES, -_EDGE_AMOUNT * MAX_LINES),
    "BIGINT": (MAX_QUANTITY, -MAX_QUANTITY),
    "INTEGER": (2**31 - 1, -(2**31)),
}
"""The largest values that a row can have; an order has many lines, and its sums are as large."""

Row = tuple[object, ...]


def edge_rows(columns: Mapping[str, str]) -> list[Row]:
    """All numbers at one edge, at the other, and each mixed with the others."""
    random = Random(1)  # noqa: S311 - chooses test rows
    rows = []
    for place in range(24):
        row: list[object] = []
        for name, kind in columns.items():
            edges = _edges(kind)
            if name in {"event_count", "first_offset", "last_offset", "partition"}:
                row.append(1)
            elif edges is not None:
                row.append(edges[place % 2] if place < _ALIKE else random.choice(edges))
            else:
                row.append(_plain(name, kind, random))
        rows.append(tuple(row))
    return rows


def _edges(kind: str) -> Sequence[object] | None:
    """The largest and the smallest number; None for what is no number."""
    known = _EDGES.get(kind)
    if known is not None or not is_decimal(kind):
        return known
    digits, scale = decimal_size(kind)
    most = _EDGE_AMOUNT * (MAX_LINES if digits > _MONEY_DIGITS else 1)
    edge = min(most, Decimal(10) ** (digits - scale) - 1).quantize(Decimal(1).scaleb(-scale))
    return edge, -edge


def _plain(name: str, kind: str, random: Random) -> object:
    if kind in {"TIMESTAMP", "DATE"}:
        moment = datetime(2026, 2, 28, 23, 59, 59, 999_999)  # noqa: DTZ001 - times are naive UTC
        return moment if kind == "TIMESTAMP" else moment.date()
    if kind == "BOOLEAN":
        return random.choice((True, False))
    return random.choice(LEDGER_KINDS) if name == "kind" else "EUR"


def telling_rows(view: View, columns: Mapping[str, str]) -> list[Row]:
    """Rows of values near the constants of the view, so that each condition has both outcomes.

    What is joined on has few values, so that most rows meet another.
    """
    random = Random(view.sql)  # noqa: S311 - chooses test rows
    texts, numbers, times = _constants(view)
    joined = {c for pair in view.join.on for c in pair} if view.join is not None else set()
    domains: list[list[object]] = []
    for name, kind in columns.items():
        domain: list[object]
        if kind == "VARCHAR":
            usual: tuple[object, ...] = LEDGER_KINDS if name == "kind" else ("EUR", "DE", "")
            domain = [None, *usual, *texts]
        elif kind in {"TIMESTAMP", "DATE"}:
            moments = times if kind == "TIMESTAMP" else sorted({t.date() for t in times})
            domain = [None, *moments]
        elif kind == "BOOLEAN":
            domain = [None, True, False]
        elif is_decimal(kind):
            digits, scale = decimal_size(kind)
            unit, most = Decimal(1).scaleb(-scale), Decimal(10) ** (digits - scale)
            domain = [None, *(n.quantize(unit) for n in numbers if abs(n) < most - 1)]
        else:
            domain = [None, *sorted({int(n) for n in numbers if abs(n) <= MAX_QUANTITY})]
        domains.append(domain[:_MET] if name in joined else domain)
    # Half of the rows differ little from each other, so that groups have more than one.
    few = [[random.choice(domain) for _ in range(3)] for domain in domains]
    return [
        tuple(random.choice(domain) for domain in (few if place % 2 else domains))
        for place in range(_ROWS)
    ]


def _constants(view: View) -> tuple[list[str], list[Decimal], list[datetime]]:
    texts: dict[str, None] = {}
    step, day = timedelta(microseconds=1), timedelta(days=1)
    numbers = {Decimal(n): None for n in ("0", "1", "-1", "2", "7.5", "-40.5392", "3.00005")}
    times = {
        datetime(2026, month, day, hour, 59, 59, 999_999): None  # noqa: DTZ001 - naive UTC
        for month, day, hour in ((1, 1, 0), (1, 31, 23), (2, 28, 23), (12, 31, 23))
    }
    for literal in _literals(view.text):
        value = str(literal.this)
        if not literal.is_string:
            each = Decimal(value)
            near = (each, -each, each + 1, each - 1, each + _UNIT, each - _UNIT)
            numbers.update(dict.fromkeys(n for n in near if abs(n) <= _EDGE_AMOUNT))
            continue
        moment = _moment(value)
        if moment is not None:
            times.update(dict.fromkeys((moment, moment - step, moment + step, moment + day)))
        else:
            texts.update(dict.fromkeys(_like(value)))
    for table in view.zones:
        for start in [each for each in table.starts if each < _RECENT][-4:]:
            moment = datetime.fromtimestamp(start, UTC).replace(tzinfo=None)
            times.update(dict.fromkeys((moment, moment - step)))
    return list(texts), list(numbers), list(times)


def _moment(text: str) -> datetime | None:
    """The time that a constant is; None for other text, such as the pattern '2026-01-01%'."""
    try:
        return datetime.fromisoformat(text).replace(tzinfo=None)
    except ValueError:
        return None


def _literals(text: str) -> Iterable[exp.Expression]:
    yield from sqlglot.parse_one(text, read="duckdb").find_all(exp.Literal)


def _like(value: str) -> Iterable[str]:
    """Texts that are the constant, match it as a pattern, or just do not."""
    yield value
    for wild in ("", "x", "xy"):
        matching = value.replace("%", wild).replace("_", "x")
        yield from (matching, f"z{matching}", f"{matching}z", matching.swapcase())
