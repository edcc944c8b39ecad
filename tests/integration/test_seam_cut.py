"""Events that belong to an order before the cut and arrive after it; and groups that vanish."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from headrace.pipelines.batch import run as batch
from headrace.pipelines.generations import registry
from headrace.pipelines.speed.layer import Speed
from tests.conformance.paths import (
    BUILT_IN,
    append,
    assert_exact,
    differences,
    run_speed,
    served,
)
from tests.conformance.streams import (
    NOON,
    adjusted,
    cancelled,
    delivered,
    paid,
    placed,
    returned,
)

if TYPE_CHECKING:
    from headrace.pipelines.lake.lake import Lake

BEFORE = [
    placed("o1", ("mug", 3, "7.50"), ("tea", 1, "3.3333"), shipping="4.90", country="DE"),
    paid("o1", "30.7333"),
    placed("o2", ("lamp", 1, "30.00"), at=NOON + timedelta(days=1), customer="c2"),
]


@pytest.fixture
def cut(lake: Lake) -> Lake:
    """A lake whose base holds two orders; nothing came after the cut yet."""
    append(lake, BEFORE)
    batch.run(lake, engine="duckdb")
    assert registry.read(lake).cut.total == len(BEFORE)
    return lake


def after(lake: Lake, *lines: bytes) -> None:
    """What arrives after the cut: one commit, exact by the deltas, and exact as a base."""
    append(lake, lines)
    assert run_speed(lake) == 1
    assert registry.read(lake).cut.total == len(BEFORE)
    assert_exact(lake, names=BUILT_IN)
    shown = served(lake, BUILT_IN)
    batch.run(lake, engine="duckdb", incremental=True)
    assert differences(served(lake, BUILT_IN), shown) == []


def row(lake: Lake, view: str, **key: Any) -> dict[str, Any] | None:
    """The served row of a view at a key, or None."""
    table = served(lake, [view])[view]
    rows = [dict(zip(table.columns, values, strict=True)) for values in table.rows]
    found = [r for r in rows if all(r[name] == value for name, value in key.items())]
    assert len(found) <= 1
    return found[0] if found else None


def test_a_duplicate_after_the_cut_changes_nothing(cut: Lake) -> None:
    before = served(cut, BUILT_IN)
    append(cut, [BEFORE[0], BEFORE[0], BEFORE[1]])
    with Speed.open(cut) as speed:
        (commit,) = speed.run()
    assert (commit.events, commit.repeats) == (3, 3)
    assert differences(served(cut, BUILT_IN), before) == []
    assert_exact(cut, names=BUILT_IN)


def test_a_conflict_after_the_cut_changes_nothing(cut: Lake) -> None:
    before = served(cut, BUILT_IN)
    append(cut, [placed("o1", ("lamp", 9, "99.00"))])
    run_speed(cut)
    assert differences(served(cut, BUILT_IN), before) == []
    assert_exact(cut, names=BUILT_IN)


def test_a_cancellation_after_the_cut_takes_back_an_order_before_it(cut: Lake) -> None:
    after(cut, cancelled("o1", at=NOON + timedelta(days=3)))
    day = row(cut, "revenue_by_day", day=date(2026, 3, 4))
    assert day is not None
    # 3 mugs, a tea and the shipping.
    assert day["cancelled"] == Decimal("-30.7333")
    order = row(cut, "orders", order_id="o1")
    assert order is not None
    assert (order["status"], order["net"], order["units"]) == ("cancelled", 0, 0)


def test_a_return_after_the_cut_takes_back_part_of_an_order_before_it(cut: Lake) -> None:
    after(cut, returned("o1", ("mug", 2, "15.00")))
    mugs = row(cut, "product_sales", product_id="mug")
    assert mugs is not None
    assert (mugs["units"], mugs["gross"], mugs["returned"]) == (
        1,
        Decimal("22.50"),
        Decimal("-15.00"),
    )


def test_a_return_after_the_cut_shrinks_a_cancellation_before_it(lake: Lake) -> None:
    append(lake, [*BEFORE[:2], cancelled("o1")])
    batch.run(lake, engine="duckdb")
    after(lake, returned("o1", ("mug", 1, "7.50")))
    day = row(lake, "revenue_by_day", day=date(2026, 3, 2))
    assert day is not None
    assert day["cancelled"] == Decimal("-23.2333")


def test_a_late_event_changes_its_closed_day_and_no_other(cut: Lake) -> None:
    before = served(cut, ["revenue_by_day"])["revenue_by_day"]
    after(cut, adjusted("o1", "-1.0001", at=NOON + timedelta(hours=3)))
    now = served(cut, ["revenue_by_day"])["revenue_by_day"]
    changed = (before.rows - now.rows) + (now.rows - before.rows)
    assert {values[0] for values in changed} == {date(2026, 3, 1)}
    day = row(cut, "revenue_by_day", day=date(2026, 3, 1))
    assert day is not None
    assert day["net"] == Decimal("29.7332")


def test_an_order_is_whole_when_its_placement_arrives_last(lake: Lake) -> None:
    append(lake, [paid("o1", "7.50"), returned("o1"), placed("o2")])
    batch.run(lake, engine="duckdb")
    early = row(lake, "orders", order_id="o1")
    assert early is not None
    assert early["status"] == "unplaced"
    append(lake, [cancelled("o1"), delivered("o1")])
    run_speed(lake, 1)
    assert_exact(lake, names=BUILT_IN)
    append(lake, [placed("o1", ("mug", 2, "7.50"))])
    run_speed(lake)
    assert_exact(lake, names=BUILT_IN)
    whole = row(lake, "orders", order_id="o1")
    assert whole is not None
    assert (whole["status"], whole["gross"], whole["net"]) == ("cancelled", 15, 0)


def test_an_earlier_placement_after_the_cut_replaces_the_one_before_it(cut: Lake) -> None:
    after(cut, placed("o2", ("tea", 2, "3.00"), identity="first", at=NOON - timedelta(days=1)))
    assert row(cut, "product_sales", product_id="lamp") is None
    order = row(cut, "orders", order_id="o2")
    assert order is not None
    assert (order["customer_id"], order["net"], order["event_count"]) == ("c1", 6, 2)


def test_a_group_whose_rows_are_gone_is_absent_like_one_never_seen(lake: Lake) -> None:
    append(lake, [placed("o1", ("lamp", 1, "30.00"), identity="late", customer="c9")])
    batch.run(lake, engine="duckdb")
    assert row(lake, "product_sales", product_id="lamp") is not None
    append(lake, [placed("o1", identity="early", at=NOON - timedelta(days=1))])
    run_speed(lake)
    for view, key in (
        ("product_sales", {"product_id": "lamp"}),
        ("customer_value", {"customer_id": "c9"}),
        ("revenue_by_day", {"day": date(2026, 3, 1)}),
        ("order_funnel", {"day": date(2026, 3, 1)}),
    ):
        assert row(lake, view, **key) is None
    assert_exact(lake, names=BUILT_IN)
    batch.run(lake, engine="duckdb", incremental=True)
    assert_exact(lake, names=BUILT_IN)


def test_a_group_that_nets_to_zero_stays_and_says_zero(lake: Lake) -> None:
    append(lake, [placed("o1", ("lamp", 1, "30.00"), customer="c9")])
    batch.run(lake, engine="duckdb")
    append(lake, [cancelled("o1", at=NOON)])
    run_speed(lake)
    lamps = row(lake, "product_sales", product_id="lamp")
    assert lamps is not None
    assert (lamps["units"], lamps["net"], lamps["gross"]) == (0, 0, 30)
    assert_exact(lake, names=BUILT_IN)


def test_a_group_that_comes_and_goes_between_commits_leaves_no_trace(lake: Lake) -> None:
    append(lake, [placed("o1", ("lamp", 1, "30.00"), identity="late")])
    run_speed(lake)
    append(lake, [placed("o1", identity="early", at=NOON - timedelta(days=1))])
    run_speed(lake)
    assert row(lake, "product_sales", product_id="lamp") is None
    append(lake, [placed("o2", ("lamp", 2, "30.00"))])
    run_speed(lake)
    lamps = row(lake, "product_sales", product_id="lamp")
    assert lamps is not None
    assert lamps["units"] == 2
    assert_exact(lake, names=BUILT_IN)
