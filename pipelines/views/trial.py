"""A view is tried before it is taken: compiled in three ways against its text as written.

Guarantees: on rows made from the view's own constants, and on the largest values that the contract
allows, all ways give the same cells as DuckDB gives for the text, or ViewError is raised.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import TYPE_CHECKING, Any, Final

import sqlglot
from sqlglot import exp

from headrace.pipelines.errors import ViewError
from headrace.pipelines.views.types import scratch
from headrace.pipelines.views.written import get_ready, written_sql
from headrace.schemas.events import MAX_LINES, MAX_QUANTITY
from headrace.schemas.tables import LEDGER_KINDS, TABLES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import duckdb

    from headrace.pipelines.views.view import View

_ROWS: Final = 192
_ALIKE: Final = 4
"""Rows of which all numbers are at the same edge."""
_RECENT: Final = int(datetime(2027, 1, 1, tzinfo=UTC).timestamp())
_UNIT: Final = Decimal("0.0001")
_EDGE_AMOUNT: Final = Decimal("99999999999999.9999")
_EDGES: Final[dict[str, tuple[object, ...]]] = {
    "DECIMAL(18,4)": (_EDGE_AMOUNT, -_EDGE_AMOUNT),
    "DECIMAL(38,4)": (_EDGE_AMOUNT * MAX_LINES, -_EDGE_AMOUNT * MAX_LINES),
    "BIGINT": (MAX_QUANTITY, -MAX_QUANTITY),
}
"""The largest values that a row can have; an order has many lines, and its sums are as large."""

Row = tuple[object, ...]


def try_view(view: View, where: str) -> None:
    """Compare all that was compiled of a view with its text as written.

    Raises:
        ViewError: a cell differs, or a value that the contract allows makes it fail.
    """
    import duckdb

    con = scratch().cursor()
    get_ready(con, view.zones)
    try:
        _fill(con, view.source, _telling_rows(view))
        _compare(con, view, where, _written(con, view, where))
        _fill(con, view.source, _edge_rows(view.source))
        try:
            expected = _answer(con, _text_of(view, where))
        except duckdb.Error:
            expected = None  # DuckDB keeps amount * 1.19 at 18 digits; what is compiled has room
        _compare(con, view, where, expected)
    finally:
        for table in ("tried", "taken_back"):
            con.execute(f"DROP TABLE IF EXISTS temp.{table}")


def _written(con: duckdb.DuckDBPyConnection, view: View, where: str) -> Counter[Row]:
    import duckdb

    try:
        return _answer(con, _text_of(view, where))
    except duckdb.Error as error:
        said = str(error).splitlines()[0]
        raise ViewError(
            f"{where}: DuckDB does not accept it as it is written: {said}. Write it so that DuckDB "
            "does; with GROUP BY ALL, it may help to name the keys"
        ) from error


def _compare(
    con: duckdb.DuckDBPyConnection, view: View, where: str, expected: Counter[Row] | None
) -> None:
    """Compare what was compiled with the text's answer, or only see that nothing fails."""
    import duckdb

    # Rows that come and go leave what stays: the base is `tried` and more, and more goes again.
    partial = view.partial_sql
    parts = " UNION ALL ".join(
        f"({part})"
        for part in (
            partial("(SELECT * EXCLUDE (w) FROM tried UNION ALL SELECT * EXCLUDE (w) "
                    "FROM taken_back)"),
            partial("taken_back", weight="w"),
        )
    )  # fmt: skip
    ways = {
        "in full": view.full_sql("tried"),
        "from its partial sums": view.served_sql(f"({partial('tried')})"),
        "after rows that were taken back": view.served_sql(f"({parts})"),
    }
    for way, sql in ways.items():
        try:
            found = _answer(con, sql)
        except duckdb.Error as error:
            said = str(error).splitlines()[0]
            raise ViewError(
                f"{where}: fails on values that an event may have: {said} CAST to a DECIMAL with "
                "more digits before multiplying, or leave the product out"
            ) from error
        if expected is not None and found != expected:
            raise ViewError(
                f"{where}: means something else to DuckDB than to Headrace: {way}, "
                f"{_difference(view, expected, found)}. Write it in another way, and please report "
                "the text of the view"
            )


def _text_of(view: View, where: str) -> str:
    try:
        return written_sql(view.text, "tried")
    except ValueError as error:
        raise ViewError(f"{where}: DuckDB does not read it: {error}; write one SELECT") from error


def _answer(con: duckdb.DuckDBPyConnection, sql: str) -> Counter[Row]:
    result = con.execute(sql)
    names = tuple(column[0].lower() for column in result.description)
    return Counter([names, *(tuple(map(_value, row)) for row in result.fetchall())])


def _value(value: object) -> tuple[str, Any]:
    """A cell: 1, 1.0 and 1.00 are one number, but neither a text nor true."""
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        return "number", Decimal(value)
    return type(value).__name__, value


def _difference(view: View, expected: Counter[Row], found: Counter[Row]) -> str:
    names = [column.name for column in view.outputs]
    first = next(iter((expected - found) or (found - expected)))
    shown = ", ".join(
        f"{name} = {value[1] if isinstance(value, tuple) else value}"
        for name, value in zip(names, first, strict=False)
    )
    missing = first in expected
    return f"the row {shown} is {'missing' if missing else 'there and should not be'}"


def _fill(con: duckdb.DuckDBPyConnection, source: str, rows: Sequence[Row]) -> None:
    columns = TABLES[source]
    names = ", ".join(f'"{name}"' for name in (*columns, "w"))
    kinds = ", ".join(f'"{name}" {kind}' for name, kind in columns.items())
    third = len(rows) // 3
    for table, chosen, weight in (("tried", rows[third:], 1), ("taken_back", rows[:third], -1)):
        con.execute(f"CREATE OR REPLACE TEMP TABLE {table} ({kinds}, w INTEGER)")
        values = ", ".join(
            f"({', '.join(_literal(value) for value in (*row, weight))})" for row in chosen
        )
        con.execute(f"INSERT INTO {table} ({names}) VALUES {values}")


def _literal(value: object) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, int | Decimal):
        return f"{value:f}" if isinstance(value, Decimal) else str(value)
    text = str(value).replace("'", "''")
    return f"'{text}'"


def _edge_rows(source: str) -> list[Row]:
    """All numbers at one edge, at the other, and each mixed with the others."""
    random = Random(1)  # noqa: S311 - chooses test rows
    rows = []
    for place in range(24):
        row: list[object] = []
        for name, kind in TABLES[source].items():
            edges = _EDGES.get(kind)
            if name in {"event_count", "first_offset", "last_offset", "partition"}:
                row.append(1)
            elif edges is not None:
                row.append(edges[place % 2] if place < _ALIKE else random.choice(edges))
            else:
                row.append(_plain(name, kind, random))
        rows.append(tuple(row))
    return rows


def _plain(name: str, kind: str, random: Random) -> object:
    if kind == "TIMESTAMP":
        return datetime(2026, 2, 28, 23, 59, 59, 999_999)  # noqa: DTZ001 - times are naive UTC
    return random.choice(LEDGER_KINDS) if name == "kind" else "EUR"


def _telling_rows(view: View) -> list[Row]:
    """Rows of values near the constants of the view, so that each condition has both outcomes."""
    random = Random(view.sql)  # noqa: S311 - chooses test rows
    texts, numbers, times = _constants(view)
    domains = []
    for name, kind in TABLES[view.source].items():
        if kind == "VARCHAR":
            usual: tuple[object, ...] = LEDGER_KINDS if name == "kind" else ("EUR", "DE", "")
            domains.append([None, *usual, *texts])
        elif kind == "TIMESTAMP":
            domains.append([None, *times])
        elif kind.startswith("DECIMAL"):
            domains.append([None, *(number.quantize(_UNIT) for number in numbers)])
        else:
            domains.append([None, *sorted({int(n) for n in numbers if abs(n) <= MAX_QUANTITY})])
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
