"""A real shop's year through the real command, checked against sums taken straight from its files.

The data is not part of this repository. `HEADRACE_UCI_DATA` names the folder with the daily CSV
files, or with `by-day` in it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from headrace.pipelines.serving import query as serving
from tests.e2e.command import REPOSITORY, Headrace, money

BESIDE = REPOSITORY.parent / "shared" / "data" / "uci_online_retail"
FIRST = 200
"""Daily files in the base; the other 105 come in through the speed layer."""

TOTAL = Decimal("9747747.9340")
BY_MONTH = {
    "2010-12": "748957.0200", "2011-01": "560000.2600", "2011-02": "498062.6500",
    "2011-03": "683267.0800", "2011-04": "493207.1210", "2011-05": "723333.5100",
    "2011-06": "691123.1200", "2011-07": "681300.1110", "2011-08": "682680.5100",
    "2011-09": "1019687.6220", "2011-10": "1070704.6700", "2011-11": "1461756.2500",
    "2011-12": "433668.0100",
}  # fmt: skip
TOP_FIVE = [
    ["DOT", "206245.4800"], ["22423", "164762.1900"], ["47566", "98302.9800"],
    ["85123A", "97894.5000"], ["85099B", "92356.0300"],
]  # fmt: skip
ORDERS = 20_725
"""Invoices with a line of quantity > 0, neither `C…` nor `A…`: sold, or given away."""
COUNTRIES = 38
WRITE_OFFS = 1_336

VIEWS = [
    "revenue_by_day", "revenue_by_minute", "product_sales", "customer_value", "order_funnel",
    "country_sales", "basket_by_day", "customers_by_day", "cohorts", "repeat_rate", "monthly",
    "orders",
]  # fmt: skip
MONTHLY = """
    SELECT date_trunc('month', placed_at) AS month, count(*) AS placed,
      count(DISTINCT customer_id) AS customers, max(gross) AS largest, median(gross) AS median,
      quantile_disc(gross, 0.9) AS p90
    FROM orders WHERE placed_at IS NOT NULL GROUP BY month"""

pytestmark = [pytest.mark.spark, pytest.mark.thorough, pytest.mark.xdist_group("spark")]


@pytest.fixture(scope="module")
def days() -> list[Path]:
    """The daily files, oldest first."""
    folder = Path(os.environ.get("HEADRACE_UCI_DATA", BESIDE))
    files = sorted((folder / "by-day" if (folder / "by-day").is_dir() else folder).glob("*.csv"))
    if len(files) != 305:
        pytest.skip(f"the 305 daily files of UCI Online Retail are not in {folder}")
    return files


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the story happens; it is too big to be kept."""
    path = tmp_path_factory.mktemp("uci") / "home"
    yield path
    shutil.rmtree(path, ignore_errors=True)


def call(home: Path, *arguments: object) -> Any:
    """Run the real command with `--json`; it must go well. Gives what it printed."""
    return Headrace(home).process(*arguments, "--json", threads=2).json()


def numbers(home: Path) -> dict[str, tuple[tuple[Any, ...], ...]]:
    """All rows of all views."""
    with serving.connect(home) as served:
        return {name: served.query(f"SELECT * FROM {name} ORDER BY ALL").rows for name in VIEWS}


def check_truth(home: Path) -> None:
    """Check what is served against the sums over the files."""
    shop = Headrace(home)
    assert shop.rows("SELECT sum(net) FROM revenue_by_day") == [[str(TOTAL)]]
    months = "SELECT strftime(day, '%Y-%m') AS month, sum(net) FROM revenue_by_day GROUP BY ALL"
    assert money(shop.rows(months)) == {(k,): Decimal(v) for k, v in BY_MONTH.items()}
    top = "SELECT product_id, net FROM product_sales ORDER BY net DESC LIMIT 5"
    assert shop.rows(top) == TOP_FIVE
    by_country = "SELECT sum(net), sum(orders), count(country) FROM country_sales"
    ((net, orders, countries),) = shop.rows(by_country)
    assert (Decimal(net), int(orders), countries) == (TOTAL, ORDERS, COUNTRIES)


def by_month(days: list[Path]) -> dict[str, tuple[int, int, Decimal, Decimal, Decimal]]:
    """Orders, distinct customers, largest, median and 90th percentile of each month, by Polars.

    Straight from the files: an order is an invoice with lines of a quantity above 0, neither a
    return (`C…`) nor an adjustment (`A…`). Money is counted in whole ten-thousandths.
    """
    import polars as pl

    lines = pl.concat([pl.read_csv(day, infer_schema=False) for day in days])
    sold = lines.with_columns(
        quantity=pl.col("Quantity").cast(pl.Int64),
        price=(pl.col("UnitPrice").cast(pl.Decimal(18, 4)) * 10_000).cast(pl.Int64),
    ).filter((pl.col("quantity") > 0) & ~pl.col("InvoiceNo").str.contains("^[CA]"))
    orders = sold.group_by("InvoiceNo").agg(
        month=pl.col("InvoiceDate").min().str.slice(0, 7),
        customer=pl.col("CustomerID").drop_nulls().first(),
        gross=(pl.col("quantity") * pl.col("price")).sum(),
    )
    found = {}
    for (month,), rows in orders.group_by("month"):
        worth = sorted(rows["gross"].to_list())
        count = len(worth)
        twice = worth[(count - 1) // 2] + worth[count // 2]
        found[str(month)] = (
            count,
            rows["customer"].drop_nulls().n_unique(),
            Decimal(worth[-1]).scaleb(-4),
            (Decimal(twice) / 2).scaleb(-4),
            Decimal(worth[-(-9 * count // 10) - 1]).scaleb(-4),
        )
    return found


def check_months(home: Path, days: list[Path]) -> None:
    """Check a user's view of distinct customers, largest order and median basket."""
    listed = "strftime(month, '%Y-%m'), placed, customers, largest, median, p90"
    found = {
        month: (int(placed), int(customers), Decimal(most), Decimal(median), Decimal(p90))
        for month, placed, customers, most, median, p90 in Headrace(home).rows(
            f"SELECT {listed} FROM monthly"
        )
    }
    assert found == by_month(days)


def test_a_year_of_a_real_shop_is_exact_by_batch_speed_and_replay(
    home: Path, days: list[Path]
) -> None:
    (home / "views").mkdir(parents=True)
    (home / "views" / "monthly.sql").write_text(MONTHLY, encoding="utf-8")
    first = call(home, "import", "uci-online-retail", *days[:FIRST])
    batch = call(home, "batch")
    assert (batch["engine"], batch["events"]) == ("spark", first["accepted"])
    rest = call(home, "import", "uci-online-retail", *days[FIRST:])
    assert first["quarantined"] + rest["quarantined"] == 0
    skipped = [sum(found["skipped"].values()) for found in (first, rest)]
    assert sum(skipped) == WRITE_OFFS
    speed = call(home, "speed", "--once")
    assert speed["events"] == rest["accepted"]
    check_truth(home)
    check_months(home, days)
    before = numbers(home)
    proof = call(home, "verify")
    assert (proof["equal"], proof["wrong"]) == (True, 0)
    assert proof["cut"] == batch["cut"]
    assert proof["events"] == first["accepted"] + rest["accepted"]

    replayed = call(home, "replay", "--from", "2011-06-01", "--promote")
    assert (replayed["equal"], replayed["promotable"], replayed["promoted"]) == (True,) * 3
    assert replayed["generation"] == call(home, "status")["generation"] == 2
    assert numbers(home) == before
    late = call(home, "replay", "--from", "2011-11-01")
    assert (late["equal"], late["started_at"]) == (True, batch["cut"])
    assert late["events"] == rest["accepted"]
    whole = call(home, "replay", "--from", "beginning")
    assert (whole["equal"], whole["events"]) == (True, proof["events"])
    assert call(home, "rollback")["generation"] == 1
    assert numbers(home) == before

    again = call(home, "batch", "--engine", "duckdb")
    assert again["published"] is True, again
    assert numbers(home) == before
    check_truth(home)
    check_months(home, days)
    assert call(home, "verify")["equal"] is True
