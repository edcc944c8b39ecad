"""Lookups: tables of the user's own beside a view, in every path, and what refuses them."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from headrace.pipelines.batch import run as batch
from headrace.pipelines.batch.view_check import check_view
from headrace.pipelines.bootstrap import open_lake
from headrace.pipelines.errors import DamageError, ViewError
from headrace.pipelines.generations import registry
from headrace.pipelines.lake import checksums
from headrace.pipelines.operations.backup import restore, save
from headrace.pipelines.operations.doctor.repair import _views_of
from headrace.pipelines.operations.erasure import erase
from headrace.pipelines.quality.verify import verify
from headrace.pipelines.replay import build, promote
from headrace.pipelines.serving.time_travel import query_at
from headrace.pipelines.settings import load
from headrace.pipelines.verbs.views import views
from headrace.pipelines.views.load import BUILTIN_VIEWS, load_views
from tests.conformance.paths import append, run_speed
from tests.e2e.orders import events

if TYPE_CHECKING:
    from headrace.pipelines.lake.lake import Lake
    from tests.conftest import MakeLake

CATEGORIES = """
    key = ["product_id"]
    [columns]
    product_id = "VARCHAR"
    category = "VARCHAR"
"""
RATES = """
    key = ["currency"]
    valid = ["valid_from", "valid_to"]
    [columns]
    currency = "VARCHAR"
    valid_from = "DATE"
    valid_to = "DATE"
    rate = "DECIMAL(12, 6)"
"""
BY_CATEGORY = """
    SELECT c.category, p.currency, count(*) AS products, sum(units) AS units, sum(net) AS net
    FROM product_sales AS p LEFT JOIN categories AS c ON p.product_id = c.product_id
    GROUP BY c.category, p.currency"""
IN_EUR = """
    SELECT d.day, sum(d.net * r.rate) AS net, count(*) FILTER (WHERE r.rate IS NULL) AS unknown
    FROM revenue_by_day AS d
    LEFT JOIN rates AS r
      ON r.currency = d.currency AND r.valid_from <= d.day AND d.day < r.valid_to
    GROUP BY d.day"""


def lookup(home: Path, name: str, declaration: str, rows: str) -> None:
    folder = home / "lookups"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.toml").write_text(declaration, encoding="utf-8")
    (folder / f"{name}.csv").write_text(rows, encoding="utf-8")


def categories(lake: Lake, *, moved: str | None = None) -> str:
    """A category for all but one of the products that are sold; one of them in another one."""
    products = [p for (p,) in lake.rows("SELECT DISTINCT product_id FROM product_sales ORDER BY 1")]
    rows = [f"{p},{'new' if p == moved else p[:1]}" for p in products[1:]]
    return "product_id,category\n" + "\n".join(rows) + "\n"


@pytest.fixture
def shop(make_lake: MakeLake, tmp_path: Path) -> Lake:
    """A lake with events, two lookups, and the views that join them."""
    first = make_lake("first", partitions=2)
    append(first, events(40, seed=4))
    run_speed(first)
    home = tmp_path / "home"
    lookup(home, "categories", CATEGORIES, categories(first))
    lookup(
        home, "rates", RATES,
        "currency,valid_from,valid_to,rate\nEUR,2000-01-01,,1\nUSD,2000-01-01,2026-03-05,0.9\n"
        "USD,2026-03-05,,0.95\n",
    )  # fmt: skip
    made = make_lake(partitions=2, views={"by_category": BY_CATEGORY, "in_eur": IN_EUR})
    append(made, events(40, seed=4))
    run_speed(made, commit_events=25)
    return made


def by_hand(lake: Lake) -> dict[tuple[str | None, str], Decimal]:
    """Net by category and currency, added up in Python."""
    known = dict(lake.rows("SELECT product_id, category FROM categories"))
    found: dict[tuple[str | None, str], Decimal] = {}
    for product, currency, net in lake.rows("SELECT product_id, currency, net FROM product_sales"):
        key = (known.get(product), currency)
        found[key] = found.get(key, Decimal(0)) + net
    return found


def served(lake: Lake) -> dict[tuple[str | None, str], Decimal]:
    return {(c, m): n for c, m, n in lake.rows("SELECT category, currency, net FROM by_category")}


def test_every_path_gives_what_adding_up_by_hand_gives(shop: Lake) -> None:
    assert served(shop) == by_hand(shop)
    assert verify(shop).equal
    left = "SELECT table_name FROM duckdb_tables() WHERE starts_with(table_name, 'proof_')"
    assert shop.rows(left) == []
    assert any(category is None for category, _ in served(shop)), "what is unknown is not lost"
    assert verify(shop).equal
    batch.run(shop, engine="duckdb")
    append(shop, events(15, seed=9))
    run_speed(shop, commit_events=20)
    assert served(shop) == by_hand(shop)
    assert verify(shop).equal
    done = batch.run(shop, engine="duckdb", incremental=True)
    assert done is not None
    assert done.mode == "incremental"
    assert served(shop) == by_hand(shop)
    assert verify(shop).equal
    replayed = build.replay(shop, None)
    assert replayed.diff.comparison.wrong == 0
    assert verify(shop, replayed.generation).equal
    line = registry.read(shop)
    then = query_at(shop, "SELECT category, currency, net FROM by_category", line.position)
    assert {(c, m): n for c, m, n in then.rows} == served(shop)


def test_a_rate_holds_from_its_first_day_to_before_its_last(shop: Lake) -> None:
    rates = shop.rows("SELECT currency, valid_from, valid_to, rate FROM rates")
    found = {day: (net, unknown) for day, net, unknown in shop.rows("FROM in_eur")}
    for day, (net, unknown) in found.items():
        total, missing = None, 0
        rows = shop.rows(f"SELECT currency, net FROM revenue_by_day WHERE day = '{day}'")
        for currency, amount in rows:
            rate = [r for c, a, b, r in rates if c == currency and a <= day < b]
            missing += not rate
            if rate:
                total = (total or Decimal(0)) + amount * rate[0]
        assert (net, unknown) == (total, missing)


def test_a_changed_lookup_is_a_changed_logic_and_the_ledger_says_what_it_moved(shop: Lake) -> None:
    before = served(shop)
    product = shop.rows("SELECT max(product_id) FROM categories")[0][0]
    lookup(shop.home.path, "categories", CATEGORIES, categories(shop, moved=product))
    told = registry.adopt_views(shop)
    assert told is not None
    assert "have changed" in told
    assert views(shop)["waiting"] == ["categories"]
    append(shop, events(5, seed=11))
    run_speed(shop)  # what is live goes on with the content that it was made with
    assert verify(shop).equal
    assert ("new", "EUR") not in served(shop)
    done = build.replay(shop, None)
    assert done.diff.logic_changed
    promote.promote(shop, done.generation)
    assert served(shop) == by_hand(shop)
    assert "new" in {category for category, _ in served(shop)}
    assert verify(shop).equal
    moved = shop.rows("SELECT DISTINCT view FROM sys.restatements ORDER BY 1")
    assert moved == [("by_category",), ("categories",)]
    promote.rollback(shop)
    assert before.keys() <= served(shop).keys()


def test_before_the_first_event_a_changed_lookup_is_simply_taken(
    make_lake: MakeLake, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    lookup(home, "categories", CATEGORIES, "product_id,category\nmug,a\n")
    lake = make_lake(views={"by_category": BY_CATEGORY})
    assert lake.rows("FROM categories") == [("mug", "a")]
    lookup(home, "categories", CATEGORIES, "product_id,category\nmug,b\ntea,c\n")
    assert registry.adopt_views(lake) is None
    assert sorted(lake.rows("FROM categories")) == [("mug", "b"), ("tea", "c")]


def test_content_that_is_not_what_the_logic_names_is_found(
    shop: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = registry.read(shop)
    with shop.writing("test") as tx:
        tx.execute(f"UPDATE {line.base_table('categories')} SET category = 'other'")
    with pytest.raises(DamageError, match="was never recorded"):
        verify(shop)
    monkeypatch.setattr(checksums, "check", lambda *_: None)  # as if somebody had recorded it
    with pytest.raises(DamageError, match="the lookup categories of generation 1 holds other rows"):
        verify(shop)


def test_a_view_with_a_lookup_is_tried_like_any_other(shop: Lake, tmp_path: Path) -> None:
    file = tmp_path / "mine.sql"
    file.write_text(BY_CATEGORY, encoding="utf-8")
    done = check_view(shop, file, spark=False)
    assert done.equal
    assert done.ways[0].rows == len(served(shop))


def test_views_say_how_many_rows_a_lookup_has_nothing_for(shop: Lake) -> None:
    told = {each["name"]: each for each in views(shop)["views"]}
    assert told["categories"]["kind"] == "lookup"
    missing = shop.rows(
        "SELECT count(*) FROM product_sales "
        "WHERE product_id NOT IN (SELECT product_id FROM categories)"
    )
    assert told["by_category"]["without"] == {"categories": missing[0][0]}
    assert missing[0][0] > 0


DECLARED = 'key = ["sku"]\n[columns]\nsku = "VARCHAR"\nn = "BIGINT"\n'
DATED = (
    'key = ["sku"]\nvalid = ["a", "b"]\n[columns]\nsku = "VARCHAR"\na = "DATE"\nb = "DATE"\n'
    'p = "DECIMAL(5, 2)"\n'
)


@pytest.mark.parametrize(
    ("declaration", "rows", "said"),
    [
        (DECLARED, "sku,n\nx,1\ny,2\nx,3\n", r"mine\.csv, line 4: the key x is there twice: also"),
        (DECLARED, "sku,n\nx,1\n,2\n", r"line 3: has no sku, which is its key"),
        (DECLARED, "sku,n\nx,1.5\n", r"line 2, column n: '1.5' is not a whole number"),
        (DECLARED, "sku,n\nx,1 000\n", r"line 2, column n: '1 000' is not a whole number"),
        (DECLARED, "sku\nx\n", r"line 1: its columns are sku, and mine\.toml declares sku, n"),
        (DECLARED, "sku,n\nx\n", r"line 2: has 1 cells, and the header 2"),
        (DECLARED, 'sku,n\n"x\ny",1\nz,w\n', r"line 4, column n: 'w' is not"),
        (DECLARED, 'sku,n\n"x,1\n', r"line 2: unexpected end"),
        (DATED, "sku,a,b,p\nx,2026-01-01,,1\nx,2026-05-01,,2\n", r"line 3: the key x has two rows"),
        (DATED, "sku,a,b,p\nx,2026-02-01,2026-01-01,1\n", r"line 2: a is not before b"),
        (DATED, "sku,a,b,p\nx,,,1\n", r"line 2: a is not before b"),
        (DATED, "sku,a,b,p\nx,01.02.2026,,1\n", r"line 2, column a: '01.02.2026' is not a date"),
        (DATED, "sku,a,b,p\nx,2026-02-30,,1\n", r"line 2, column a: '2026-02-30' is not a date"),
        (DATED, "sku,a,b,p\nx,2026-01-01,,1.005\n", r"column p: '1.005' is not DECIMAL\(5,2\)"),
        (DATED, "sku,a,b,p\nx,2026-01-01,,1000\n", r"column p: '1000' is not DECIMAL\(5,2\)"),
        (DATED, "sku,a,b,p\nx,2026-01-01,,1e2\n", r"column p: '1e2' is not DECIMAL\(5,2\)"),
        ("[columns]\nsku = 'VARCHAR'\n", "sku\nx\n", r"mine\.toml: has no key"),
        ("key = ['sku']\n", "sku\nx\n", r"mine\.toml: has no columns"),
        ("key = ['b']\n[columns]\nsku = 'VARCHAR'\n", "sku\nx\n", r"b is not among its columns"),
        ("key = ['sku']\n[columns]\nsku = 'FLOAT'\n", "sku\nx\n", r"sku is FLOAT; write one of"),
        ("keys = ['sku']\n", "sku\nx\n", r"mine\.toml: keys is not known"),
        ("key = [", "sku\nx\n", r"mine\.toml: "),
    ],
)  # fmt: skip
def test_a_lookup_that_can_be_read_in_two_ways_is_refused_with_its_place(
    tmp_path: Path, declaration: str, rows: str, said: str
) -> None:
    lookup(tmp_path, "mine", declaration, rows)
    with pytest.raises(ViewError, match=said):
        load_views(BUILTIN_VIEWS, lookups=tmp_path / "lookups")


def test_a_lookup_without_its_other_file_or_with_a_taken_name_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "lookups"
    lookup(tmp_path, "mine", DECLARED, "sku,n\nx,1\n")
    (folder / "mine.csv").unlink()
    with pytest.raises(ViewError, match=r"mine\.toml: has no file with rows beside it"):
        load_views(BUILTIN_VIEWS, lookups=folder)
    (folder / "mine.toml").rename(folder / "ledger.toml")
    (folder / "ledger.csv").write_text("sku,n\nx,1\n", encoding="utf-8")
    with pytest.raises(ViewError, match="ledger is the name of a lookup and of something else"):
        load_views(BUILTIN_VIEWS, lookups=folder)
    (folder / "ledger.toml").unlink()
    with pytest.raises(ViewError, match=r"ledger\.csv: has no declaration; write ledger\.toml"):
        load_views(BUILTIN_VIEWS, lookups=folder)


def test_parquet_holds_the_same_as_csv(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    lookup(tmp_path, "mine", DECLARED, "sku,n\nx,1\ny,\n")
    folder = tmp_path / "lookups"
    from_csv = load_views(lookups=folder)["mine"]
    (folder / "mine.csv").unlink()
    pq.write_table(pa.table({"n": [None, 1], "sku": ["y", "x"]}), folder / "mine.parquet")
    from_parquet = load_views(lookups=folder)["mine"]
    assert from_parquet.sql == from_csv.sql, "the order of rows and columns means nothing"


DAYS = "revenue_by_day AS d LEFT JOIN rates AS r ON r.currency = d.currency"


@pytest.mark.parametrize(
    ("read", "remedy"),
    [
        (DAYS, "for each period"),
        (
            f"{DAYS} AND r.valid_from < d.day AND d.day < r.valid_to",
            "put conditions into WHERE",
        ),
        ("product_sales AS p LEFT JOIN categories AS c ON p.currency = c.category", "whole key"),
        ("ledger LEFT JOIN categories AS c USING (product_id)", "make a view of ledger first"),
        ("categories", "is a lookup"),
    ],
)
def test_a_join_that_a_lookup_cannot_answer_once_is_refused(
    tmp_path: Path, read: str, remedy: str
) -> None:
    lookup(tmp_path, "categories", CATEGORIES, "product_id,category\nmug,a\n")
    lookup(tmp_path, "rates", RATES, "currency,valid_from,valid_to,rate\nEUR,2000-01-01,,1\n")
    (tmp_path / "views").mkdir()
    text = f"SELECT 'all' AS scope, count(*) AS n FROM {read} GROUP BY scope"
    (tmp_path / "views" / "mine.sql").write_text(text, encoding="utf-8")
    with pytest.raises(ViewError, match=remedy):
        load_views(BUILTIN_VIEWS, tmp_path / "views", lookups=tmp_path / "lookups")


@pytest.mark.spark
@pytest.mark.thorough
@pytest.mark.xdist_group("spark")
def test_a_base_from_spark_has_lookups_and_what_reads_them(shop: Lake) -> None:
    done = batch.run(shop, engine="spark")
    assert done is not None
    assert done.engine == "spark"
    assert served(shop) == by_hand(shop)
    append(shop, events(5, seed=20))
    run_speed(shop)
    assert served(shop) == by_hand(shop)
    assert verify(shop).equal


def test_a_backup_has_the_lookups_and_what_was_made_of_them(shop: Lake, tmp_path: Path) -> None:
    before = served(shop)
    save.save(shop, tmp_path / "saved")
    restore.restore(tmp_path / "saved", tmp_path / "again")
    with open_lake(load(tmp_path / "again", environ={}), read_only=True) as lake:
        assert served(lake) == before
        assert registry.logic_of(registry.current_views(lake.home)) == registry.read(lake).logic


def test_an_erasure_stops_before_a_lookup_that_names_the_customer(
    make_lake: MakeLake, tmp_path: Path
) -> None:
    declaration = 'key = ["customer_id"]\n[columns]\ncustomer_id = "VARCHAR"\nsegment = "VARCHAR"\n'
    lookup(tmp_path / "home", "segments", declaration, "customer_id,segment\nc-1,good\n")
    text = (
        "SELECT s.segment, v.currency, sum(net) AS net FROM customer_value AS v "
        "LEFT JOIN segments AS s ON v.customer_id = s.customer_id GROUP BY 1, 2"
    )
    lake = make_lake(partitions=2, views={"by_segment": text})
    append(lake, events(10, seed=4))
    run_speed(lake)
    others = lake.rows("SELECT customer_id FROM orders WHERE customer_id IS NOT NULL LIMIT 1")
    with pytest.raises(ViewError, match="the lookup segments of generation 1 names the customer"):
        erase(lake, "c-1", "asked by letter")
    erase(lake, others[0][0], "asked by letter")
    assert verify(lake).equal


def test_a_generation_that_is_made_again_keeps_its_lookups(shop: Lake) -> None:
    before, line = served(shop), registry.read(shop)
    product = shop.rows("SELECT max(product_id) FROM categories")[0][0]
    lookup(shop.home.path, "categories", CATEGORIES, categories(shop, moved=product))
    again = _views_of(shop, line.number)
    assert again is not None
    assert registry.logic_of(again) == line.logic
    done = batch.run(shop, engine="duckdb", views=again)
    assert done is not None
    assert done.live
    assert served(shop) == before
