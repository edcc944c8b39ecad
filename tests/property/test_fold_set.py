"""The fold is a function of the set of an order's events: no order, no repetition matters."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.pipelines.fold.fold import fold
from headrace.schemas.decode import decode
from tests.conformance.paths import differences
from tests.conformance.streams import SITUATIONS, Shop
from tests.oracle import fold as oracle
from tests.oracle.fold import Table

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDED = {"orders": oracle.ORDERS, "ledger": oracle.LEDGER}


@pytest.fixture(scope="module")
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(config={"threads": "1"}) as connection:
        yield connection


def folded(con: duckdb.DuckDBPyConnection, lines: list[bytes]) -> dict[str, Table]:
    """What the fold makes of lines that lie at these places of one partition."""
    decoded = decode(lines)
    assert decoded.rejected == []
    count = len(lines)
    events = decoded.events.append_column("partition", pa.array([0] * count, pa.int32()))
    con.register("log", events.append_column("offset", pa.array(range(count), pa.int64())))
    fold(con, "SELECT * FROM log", "p_")
    found = {}
    for name, columns in FOLDED.items():
        listed = ", ".join(f'"{column}"' for column in columns)
        rows = con.execute(f"SELECT {listed} FROM p_{name}").fetchall()
        found[name] = Table(tuple(columns), Counter(rows))
    return found


def by_the_oracle(lines: list[bytes]) -> dict[str, Table]:
    return oracle.recompute([(0, offset, line.decode()) for offset, line in enumerate(lines)])


def without_places(tables: dict[str, Table]) -> dict[str, Table]:
    return {name: table.without(oracle.PLACEMENT) for name, table in tables.items()}


@pytest.mark.parametrize("name", SITUATIONS)
def test_each_fine_point_is_as_the_oracle_has_it(con: duckdb.DuckDBPyConnection, name: str) -> None:
    lines = SITUATIONS[name]
    assert differences(folded(con, lines), by_the_oracle(lines)) == []


@settings(max_examples=40)
@given(seed=st.integers(0, 10**6), orders=st.integers(1, 6), count=st.integers(1, 60))
def test_the_fold_and_the_oracle_agree(
    con: duckdb.DuckDBPyConnection, seed: int, orders: int, count: int
) -> None:
    lines = Shop(Random(seed), orders).events(count)
    assert differences(folded(con, lines), by_the_oracle(lines)) == []


@settings(max_examples=40)
@given(seed=st.integers(0, 10**6), orders=st.integers(1, 6), data=st.data())
def test_shuffled_and_repeated_deliveries_fold_to_the_same(
    con: duckdb.DuckDBPyConnection, seed: int, orders: int, data: st.DataObject
) -> None:
    lines = Shop(Random(seed), orders, conflicts=False).events(30)
    again = data.draw(st.lists(st.sampled_from(lines), max_size=10), label="again")
    shuffled = data.draw(st.permutations(lines + again), label="shuffled")
    once, anyhow = without_places(folded(con, lines)), without_places(folded(con, shuffled))
    assert differences(anyhow, once) == []
