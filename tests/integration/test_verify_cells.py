"""What a comparison counts, and what it lists, when very much is wrong."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from headrace.pipelines.cli.certificate import certificate_text
from headrace.pipelines.generations import registry
from headrace.pipelines.generations.data_diff import Comparison, compare
from headrace.pipelines.lake.lake import Lake
from headrace.pipelines.quality.verify import verify
from tests.conformance import paths
from tests.conftest import MakeLake
from tests.e2e.orders import events


@pytest.fixture
def found(lake: Lake) -> Lake:
    """A lake that serves 60 orders."""
    paths.append(lake, events(60, seed=5, again=0))
    paths.run_speed(lake)
    return lake


def _orders(lake: Lake, served: str) -> Comparison:
    line = registry.read(lake)
    return compare(lake, line, {"orders": (served, line.select("orders"))})


def test_every_differing_cell_is_counted_and_the_first_twenty_are_listed(found: Lake) -> None:
    wrong = (
        "SELECT * REPLACE (CAST(net + 1 AS DECIMAL(38,4)) AS net, units + 1 AS units) FROM orders"
    )
    told = _orders(found, wrong)
    assert (told.rows, told.wrong, len(told.shown)) == (60, 120, 20)
    assert {cell.column for cell in told.shown} == {"net", "units"}
    assert {cell.served - cell.expected for cell in told.shown} == {Decimal(1), 1}


def test_a_missing_row_and_a_row_too_many_count_with_all_their_cells(found: Lake) -> None:
    columns = len(registry.read(found).tables["orders"])
    first = "(SELECT min(order_id) FROM orders)"
    missing = _orders(found, f"SELECT * FROM orders WHERE order_id <> {first}")
    doubled = _orders(
        found, f"SELECT * FROM orders UNION ALL SELECT * FROM orders WHERE order_id = {first}"
    )
    assert (missing.wrong, doubled.wrong) == (columns, columns)
    assert all(cell.served is None for cell in missing.shown if cell.column == "net")
    assert all(cell.expected is None for cell in doubled.shown if cell.column == "net")


def test_nulls_are_equal_to_each_other_and_to_nothing_else(found: Lake) -> None:
    assert _orders(found, "SELECT * FROM orders").wrong == 0
    told = _orders(found, "SELECT * REPLACE (NULL::VARCHAR AS country) FROM orders")
    assert told.wrong == found.row("SELECT count(country) FROM orders")[0] > 0


def test_a_certificate_names_the_views_whose_text_duckdb_has_no_room_for(
    make_lake: MakeLake,
) -> None:
    taxed = "SELECT currency, sum(amount * 1.19) AS x FROM ledger GROUP BY currency"
    plain = "SELECT currency, sum(amount) AS x FROM ledger GROUP BY currency"
    lake = make_lake(views={"taxed": taxed, "plain": plain})
    line = {"product_id": "p", "quantity": 1, "unit_price": "99999999999999.9999"}
    placed = {
        "specversion": "1.0", "id": "1", "source": "s", "type": "OrderPlaced", "subject": "o",
        "time": "2026-03-01T00:00:00Z",
        "data": {"customer_id": None, "currency": "EUR", "lines": [line]},
    }  # fmt: skip
    paths.append(lake, [json.dumps(placed).encode()])
    paths.run_speed(lake)
    certificate = verify(lake)
    assert certificate.equal
    assert certificate.compiled == ("taxed",)
    assert "has no room for the text's values: taxed" in certificate_text(certificate)
    stored = lake.row("SELECT report FROM sys.certificates")[0]
    assert json.loads(stored)["compiled"] == ["taxed"]
