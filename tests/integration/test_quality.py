"""Great Expectations over real homes: planted faults are caught and named; whole homes pass."""

from __future__ import annotations

import html
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from headrace.pipelines.batch import run as batch
from headrace.pipelines.errors import JobError, UsageError
from headrace.pipelines.generations import registry
from headrace.pipelines.quality import check as quality
from headrace.pipelines.quality.audit import Full
from tests.conformance.paths import BUILT_IN, append, assert_exact, run_speed
from tests.e2e.command import Headrace
from tests.e2e.orders import events
from tests.integration.staging import plant, rewrite

if TYPE_CHECKING:
    from headrace.pipelines.lake.lake import Lake

SOME = events(24, seed=3)


@pytest.fixture
def lake(lake: Lake) -> Lake:
    """A lake with a base and newer deltas."""
    append(lake, SOME)
    batch.run(lake, engine="duckdb")
    append(lake, events(8, seed=4))
    run_speed(lake)
    return lake


def one(lake: Lake, sql: str) -> Any:
    return lake.row(sql)[0]


def refused(lake: Lake, monkeypatch: pytest.MonkeyPatch, **selects: str) -> dict[str, Any]:
    """Plant a fault; the base must be refused, and readers notice nothing. Gives the findings."""
    plant(monkeypatch, rewrite(**selects))
    before = registry.read(lake)
    assert_exact(lake, names=BUILT_IN)
    with pytest.raises(JobError, match="did not pass its audit"):
        batch.run(lake, engine="duckdb", auditor=Full())
    assert replace(registry.read(lake), wanted_cut=before.wanted_cut) == before
    assert_exact(lake, names=BUILT_IN)
    page = (lake.home.path / "docs" / "index.html").read_text("utf-8")
    found = {f["expectation"]: f for f in json.loads(one(lake, "SELECT findings FROM sys.audits "
             "WHERE NOT passed"))}  # fmt: skip
    for finding in found.values():
        for row in finding["rows"] if finding["expectation"] != "restates_nothing" else ():
            assert html.escape(row) in page, "the report names the rows"
    return found


@pytest.mark.thorough
def test_a_duplicate_key_is_named(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    order = one(lake, "SELECT min(order_id) FROM main.orders")
    twice = f"FROM staged UNION ALL FROM staged WHERE order_id = '{order}'"
    day = one(lake, "SELECT min(day) FROM main.order_funnel")
    group = f"FROM staged UNION ALL SELECT * FROM staged WHERE day = '{day}'"
    found = refused(lake, monkeypatch, orders=twice, order_funnel=group)
    assert found["orders_unique"]["rows"] == [f"order_id={order}"] * 2
    assert found["no_groups"]["rows"] == [f'view=order_funnel key={{"day":"{day}"}} times=2']


@pytest.mark.thorough
def test_a_dropped_partition_is_named(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = lake.rows('SELECT order_id FROM main.orders WHERE "partition" = 1 ORDER BY 1')
    assert len(gone) > 3
    found = refused(lake, monkeypatch, orders='FROM staged WHERE "partition" <> 1')
    assert found["no_missing"]["count"] == len(gone)
    named = [row.split()[0] for row in found["no_missing"]["rows"]]
    assert named == [f"order_id={order}" for (order,) in gone][:20]
    assert found["no_strays"]["severity"] == "blocking"


@pytest.mark.thorough
def test_a_wrong_sum_is_named_to_the_last_digit(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    day, currency = lake.rows("SELECT day, currency FROM main.revenue_by_day ORDER BY ALL LIMIT 1")[
        0
    ]
    line = registry.read(lake)
    column = next(c.name for c in line.views["revenue_by_day"].partials if c.type != "BIGINT")
    wrong = (
        f"SELECT * REPLACE (CASE WHEN day = '{day}' AND currency = '{currency}' THEN \"{column}\""
        f' + 0.0001 ELSE "{column}" END AS "{column}") FROM staged'
    )
    found = refused(lake, monkeypatch, revenue_by_day=wrong)
    (row,) = found["no_cells"]["rows"]
    assert f'view=revenue_by_day key={{"day":"{day}","currency":"{currency}"}}' in row
    assert found["no_cells"]["count"] == 1
    (total,) = found["totals_found"]["rows"]
    assert total.startswith(f"figure=revenue_by_day.{column} ")


@pytest.mark.thorough
def test_a_day_of_missing_events_is_named(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    day = one(lake, "SELECT CAST(placed_at AS DATE) FROM main.orders GROUP BY 1 "
                    "ORDER BY count(*) DESC, 1 LIMIT 1")  # fmt: skip
    of_day = f"CAST(placed_at AS DATE) = '{day}'"
    placed = lake.rows(f"SELECT order_id FROM main.orders WHERE {of_day} ORDER BY 1")
    orders = [order for (order,) in placed]
    assert orders
    listed = ", ".join(f"'{o}'" for o in orders)
    apart = f"FROM staged WHERE order_id NOT IN ({listed})"
    found = refused(lake, monkeypatch, orders=apart, ledger=apart)
    assert found["no_missing"]["count"] == len(orders)
    assert [row.split()[0] for row in found["no_missing"]["rows"]] == [
        f"order_id={o}" for o in orders
    ][:20]
    assert found["totals_found"]["rows"], "the log holds more than is counted"


def test_a_whole_base_passes_and_its_report_is_linked_from_status(lake: Lake) -> None:
    done = batch.run(lake, engine="duckdb", auditor=Full())
    assert done is not None
    assert done.audit is not None
    assert (done.audit.passed, done.audit.failures, done.restated) == (True, (), 0)
    assert done.audit.report == lake.home.path / "docs" / "base" / "index.html"
    assert (done.base, registry.read(lake).base) == (3, 3)
    lake.close()
    headrace = Headrace(lake.home.path)
    status = headrace.json("status")
    assert status["reports"] == str(lake.home.path / "docs" / "index.html")
    assert status["reports"] in headrace.run("status").out
    assert [(c["suite"], c["passed"]) for c in status["checks"]] == [("base", True), ("core", True)]


@pytest.mark.thorough
def test_checks_of_what_is_served_and_what_arrived_use_the_homes_own_expectations(
    lake: Lake,
) -> None:
    own = lake.home.path / "expectations"
    own.mkdir()
    highest = one(lake, "SELECT max(net) FROM main.orders")
    least = one(lake, "SELECT min(net) FROM main.orders")
    (own / "mine.toml").write_text(
        f"""
        suite = "served"
        [tables.dear]
        sql = "SELECT day, net FROM revenue_by_day WHERE net < 0"
        key = ["day"]
        [[expectations]]
        table = "dear"
        type = "expect_table_row_count_to_equal"
        value = 0
        severity = "warning"
        [[expectations]]
        name = "exact"
        table = "orders"
        type = "expect_column_values_to_be_between"
        column = "net"
        min_value = {least}
        max_value = {highest}
        [[expectations]]
        name = "too_dear"
        table = "orders"
        type = "expect_column_values_to_be_between"
        column = "net"
        max_value = {highest}
        strict_max = true
        description = "no order is as dear as that"
        """
    )
    found = quality.check(lake, "served")
    assert not found.passed
    assert [f.expectation for f in found.failures] == ["too_dear"], "bounds are met exactly"
    (row,) = found.failures[0].rows
    assert row.endswith(f"net={highest}")
    arrived = quality.check(lake, "events")
    assert (arrived.passed, arrived.failures) == (True, ())
    assert one(lake, "SELECT count(*) FROM sys.audits WHERE suite = 'events' AND passed") == 1
    with pytest.raises(UsageError, match="cannot be checked"):
        quality.check(lake, "base")
