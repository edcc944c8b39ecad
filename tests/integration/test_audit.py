"""A staged base that is not whole is never published: the audit finds what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest

from headrace.pipelines.batch import engines
from headrace.pipelines.batch import run as batch
from headrace.pipelines.errors import JobError
from headrace.pipelines.generations import registry
from headrace.pipelines.lake.lake import Lake
from tests.conformance.paths import BUILT_IN, append, assert_exact, run_speed
from tests.e2e.orders import events
from tests.halves import first

Damage = Callable[[Path], None]


def rewrite(select: str) -> Damage:
    """Replace the staged rows of a table by a SELECT of them (`staged`)."""

    def apply(folder: Path) -> None:
        table, _, sql = select.partition(": ")
        file = folder / table / "part.parquet"
        with duckdb.connect() as con:
            con.execute(f"CREATE TABLE staged AS FROM '{file}'")
            con.execute(f"COPY ({sql}) TO '{file}' (FORMAT parquet)")

    return apply


FAULTS = {
    "orders: SELECT * FROM staged LIMIT 19": "events",
    "orders: FROM staged UNION ALL (SELECT * FROM staged LIMIT 1)": "more than once",
    "orders: SELECT * REPLACE (event_count + 1 AS event_count) FROM staged": "events",
    "customer_value: SELECT * REPLACE (0 AS _rows) FROM staged": "groups that cannot be",
}


@pytest.mark.parametrize("fault", first(2, FAULTS))
def test_a_damaged_base_is_not_published_and_the_old_one_serves_on(
    lake: Lake, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(lake, events(20, seed=3))
    batch.run(lake, engine="duckdb")
    append(lake, events(20, seed=4))
    run_speed(lake)
    before = registry.read(lake)
    real = engines.make

    def damaged(lake: Lake, log: Any, task: Any, report: Any) -> tuple[int, int]:
        made = real(lake, log, task, report)
        rewrite(fault)(task.folder)
        return made

    monkeypatch.setattr(engines, "make", damaged)
    with pytest.raises(JobError, match=FAULTS[fault]):
        batch.run(lake, engine="duckdb")
    assert replace(registry.read(lake), wanted_cut=before.wanted_cut) == before
    assert_exact(lake, names=BUILT_IN)
