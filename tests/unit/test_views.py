"""Which views are taken and which are refused, and what their SQL gives on a few rows."""

from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from pipelines.errors import ViewError
from pipelines.views import BUILTIN_VIEWS, View, load_views, logic_version, parse_view
from schemas.tables import LEDGER_COLUMNS

DESIGN = {
    "revenue_by_day": "day currency | orders gross cancelled returned net average_order",
    "revenue_by_minute": "minute currency | orders gross net",
    "product_sales": "product_id currency | units gross returned net",
    "customer_value": "customer_id currency | orders net",
    "order_funnel": "day | placed paid shipped delivered cancelled",
    "country_sales": "country currency | orders net",
}


def view(sql: str) -> View:
    return parse_view("mine", sql, where="views/mine.sql")


def by_currency(item: str) -> View:
    return view(f"SELECT currency, {item} FROM ledger GROUP BY currency")


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


@pytest.mark.parametrize("name", DESIGN)
def test_a_built_in_view_has_the_keys_and_measures_of_the_design(name: str) -> None:
    built_in = load_views(BUILTIN_VIEWS)[name]
    keys, measures = (part.split() for part in DESIGN[name].split("|"))
    assert [column.name for column in built_in.keys] == keys
    assert [column.name for column in built_in.outputs] == keys + measures


def test_there_are_no_other_built_in_views() -> None:
    assert list(load_views(BUILTIN_VIEWS)) == sorted(DESIGN)


@pytest.mark.parametrize(
    ("item", "kind"),
    [
        ("count(*) AS x", "BIGINT"),
        ("count(customer_id) AS x", "BIGINT"),
        ("sum(quantity) AS x", "BIGINT"),
        ("sum(amount) AS x", "DECIMAL(38,4)"),
        ("avg(amount) AS x", "DECIMAL(38,4)"),
        ("avg(quantity) AS x", "DECIMAL(38,4)"),
        ("sum(amount) / count(*) AS x", "DECIMAL(38,4)"),
        ("round(sum(amount) / sum(quantity), 2) AS x", "DECIMAL(38,2)"),
        ("sum(amount * 1.25) AS x", "DECIMAL(38,6)"),
        ("sum(CAST(amount AS DECIMAL(17, 2))) AS x", "DECIMAL(38,2)"),
        ("count(*) FILTER (WHERE booked_at >= '2026-01-01') AS x", "BIGINT"),
        ("count(*) FILTER (WHERE kind LIKE 's%' AND NOT country IN ('DE', 'FR')) AS x", "BIGINT"),
        ("sum(amount) > 0 AS x", "BOOLEAN"),
        ("CASE WHEN currency = 'EUR' THEN sum(amount) END AS x", "DECIMAL(38,4)"),
        ("CAST(sum(amount) AS BIGINT) AS x", "BIGINT"),
        ("nullif(count(*), 0) AS x", "BIGINT"),
        ("currency || '!' AS x", "VARCHAR"),
    ],
)
def test_an_additive_measure_is_taken_and_has_an_exact_type(item: str, kind: str) -> None:
    assert by_currency(item).outputs[1].type == kind


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("CAST(booked_at AS DATE)", "DATE"),
        ("booked_at::DATE", "DATE"),
        ("date_trunc('hour', booked_at)", "TIMESTAMP"),
        ("date_trunc('day', CAST(booked_at AS DATE))", "TIMESTAMP"),
        ("extract(year FROM booked_at)", "BIGINT"),
        ("hour(booked_at)", "BIGINT"),
        ("quantity + 1", "BIGINT"),
        ("CAST(quantity AS VARCHAR) || 'x'", "VARCHAR"),
        ("amount < 0", "BOOLEAN"),
        ("coalesce(country, '?')", "VARCHAR"),
        ("CASE kind WHEN 'sale' THEN 1 ELSE 2 END", "INTEGER"),
        ("'all'", "VARCHAR"),
    ],
)
def test_a_key_is_taken_and_has_the_type_that_duckdb_gives_it(key: str, kind: str) -> None:
    assert view(f"SELECT {key} AS k, count(*) AS n FROM ledger GROUP BY k").keys[0].type == kind


@pytest.mark.parametrize(
    ("item", "expression", "remedy"),
    [
        ("max(amount) AS x", "max(amount)", "use count, sum or avg"),
        ("min(amount) FILTER (WHERE quantity > 1) AS x", "min(amount)", "use count, sum or avg"),
        ("median(amount) AS x", "median(amount)", "use count, sum or avg"),
        ("string_agg(kind, ',') AS x", "kind", "use count, sum or avg"),
        ("any_value(kind) AS x", "any_value(kind)", "use count, sum or avg"),
        ("product(quantity) AS x", "product(quantity)", "use count, sum or avg"),
        ("count(DISTINCT country) AS x", "count(DISTINCT country)", "GROUP BY country"),
        ("coalesce(sum(DISTINCT amount), 0) AS x", "DISTINCT amount", "GROUP BY amount"),
        ("sum(amount ORDER BY kind) AS x", "ORDER BY kind", "leave it out"),
        ("count_if(quantity > 1) AS x", "count_if(quantity > 1)", "FILTER (WHERE condition)"),
        ("sum(amount)", "sum(amount)", "AS name"),
        ("amount AS x", "amount", "sum(amount)"),
        ("sum(amount) - amount AS x", "amount", "sum(amount)"),
        ("sum(amuont) AS x", "amuont", "did you mean amount?"),
        ("sum(orders.net) AS x", "orders.net", "write net"),
        ("sum(amount) AS _x", "_x", "hidden"),
        ("sum(amount) AS currency", "currency", "another"),
        ('sum(amount) AS "my sum"', '"my sum"', "letters, digits"),
        ("sum(sum(amount)) AS x", "sum(amount)", "a value of one row"),
        ("sum(amount) OVER () AS x", "OVER ()", "when you query"),
        ("(SELECT 1) AS x", "(SELECT 1)", "orders or ledger only"),
        ("count(*) FILTER (WHERE kind IN (SELECT 'a')) AS x", "(SELECT 'a')", "ledger only"),
        ("*", "*", "name the columns"),
        ("ledger.*", "*", "name the columns"),
        ("sum(?) AS x", "?", "write the value"),
        ("now() AS x", "now()", "booked_at"),
        ("count(*) FILTER (WHERE booked_at < current_date) AS x", "CURRENT_DATE", "booked_at"),
        ("sum(CASE WHEN random() < 0 THEN 1 END) AS x", "RANDOM()", "booked_at"),
        ("sum(amount * 1e3) AS x", "1e3", "write digits"),
        ("sum(amount::DOUBLE) AS x", "AS DOUBLE", "DECIMAL(p, s)"),
        ("avg(CAST(quantity AS FLOAT)) AS x", "AS REAL", "DECIMAL(p, s)"),
        ("CAST(sum(amount) AS DOUBLE) AS x", "AS DOUBLE", "DECIMAL(p, s)"),
        ("sum(amount / 2) AS x", "amount / 2", "sum(a) / sum(b)"),
        ("sum(quantity // 2) AS x", "quantity // 2", "sum(a) / sum(b)"),
        ("sum(round(amount, 1)) AS x", "round(amount, 1)", "CAST(x AS DECIMAL"),
        ("sum(CAST(amount AS BIGINT)) AS x", "AS BIGINT", "DECIMAL(38, 0)"),
        ("sum(CAST(amount AS DECIMAL(10, 2))) AS x", "DECIMAL(10, 2)", "write DECIMAL(17, 2)"),
        ("sum(CAST(quantity AS DECIMAL(9, 0))) AS x", "quantity", "write DECIMAL(19, 0)"),
        ("sum(CAST('7' AS BIGINT)) AS x", "'7'", "write the value itself"),
        ("sum(TRY_CAST(kind AS BIGINT)) AS x", "kind", "CAST("),
        ("sum(amount * amount * amount) AS x", "amount * amount", "first CAST"),
        ("sum(CAST(amount AS DECIMAL(38, 10))) AS x", "DECIMAL(38, 10)", "first CAST"),
        ("sum(99999999999999999999) AS x", "99999999999999999999", "HUGEINT"),
        ("sum(kind) AS x", "kind", "a number is needed"),
        ("count(*) FILTER (WHERE quantity) AS x", "quantity", "a condition is needed"),
        ("count(*) FILTER (WHERE kind = 1) AS x", "kind = 1", "add a CAST"),
        ("sum(coalesce(kind, 1)) AS x", "coalesce(kind, 1)", "add a CAST"),
        ("count(*) FILTER (WHERE booked_at > '2026-02-31') AS x", "2026-02-31", "TIMESTAMP '"),
        ("count(*) FILTER (WHERE lower(kind) = 'a') AS x", "lower(kind)", "CASE WHEN or IN"),
        ("count(*) FILTER (WHERE upper(kind) = 'A') AS x", "upper(kind)", "CASE WHEN or IN"),
        ("count(*) FILTER (WHERE kind ILIKE 'a') AS x", "kind ILIKE 'a'", "write LIKE"),
        ("count(*) FILTER (WHERE kind LIKE 'a\\_') AS x", "a\\_", "without a backslash"),
        ("count(*) FILTER (WHERE concat(kind, 'a') = 'b') AS x", "concat(kind, 'a')", "a || b"),
        ("count(*) FILTER (WHERE length(kind) = 1) AS x", "length(kind)", "date_trunc"),
        ("sqrt(sum(amount)) AS x", "sqrt(sum(amount))", "coalesce, nullif"),
        ("sum(extract(dow FROM booked_at)) AS x", "booked_at", "YEAR, MONTH, DAY, HOUR"),
        ("count(CAST(amount AS VARCHAR)) AS x", "amount", "keep it as it is"),
        ("count(quantity, amount) AS x", "quantity, amount", "exactly one argument"),
        ("sum(extract(year FROM kind)) AS x", "kind", "a DATE or TIMESTAMP is needed"),
        ("count(*) FILTER (WHERE hour(quantity) = 1) AS x", "quantity", "a DATE or TIMESTAMP"),
        ("count(*) FILTER (WHERE quantity || 'a' = 'b') AS x", "quantity", "text is needed"),
        ("round(sum(amount), count(*)) AS x", "round(", "a fixed number of digits"),
        ("count(*) FILTER (WHERE kind IS DISTINCT FROM 'a') AS x", "IS DISTINCT", "IS NULL where"),
        (
            "count(date_trunc('decade', booked_at)) AS x",
            "booked_at",
            "truncates to DECADE; write one of ",
        ),
        ("count(*) FILTER (WHERE booked_at > DATE 'soon') AS x", "soon", "DATE '2026-01-31'"),
        ("count(*) FILTER (WHERE booked_at > TIMESTAMP '1') AS x", "'1'", "'2026-01-31 09:30:00'"),
        ("sum(abs(kind)) AS x", "kind", "a number is needed"),
        ("count(*) FILTER (WHERE kind BETWEEN 1 AND 2) AS x", "kind BETWEEN 1 AND 2", "a CAST"),
        ("sum(-kind) AS x", "kind", "a number is needed"),
    ],
)
def test_a_refused_measure_is_named_with_its_file_and_a_remedy(
    item: str, expression: str, remedy: str
) -> None:
    with pytest.raises(ViewError) as refused:
        by_currency(item)
    message = str(refused.value)
    assert message.startswith("views/mine.sql: ")
    assert expression in message
    assert remedy in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("sql", "remedy"),
    [
        ("SELECT sum(amount) AS x FROM ledger", "group by a constant"),
        ("SELECT currency FROM ledger GROUP BY 1 HAVING count(*) > 1", "when you query"),
        ("SELECT DISTINCT currency FROM ledger GROUP BY 1", "leave it out"),
        ("SELECT currency FROM ledger GROUP BY 1 ORDER BY 1", "sort when you query"),
        ("SELECT currency FROM ledger GROUP BY 1 LIMIT 1", "limit when you query"),
        ("SELECT currency FROM ledger GROUP BY 1 QUALIFY count(*) > 1", "filter when you query"),
        ("SELECT currency FROM ledger JOIN orders USING (order_id) GROUP BY 1", "alone"),
        ("SELECT currency FROM ledger, orders GROUP BY 1", "alone"),
        ("SELECT currency FROM (SELECT * FROM ledger) GROUP BY 1", "FROM orders or FROM ledger"),
        ("WITH a AS (SELECT 1) SELECT currency FROM ledger GROUP BY 1", "one SELECT"),
        ("SELECT 1 AS a FROM ledger GROUP BY 1 UNION SELECT 2", "a file for each"),
        ("SELECT currency FROM ledger GROUP BY 1; SELECT 2", "exactly one SELECT"),
        ("-- nothing", "exactly one SELECT"),
        ("SELECT currency FROM events GROUP BY 1", "FROM orders or FROM ledger"),
        ("SELECT currency FROM lake.ledger GROUP BY 1", "FROM orders or FROM ledger"),
        ("SELECT currency FROM read_csv('x') GROUP BY 1", "FROM orders or FROM ledger"),
        ("SELECT currency FROM ledger TABLESAMPLE 10% GROUP BY 1", "FROM ledger"),
        ("SELECT currency FROM ledger GROUP BY ROLLUP (currency)", "a file for each"),
        ("SELECT currency FROM ledger GROUP BY CUBE (currency)", "a file for each"),
        ("SELECT currency FROM ledger GROUP BY GROUPING SETS ((currency), ())", "a file for each"),
        ("SELECT currency FROM ledger GROUP BY currency, country", "add it to the SELECT list"),
        ("SELECT currency FROM ledger GROUP BY 3", "a SELECT list of 1"),
        ("SELECT count(*) AS n FROM ledger GROUP BY n", "cannot be a GROUP BY key"),
        ("SELECT count(*) AS n FROM ledger GROUP BY ALL", "select the column"),
        ("SELECT kind || 'x' AS kind FROM ledger GROUP BY kind", "GROUP BY 1"),
        ("SELECT CAST(amount AS DOUBLE) AS a FROM ledger GROUP BY 1", "DECIMAL(p, s)"),
        ("SELECT NULL AS a FROM ledger GROUP BY 1", "leave it out"),
        ("SELECT currency FROM ledger WHERE sum(amount) > 1 GROUP BY 1", "when you query"),
        ("SELECT currency FROM ledger WHERE amount GROUP BY 1", "a condition is needed"),
        ("DROP TABLE ledger", "write SELECT"),
        ("SELECT currency, count(* FROM ledger GROUP BY 1", "line 1, column 29"),
        (f"SELECT {'(' * 3000}1{')' * 3000} AS k FROM ledger GROUP BY 1", "shorter expression"),
    ],
)
def test_a_refused_statement_is_told_with_its_file_and_a_remedy(sql: str, remedy: str) -> None:
    with pytest.raises(ViewError, match=r"^views/mine\.sql: ") as refused:
        view(sql)
    assert remedy in str(refused.value)


@pytest.mark.parametrize("group", ["day, currency", "ALL", "1, 2", "CAST(booked_at AS DATE), 2"])
def test_however_group_by_names_its_keys_the_view_is_the_same(group: str) -> None:
    text = "SELECT CAST(booked_at AS DATE) AS day, currency, count(*) AS n FROM ledger GROUP BY "
    assert view(text + group) == view(text + "1, currency")


def test_the_normalised_text_is_a_view_and_means_the_same() -> None:
    for name, built_in in load_views(BUILTIN_VIEWS).items():
        assert parse_view(name, built_in.sql, where=name) == built_in


def test_a_table_alias_may_stand_before_a_column() -> None:
    qualified = view("SELECT l.currency, sum(l.amount) AS x FROM ledger AS l GROUP BY l.currency")
    assert qualified.sql == by_currency("sum(amount) AS x").sql


def test_the_version_does_not_change_with_comments_and_whitespace() -> None:
    one = by_currency("sum(amount) AS x")
    same = view('select  CURRENCY, -- each\n SUM("amount") as X\nfrom Ledger group by all;')
    assert logic_version([one], "7") == logic_version({"mine": same}, "7")


@pytest.mark.parametrize("item", ["sum(quantity) AS x", "sum(amount) AS y", "avg(amount) AS x"])
def test_the_version_changes_with_the_meaning_of_a_view(item: str) -> None:
    one = by_currency("sum(amount) AS x")
    assert logic_version([one], "7") != logic_version([by_currency(item)], "7")


def test_the_version_changes_with_the_rows_that_a_view_leaves_out() -> None:
    text = "SELECT currency, count(*) AS n FROM ledger {} GROUP BY currency"
    wheres = ("", "WHERE kind = 'sale'", "WHERE kind = 'return'", "WHERE kind <> 'sale'")
    versions = {logic_version([view(text.format(where))], "7") for where in wheres}
    assert len(versions) == len(wheres)
    for where in wheres[1:]:
        compiled = view(text.format(where))
        assert parse_view("mine", compiled.sql, where="again") == compiled


def test_the_version_changes_with_the_fold_and_is_12_hex_digits() -> None:
    one = by_currency("sum(amount) AS x")
    assert logic_version([one], "7") != logic_version([one], "8")
    assert len(logic_version([one], "7")) == 12
    assert int(logic_version([one], "7"), 16) >= 0


def test_equal_aggregates_share_their_partials() -> None:
    shared = by_currency("sum(amount) AS a, avg(amount) AS b, count(amount) AS c, count(*) AS d")
    assert [partial.name for partial in shared.partials] == ["_rows", "_sum1", "_count2"]


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


def write(folder: Path, name: str, text: str = "SELECT kind FROM ledger GROUP BY 1") -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")


def test_views_of_several_folders_come_ordered_by_name(tmp_path: Path) -> None:
    write(tmp_path / "views", "zebra.sql")
    write(tmp_path / "views", "apple.sql")
    loaded = load_views(BUILTIN_VIEWS, tmp_path / "views", tmp_path / "missing")
    assert list(loaded) == sorted([*DESIGN, "apple", "zebra"])


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("revenue_by_day.sql", "is there already"),
        ("ledger.sql", "meaning of its own"),
        ("orders.sql", "meaning of its own"),
        ("select.sql", "meaning of its own"),
        ("My View.sql", "lower-case letters"),
        ("1st.sql", "lower-case letters"),
        ("_hidden.sql", "lower-case letters"),
    ],
)
def test_a_file_with_a_name_that_cannot_be_a_view_is_refused(
    tmp_path: Path, name: str, remedy: str
) -> None:
    write(tmp_path / "views", name)
    with pytest.raises(ViewError, match=remedy) as refused:
        load_views(BUILTIN_VIEWS, tmp_path / "views")
    assert name in str(refused.value)


def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.sql").write_bytes(b"SELECT '\xff' AS k FROM ledger GROUP BY 1")
    with pytest.raises(ViewError, match=r"bad\.sql: byte 8 is not UTF-8"):
        load_views(tmp_path)
