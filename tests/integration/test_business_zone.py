"""A home's business zone, a changed one, changed rules of zones; built-in views replaced or off."""

from __future__ import annotations

import json
from collections import defaultdict
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from headrace.pipelines.batch import run as batch
from headrace.pipelines.cli.certificate import certificate_text
from headrace.pipelines.errors import UsageError
from headrace.pipelines.generations import registry
from headrace.pipelines.operations.status import status
from headrace.pipelines.quality.verify import verify
from headrace.pipelines.replay import promote
from headrace.pipelines.settings import load
from headrace.pipelines.verbs.views import views
from headrace.schemas import zones
from headrace.schemas.zones import ZoneRules
from tests.conformance.paths import append, run_speed
from tests.e2e.command import Headrace
from tests.e2e.orders import events

if TYPE_CHECKING:
    from headrace.pipelines.lake.lake import Lake
    from tests.conftest import MakeLake

BERLIN, TOKYO = "Europe/Berlin", "Asia/Tokyo"
DAILY = [
    "basket_by_day", "cohorts", "customer_days", "customer_history", "customers_by_day",
    "order_funnel", "repeat_rate", "revenue_by_day", "revenue_by_minute",
]  # fmt: skip
"""The views of which a number depends on where a day begins, those of other views among them."""


def placed(order: str, at: str) -> bytes:
    lines = [{"product_id": "mug", "quantity": 1, "unit_price": "7.50"}]
    event = {
        "specversion": "1.0", "id": f"{order}-1", "source": "shop/eu", "type": "OrderPlaced",
        "subject": order, "time": at,
        "data": {"customer_id": "c-1", "currency": "EUR", "lines": lines},
    }  # fmt: skip
    return json.dumps(event).encode()


def net_by_day(lake: Lake, zone: str) -> dict[tuple[str, str], Decimal]:
    """What the ledger says, with the days that Python gives."""
    found: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    clock = zones.clock(zone)
    for booked, currency, amount in lake.rows("SELECT booked_at, currency, amount FROM ledger"):
        day = booked.replace(tzinfo=UTC).astimezone(clock).date().isoformat()
        found[day, currency] += amount
    return dict(found)


def served(lake: Lake) -> dict[tuple[str, str], Decimal]:
    rows = lake.rows("SELECT CAST(day AS VARCHAR), currency, net FROM revenue_by_day")
    return {(day, currency): net for day, currency, net in rows}


def set_zone(lake: Lake, zone: str) -> None:
    (lake.home.path / "headrace.toml").write_text(f'business_zone = "{zone}"\n', encoding="utf-8")


@pytest.fixture
def berlin(make_lake: MakeLake) -> Lake:
    """A lake in Berlin with orders of winter and summer."""
    made = make_lake(partitions=2, business_zone=BERLIN)
    winter, summer = placed("a", "2026-01-31T23:30:00Z"), placed("b", "2026-07-31T22:30:00Z")
    append(made, [winter, summer])
    append(made, events(20, seed=4))
    run_speed(made, commit_events=30)
    return made


def test_an_order_of_half_past_eleven_in_utc_is_of_the_next_day_in_berlin(berlin: Lake) -> None:
    days = {day for day, _ in served(berlin)}
    assert {"2026-02-01", "2026-08-01"} <= days
    assert not {"2026-01-31", "2026-07-31"} & days
    assert berlin.rows("SELECT placed FROM order_funnel WHERE day = '2026-02-01'") == [(1,)]
    assert berlin.rows("SELECT minute FROM revenue_by_minute WHERE minute > '2026-07-01'") == [
        (datetime(2026, 8, 1, 0, 30),)  # noqa: DTZ001 - local time
    ]


def test_commits_and_batches_count_the_days_that_python_gives_and_it_is_proved(
    berlin: Lake,
) -> None:
    assert served(berlin) == net_by_day(berlin, BERLIN)
    for incremental in (False, True):
        append(berlin, events(6, seed=5 + incremental))
        run_speed(berlin)
        done = batch.run(berlin, engine="duckdb", incremental=incremental)
        assert done is not None
        assert done.live
        assert served(berlin) == net_by_day(berlin, BERLIN)
        proof = verify(berlin)
        assert proof.equal
        version = zones.rules(BERLIN).version
        assert proof.zones == {BERLIN: {"rules": version, "views": DAILY}}
    assert f"revenue_by_minute: local time in {BERLIN} (rules {version})" in certificate_text(proof)


@pytest.mark.thorough
def test_a_changed_zone_waits_and_the_ledger_says_what_it_moved(berlin: Lake) -> None:
    before = served(berlin)
    set_zone(berlin, TOKYO)
    told = registry.adopt_views(berlin)
    assert told is not None
    assert f"local time in {TOKYO} instead of {BERLIN}" in told
    now = status(berlin)
    assert (now["business_zone"], list(now["zones"])) == (TOKYO, [BERLIN])
    append(berlin, events(3, seed=9))
    run_speed(berlin)  # what is live goes on as it was
    assert served(berlin) == net_by_day(berlin, BERLIN)
    assert views(berlin)["waiting"] == DAILY

    done = batch.run(berlin, engine="duckdb")
    assert done is not None
    assert not done.live
    promote.promote(berlin, done.generation)
    assert served(berlin) == net_by_day(berlin, TOKYO)
    assert verify(berlin).equal
    moved = berlin.rows("SELECT DISTINCT view, cause FROM sys.restatements ORDER BY ALL")
    assert {cause for _, cause in moved} == {"changed logic"}
    assert {"order_funnel", "revenue_by_minute", "customers_by_day"} <= {n for n, _ in moved}
    assert {name for name, _ in moved} <= set(DAILY)
    promote.rollback(berlin)
    assert served(berlin) == net_by_day(berlin, BERLIN)
    assert before.keys() <= served(berlin).keys()


@pytest.mark.thorough
def test_before_the_first_event_a_changed_zone_is_simply_taken(make_lake: MakeLake) -> None:
    lake = make_lake(partitions=2)
    set_zone(lake, TOKYO)
    assert registry.adopt_views(lake) is None
    append(lake, [placed("a", "2026-01-31T16:00:00Z")])
    run_speed(lake)
    assert {day for day, _ in served(lake)} == {"2026-02-01"}


@pytest.mark.thorough
def test_a_generation_keeps_its_rules_when_tzdata_has_others(
    berlin: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, before = zones.rules(BERLIN), net_by_day(berlin, BERLIN)
    newer = ZoneRules(BERLIN, kept.starts, tuple(shift + 7200 for shift in kept.shifts))
    monkeypatch.setattr("headrace.pipelines.views.expressions.rules", lambda _: newer)
    monkeypatch.setattr("headrace.pipelines.views.load.try_zone", lambda *_: None)
    told = registry.adopt_views(berlin)
    assert told is not None
    assert f"tzdata has other rules of {BERLIN} now" in told
    assert served(berlin) == before
    append(berlin, events(3, seed=9))
    run_speed(berlin)
    proof = verify(berlin)
    assert proof.equal
    assert proof.zones[BERLIN]["rules"] == kept.version
    done = batch.run(berlin, engine="duckdb")
    assert done is not None
    promote.promote(berlin, done.generation)
    assert verify(berlin).zones[BERLIN]["rules"] == newer.version


@pytest.mark.thorough
def test_all_who_work_on_a_home_have_its_zone(make_lake: MakeLake) -> None:
    home = make_lake(partitions=2, business_zone=BERLIN).home.path
    assert load(home, environ={}).business_zone == BERLIN
    assert load(home, environ={"HEADRACE_BUSINESS_ZONE": BERLIN}).business_zone == BERLIN
    for environ, given in (({"HEADRACE_BUSINESS_ZONE": TOKYO}, {}), ({}, {"business_zone": TOKYO})):
        with pytest.raises(UsageError, match=r"has the business_zone Europe/Berlin, and not Asia"):
            load(home, environ=environ, **given)


@pytest.mark.thorough
def test_init_takes_the_zone_once_and_says_how_to_change_it(tmp_path: Path) -> None:
    home = tmp_path / "it's a home"
    home.mkdir()
    (home / "headrace.toml").write_text("# mine\ncommit_events = 10\n", encoding="utf-8")
    headrace = Headrace(home)
    headrace.run("init", "--zone", "Berlin").refused(2, "did you mean Europe/Berlin")
    assert headrace.json("init", "--zone", BERLIN)["business_zone"] == BERLIN
    prepared = tmp_path / "prepared"
    prepared.mkdir()
    (prepared / "headrace.toml").write_text(f'business_zone = "{TOKYO}"\n', encoding="utf-8")
    Headrace(prepared).run("init", "--zone", BERLIN).refused(2, f"has the business_zone {TOKYO}")
    assert Headrace(prepared).json("init")["business_zone"] == TOKYO
    text = (home / "headrace.toml").read_text(encoding="utf-8")
    assert text == f'business_zone = "{BERLIN}"\n# mine\ncommit_events = 10\n'
    assert headrace.json("init", "--zone", BERLIN)["created"] is False
    assert headrace.json("init")["business_zone"] == BERLIN
    headrace.run("init", "--zone", "UTC").refused(2, f'write business_zone = "UTC" into {home}')
    (home / "headrace.toml").write_text('business_zone = "Berlin"\n', encoding="utf-8")
    headrace.run("status").refused(2, "Europe/Berlin", "headrace.toml")


@pytest.mark.thorough
def test_a_replaced_view_and_one_that_is_off_wait_like_any_changed_view(lake: Lake) -> None:
    append(lake, events(5, seed=4))
    run_speed(lake)
    folder = lake.home.views
    (folder / "revenue_by_minute.sql").write_text("-- off\n", encoding="utf-8")
    (folder / "revenue_by_day.sql").write_text(
        "SELECT CAST(booked_at AS DATE) AS day, sum(amount) AS revenue FROM ledger GROUP BY day",
        encoding="utf-8",
    )
    assert registry.adopt_views(lake) is not None
    found = views(lake)
    assert found["waiting"] == ["revenue_by_day", "revenue_by_minute"]
    assert (found["replaced"], found["off"]) == (["revenue_by_day"], ["revenue_by_minute"])
    assert lake.rows("SELECT count(*) > 0 FROM revenue_by_minute") == [(True,)]
    done = batch.run(lake, engine="duckdb")
    assert done is not None
    promote.promote(lake, done.generation)
    assert lake.rows("SELECT sum(revenue) FROM revenue_by_day") == lake.rows(
        "SELECT sum(amount) FROM ledger"
    )
    assert verify(lake).equal
    assert "revenue_by_minute" not in {each["name"] for each in views(lake)["views"]}
    assert status(lake)["generation"] == done.generation


@pytest.mark.thorough
def test_what_asks_for_a_view_that_is_off_is_told_so_in_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "home" / "views"
    folder.mkdir(parents=True)
    (folder / "revenue_by_day.sql").write_text("-- off\n", encoding="utf-8")
    headrace = Headrace(tmp_path / "home")
    headrace.json("init")
    headrace.run("query", "FROM revenue_by_day").refused(1, "revenue_by_day", "headrace views")
    headrace.run("views", "revenue_by_day").refused(2, "no view that is live")
    headrace.run("demo", "--engine", "duckdb", "--orders", "100").refused(2, "revenue_by_day")


@pytest.mark.thorough
def test_a_views_text_is_shown_with_the_zone_in_it(tmp_path: Path) -> None:
    headrace = Headrace(tmp_path / "home")
    headrace.json("init", "--zone", BERLIN)
    text = headrace.run("views", "revenue_by_day").out
    assert text.startswith(f"-- Money by day ({BERLIN}) and currency.")
    assert f"AT TIME ZONE 'UTC' AT TIME ZONE '{BERLIN}' AS DATE) AS day" in text
