"""Which views are taken and which are refused, and what makes a view another one."""

from pathlib import Path

import pytest

from headrace.pipelines.errors import ViewError
from headrace.pipelines.views.load import BUILTIN_VIEWS, load_views, logic_version, parse_view
from tests.unit.view_samples import by_currency, view

DESIGN = {
    "revenue_by_day": "day currency | orders gross cancelled returned net average_order",
    "basket_by_day": "day currency | orders median p90 largest",
    "cohorts": "cohort months currency | customers net",
    "customer_days": "customer_id day currency | orders net",
    "customer_history": "customer_id | first_day last_day days orders",
    "customers_by_day": "day | customers new returning",
    "repeat_rate": "scope | customers returned rate orders",
    "revenue_by_minute": "minute currency | orders gross net",
    "product_sales": "product_id currency | units gross returned net",
    "customer_value": "customer_id currency | orders net",
    "order_funnel": "day | placed paid shipped delivered cancelled",
    "country_sales": "country currency | orders net",
}


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
        ("string_agg(kind, ',') AS x", "kind", "use count, sum, avg"),
        ("any_value(kind) AS x", "any_value(kind)", "min(x) or max(x)"),
        ("first(kind) AS x", "first(kind)", "arg_min(x, booked_at)"),
        ("product(quantity) AS x", "product(quantity)", "use count, sum, avg"),
        ("stddev(amount) AS x", "stddev(amount)", "take it when you query"),
        ("count(DISTINCT country, kind) AS x", "count(DISTINCT country, kind)", "a || '/' || b"),
        ("min(DISTINCT amount) AS x", "min(DISTINCT amount)", "leave it out"),
        ("count(DISTINCT NULL) AS x", "count(DISTINCT NULL)", "leave it out"),
        ("max(amount, 2) AS x", "max(amount, 2)", "COUNT"),
        ("max(amount ORDER BY kind) AS x", "ORDER BY kind", "leave it out"),
        ("median(country) AS x", "median(country)", "quantile_disc(country, 0.5)"),
        ("quantile_cont(booked_at, 0.1) AS x", "booked_at", "quantile_disc(booked_at, 0.1)"),
        ("quantile_disc(amount, 1.5) AS x", "1.5", "quantile_disc(amount, 0.9)"),
        ("quantile_disc(amount, -0.5) AS x", "-0.5", "quantile_disc(amount, 0.9)"),
        ("quantile_disc(amount, 0.1234567) AS x", "0.1234567", "at most 6 digits"),
        ("quantile_disc(amount, [0.5, 0.9]) AS x", "[0.5, 0.9]", "one fixed fraction"),
        ("quantile_cont(amount, '0.5') AS x", "'0.5'", "quantile_cont(amount, 0.9)"),
        ("quantile_disc(amount) AS x", "quantile_disc(amount)", "one fixed fraction"),
        ("arg_max(kind) AS x", "arg_max(kind)", "arg_max(a, x)"),
        ("percentile_cont(0.5) WITHIN GROUP (ORDER BY amount) AS x", "amount", "quantile_cont(x,"),
        ("max(sum(amount)) AS x", "sum(amount)", "a value of one row"),
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
        ("(SELECT 1) AS x", "(SELECT 1)", "make a view of it"),
        ("count(*) FILTER (WHERE kind IN (SELECT 'a')) AS x", "(SELECT 'a')", "make a view of it"),
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
        ("SELECT currency FROM ledger GROUP BY 1 HAVING amount > 1", "sum(amount)"),
        ("SELECT currency FROM ledger GROUP BY 1 HAVING sum(amount)", "a condition is needed"),
        ("SELECT DISTINCT currency FROM ledger GROUP BY 1", "leave it out"),
        ("SELECT currency FROM ledger GROUP BY 1 ORDER BY 1", "sort when you query"),
        ("SELECT currency FROM ledger GROUP BY 1 LIMIT 1", "limit when you query"),
        ("SELECT currency FROM ledger GROUP BY 1 QUALIFY count(*) > 1", "filter when you query"),
        (
            "SELECT currency FROM ledger JOIN orders USING (order_id) GROUP BY 1",
            "make a view of ledger",
        ),
        ("SELECT currency FROM ledger, orders GROUP BY 1", "make a view of ledger first"),
        ("SELECT currency FROM (SELECT * FROM ledger) GROUP BY 1", "or another view"),
        ("WITH a AS (SELECT 1) SELECT currency FROM ledger GROUP BY 1", "one SELECT"),
        ("SELECT 1 AS a FROM ledger GROUP BY 1 UNION SELECT 2", "a file for each"),
        ("SELECT currency FROM ledger GROUP BY 1; SELECT 2", "exactly one SELECT"),
        ("-- nothing", "exactly one SELECT"),
        ("SELECT currency FROM events GROUP BY 1", "a view"),
        ("SELECT currency FROM lake.ledger GROUP BY 1", "a view"),
        ("SELECT currency FROM read_csv('x') GROUP BY 1", "a view"),
        ("SELECT currency FROM ledger TABLESAMPLE 10% GROUP BY 1", "a view"),
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
        ("SELECT currency FROM ledger WHERE sum(amount) > 1 GROUP BY 1", "after HAVING"),
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
    views = load_views(BUILTIN_VIEWS)
    for name, built_in in views.items():
        assert parse_view(name, built_in.sql, where=name, known=views.get) == built_in


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
