"""However rows come and go, what is served from partials is what the rows themselves say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal, localcontext
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.pipelines.views.load import BUILTIN_VIEWS, View, load_views, parse_view
from headrace.pipelines.views.stacked import over_tables
from headrace.schemas.tables import LEDGER_COLUMNS, LEDGER_KINDS, ORDERS_COLUMNS, TABLES

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

USER_VIEWS = {
    "channels": """
        SELECT channel, coalesce(country, 'unknown') AS land, count(*) AS n,
          avg(net) AS mean_net, sum(net) / sum(gross) AS margin, sum(units) AS units,
          avg(units) AS mean_units, sum(refunded) FILTER (WHERE status = 'returned') AS back,
          round(100 * sum(refunded) / sum(gross), 1) AS percent,
          CASE WHEN n > 2 AND land <> 'unknown' THEN sum(paid) ELSE -1 END AS large
        FROM orders GROUP BY 1, 2""",
    "partitions": """
        SELECT "partition", delivered_at IS NULL AS open, sum(event_count) AS events,
          sum(gross - paid) AS unpaid, sum(gross * 1.25) AS grossed
        FROM orders WHERE status IN ('placed', 'paid', 'returned') OR paid_at IS NULL
        GROUP BY 1, 2""",
    "everything": """
        SELECT 'all' AS scope, count(*) AS n, sum(amount) AS net, avg(quantity) AS q,
          count(product_id) FILTER (WHERE quantity < 0) AS back
        FROM ledger GROUP BY scope""",
    "texts": """
        SELECT kind || '/' || country AS label, CAST(CAST(booked_at AS DATE) AS VARCHAR) AS day,
          CAST(quantity AS VARCHAR) AS pieces, currency = 'EUR' AS euro,
          count(*) FILTER (WHERE country LIKE '%_e%' OR country <> 'a\\b''c
d') AS n,
          count(*) FILTER (WHERE country NOT LIKE '%_e%' OR NOT country LIKE 'D%') AS unlike,
          count(*) FILTER (WHERE country BETWEEN 'A' AND 'é') AS between
        FROM ledger GROUP BY ALL""",
    "times": """
        SELECT date_trunc('week', booked_at) AS week, date_trunc('quarter', booked_at) AS quarter,
          date_trunc('month', CAST(booked_at AS DATE)) AS month,
          date_trunc('hour', booked_at) AS hour, date_trunc('year', booked_at) AS year,
          extract(year FROM booked_at) * 100 + extract(month FROM booked_at) AS period,
          extract(day FROM booked_at) AS d, hour(booked_at) AS h,
          CASE WHEN booked_at >= '2026-02-01' THEN 'new' WHEN booked_at < DATE '2026-01-15'
            THEN 'old' END AS age,
          count(*) AS n
        FROM ledger WHERE booked_at BETWEEN '2025-12-30' AND TIMESTAMP '2026-03-01 00:00:00.5'
        GROUP BY ALL""",
    "numbers": """
        SELECT CAST(amount AS DECIMAL(16, 1)) AS rounded, abs(quantity) AS pieces,
          nullif(quantity, 1) AS more, CASE quantity WHEN 1 THEN amount ELSE 0 END AS one,
          -amount AS negative,
          sum(amount * amount) AS squares, sum(amount * quantity) AS products,
          sum(amount * 1.175 + 0.5) AS taxed, sum(coalesce(amount, quantity, 0)) AS any,
          sum(if(amount < 0, -amount, amount)) AS absolute, avg(amount * 0.19) AS tax,
          sum(CAST(CAST(amount AS DECIMAL(21, 6)) AS DECIMAL(17, 1))) AS twice,
          sum(CAST(amount AS DECIMAL(18, 4)) * 9.99) AS much
        FROM ledger WHERE amount IS NOT NULL OR NOT quantity > 2 GROUP BY ALL""",
    "values": """
        SELECT currency, kind LIKE 's%' AS sold, count(DISTINCT country) AS lands,
          count(DISTINCT customer_id) FILTER (WHERE quantity > 0) AS buyers,
          min(amount) AS least, max(booked_at) AS latest, max(country) AS last_land,
          median(amount) AS middle, quantile_cont(quantity, 0.1) AS tenth,
          quantile_disc(amount * 2, 0.75) AS upper, mode(product_id) AS usual,
          arg_max(product_id, amount) AS dearest, arg_min(amount, booked_at) AS first,
          sum(amount) AS net, avg(quantity) AS mean
        FROM ledger GROUP BY ALL""",
    "orders_values": """
        SELECT channel, median(gross) AS middle, max(net) - min(net) AS spread,
          mode(status) AS usual, count(DISTINCT CAST(placed_at AS DATE)) AS days,
          arg_max(order_id, net) FILTER (WHERE country = 'DE') AS largest
        FROM orders GROUP BY channel HAVING count(*) > 1 OR max(net) > 0""",
}


def all_views() -> dict[str, View]:
    mine = {name: parse_view(name, sql, where=name) for name, sql in USER_VIEWS.items()}
    return load_views(BUILTIN_VIEWS) | mine


VIEWS = all_views()
START = datetime(2025, 12, 29)  # noqa: DTZ001 - times are naive UTC
EDGE = Decimal("99999999999999.9999")

money = st.one_of(
    st.sampled_from([Decimal(0), Decimal("0.0001"), Decimal("-0.0001"), EDGE, -EDGE]),
    st.integers(-(10**7), 10**7).map(lambda unscaled: Decimal(unscaled).scaleb(-4)),
)
known_times = st.integers(0, 70 * 24 * 60).map(lambda minutes: START + timedelta(minutes=minutes))
times = st.one_of(st.none(), known_times)
countries = st.sampled_from([None, "", "DE", "île", "Straße", "a\\b'c\nd", "😀e"])
currencies = st.sampled_from(["EUR", "USD"])
few = st.one_of(st.none(), st.integers(-3, 9))
ledger_rows = st.fixed_dictionaries(
    {
        "order_id": st.sampled_from(["o1", "o2"]),
        "customer_id": st.sampled_from([None, "c1", "c2"]),
        "product_id": st.sampled_from([None, "mug", "tea"]),
        "country": countries,
        "kind": st.sampled_from(LEDGER_KINDS),
        "booked_at": known_times,
        "currency": currencies,
        "quantity": few,
        "amount": st.one_of(st.none(), money),
    }
)
order_rows = st.fixed_dictionaries(
    {
        "order_id": st.sampled_from(["o1", "o2"]),
        "customer_id": st.sampled_from([None, "c1"]),
        "currency": currencies,
        "country": countries,
        "channel": st.sampled_from([None, "web", "app"]),
        "status": st.sampled_from(["placed", "paid", "returned", "cancelled"]),
        **dict.fromkeys(
            ("placed_at", "paid_at", "shipped_at", "delivered_at", "cancelled_at"), times
        ),
        **dict.fromkeys(("gross", "paid", "refunded", "net"), st.one_of(st.none(), money)),
        "units": few,
        "event_count": st.integers(1, 9),
        "first_offset": st.integers(0, 99),
        "last_offset": st.integers(0, 99),
        "partition": st.integers(0, 1),
    }
)

Row = dict[str, Any]


@dataclass(frozen=True)
class History:
    """Batches of weighted rows, and the rows that survive them."""

    batches: list[list[tuple[Row, int]]]
    surviving: list[Row]


@st.composite
def histories(draw: st.DrawFn, rows: st.SearchStrategy[Row]) -> History:
    surviving: list[Row] = []
    batches: list[list[tuple[Row, int]]] = []
    for _ in range(draw(st.integers(1, 4))):
        batch = []
        for _ in range(draw(st.integers(0, len(surviving)))):
            place = draw(st.integers(0, len(surviving) - 1))
            batch.append((surviving.pop(place), -1))
        arrived = draw(st.lists(rows, max_size=6))
        surviving.extend(arrived)
        batches.append([*batch, *((row, 1) for row in arrived)])
    return History(batches, surviving)


ARROW = {
    "VARCHAR": pa.string(),
    "TIMESTAMP": pa.timestamp("us"),
    "BIGINT": pa.int64(),
    "INTEGER": pa.int32(),
    "DECIMAL(18,4)": pa.decimal128(18, 4),
    "DECIMAL(38,4)": pa.decimal128(38, 4),
}


def table(source: str, rows: list[Row], weights: list[int] | None = None) -> pa.Table:
    """The rows as an Arrow table, with a column `w` if they are weighted."""
    fields = [(name, ARROW[kind]) for name, kind in TABLES[source].items()]
    filled = pa.Table.from_pylist(rows, schema=pa.schema(fields))
    return filled if weights is None else filled.append_column("w", pa.array(weights, pa.int8()))


@pytest.fixture(scope="module")
def lake() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(config={"threads": "1"}) as connection:
        yield connection


def answer(lake: duckdb.DuckDBPyConnection, sql: str) -> tuple[list[str], Counter[str]]:
    """Column types and rows of a query, as a multiset."""
    result = lake.execute(sql)
    types = [str(column[1]) for column in result.description]
    return types, Counter(map(repr, result.fetchall()))


def check_history(lake: duckdb.DuckDBPyConnection, source: str, history: History) -> None:
    """Serve base and deltas of every view of the source; compare with its surviving rows."""
    lake.register("surviving", table(source, history.surviving))
    for number, batch in enumerate(history.batches):
        rows, weights = [row for row, _ in batch], [weight for _, weight in batch]
        lake.register(f"batch{number}", table(source, rows, weights))
    for view in VIEWS.values():
        if view.source != source:
            continue
        base = view.partial_sql("batch0")
        deltas = (
            view.partial_sql(f"batch{number}", weight="w")
            for number in range(1, len(history.batches))
        )
        partials = " UNION ALL ".join(f"({part})" for part in (base, *deltas))
        lake.execute(f"CREATE OR REPLACE TEMP TABLE partials AS {partials}")
        expected = answer(lake, view.full_sql("surviving"))
        assert answer(lake, view.served_sql("partials")) == expected, view.name
        assert answer(lake, view.served_sql(f"({view.merge_sql('partials')})")) == expected
        assert lake.execute(view.unsound_sql("partials")).fetchall() == []


@settings(max_examples=40, deadline=None)
@given(history=histories(ledger_rows))
def test_ledger_views_are_what_the_surviving_rows_say(
    lake: duckdb.DuckDBPyConnection, history: History
) -> None:
    check_history(lake, "ledger", history)


@settings(max_examples=40, deadline=None)
@given(history=histories(order_rows))
def test_orders_views_are_what_the_surviving_rows_say(
    lake: duckdb.DuckDBPyConnection, history: History
) -> None:
    check_history(lake, "orders", history)


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(ledger_rows, max_size=12))
def test_revenue_by_day_is_what_plain_python_adds_up(
    lake: duckdb.DuckDBPyConnection, rows: list[Row]
) -> None:
    rows = [row | {"amount": row["amount"] or Decimal(0)} for row in rows]
    lake.register("counted", table("ledger", rows))
    expected = set()
    for day, currency in {(row["booked_at"].date(), row["currency"]) for row in rows}:
        group = [r for r in rows if (r["booked_at"].date(), r["currency"]) == (day, currency)]

        def total(*kinds: str, of: list[Row] = group) -> Decimal:
            return sum((row["amount"] for row in of if row["kind"] in kinds), Decimal(0))

        orders = sum(row["kind"] == "placed" for row in group)
        net = total(*LEDGER_KINDS)
        average = None if orders == 0 else rounded(net, Decimal(orders))
        gross = total("sale", "shipping", "discount")
        expected.add(
            (day, currency, orders, gross, total("cancellation"), total("return"), net, average)
        )
    view = VIEWS["revenue_by_day"]
    served = lake.execute(view.served_sql(f"({view.partial_sql('counted')})")).fetchall()
    assert set(served) == expected
    assert len(served) == len(expected)


def rounded(top: Decimal, bottom: Decimal) -> Decimal:
    """Python's own exact quotient to 4 digits, half away from zero."""
    with localcontext(prec=120):
        return (top / bottom).quantize(Decimal("0.0001"), ROUND_HALF_UP)


@settings(max_examples=150, deadline=None)
@given(
    top=st.integers(-(10**25), 10**25).map(lambda unscaled: Decimal(unscaled).scaleb(-4)),
    bottom=st.one_of(
        st.integers(-9, 9).map(Decimal),
        st.integers(-(10**22), 10**22).map(lambda unscaled: Decimal(unscaled).scaleb(-4)),
    ),
)
def test_a_ratio_is_the_exact_quotient_rounded_half_away_from_zero(
    lake: duckdb.DuckDBPyConnection, top: Decimal, bottom: Decimal
) -> None:
    text = "SELECT status, sum(net) / sum(gross) AS x, sum(net) / sum(units) AS y FROM orders"
    view = parse_view("ratio", f"{text} GROUP BY status", where="ratio")
    units = int(bottom) if abs(bottom) < 2**63 else 1
    rows = (
        f"(SELECT 'a' AS status, {top:f}::DECIMAL(38,4) AS net, "
        f"{bottom:f}::DECIMAL(38,4) AS gross, {units}::BIGINT AS units)"
    )
    expected = (
        None if bottom == 0 else rounded(top, bottom),
        None if units == 0 else rounded(top, Decimal(units)),
    )
    assert lake.execute(view.full_sql(rows)).fetchall() == [("a", *expected)]


def some_rows(source: str, count: int, seed: int) -> list[Row]:
    """Seeded rows without hypothesis, for engines that are too slow for it."""
    random = Random(seed)

    def value(name: str, kind: str) -> object:
        if kind == "TIMESTAMP":
            return START + timedelta(microseconds=random.randrange(70 * 86_400 * 10**6))
        if kind.startswith("DECIMAL"):
            return Decimal(random.choice([random.randrange(-(10**7), 10**7), 10**18 - 1])).scaleb(
                -4
            )
        if kind == "VARCHAR":
            choices = {"country": ["", "DE", "île", "Straße", "a\\b'c\nd", "😀e"]}
            choices["kind"] = list(LEDGER_KINDS)
            choices["status"] = ["placed", "paid", "returned"]
            return random.choice(choices.get(name, ["EUR", "USD"]))
        return random.randrange(4)

    required = {"order_id", "kind", "booked_at", "currency", "status", "partition"}
    return [
        {
            name: None if name not in required and random.random() < 0.2 else value(name, kind)
            for name, kind in TABLES[source].items()
        }
        for _ in range(count)
    ]


@pytest.mark.thorough
@pytest.mark.spark
@pytest.mark.xdist_group("spark")
def test_spark_gives_the_partials_that_duckdb_gives(
    lake: duckdb.DuckDBPyConnection, spark: SparkSession, tmp_path: Path
) -> None:
    for source, seed in (("orders", 1), ("ledger", 2)):
        rows = some_rows(source, 400, seed)
        weights = [Random(seed + place).choice([1, 1, -1]) for place in range(400)]
        lake.register("given", table(source, rows, weights))
        path = tmp_path / f"{source}.parquet"
        lake.execute(f"CREATE OR REPLACE TABLE {source} AS SELECT * FROM given")
        lake.execute(f"COPY {source} TO '{path}' (FORMAT parquet)")
        spark.read.parquet(str(path)).createOrReplaceTempView(source)
    for view in over_tables(VIEWS).values():  # no other view is ever computed there
        base = view.partial_sql(view.source)
        delta = view.partial_sql(view.source, weight="w")
        pairs = [
            (base, view.partial_sql(view.source, "spark")),
            (delta, view.partial_sql(view.source, "spark", weight="w")),
        ]
        if view.name in {"channels", "numbers", "values"}:
            both = " UNION ALL ".join(f"({native})" for native, _ in pairs)
            other = " UNION ALL ".join(f"({text})" for _, text in pairs)
            pairs.append((view.merge_sql(f"({both})"), view.merge_sql(f"({other})", "spark")))
        for number, (native, text) in enumerate(pairs):
            written = tmp_path / f"{view.name}-{number}"
            spark.sql(text).coalesce(1).write.parquet(str(written))
            found = answer(lake, f"SELECT * FROM '{written}/*.parquet'")
            assert found == answer(lake, native), (view.name, number)


def test_every_column_of_both_tables_can_be_drawn() -> None:
    kinds = {*ORDERS_COLUMNS.values(), *LEDGER_COLUMNS.values()}
    assert kinds == set(ARROW)
