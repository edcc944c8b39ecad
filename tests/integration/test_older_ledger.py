"""A home whose live generation was made before `ledger` had a channel: it serves on as it is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from headrace.pipelines.batch import run as batch
from headrace.pipelines.generations import registry
from headrace.pipelines.quality.verify import verify
from headrace.pipelines.replay import build, promote
from headrace.pipelines.serving.query import Serving
from headrace.pipelines.serving.time_travel import query_at
from headrace.schemas.tables import LEDGER_COLUMNS
from tests.conformance.paths import BUILT_IN, append, assert_exact, run_speed
from tests.conformance.streams import combined

if TYPE_CHECKING:
    from headrace.pipelines.lake.lake import Lake
    from tests.conftest import MakeLake

LINES = combined(31, shops=2, events=30)
OLD = [c for c in LEDGER_COLUMNS if c != "channel"]


@pytest.fixture
def older(make_lake: MakeLake) -> Lake:
    """A lake that the version before made, and that this one went on with."""
    columns, texts = registry.table_columns, registry.stored_texts

    def without(views: object) -> dict[str, dict[str, str]]:
        found = columns(views)  # type: ignore[arg-type]
        return found | {"ledger": {c: LEDGER_COLUMNS[c] for c in OLD}}

    def unnamed(views: object) -> dict[str, str]:
        found = texts(views)  # type: ignore[arg-type]
        return {name: text for name, text in found.items() if name != "ledger"}

    with pytest.MonkeyPatch.context() as earlier:
        earlier.setattr(registry, "table_columns", without)
        earlier.setattr(registry, "stored_texts", unnamed)
        earlier.setattr(registry, "logic_of", lambda _: "another fold")
        lake = make_lake(partitions=2)
    append(lake, LINES[:150])
    run_speed(lake, 60)
    return lake


def test_it_answers_takes_commits_and_is_proved_with_the_columns_that_it_has(older: Lake) -> None:
    answer = Serving(older).query("SELECT * FROM ledger LIMIT 1")
    assert list(answer.columns) == OLD
    append(older, LINES[150:])
    run_speed(older)
    assert verify(older).equal
    past = query_at(older, "SELECT * FROM ledger", registry.read(older).position)
    assert list(past.columns) == OLD


@pytest.mark.thorough
def test_a_batch_or_a_replay_gives_it_the_channel_and_restates_no_cell(older: Lake) -> None:
    done = batch.run(older, engine="duckdb")
    assert done is not None
    assert not done.live, "another logic waits for somebody to promote it"
    told = build.replay(older, None)
    assert told.diff.comparison.wrong == 0
    assert told.diff.logic_changed
    append(older, LINES[150:])
    run_speed(older)
    promote.promote(older, told.generation)
    assert older.rows("SELECT * FROM sys.restatements") == []
    assert_exact(older, names=BUILT_IN)
    assert "channel" in Serving(older).query("SELECT * FROM ledger").columns
    stored = json.loads(older.row("SELECT arg_max(views, generation) FROM sys.generations")[0])
    assert stored["ledger"].split(",") == list(LEDGER_COLUMNS)
    promote.rollback(older)
    assert list(Serving(older).query("SELECT * FROM ledger").columns) == OLD
    assert verify(older).equal
