"""Explanations: the parts of a cell add up to it, and are those that plain Python finds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import pytest

from headrace.pipelines.batch import run as batch
from headrace.pipelines.bootstrap import open_lake
from headrace.pipelines.errors import DamageError, UsageError
from headrace.pipelines.generations import registry
from headrace.pipelines.generator.generator import generate
from headrace.pipelines.replay import build, promote
from headrace.pipelines.serving.explain import explain
from headrace.pipelines.serving.query import connect
from headrace.pipelines.settings import load
from tests.conformance.cells import explain_cells
from tests.conformance.paths import append, run_speed
from tests.conformance.streams import combined
from tests.e2e.command import Headrace
from tests.integration.test_lookups import BY_CATEGORY, CATEGORIES, IN_EUR, RATES, lookup
from tests.oracle.fold import USER_VIEWS

if TYPE_CHECKING:
    from headrace.pipelines.lake.lake import Lake
    from tests.conftest import MakeLake

RATES_ROWS = "currency,valid_from,valid_to,rate\nEUR,2026-01-01,,1\nUSD,2026-01-01,2026-03-03,0.9\n"
OWN = {
    **USER_VIEWS,
    "by_category": BY_CATEGORY,
    "in_eur": IN_EUR,
    "everything": (
        "SELECT 'all' AS scope, sum(amount) AS net, count(*) AS movements FROM ledger GROUP BY 1"
    ),
    "big_days": (
        "SELECT CAST(booked_at AT TIME ZONE 'UTC' AT TIME ZONE 'Europe/Berlin' AS DATE) AS day, "
        "currency, median(amount) AS middle, arg_max(order_id, amount) AS top, "
        "count(*) AS movements "
        "FROM ledger WHERE kind = 'sale' GROUP BY ALL HAVING count(*) > 3"
    ),
}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    """Late, doubled, cancelled and returned orders; a base, and commits on it."""
    home = tmp_path_factory.mktemp("it's a shop") / "home [1]"
    (home / "views").mkdir(parents=True)
    lookup(home, "categories", CATEGORIES, "product_id,category\nmug,kitchen\ntea,\nlamp,light\n")
    lookup(home, "rates", RATES, RATES_ROWS)
    for name, text in OWN.items():
        (home / "views" / f"{name}.sql").write_text(text, encoding="utf-8")
    events = generate(120, 11, duplicates=0.1, disorder=0.1, late=0.1)
    lines = [*events, *combined(3, shops=2)]
    Random(5).shuffle(lines)
    with open_lake(load(home, environ={}, threads=1)) as lake:
        append(lake, lines[: len(lines) // 2])
        run_speed(lake, 700)
        batch.run(lake, engine="duckdb")
        append(lake, lines[len(lines) // 2 :])
        run_speed(lake, 700)
        yield lake


def test_the_parts_of_a_cell_add_up_to_it(shop: Lake) -> None:
    assert registry.read(shop).last_commit > registry.read(shop).after_commit
    assert explain_cells(shop, 17, seed=1) > 2


def test_the_same_after_a_batch_and_on_another_generation(shop: Lake) -> None:
    batch.run(shop, engine="duckdb")
    assert explain_cells(shop, 6, seed=2) > 1
    promote.promote(shop, build.replay(shop, None).generation)
    assert explain_cells(shop, 6, seed=3) > 1


@pytest.mark.thorough
def test_many_more_cells_add_up(shop: Lake) -> None:
    assert explain_cells(shop, 20, seed=4) > 3
    append(shop, list(generate(40, 12, duplicates=0.1, late=0.2)))
    run_speed(shop, 100)
    assert explain_cells(shop, 20, seed=5) > 3
    batch.run(shop, engine="duckdb", incremental=True)
    assert explain_cells(shop, 20, seed=6) > 3


def test_the_orders_and_events_are_those_of_the_log(shop: Lake) -> None:
    """Against plain SQL over the served ledger and the log's own lines."""
    day, currency = shop.row(
        "SELECT CAST(booked_at AS DATE), currency FROM ledger WHERE kind = 'return' "
        "ORDER BY ALL LIMIT 1"
    )
    found = explain(shop, "revenue_by_day", {"day": day, "currency": currency}, measure="net",
                    limit=100_000)  # fmt: skip
    orders = shop.rows(
        f"SELECT order_id FROM ledger WHERE CAST(booked_at AS DATE) = '{day}' "
        f"AND currency = '{currency}' GROUP BY order_id HAVING sum(amount) <> 0 ORDER BY 1"
    )
    assert sorted((row[0],) for row in found.parts.rows) == orders
    (level,) = found.levels
    events = [dict(zip(found.events.columns, row, strict=True)) for row in found.events.rows]
    behind = {row[0] for row in level.rows.rows}
    logged = [json.loads(raw) for (raw,) in shop.rows("SELECT raw FROM sys.events")]
    assert len(events) == sum(line["subject"] in behind for line in logged) == found.events.total
    marked = [event for event in events if "redelivered" in event["odd"]]
    doubled = len(events) - len({(e["order_id"], e["source"], e["id"]) for e in events})
    assert len(marked) == doubled > 0
    assert any("came after a later one" in event["odd"] for event in events)
    cut = registry.read(shop).cut.offsets
    assert all((e["counted_in"] == "base") == (e["offset"] < cut[e["partition"]]) for e in events)


def test_null_is_a_key_like_any_other(shop: Lake) -> None:
    found = explain(shop, "country_sales", {"country": None, "currency": "EUR"}, measure="net")
    (net,) = shop.row("SELECT sum(amount) FROM ledger WHERE country IS NULL AND currency = 'EUR'")
    assert (found.value, found.adds_up) == (net, True)


def test_a_cell_that_is_wrong_does_not_add_up(lake: Lake) -> None:
    append(lake, list(generate(60, 3)))
    run_speed(lake)
    day, currency = lake.row("SELECT day, currency FROM revenue_by_day ORDER BY ALL LIMIT 1")
    key = {"day": day, "currency": currency}
    assert explain(lake, "revenue_by_day", key).adds_up
    line = registry.read(lake)
    with lake.writing("test") as tx:
        doubled = f"SELECT * FROM {line.delta_table('revenue_by_day')} WHERE day = '{day}' LIMIT 1"
        tx.insert(line.schema, f"d{line.base}_revenue_by_day", doubled)
    told = explain(lake, "revenue_by_day", key)
    assert not told.adds_up
    assert told.proofs["events give rows of ledger for revenue_by_day"]
    assert not told.proofs["rows give revenue_by_day"]
    assert not told.proofs["parts give base and deltas"]


@pytest.mark.parametrize(
    ("view", "key", "measure", "told"),
    [
        ("nothing", {}, None, "'nothing' is no view that is live"),
        ("rates", {}, None, "'rates' is no view that is live"),
        ("orders", {}, None, "'orders' is no view that is live"),
        ("revenue_by_day", {"day": "2026-03-01"}, None, "day=… currency=…"),
        ("revenue_by_day", {"day": "x", "currency": "EUR"}, None, "'x' is no DATE, as day is"),
        ("revenue_by_day", {"day": "1999-01-01", "currency": "EUR"}, None, "has no row with day="),
        ("revenue_by_day", {"day": "2026-03-01 12:00", "currency": "EUR"}, None, "not exactly"),
        ("everything", {"scope": "all"}, "profit", "it has net, movements"),
    ],
)
def test_what_cannot_be_explained_is_refused(
    shop: Lake, view: str, key: Mapping[str, object], measure: str | None, told: str
) -> None:
    with pytest.raises(UsageError) as refused:
        explain(shop, view, key, measure=measure)
    assert told in str(refused.value)


def test_the_connection_and_the_command_explain(tmp_path: Path) -> None:
    home = Headrace(tmp_path / "a 'b' c")
    (tmp_path / "e.ndjson").write_bytes(b"\n".join(generate(50, 4, duplicates=0.2)))
    home.run("append", str(tmp_path / "e.ndjson"))
    home.run("speed", "--once")
    with connect(home.home) as served:
        answer = served.query("FROM revenue_by_day ORDER BY day, currency LIMIT 1")
        key = dict(zip(answer.columns, answer.rows[0], strict=True))
        found = served.explain("revenue_by_day", {n: key[n] for n in ("day", "currency")})
        assert (found.value, found.position) == (key["orders"], answer.position)
        assert served.query("SELECT count(*) FROM orders").rows == ((50,),)
    named = [f"day={key['day']}", f"currency={key['currency']}"]
    told = home.json("explain", "revenue_by_day", *named, "--measure", "net")
    assert Decimal(told["value"]) == key["net"]
    assert told["adds_up"] is True
    assert sum(Decimal(row[-1]) for row in told["parts"]["rows"]) == key["net"]
    text = home.run("explain", "revenue_by_day", *named).out
    assert text.endswith("It adds up, to the last digit.\n")
    refused = home.run("explain", "revenue_by_day", *named, "--null", "day")
    assert (refused.code, "given twice" in refused.err) == (2, True)


def test_a_damaged_file_is_refused_and_nothing_stays_behind(make_lake: MakeLake) -> None:
    lake = make_lake("kept", partitions=1)
    append(lake, list(generate(30, 3)))
    run_speed(lake)
    day, currency = lake.row("SELECT day, currency FROM revenue_by_day ORDER BY ALL LIMIT 1")
    explain(lake, "revenue_by_day", {"day": day, "currency": currency})
    left = lake.rows("SELECT table_name FROM duckdb_tables() WHERE temporary")
    assert [name for (name,) in left if name.startswith("explained")] == []
    (file,) = (lake.home.data / "sys" / "events").glob("*.parquet")
    content = file.read_bytes()
    file.write_bytes(content[:200] + bytes([content[200] ^ 1]) + content[201:])
    reader = make_lake("kept", read_only=True)
    with pytest.raises(DamageError):
        explain(reader, "revenue_by_day", {"day": day, "currency": currency})
