"""What the SQL of a view gives on a few rows: in parts, merged, and in full."""

from __future__ import annotations

from decimal import Decimal

import duckdb
import pytest

from headrace.pipelines.views.load import BUILTIN_VIEWS, View, load_views
from headrace.schemas.tables import LEDGER_COLUMNS
from tests.unit.view_samples import by_currency, view


@pytest.fixture
def lake() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    columns = ", ".join(f'"{name}" {kind}' for name, kind in LEDGER_COLUMNS.items())
    connection.execute(f"CREATE TABLE ledger ({columns}, w INTEGER DEFAULT 1)")
    return connection


def book(
    lake: duckdb.DuckDBPyConnection,
    amount: str | None,
    *,
    kind: str = "sale",
    quantity: int | None = 1,
    currency: str = "EUR",
    weight: int = 1,
) -> None:
    lake.execute(
        "INSERT INTO ledger (order_id, kind, booked_at, currency, quantity, amount, w) VALUES "
        f"('o', '{kind}', TIMESTAMP '2026-03-01 09:30:12', '{currency}', "
        f"{'NULL' if quantity is None else quantity}, {'NULL' if amount is None else amount}, "
        f"{weight})"
    )


def both(lake: duckdb.DuckDBPyConnection, compiled: View) -> list[tuple[object, ...]]:
    """The served rows, after checking that the full form says the same."""
    served = lake.execute(compiled.served_sql(f"({compiled.partial_sql('ledger')})")).fetchall()
    full = lake.execute(compiled.full_sql("ledger")).fetchall()
    assert sorted(map(repr, served)) == sorted(map(repr, full))
    return served


def test_a_sum_over_nothing_is_null_and_coalesce_makes_it_zero(
    lake: duckdb.DuckDBPyConnection,
) -> None:
    book(lake, None)
    compiled = by_currency("sum(amount) AS a, coalesce(sum(amount), 0) AS b, avg(amount) AS c")
    assert both(lake, compiled) == [("EUR", None, Decimal("0.0000"), None)]


@pytest.mark.parametrize(
    ("amounts", "mean"),
    [
        (["0.0001", "0.0002"], "0.0002"),
        (["-0.0001", "-0.0002"], "-0.0002"),
        (["0.0001", "0", "0"], "0.0000"),
        (["2", "0", "0"], "0.6667"),
        (["99999999999999.9999", "99999999999999.9999"], "99999999999999.9999"),
    ],
)
def test_an_average_is_rounded_half_away_from_zero(
    lake: duckdb.DuckDBPyConnection, amounts: list[str], mean: str
) -> None:
    for amount in amounts:
        book(lake, amount)
    assert both(lake, by_currency("avg(amount) AS x")) == [("EUR", Decimal(mean))]


def test_an_average_and_a_sum_count_the_rows_of_their_own_filter(
    lake: duckdb.DuckDBPyConnection,
) -> None:
    for amount, quantity in (("5", 1), ("7", 2), ("8", 3), (None, 4)):
        book(lake, amount, quantity=quantity)
    many = "FILTER (WHERE quantity > 1)"
    compiled = by_currency(
        f"avg(amount) AS a, avg(amount) {many} AS b, sum(amount) {many} AS c, "
        "sum(amount) FILTER (WHERE quantity > 3) AS d, avg(amount) FILTER (WHERE quantity > 3) AS e"
    )
    assert both(lake, compiled) == [
        ("EUR", Decimal("6.6667"), Decimal("7.5000"), Decimal("15.0000"), None, None)
    ]


@pytest.mark.parametrize(
    "item",
    [
        "count(*) FILTER (WHERE quantity BETWEEN 1 AND 2)",
        "count(*) FILTER (WHERE NOT quantity BETWEEN 2 AND 3)",
        "count(*) FILTER (WHERE booked_at BETWEEN '2026-03-01' AND '2026-03-02 10:00:00')",
        "sum(-amount)",
        "sum(abs(amount))",
        "sum(- -quantity + abs(-quantity))",
        "-sum(amount)",
        "abs(sum(amount))",
        "count(*) FILTER (WHERE true)",
        "count(*) FILTER (WHERE (quantity > 1) IS TRUE)",
        "count(*) FILTER (WHERE (quantity > 1) IS NOT TRUE)",
        "count(*) FILTER (WHERE amount IS NULL OR quantity IS NULL)",
        "count(*) FILTER (WHERE amount IS NOT NULL AND quantity = 2)",
        "sum(CASE WHEN quantity > 2 THEN 7 WHEN quantity = 2 THEN 5 ELSE 3 END)",
        "sum(CASE quantity WHEN 1 THEN 7 WHEN 2 THEN 5 END)",
        "sum(if(amount < 0, 1, 2))",
        "sum(CASE WHEN quantity > 2 THEN amount END)",
        "sum(coalesce(amount, quantity, 9))",
        "sum(nullif(quantity, 2))",
        "sum((quantity + 1) * (quantity - 2))",
        "sum(quantity + 1 * quantity - 2)",
        "sum(amount - quantity)",
        "count(*) FILTER (WHERE kind || '!' = 'sale!')",
        "count(*) FILTER (WHERE kind LIKE '_a%')",
        "count(*) FILTER (WHERE kind IN ('sale', 'return') AND NOT quantity IN (1, 3))",
        "count(*) FILTER (WHERE date_trunc('day', booked_at) = '2026-03-01')",
        "count(*) FILTER (WHERE extract(hour FROM booked_at) = 9 OR day(booked_at) = 2)",
        "sum(extract(month FROM booked_at) * 100 + year(booked_at))",
        "count(nullif(kind, 'sale'))",
        "sum(amount) FILTER (WHERE quantity > 1)",
        "coalesce(sum(amount) FILTER (WHERE quantity > 7), 0)",
        "sum(amount) FILTER (WHERE quantity > 7)",
        "coalesce(sum(amount), 1)",
        "coalesce(sum(quantity), 5)",
        "sum(amount) > 3 AND count(*) > 2",
        "CASE WHEN count(amount) = 0 THEN 'none' ELSE 'some' END",
        "sum(quantity) + count(*) * 2 - count(quantity)",
        "round(sum(amount), 1)",
        "round(sum(amount))",
        "CAST(sum(quantity) AS DECIMAL(38, 2))",
        "sum(CAST(CAST(amount AS DECIMAL(20, 4)) AS DECIMAL(19, 1)))",
        "CAST(CAST(sum(amount) AS DECIMAL(38, 4)) AS DECIMAL(38, 1))",
    ],
)
def test_each_kind_of_expression_means_what_the_same_text_means_in_duckdb(
    lake: duckdb.DuckDBPyConnection, item: str
) -> None:
    for currency in ("EUR", "USD"):
        for number, amount in enumerate(["5", "-7.5", "0.0625", None]):
            book(lake, amount, quantity=number or None, currency=currency)
    book(lake, "-1.25", kind="return", quantity=3)
    book(lake, None, kind="two", quantity=None, currency="GBP")
    moved = "UPDATE ledger SET booked_at = TIMESTAMP '2026-03-02 10:00:01' WHERE quantity = 2"
    lake.execute(moved)
    plain = lake.execute(f"SELECT currency, {item} AS x FROM ledger GROUP BY currency").fetchall()
    assert sorted(both(lake, by_currency(f"{item} AS x"))) == sorted(plain)
    assert len(plain) == 3


def test_a_ratio_over_zero_is_null(lake: duckdb.DuckDBPyConnection) -> None:
    book(lake, "5", quantity=0)
    assert both(lake, by_currency("sum(amount) / sum(quantity) AS x")) == [("EUR", None)]


def test_the_largest_amount_has_room_in_arithmetic(lake: duckdb.DuckDBPyConnection) -> None:
    book(lake, "99999999999999.9999")
    compiled = by_currency(
        "sum(amount * 1.25) AS a, sum(amount + amount) AS b, "
        "sum(CAST(amount AS DECIMAL(18, 4)) * 1.25) AS c"
    )
    most = Decimal("124999999999999.999875")
    expected = ("EUR", most, Decimal("199999999999999.9998"), most)
    assert both(lake, compiled) == [expected]


def test_a_line_break_in_quoted_text_stays_as_it_is(lake: duckdb.DuckDBPyConnection) -> None:
    book(lake, "5", kind="two\nlines")
    compiled = by_currency("count(*) FILTER (WHERE kind = 'two\nlines') AS x")
    assert both(lake, compiled) == [("EUR", 1)]


def test_a_sum_of_integers_that_does_not_fit_is_an_error(
    lake: duckdb.DuckDBPyConnection,
) -> None:
    book(lake, "1", quantity=2**62)
    book(lake, "1", quantity=2**62)
    compiled = by_currency("sum(quantity) AS x")
    for sql in (
        compiled.full_sql("ledger"),
        compiled.served_sql(f"({compiled.partial_sql('ledger')})"),
    ):
        with pytest.raises(duckdb.Error):
            lake.execute(sql).fetchall()


def test_a_group_that_nets_to_zero_rows_is_gone_but_one_with_zero_money_stays(
    lake: duckdb.DuckDBPyConnection,
) -> None:
    compiled = by_currency("sum(amount) AS x")
    book(lake, "5", currency="GONE")
    book(lake, "5", currency="ZERO")
    book(lake, "-5", currency="ZERO")
    base = compiled.partial_sql("ledger")
    taken = compiled.partial_sql(
        "(SELECT * REPLACE (-1 AS w) FROM ledger WHERE currency = 'GONE')", weight="w"
    )
    served = lake.execute(compiled.served_sql(f"({base} UNION ALL {taken})")).fetchall()
    assert served == [("ZERO", Decimal("0.0000"))]


def test_rows_that_a_view_leaves_out_count_nowhere(lake: duckdb.DuckDBPyConnection) -> None:
    book(lake, "5")
    book(lake, "7", kind="return")
    text = "SELECT currency, sum(amount) AS x FROM ledger WHERE kind = 'sale' GROUP BY currency"
    compiled = view(text)
    assert both(lake, compiled) == [("EUR", Decimal("5.0000"))]
    found = lake.execute(f"SELECT amount FROM ({compiled.rows_sql('ledger')})").fetchall()
    assert found == [(Decimal("5.0000"),)]
    assert "WHERE" in compiled.partial_sql("ledger", dialect="spark")


def test_a_change_that_changes_nothing_gives_no_delta(lake: duckdb.DuckDBPyConnection) -> None:
    book(lake, "5", weight=-1)
    book(lake, "5", weight=1)
    book(lake, "7", currency="USD")
    delta = lake.execute(by_currency("sum(amount) AS x").partial_sql("ledger", weight="w"))
    assert [row[0] for row in delta.fetchall()] == ["USD"]


def test_merging_keeps_a_negative_group_for_the_caller_to_refuse(
    lake: duckdb.DuckDBPyConnection,
) -> None:
    compiled = by_currency("sum(amount) AS x")
    book(lake, "5", weight=-1)
    partials = f"({compiled.partial_sql('ledger', weight='w')})"
    assert lake.execute(compiled.merge_sql(partials)).fetchall()[0][:2] == ("EUR", -1)
    assert len(lake.execute(compiled.unsound_sql(partials)).fetchall()) == 1


def test_money_without_rows_is_found_unsound(lake: duckdb.DuckDBPyConnection) -> None:
    compiled = by_currency("sum(amount) AS x")
    book(lake, "5", weight=1)
    book(lake, "4", weight=-1)
    partials = f"({compiled.partial_sql('ledger', weight='w')})"
    assert len(lake.execute(compiled.unsound_sql(partials)).fetchall()) == 1


def test_sound_partials_give_no_unsound_group(lake: duckdb.DuckDBPyConnection) -> None:
    compiled = by_currency("sum(amount) AS x")
    book(lake, "5")
    found = lake.execute(compiled.unsound_sql(f"({compiled.partial_sql('ledger')})"))
    assert found.fetchall() == []


def test_the_rows_behind_a_cell_come_with_its_keys(lake: duckdb.DuckDBPyConnection) -> None:
    built_in = load_views(BUILTIN_VIEWS)["revenue_by_day"]
    book(lake, "5")
    found = lake.execute(
        f"SELECT amount FROM ({built_in.rows_sql('ledger')}) "
        "WHERE _key_1 = DATE '2026-03-01' AND _key_2 IS NOT DISTINCT FROM 'EUR'"
    )
    assert found.fetchall() == [(Decimal("5.0000"),)]
