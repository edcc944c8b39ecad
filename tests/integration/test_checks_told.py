"""What a check finds reaches a person: warnings are shown and do not block, failures are told."""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from headrace.pipelines.batch import run as batch
from headrace.pipelines.errors import JobError
from headrace.pipelines.generations import registry
from headrace.pipelines.quality import check as quality
from headrace.pipelines.quality import verify
from headrace.pipelines.quality.audit import Full
from headrace.pipelines.quality.judge import Judge
from tests.conformance.paths import BUILT_IN, append, assert_exact, run_speed
from tests.e2e.orders import events
from tests.integration.staging import plant, rewrite

if TYPE_CHECKING:
    from pathlib import Path

    from headrace.pipelines.lake.lake import Lake
    from tests.conftest import MakeLake

NOON = datetime(2026, 3, 2, 12)  # noqa: DTZ001 - naive UTC, a Monday


def event(order: str, time: datetime, kind: str, data: dict[str, Any]) -> bytes:
    return json.dumps(
        {
            "specversion": "1.0", "id": f"{order}-{kind}", "source": "shop/test", "type": kind,
            "subject": order, "time": f"{time.isoformat()}Z", "data": data,
        }
    ).encode()  # fmt: skip


def placed(order: str, time: datetime) -> bytes:
    lines = [{"product_id": "p", "quantity": 1, "unit_price": "10.00"}]
    data = {"customer_id": "c", "currency": "EUR", "country": "DE", "lines": lines}
    return event(order, time, "OrderPlaced", data)


def hour(week: int, orders: int, clock: int = 0) -> list[bytes]:
    """Orders placed within one hour of a Monday, so many hours after noon."""
    start = NOON + timedelta(weeks=week, hours=clock)
    return [placed(f"{week}-{clock}-{n}", start + timedelta(seconds=n)) for n in range(orders)]


@pytest.fixture
def told(tmp_path: Path) -> Path:
    return tmp_path / "told.ndjson"


@pytest.fixture
def lake(make_lake: MakeLake, told: Path) -> Lake:
    """A lake whose alerts end in a file."""
    code = f"import sys; open({str(told)!r}, 'ab').write(sys.stdin.buffer.read() + b'\\n')"
    return make_lake(partitions=2, alert_command=[sys.executable, "-c", code])


def alerts(told: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in told.read_bytes().splitlines()] if told.exists() else []


@pytest.mark.thorough
def test_an_hour_unlike_the_same_hour_of_other_weeks_is_a_warning(lake: Lake, told: Path) -> None:
    lines = [placed("open", NOON + timedelta(weeks=3, hours=4))]
    for week in range(3):
        lines += [x for clock in range(3) for x in hour(week, 30, clock)]
    lines += [*hour(3, 30, 0), *hour(3, 14, 1), *hour(3, 100, 2)]
    append(lake, lines)
    checked = quality.check(lake, "events")
    assert (checked.passed, checked.failures) == (True, ())
    assert {f.expectation: f.rows for f in checked.warnings} == {
        "hours_events_above_low": ("hour=2026-03-23T13:00:00 events=14 low=15",),
        "hours_high_above_events": ("hour=2026-03-23T14:00:00 high=80 events=100",),
    }
    assert alerts(told) == [], "a warning wakes nobody"


@pytest.mark.thorough
def test_silence_orphans_and_stale_views_are_warnings_with_their_figures(
    lake: Lake, told: Path
) -> None:
    begun = lake.clock()
    lake.clock = lambda: begun  # on a slow machine a minute may pass meanwhile
    append(lake, [placed("a", NOON), event("lost", NOON, "PaymentCaptured", {"amount": "1.00"})])
    run_speed(lake)
    append(lake, [placed("b", NOON)])
    lake.clock = lambda: begun + timedelta(days=1, minutes=2)
    arrived = {f.expectation: f for f in quality.check(lake, "events").warnings}
    assert set(arrived) == {"no_orphans", "sources_minutes_silent_range"}
    assert "order_id=lost" in arrived["no_orphans"].rows[0]
    assert arrived["sources_minutes_silent_range"].rows == (
        "source=shop/test minutes_silent=1442",
    )  # fmt: skip
    served = quality.check(lake, "served")
    assert served.passed
    (stale,) = [f for f in served.warnings if f.expectation == "freshness_minutes_behind_range"]
    assert stale.rows == ("what=views minutes_behind=1442",)
    assert alerts(told) == []


@pytest.mark.thorough
def test_a_weekday_unlike_those_before_is_a_warning_and_the_base_is_published(lake: Lake) -> None:
    lines = [*hour(0, 30), *hour(1, 30), *hour(2, 14)]
    append(lake, [*lines, placed("open", NOON + timedelta(weeks=2, days=1))])
    done = batch.run(lake, engine="duckdb", auditor=Full())
    assert done is not None
    assert done.audit is not None
    assert (done.live, done.audit.passed) == (True, True)
    (warning,) = done.audit.warnings
    assert warning.expectation == "weeks_placed_above_low"
    assert warning.rows[0].startswith("day=2026-03-16 placed=14 "), warning.rows
    (kept,) = lake.rows("SELECT findings FROM sys.audits WHERE suite = 'base'")
    assert [f["expectation"] for f in json.loads(kept[0])] == ["weeks_placed_above_low"]


def test_a_refused_base_and_a_wrong_cell_are_told_with_their_place(
    lake: Lake, told: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(lake, events(12, seed=5))
    batch.run(lake, engine="duckdb")
    assert verify.verify(lake).equal
    assert alerts(told) == []
    append(lake, events(4, seed=6))
    run_speed(lake)
    with monkeypatch.context() as patched:
        plant(patched, rewrite(orders="SELECT * REPLACE (net + 1 AS net) FROM staged"))
        with pytest.raises(JobError, match="did not pass"):
            batch.run(lake, engine="duckdb")
    (refused,) = alerts(told)
    assert (refused["kind"], refused["details"]["generation"]) == ("audit", 1)
    assert refused["details"]["failures"][0]["rows"]

    line = registry.read(lake)
    table = line.base_table("orders")
    with lake.writing("test") as tx:
        tx.con.execute(f"UPDATE {table} SET net = net + 1 WHERE order_id = "
                       f"(SELECT min(order_id) FROM {table})")  # fmt: skip
    certificate = verify.verify(lake)
    assert not certificate.equal
    wrong = alerts(told)[1]
    assert (wrong["kind"], wrong["details"]["position"]) == ("verify", line.position.as_dict())
    assert wrong["details"]["first"]["column"] == "net"


@pytest.mark.thorough
def test_great_expectations_that_is_killed_publishes_nothing_and_says_what_to_do(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(lake, events(12, seed=5))
    batch.run(lake, engine="duckdb")
    append(lake, events(4, seed=6))
    run_speed(lake)
    before = registry.read(lake)
    real = Judge._judge

    def killed(judge: Judge, plan: dict[str, Any]) -> dict[str, Any]:
        os.kill(judge._process.pid, signal.SIGKILL)
        return real(judge, plan)

    monkeypatch.setattr(Judge, "_judge", killed)
    with pytest.raises(JobError, match=r"exit code -9.*Nothing was published; --audit core"):
        batch.run(lake, engine="duckdb", auditor=Full())
    assert replace(registry.read(lake), wanted_cut=before.wanted_cut) == before
    assert_exact(lake, names=BUILT_IN)
    assert not [*lake.home.staging.glob("*")], "nothing is left over"
    monkeypatch.undo()
    done = batch.run(lake, engine="duckdb", auditor=Full())
    assert done is not None
    assert (done.base, done.restated) == (3, 0)
