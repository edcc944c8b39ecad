"""The restatement ledger: each served cell that changes is written down, with its cause."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from headrace.pipelines.batch import run as batch
from headrace.pipelines.errors import JobError
from headrace.pipelines.generations import registry, restatements
from headrace.pipelines.replay import build, promote
from tests.conformance.paths import BUILT_IN, append, assert_exact, run_speed
from tests.e2e.command import Headrace
from tests.e2e.orders import events, write
from tests.halves import first
from tests.integration.staging import plant, rewrite

if TYPE_CHECKING:
    from pathlib import Path

    from headrace.pipelines.lake.lake import Lake
    from tests.conftest import MakeLake

DAY = datetime(2026, 3, 1, 12)  # noqa: DTZ001 - naive UTC


def event(order: str, number: int, kind: str, time: datetime, data: dict[str, Any]) -> bytes:
    return json.dumps(
        {
            "specversion": "1.0", "id": f"{order}-{number}", "source": "shop/test", "type": kind,
            "subject": order, "time": f"{time.isoformat()}Z", "data": data,
        }
    ).encode()  # fmt: skip


def placed(order: str, time: datetime, price: str = "10.00") -> bytes:
    lines = [{"product_id": "p", "quantity": 2, "unit_price": price}]
    data = {"customer_id": "c", "currency": "EUR", "country": "DE", "lines": lines}
    return event(order, 1, "OrderPlaced", time, data)


def returned(order: str, time: datetime) -> bytes:
    lines = [{"product_id": "p", "quantity": 1, "refund": "3.00"}]
    return event(order, 2, "ItemsReturned", time, {"currency": "EUR", "lines": lines})


def cancelled(order: str, time: datetime) -> bytes:
    return event(order, 3, "OrderCancelled", time, {})


def adjusted(order: str, time: datetime) -> bytes:
    return event(
        order,
        4,
        "AdjustmentBooked",
        time,
        {"currency": "EUR", "amount": "-1.5000", "reason": "goodwill"},
    )


def ledger(lake: Lake, where: str = "true") -> list[tuple[Any, ...]]:
    return lake.rows(
        "SELECT view, key, measure, old, new, cause, events FROM sys.restatements "
        f"WHERE {where} ORDER BY ALL"
    )


@pytest.mark.parametrize("incremental", first(1, [False, True]))
def test_on_unchanged_logic_a_publish_restates_nothing(lake: Lake, incremental: bool) -> None:
    append(lake, events(30, seed=5))
    batch.run(lake, engine="duckdb")
    append(lake, events(30, seed=6))
    run_speed(lake, 7)
    done = batch.run(lake, engine="duckdb", incremental=incremental)
    assert done is not None
    assert (done.restated, done.live) == (0, True)
    assert ledger(lake, "cause IN ('repair', 'changed logic')") == []
    compared = restatements.at_cut(lake, 1, _staged_like_live(lake))
    assert compared.compared, "nothing was compared, so nothing was proved"


def _staged_like_live(lake: Lake) -> Any:
    """The live base once more as files."""
    from headrace.pipelines.generations.staged import Staged

    line = registry.read(lake)
    folder = lake.home.path / "again"
    for name in line.tables:
        (folder / name).mkdir(parents=True)
        lake.con.execute(
            f"COPY (FROM {line.base_table(name)}) TO '{folder}/{name}/part.parquet' "
            "(FORMAT parquet)"
        )
    return Staged(folder, line.views, line.cut, 0)


@pytest.mark.parametrize("measure", ["gross", "status", "amount"])
def test_on_unchanged_logic_a_base_that_restates_a_cell_is_refused_and_named(
    lake: Lake, measure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(lake, events(20, seed=3))
    run_speed(lake)
    before = registry.read(lake)
    table = {"gross": "revenue_by_day", "status": "orders", "amount": "ledger"}[measure]
    columns = [c for (c, *_) in lake.rows(f"DESCRIBE {before.base_table(table)}")]
    column = measure if measure in columns else columns[-1]
    value = "'elsewhere'" if measure == "status" else f'"{column}" + 1'
    select = f'SELECT * REPLACE ({value} AS "{column}") FROM staged'
    plant(monkeypatch, rewrite(**{table: select}))
    with pytest.raises(JobError, match="changes nothing that is served") as told:
        batch.run(lake, engine="duckdb")
    assert f"{table} {{" in str(told.value)
    now = registry.read(lake)
    assert replace(now, wanted_cut=before.wanted_cut) == before
    assert_exact(lake, names=BUILT_IN)


def test_late_events_revise_a_closed_day_and_the_ledger_says_by_how_much(lake: Lake) -> None:
    append(lake, [placed("a", DAY), placed("b", DAY + timedelta(days=1))])
    batch.run(lake, engine="duckdb")
    end = append(lake, [placed("late", DAY, "0.05"), placed("c", DAY + timedelta(days=1))])
    done = batch.run(lake, engine="duckdb")
    found = {
        (view, measure): (json.loads(key), old, new, cause, n)
        for view, key, measure, old, new, cause, n in ledger(lake)
    }
    day = {"day": "2026-03-01", "currency": "EUR"}
    assert found["revenue_by_day", "net"] == (day, "20.0000", "20.1000", "late events", 1)
    assert found["revenue_by_day", "orders"] == (day, "1", "2", "late events", 1)
    assert found["order_funnel", "placed"] == ({"day": "2026-03-01"}, "1", "2", "late events", 1)
    assert {view for view, _ in found} == {
        "revenue_by_day", "revenue_by_minute", "order_funnel", "basket_by_day", "customer_days",
    }  # fmt: skip
    assert done is not None
    assert (done.restated, done.revised) == (None, len(found)), "nothing was served at the cut"
    (ends,) = lake.rows("SELECT DISTINCT to_position, cells FROM sys.restatements")
    assert ends == (end.text(), len(found))


@pytest.mark.parametrize(
    ("made", "cause", "new"),
    [(returned, "returns", "17.0000"), (cancelled, "cancellations", "0.0000"),
     (adjusted, "adjustments", "18.5000")],
)  # fmt: skip
def test_what_belongs_to_a_closed_day_names_its_cause_and_its_offsets(
    make_lake: MakeLake, made: Any, cause: str, new: str
) -> None:
    lake = make_lake(partitions=1)
    append(lake, [placed("a", DAY), placed("b", DAY + timedelta(days=1))])
    batch.run(lake, engine="duckdb")
    append(lake, [made("a", DAY + timedelta(hours=2))])
    batch.run(lake, engine="duckdb")
    (row,) = lake.rows(
        "SELECT old, new, cause, events, offsets FROM sys.restatements "
        "WHERE view = 'revenue_by_day' AND measure = 'net'"
    )
    assert row[:4] == ("20.0000", new, cause, 1)
    assert json.loads(row[4]) == {"0": [2, 2]}


def test_an_open_day_is_not_revised(lake: Lake) -> None:
    append(lake, [placed("a", DAY)])
    batch.run(lake, engine="duckdb")
    append(lake, [placed("b", DAY)])
    done = batch.run(lake, engine="duckdb")
    assert done is not None
    assert done.revised == 0
    assert ledger(lake) == []


@pytest.mark.thorough
def test_a_promoted_generation_of_other_logic_writes_down_each_cell_that_changed(
    make_lake: MakeLake,
) -> None:
    sql = "SELECT currency, count(*) AS n FROM orders GROUP BY currency"
    lake = make_lake(partitions=2, views={"mine": sql})
    append(lake, [placed("a", DAY), placed("b", DAY), returned("b", DAY)])
    run_speed(lake)
    other = sql.replace("FROM orders", "FROM ledger")
    (lake.home.views / "mine.sql").write_text(other, encoding="utf-8")
    built = build.replay(lake, None)
    assert ledger(lake) == [], "nobody reads it yet"
    promote.promote(lake, built.generation)
    change = ("mine", '{"currency":"EUR"}', "n", "2", "5", "changed logic", None)
    assert ledger(lake) == [change]
    promote.rollback(lake)
    back = ("mine", '{"currency":"EUR"}', "n", "5", "2", "changed logic", None)
    assert ledger(lake) == sorted([change, back])


def test_a_batch_that_repairs_a_broken_seam_says_so(lake: Lake) -> None:
    append(lake, [placed("a", DAY)])
    run_speed(lake, 1)
    append(lake, [placed("b", DAY)])
    run_speed(lake, 1)
    lake.con.execute("DELETE FROM sys.commits WHERE commit_no = 1")
    batch.run(lake, engine="duckdb")
    ((cause,),) = lake.rows("SELECT cause FROM sys.restatements")
    assert cause.startswith("repair: ")
    assert_exact(lake, names=BUILT_IN)


def test_a_large_restatement_is_counted_whole_and_listed_up_to_a_limit(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restatements, "LISTED", 2)
    append(lake, [placed("a", DAY), placed("b", DAY + timedelta(days=1))])
    batch.run(lake, engine="duckdb")
    append(lake, [placed("late", DAY)])
    done = batch.run(lake, engine="duckdb")
    assert done is not None
    assert done.revised > 2
    assert lake.rows("SELECT count(*), max(cells) FROM sys.restatements") == [(2, done.revised)]


def test_the_restatements_can_be_queried_like_a_view(tmp_path: Path) -> None:
    headrace = Headrace(tmp_path / "home")
    first = [placed("a", DAY), placed("b", DAY + timedelta(days=1))]
    headrace.json("append", write(tmp_path / "a.ndjson", first))
    headrace.json("batch", "--engine", "duckdb")
    assert headrace.rows("from restatements") == []
    headrace.json("append", write(tmp_path / "b.ndjson", [placed("late", DAY)]))
    done = headrace.json("batch", "--engine", "duckdb")
    found = headrace.rows("SELECT view, measure, old, new, cause, cells FROM restatements")
    assert ["revenue_by_day", "net", "20.0000", "40.0000", "late events", done["revised"]] in found
    assert len(found) == done["revised"] > 0
