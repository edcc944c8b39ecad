"""The flows against a real, temporary Prefect server."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pipelines import generations, settings
from pipelines.errors import LockError
from pipelines.generate import generate
from pipelines.ingest import append_lines
from pipelines.lake import Lake, open_lake
from pipelines.log import Line
from pipelines.speed import Speed

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("prefect")]


@pytest.fixture(scope="module")
def prefect_server() -> Iterator[None]:
    importlib.import_module("flows")  # first: it turns usage data off before Prefect is imported
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    lines = list(generate(60, 3, duplicates=0.1, disorder=0.1, late=0.05, poison=0.0))
    with open_lake(settings.load(tmp_path / "home")) as opened:
        append_lines(opened, [Line(raw, f"test:{i}") for i, raw in enumerate(lines)])
        yield opened


def certificates(lake: Lake) -> list[tuple[int, int]]:
    return [(g, w) for g, w in lake.rows("SELECT generation, wrong FROM sys.certificates")]


def test_the_batch_flow_publishes_a_base_at_the_logs_end_and_proves_it(
    prefect_server: None, lake: Lake
) -> None:
    from flows.batch import batch

    done = batch(lake.home.path, engine="duckdb")

    line = generations.read(lake)
    assert (line.base, line.cut.as_dict()) == (2, done["published"]["cut"])
    assert line.cut == line.position
    assert certificates(lake) == [(1, 0)]
    assert done["certificate"]["position"] == line.position.as_dict()


def test_the_replay_flow_goes_live_only_when_asked(prefect_server: None, lake: Lake) -> None:
    from flows.replay import replay

    with Speed.open(lake) as speed:
        speed.run()

    beside = replay(lake.home.path)
    assert (beside["built"]["generation"], generations.live_number(lake)) == (2, 1)

    promoted = replay(lake.home.path, go_live=True)
    assert promoted["built"]["generation"] == generations.live_number(lake) == 3
    assert certificates(lake) == [(2, 0), (3, 0)]


def test_a_batch_flow_beside_another_batch_waits_its_turn_and_then_says_who_runs(
    prefect_server: None, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows import batch

    patient = batch.publish.with_options(retries=1, retry_delay_seconds=0)
    monkeypatch.setattr(batch, "publish", patient)
    with lake.home.lock("batch", wait=0), pytest.raises(LockError, match=str(os.getpid())):
        batch.batch(lake.home.path, engine="duckdb")
    assert certificates(lake) == []


def test_importing_the_flows_starts_nothing_and_turns_usage_data_off() -> None:
    code = (
        "import json, os, threading, flows.batch, flows.replay; "
        "print(json.dumps([os.environ['DO_NOT_TRACK'], "
        "os.environ['PREFECT_SERVER_ANALYTICS_ENABLED'], threading.active_count()]))"
    )
    clean = {k: v for k, v in os.environ.items() if k not in {"DO_NOT_TRACK"}}
    found = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=clean,
    )
    assert json.loads(found.stdout) == ["1", "false", 1]
