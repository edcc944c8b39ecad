"""The flows against a real Prefect server, as calls and as deployments with schedules."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from headrace.flows.schedules import FLOWS, schedule
from headrace.pipelines import settings
from headrace.pipelines.bootstrap import open_lake
from headrace.pipelines.errors import JobError, UsageError
from headrace.pipelines.generations import registry
from headrace.pipelines.generator.generator import generate
from headrace.pipelines.ingest.append import append_lines
from headrace.pipelines.ingest.ndjson import Line
from headrace.pipelines.lake.lake import Lake
from headrace.pipelines.speed.layer import Speed
from tests.e2e.command import Headrace
from tests.flows.server import Server, prefect_server, serving, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.xdist_group("prefect")  # one server
NOTHING = {f"schedule_{name}": "" for name in FLOWS if name != "replay"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with prefect_server(tmp_path_factory.mktemp("prefect")) as running:
        yield running


@pytest.fixture
def prefect(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Flows that this process calls are known to the server."""
    importlib.import_module(
        "headrace.flows"
    )  # first: it turns usage data off before Prefect is imported
    from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

    monkeypatch.setenv("HEADRACE_AUDIT", "core")  # Great Expectations takes seconds to load
    monkeypatch.setenv("HEADRACE_FLOW_WAIT", "0")
    with temporary_settings({PREFECT_API_URL: server.url, PREFECT_HOME: server.home}):
        yield server


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    lines = list(generate(60, 3, duplicates=0.1, disorder=0.1, late=0.05, poison=0.0))
    with open_lake(settings.load(tmp_path / "home")) as opened:
        append_lines(opened, [Line(raw, f"test:{i}") for i, raw in enumerate(lines)])
        yield opened


def deployments(server: Server, lake: Lake) -> dict[str, dict[str, Any]]:
    """What is deployed for this home, by the name of the flow."""
    flows = {flow["id"]: flow["name"] for flow in server.ask("flows")}
    name = f"home-{lake.home.log_id[:8]}"
    return {flows[d["flow_id"]]: d for d in server.ask("deployments") if d["name"] == name}


def certificates(lake: Lake) -> list[tuple[int, int]]:
    return [(g, w) for g, w in lake.rows("SELECT generation, wrong FROM sys.certificates")]


def test_the_batch_flow_publishes_a_base_at_the_logs_end_proves_it_and_shows_it(
    prefect: Server, lake: Lake
) -> None:
    from headrace.flows.batch import batch

    state = batch(lake.home.path, engine="duckdb", return_state=True)
    done = state.result()

    line = registry.read(lake)
    assert (line.base, line.cut.as_dict()) == (2, done["published"]["cut"])
    assert line.cut == line.position
    assert certificates(lake) == [(1, 0)]
    assert done["certificate"]["position"] == line.position.as_dict()
    shown = prefect.artifacts(run=str(state.state_details.flow_run_id))
    assert set(shown) == {"published", "checks", "restatements", "certificate"}
    assert f"| cut | {line.cut} |" in shown["published"]["data"]
    assert "EQUAL" in shown["certificate"]["data"]


@pytest.mark.thorough
def test_the_replay_flow_goes_live_only_when_asked(prefect: Server, lake: Lake) -> None:
    from headrace.flows.replay import replay

    with Speed.open(lake) as speed:
        speed.run()

    beside = replay(lake.home.path)
    assert (beside["built"]["generation"], registry.live_number(lake)) == (2, 1)

    promoted = replay(lake.home.path, go_live=True)
    assert promoted["built"]["generation"] == registry.live_number(lake) == 3
    assert certificates(lake) == [(2, 0), (3, 0)]


@pytest.mark.thorough
def test_a_flow_beside_a_batch_started_by_hand_says_who_runs_and_ends_cleanly(
    prefect: Server, lake: Lake
) -> None:
    from headrace.flows.batch import batch
    from headrace.flows.maintenance import maintenance

    for flow, lock in ((batch, "batch"), (maintenance, "batch"), (batch, "flow")):
        with lake.home.lock(lock, wait=0):
            state = flow(lake.home.path, return_state=True)
        assert (state.name, state.type.value) == ("Skipped", "COMPLETED")
        assert f"{lock} lock" in state.message
        assert str(os.getpid()) in state.message
    assert certificates(lake) == []
    assert maintenance(lake.home.path)["generations_dropped"] == ()


@pytest.mark.thorough
def test_the_ingest_flow_lands_a_folder_once_and_fails_for_a_file_that_changed(
    prefect: Server, lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from headrace.flows.ingest import ingest

    monkeypatch.setenv("HEADRACE_INGEST_SETTLE", "0")
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    file = inbox / "a.ndjson"
    file.write_bytes(b"\n".join(generate(5, 77)))
    before = lake.row("SELECT count(*) FROM sys.events")[0]
    first = ingest(lake.home.path, folder=inbox)
    assert (first["files"], ingest(lake.home.path, folder=inbox)["files"]) == (1, 0)
    file.write_bytes(file.read_bytes() + b"\n")
    with pytest.raises(JobError, match=r"a\.ndjson"):
        ingest(lake.home.path, folder=inbox)
    assert lake.row("SELECT count(*) FROM sys.events")[0] == before + first["accepted"]


@pytest.mark.thorough
def test_deployments_run_by_schedule_without_a_pile_up_and_go_on_after_a_restart(
    server: Server, lake: Lake, tmp_path: Path
) -> None:
    log = tmp_path / "serve.log"
    chosen = {**NOTHING, "schedule_batch": "5", "flow_engine": "duckdb", "audit": "core"}

    def completed() -> list[str]:
        return [
            run["id"]
            for run in server.runs("batch")
            if run["deployment_id"] and run["state_name"] == "Completed"
        ]

    def told() -> str:
        return log.read_text()[-3000:]

    def enough(running: subprocess.Popen[bytes], wanted: int) -> bool:
        assert running.poll() is None, told()
        return len(completed()) >= wanted

    for wanted in (2, 3):
        with serving(lake.home.path, server, log, chosen) as running:
            wait_for(partial(enough, running, wanted), 240, told)
            # It ends in the middle of a run, which must not count as running ever after.
            wait_for(lambda: any(r["state_name"] == "Running" for r in server.runs("batch")), 60)
        assert running.returncode == 0, told()
        found = deployments(server, lake)
        assert found.keys() == set(FLOWS)
        assert not any(d["paused"] for d in found.values())
        assert [s["active"] for s in found["batch"]["schedules"]] == [True]
        left = [r for r in server.runs("batch") if r["state_type"] in {"RUNNING", "PENDING"}]
        assert left == []
    assert "published" in server.artifacts(run=completed()[0])
    assert {wrong for _, wrong in certificates(lake)} == {0}
    assert len(certificates(lake)) >= 3


@pytest.mark.thorough
def test_a_run_that_began_before_it_was_due_counts_as_running_no_more_when_nobody_serves(
    server: Server, lake: Lake, tmp_path: Path
) -> None:
    log = tmp_path / "serve.log"
    with serving(lake.home.path, server, log, NOTHING):
        wait_for(lambda: "flows are served" in log.read_text(), 120, log.read_text)
    early = server.begin_early(deployments(server, lake)["batch"]["id"])
    assert [r["state_type"] for r in server.runs("batch") if r["id"] == early] == ["RUNNING"]
    log.write_text("")
    with serving(lake.home.path, server, log, NOTHING):
        wait_for(lambda: "flows are served" in log.read_text(), 120, log.read_text)
    (left,) = [run for run in server.runs("batch") if run["id"] == early]
    assert left["state_name"] == "Crashed"


@pytest.mark.thorough
def test_a_flow_runs_once_by_the_command_and_a_wrong_call_is_refused_in_one_line(
    server: Server, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    command = Headrace(lake.home.path)
    done = command.process("flows", "run", "batch", "--param", "engine=duckdb")
    assert done.code == 0, done.err
    assert json.loads(done.out)["published"]["live"] is True
    assert certificates(lake) == [(1, 0)]
    command.process("flows", "run", "batch", "--param", "x=1").refused(2, "'x'", "engine")
    command.process("flows", "run", "nothing").refused(2, "nothing", "batch")
    command.process("flows", "serve", schedule_batch="soon").refused(2, "schedule_batch", "'soon'")
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    command.process("flows", "serve").refused(2, "prefect server start", "flows run NAME")


def test_schedules_are_cron_or_seconds_or_none() -> None:
    def of(name: str, **given: object) -> str:
        return str(schedule(settings.load(Path("x"), environ={}, **given), name))

    assert of("batch") == "cron 0 * * * *"
    assert of("batch", schedule_batch="90") == "every 0:01:30"
    assert of("batch", schedule_batch="") == of("replay") == of("ingest") == "on request"
    assert of("ingest", ingest_folder="inbox") == "every 0:05:00"
    with pytest.raises(UsageError, match="schedule_quality"):
        of("quality", schedule_quality="0")
