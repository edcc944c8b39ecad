"""A view is tried before it is taken: compiled in three ways against its text as written.

Guarantees: on rows made from the view's own constants, and on the largest values that the contract
allows, all ways give the same cells as DuckDB gives for the text, or ViewError is raised.
"""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from headrace.pipelines.errors import ViewError
from headrace.pipelines.views.stacked import rows_of
from headrace.pipelines.views.trial_rows import Row, edge_rows, telling_rows
from headrace.pipelines.views.types import scratch
from headrace.pipelines.views.written import get_ready, written_sql

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import duckdb

    from headrace.pipelines.views.view import View


def try_view(view: View, where: str) -> None:
    """Compare all that was compiled of a view with its text as written.

    Raises:
        ViewError: a cell differs, or a value that the contract allows makes it fail.
    """
    import duckdb

    con = scratch().cursor()
    get_ready(con, view.zones)
    try:
        for name, columns in _read(view).items():
            _fill(con, view, name, columns, telling_rows(view, columns))
        _compare(con, view, where, _written(con, view, where))
        for name, columns in _read(view).items():
            _fill(con, view, name, columns, edge_rows(columns))
        try:
            expected = _answer(con, _text_of(view, where))
        except duckdb.Error:
            expected = None  # DuckDB keeps amount * 1.19 at 18 digits; what is compiled has room
        _compare(con, view, where, expected)
    finally:
        for table in ("tried", "taken_back", "beside"):
            con.execute(f"DROP TABLE IF EXISTS temp.{table}")


def _read(view: View) -> dict[str, dict[str, str]]:
    """The tables that stand for what a view reads, with their columns."""
    join = view.join
    if join is None:
        return {"tried": dict(view.columns)}
    theirs = {c: view.columns[f"{join.alias}.{c}"] for c in join.columns}
    ours = {c: kind for c, kind in view.columns.items() if "." not in c}
    return {"tried": ours, "beside": theirs}


def _table(view: View, name: str) -> str:
    """The table that stands for something that the view reads."""
    return "tried" if name == view.source else "beside"


def _written(con: duckdb.DuckDBPyConnection, view: View, where: str) -> Counter[Row]:
    import duckdb

    try:
        return _answer(con, _text_of(view, where))
    except duckdb.Error as error:
        said = str(error).splitlines()[0].rstrip(".")
        remedy = "Write it so that DuckDB does; with GROUP BY ALL, it may help to name the keys"
        for name in {c.name for c in view.outputs} & {view.source, *view.inner}:
            remedy = (
                f"{name} is the name of a column here and of what is read, and DuckDB takes it for "
                "the latter; give the column another name"
            )
        raise ViewError(
            f"{where}: DuckDB does not accept it as it is written: {said}. {remedy}"
        ) from error


def _compare(
    con: duckdb.DuckDBPyConnection, view: View, where: str, expected: Counter[Row] | None
) -> None:
    """Compare what was compiled with the text's answer, or only see that nothing fails."""
    import duckdb

    # Rows that come and go leave what stays: the base is `tried` and more, and more goes again.
    def rows(tried: str) -> str:
        return rows_of(view, lambda name: tried if name == view.source else "beside")

    def partial(tried: str, weight: str | None = None) -> str:
        return view.partial_sql(rows(tried), weight=weight)

    parts = " UNION ALL ".join(
        f"({part})"
        for part in (
            partial("(SELECT * EXCLUDE (w) FROM tried UNION ALL SELECT * EXCLUDE (w) "
                    "FROM taken_back)"),
            partial("taken_back", weight="w"),
        )
    )  # fmt: skip
    ways = {
        "in full": view.full_sql(rows("tried")),
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
        return written_sql(view.text, lambda name: _table(view, name))
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


def _fill(
    con: duckdb.DuckDBPyConnection,
    view: View,
    table: str,
    columns: Mapping[str, str],
    rows: Sequence[Row],
) -> None:
    """Make a table of rows; of `tried`, a third is apart in `taken_back`, to come and go."""
    if view.join is not None and table == "beside":  # where a key stands once
        places = [list(columns).index(its) for _, its in view.join.on]
        once = {tuple(row[place] for place in places): row for row in rows}
        _make(con, table, columns, list(once.values()), None)
        return
    third = len(rows) // 3
    _make(con, table, columns, rows[third:], 1)
    _make(con, "taken_back", columns, rows[:third], -1)


def _make(
    con: duckdb.DuckDBPyConnection,
    table: str,
    columns: Mapping[str, str],
    rows: Sequence[Row],
    weight: int | None,
) -> None:
    typed = {**columns, **({} if weight is None else {"w": "INTEGER"})}
    names = ", ".join(f'"{name}"' for name in typed)
    kinds = ", ".join(f'"{name}" {kind}' for name, kind in typed.items())
    con.execute(f"CREATE OR REPLACE TEMP TABLE {table} ({kinds})")
    more = () if weight is None else (weight,)
    values = ", ".join(f"({', '.join(map(_literal, (*row, *more)))})" for row in rows)
    con.execute(f"INSERT INTO {table} ({names}) VALUES {values}")


def _literal(value: object) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, int | Decimal):
        return f"{value:f}" if isinstance(value, Decimal) else str(value)
    text = str(value).replace("'", "''")
    return f"'{text}'"
