"""A base that an audit refuses is kept, can be looked at, and published after all; or not."""

from __future__ import annotations

import json
import shutil
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from headrace.pipelines import settings
from headrace.pipelines.batch import run as batch
from headrace.pipelines.bootstrap import open_lake
from headrace.pipelines.errors import JobError
from headrace.pipelines.generations import registry
from tests.conformance.paths import BUILT_IN, assert_exact, run_speed
from tests.e2e.command import Headrace
from tests.e2e.orders import Truth, events, write
from tests.faults.crashing import kill_at
from tests.integration.staging import plant, rewrite

if TYPE_CHECKING:
    from pathlib import Path

FIRST, SECOND, THIRD = (events(8, seed=n) for n in (21, 22, 23))
MORE = "SELECT * REPLACE (net + 5 AS net) FROM staged"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a base, newer deltas, and a base that was refused: all its nets are 5 more."""
    folder = tmp_path_factory.mktemp("refused")
    found = Headrace(folder / "home")
    found.json("append", write(folder / "1.ndjson", FIRST))
    found.json("batch", "--engine", "duckdb")
    found.json("append", write(folder / "2.ndjson", SECOND))
    found.json("speed", "--once")
    with pytest.MonkeyPatch.context() as patched:
        plant(patched, rewrite(orders=MORE))
        assert found.run("batch", "--engine", "duckdb").code == 1
    return found.home


@pytest.fixture
def headrace(template: Path, tmp_path: Path) -> Headrace:
    """A copy of it."""
    return Headrace(shutil.copytree(template, tmp_path / "home"))


def audits(headrace: Headrace) -> list[tuple[Any, ...]]:
    with open_lake(settings.load(headrace.home, environ={})) as lake:
        return lake.rows(
            "SELECT generation, base, passed, forced_reason FROM sys.audits ORDER BY audit_no"
        )


def test_the_old_base_serves_on_and_deltas_grow_while_a_refused_one_waits(
    headrace: Headrace, tmp_path: Path
) -> None:
    Truth.of([*FIRST, *SECOND]).check(headrace)
    status = headrace.json("status")
    assert (status["base"], status["refused"]["cut"]) == (2, status["end"])
    assert "headrace publish" in headrace.run("status").out
    headrace.json("append", write(tmp_path / "3.ndjson", THIRD))
    headrace.json("speed", "--once")
    Truth.of([*FIRST, *SECOND, *THIRD]).check(headrace)
    assert audits(headrace) == [(1, 2, True, None), (1, None, False, None)]


def test_the_staged_base_can_be_queried_with_its_own_position(headrace: Headrace) -> None:
    sql = "SELECT sum(net) AS net, count(*) AS orders FROM orders"
    live, staged = headrace.json("query", sql), headrace.json("query", sql, "--staged")
    orders = live["rows"][0][1]
    assert Decimal(staged["rows"][0][0]) - Decimal(live["rows"][0][0]) == 5 * orders
    assert staged["staged"] is True
    assert staged["position"] == staged["cut"] == headrace.json("status")["end"]
    assert "staged" not in live
    by_view = headrace.json("query", "SELECT sum(orders) FROM revenue_by_day", "--staged")
    assert by_view["rows"] == [[orders]]
    headrace.run("query", "SELECT 1", "--staged", "--at", "2026-03-01").refused(2, "--staged")
    outside = "SELECT * FROM read_text('/etc/hostname')"
    assert headrace.run("query", outside, "--staged").code == 1


def test_a_base_that_still_does_not_pass_is_refused_again(headrace: Headrace) -> None:
    refusal = headrace.run("publish")
    assert refusal.code == 1
    assert "did not pass its audit" in refusal.err
    assert headrace.json("status")["base"] == 2
    assert headrace.json("query", "SELECT 1", "--staged")["staged"] is True, "it is still kept"


def test_force_needs_a_reason_publishes_and_records_who_was_overruled(headrace: Headrace) -> None:
    headrace.run("publish", "--force").refused(2, "--reason")
    headrace.run("publish", "--force", "--reason", " ").refused(2, "--reason")
    headrace.run("publish", "--reason", "because").refused(2, "--force")
    done = headrace.json("publish", "--force", "--reason", "they are right")
    assert (done["published"], done["base"]) == (True, 3)
    assert done["restated"] > 0
    assert audits(headrace)[-1] == (1, 3, False, "they are right")
    (causes,) = headrace.rows("SELECT list(DISTINCT cause), count(*) FROM restatements "
                              "WHERE cause = 'repair'")  # fmt: skip
    assert causes == [["repair"], done["restated"]]
    assert headrace.json("status")["refused"] is None
    headrace.run("publish").refused(2, "no refused base")


def test_a_base_that_passes_the_second_time_is_published(
    headrace: Headrace, tmp_path: Path
) -> None:
    rewrite(orders="SELECT * REPLACE (net - 5 AS net) FROM staged")(headrace.home / "refused")
    headrace.json("append", write(tmp_path / "3.ndjson", THIRD))
    headrace.json("speed", "--once")
    done = headrace.json("publish")
    assert (done["base"], done["restated"], done["audit"]["passed"]) == (3, 0, True)
    Truth.of([*FIRST, *SECOND, *THIRD]).check(headrace)
    assert headrace.json("verify")["equal"]


def test_a_refused_base_below_a_newer_one_cannot_be_published_even_by_force(
    headrace: Headrace,
) -> None:
    headrace.json("batch", "--engine", "duckdb")
    refusal = headrace.run("publish", "--force", "--reason", "I insist")
    assert refusal.code == 1
    assert "a newer base is live" in refusal.err
    Truth.of([*FIRST, *SECOND]).check(headrace)


def test_a_refused_base_that_meets_no_commit_cannot_be_published(
    headrace: Headrace, tmp_path: Path
) -> None:
    stage = headrace.home / "refused" / "stage.json"
    told = json.loads(stage.read_text())
    for partition in told["cut"]:
        told["cut"][partition] = max(0, told["cut"][partition] - 1)
    stage.write_text(json.dumps(told))
    refusal = headrace.run("publish", "--force", "--reason", "I insist")
    assert refusal.code == 1
    assert "no commit ends there" in refusal.err
    Truth.of([*FIRST, *SECOND]).check(headrace)
    assert (headrace.home / "refused" / "orders").is_dir(), "it is still kept"


def test_the_newest_refused_base_takes_the_place_of_the_one_before(
    headrace: Headrace, tmp_path: Path
) -> None:
    before = headrace.json("status")["refused"]["cut"]
    headrace.json("append", write(tmp_path / "3.ndjson", THIRD))
    with open_lake(settings.load(headrace.home, environ={})) as lake:
        with pytest.MonkeyPatch.context() as patched:
            plant(patched, rewrite(orders="SELECT * FROM staged LIMIT 3"))
            with pytest.raises(JobError, match="did not pass"):
                batch.run(lake, engine="duckdb")
        run_speed(lake)
        assert_exact(lake, names=BUILT_IN)
        assert registry.read(lake).base == 2
    assert headrace.json("status")["refused"]["cut"] != before
    rows = headrace.json("query", "SELECT count(*) FROM orders", "--staged")["rows"]
    assert rows == [[3]]


@pytest.mark.thorough
def test_a_refusal_that_is_killed_serves_the_old_base_and_keeps_a_refused_one_whole(
    headrace: Headrace,
) -> None:
    for point in (
        "refused.moved", "refused.written", "refused.removed", "refused.kept",
        "audit.begun", "audit.ready", "audit.done",
    ):  # fmt: skip
        kill_at(point, headrace, "publish")
        status = headrace.json("status")
        assert (status["base"], status["refused"]["cut"]) == (2, status["end"]), point
        Truth.of([*FIRST, *SECOND]).check(headrace)
        (row,) = headrace.json("query", "SELECT count(*) FROM orders", "--staged")["rows"]
        assert row == headrace.json("query", "SELECT count(*) FROM orders")["rows"][0], point
    assert headrace.run("publish").code == 1
    assert sorted(p.name for p in headrace.home.glob("refused*")) == ["refused"]
    done = headrace.json("publish", "--force", "--reason", "they are right")
    assert (done["published"], done["base"]) == (True, 3)
