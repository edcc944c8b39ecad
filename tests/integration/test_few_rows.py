"""Tables of a few rows, which the lake keeps in its catalog and not in files."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.command import Headrace
from tests.e2e.orders import Truth, events, write
from tests.halves import first


@pytest.mark.parametrize("orders", first(1, [1, 12]))
def test_an_incremental_batch_goes_on_from_a_replayed_base_of_few_rows(
    tmp_path: Path, orders: int
) -> None:
    headrace = Headrace(tmp_path / "home")
    first, more = events(orders, seed=1), events(orders, seed=2)
    headrace.json("append", write(tmp_path / "first.ndjson", first))
    headrace.json("speed", "--once")
    assert headrace.json("replay", "--from", "beginning", "--promote")["promoted"] is True
    headrace.json("append", write(tmp_path / "more.ndjson", more))
    headrace.json("batch", "--engine", "duckdb", "--incremental")
    Truth.of([*first, *more]).check(headrace)
    assert headrace.json("verify")["equal"] is True
