"""One order: what its events make of it is what is served, now and at earlier positions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from headrace.pipelines.errors import DamageError, LogError, UsageError
from headrace.pipelines.generations import registry
from headrace.pipelines.generator.generator import generate
from headrace.pipelines.position import Position
from headrace.pipelines.serving.order_history import order_history
from headrace.pipelines.serving.query import connect
from headrace.pipelines.serving.time_travel import query_at
from tests.conformance.paths import append, run_speed
from tests.e2e.command import Headrace

if TYPE_CHECKING:
    from headrace.pipelines.lake.lake import Lake
    from tests.conftest import MakeLake


@pytest.fixture
def shop(lake: Lake) -> Lake:
    """Orders in two commits, with redeliveries and disorder."""
    lines = list(generate(60, 8, duplicates=0.2, disorder=0.2, late=0.1))
    for part in (lines[:120], lines[120:]):
        append(lake, part)
        run_speed(lake)
    return lake


def test_every_order_is_as_it_is_served(shop: Lake) -> None:
    orders = [o for (o,) in shop.rows("SELECT order_id FROM orders ORDER BY 1")]
    assert len(orders) == 60
    for order in orders[::6]:
        found = order_history(shop, order)
        (row,) = shop.rows(f"SELECT * FROM orders WHERE order_id = '{order}'")
        ledger = shop.rows(f"SELECT * FROM ledger WHERE order_id = '{order}' ORDER BY ALL")
        assert found.as_served is True
        assert tuple(found.state.values()) == row
        assert list(found.ledger.rows) == ledger
        marks = [event[-1] for event in found.events.rows]
        assert found.state["event_count"] == sum("redelivered" not in mark for mark in marks)
        assert found.events.total == len(marks)


def test_an_earlier_position_gives_what_the_whole_log_gave_there(shop: Lake) -> None:
    (first,) = shop.row("SELECT min_by(to_position, commit_no) FROM sys.commits")
    at, seen = Position.parse(first), 0
    for (order,) in query_at(shop, "SELECT order_id FROM orders ORDER BY 1", at).rows[::5]:
        found = order_history(shop, order, at)
        asked = query_at(shop, f"SELECT * FROM orders WHERE order_id = '{order}'", at)
        assert (tuple(found.state.values()), found.as_served) == (asked.rows[0], None)
        seen += found.events.total < order_history(shop, order).events.total
    assert seen > 0


def test_what_is_not_as_served_is_said(shop: Lake) -> None:
    line = registry.read(shop)
    (order,) = shop.row("SELECT min(order_id) FROM ledger WHERE amount > 0")
    table = line.delta_table("ledger")
    with shop.writing("test") as tx:
        again = f"SELECT * FROM {table} WHERE order_id = '{order}' AND amount > 0 LIMIT 1"
        tx.insert(line.schema, f"d{line.base}_ledger", again)
    assert order_history(shop, order).as_served is False


def test_an_order_that_is_not_there_and_a_position_too_far_are_refused(shop: Lake) -> None:
    with pytest.raises(UsageError, match="there is no order 'nope' below"):
        order_history(shop, "no'pe".replace("'", ""))
    with pytest.raises(UsageError, match="there is no order"):
        order_history(shop, "a'; DROP TABLE orders; --")
    with pytest.raises(LogError):
        order_history(shop, "order-8-0000001", Position((9_999, 9_999)))


def test_a_damaged_log_is_refused(make_lake: MakeLake) -> None:
    lake = make_lake("kept", partitions=1)
    append(lake, list(generate(20, 3)))
    run_speed(lake)
    order_history(lake, "order-3-0000001")
    left = lake.rows("SELECT table_name FROM duckdb_tables() WHERE temporary")
    assert [name for (name,) in left if name.startswith("refolded")] == []
    (file,) = (lake.home.data / "sys" / "events").glob("*.parquet")
    content = file.read_bytes()
    file.write_bytes(content[:200] + bytes([content[200] ^ 1]) + content[201:])
    reader = make_lake("kept", read_only=True)
    with pytest.raises(DamageError):
        order_history(reader, "order-3-0000001")


def test_the_connection_and_the_command_show_an_order(tmp_path: Path) -> None:
    home = Headrace(tmp_path / "a 'b' c")
    (tmp_path / "e.ndjson").write_bytes(b"\n".join(generate(10, 4)))
    home.run("append", str(tmp_path / "e.ndjson"))
    home.run("speed", "--once")
    with connect(home.home) as served:
        found = served.order("order-4-0000001")
        assert found.as_served is True
    told = home.json("order", "show", "order-4-0000001")
    assert told == found.as_json()
    outcome = home.run("order", "show", "order-4-0000001")
    assert (outcome.code, outcome.out.endswith("\nAs served.\n")) == (0, True)
    early = home.run("order", "show", "order-4-0000001", "--at", "2026-02-01")
    assert (early.code, "there is no order 'order-4-0000001' below" in early.err) == (2, True)
