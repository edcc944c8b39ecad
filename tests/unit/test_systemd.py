"""The systemd units that the guide shows: valid, hardened, and calling what there is."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections import defaultdict
from pathlib import Path

import click
import pytest

from headrace.pipelines.cli.app import app
from tests.e2e.command import SCRIPT, Headrace, stopped_at_end
from tests.unit.pages import ROOT, page_text

UNITS = sorted((ROOT / "docs/guides/systemd").iterdir())
SERVICES = [unit for unit in UNITS if unit.suffix == ".service"]
LONG = [unit for unit in SERVICES if "backup" not in unit.name]
COMMAND = "/opt/headrace/bin/headrace"
ANALYZE = shutil.which("systemd-analyze")
needs_systemd = pytest.mark.skipif(ANALYZE is None, reason="there is no systemd-analyze")


def parsed(text: str) -> dict[str, list[str]]:
    """Keys to values, in their order; a key may come more than once."""
    found: dict[str, list[str]] = defaultdict(list)
    section = ""
    for line in text.splitlines():
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1]
        elif line.strip() and not line.startswith("#"):
            key, mark, value = line.partition("=")
            assert section, f"{line} stands before any section"
            assert mark, f"{line} is no setting"
            found[f"{section}.{key}"].append(value)
    return found


def analyzed(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    run = [str(ANALYZE), *arguments]
    return subprocess.run(run, capture_output=True, text=True, check=False, cwd=folder)


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The units, with a command that is there: systemd looks whether it is."""
    for unit in UNITS:
        text = unit.read_text("utf-8").replace(COMMAND, str(SCRIPT))
        (tmp_path / unit.name).write_text(text, "utf-8")
    return tmp_path


@needs_systemd
def test_systemd_finds_nothing_wrong_with_the_units(installed: Path) -> None:
    ran = analyzed(installed, "verify", "--man=no", *(f"./{unit.name}" for unit in UNITS))
    assert (ran.returncode, ran.stderr) == (0, "")
    broken = installed / SERVICES[0].name
    broken.write_text(f"{broken.read_text('utf-8')}NoNewPrivilege=yes\n", "utf-8")
    assert "NoNewPrivilege" in analyzed(installed, "verify", f"./{broken.name}").stderr


@needs_systemd
@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_systemd_calls_the_exposure_of_a_service_low(installed: Path, unit: Path) -> None:
    ran = analyzed(installed, "security", "--offline=true", "--threshold=25", f"./{unit.name}")
    assert ran.returncode == 0, ran.stdout[-300:] + ran.stderr


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_a_service_has_the_least_privileges_and_calls_a_command_that_there_is(unit: Path) -> None:
    found = parsed(unit.read_text("utf-8"))
    (call,) = found["Service.ExecStart"]
    program, *words = call.split()
    assert program == COMMAND
    command = app.get_command(click.Context(app), words[0])
    if isinstance(command, click.Group):
        command = command.get_command(click.Context(command), words[1])
    assert command is not None
    assert {w for w in words if w.startswith("--")} <= {o for p in command.params for o in p.opts}
    assert found["Service.User"] == ["headrace"]
    assert found["Service.NoNewPrivileges"] == ["yes"]
    assert found["Service.ProtectSystem"] == ["strict"]
    assert found["Service.CapabilityBoundingSet"] == [""]
    (writable,) = found["Service.ReadWritePaths"]
    assert "HEADRACE_HOME=/var/lib/headrace/home" in found["Service.Environment"]
    assert "/var/lib/headrace" in writable.split()


@pytest.mark.parametrize("unit", LONG, ids=lambda unit: unit.name)
def test_a_service_that_goes_on_is_started_again_and_ends_as_the_command_does(unit: Path) -> None:
    found = parsed(unit.read_text("utf-8"))
    assert found["Service.Restart"] == ["on-failure"]
    assert found["Service.KillSignal"] == ["SIGTERM"]
    assert found["Service.SuccessExitStatus"] == ["130"]
    assert found["Install.WantedBy"] == ["multi-user.target"]


def test_the_speed_layer_ends_well_at_the_signal_that_the_unit_sends(tmp_path: Path) -> None:
    headrace = Headrace(tmp_path / "home")
    headrace.json("init")
    found = parsed((ROOT / "docs/guides/systemd/headrace-speed.service").read_text("utf-8"))
    with stopped_at_end(headrace.start("speed", "--follow", log_level="info")) as running:
        assert running.stderr is not None
        lock = headrace.home / "locks" / "speed.holder"
        while not lock.exists():
            assert running.poll() is None
        running.send_signal(signal.Signals[found["Service.KillSignal"][0]])
        assert running.wait(60) in {0, int(found["Service.SuccessExitStatus"][0])}


def test_the_guide_names_every_unit() -> None:
    assert [u.name for u in UNITS if u.name not in page_text("operations")] == []
