"""Alerts reach a command and a webhook, keep secrets, and never fail the work."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING

import pytest

from headrace.pipelines import notify, settings
from headrace.pipelines.errors import UsageError
from headrace.pipelines.log import quarantine
from headrace.pipelines.log.embedded import Log
from headrace.pipelines.logs import configure
from headrace.pipelines.operations import alerts
from tests.e2e.orders import events

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeLake

TOKEN = "s3cr3t-part"  # noqa: S105 - of a made-up address


def command(target: Path) -> list[str]:
    code = f"import sys; open({str(target)!r}, 'ab').write(sys.stdin.buffer.read() + b'\\n')"
    return [sys.executable, "-c", code]


class Heard(BaseHTTPRequestHandler):
    """Takes what is posted."""

    bodies: list[bytes] = []  # noqa: RUF012 - one server a test

    def do_POST(self) -> None:
        self.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(500 if self.path.endswith("broken") else 200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        pass


@pytest.fixture
def server() -> Iterator[str]:
    Heard.bodies.clear()
    with HTTPServer(("127.0.0.1", 0), Heard) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}/{TOKEN}"
        running.shutdown()
        thread.join()


def test_a_command_and_a_webhook_get_the_same_json(tmp_path: Path, server: str) -> None:
    target = tmp_path / "told"
    chosen = settings.load(tmp_path, environ={}, alert_command=command(target),
                           alert_webhook=server)  # fmt: skip
    assert notify.send(chosen, "audit", "refused", {"cut": {"0": 5}})
    (body,) = Heard.bodies
    assert json.loads(body) == json.loads(target.read_bytes())
    told = json.loads(body)
    assert (told["kind"], told["text"], told["details"]) == ("audit", "refused", {"cut": {"0": 5}})
    assert told["home"] == str(tmp_path)


@pytest.mark.parametrize("way", ["missing", "failing", "refused", "unreachable"])
def test_an_alert_that_fails_is_logged_without_its_secret_and_fails_nothing(
    tmp_path: Path, server: str, capfd: pytest.CaptureFixture[str], way: str
) -> None:
    given = {
        "missing": {"alert_command": ["/no/such/command", TOKEN]},
        "failing": {"alert_command": [sys.executable, "-c", "raise SystemExit(3)", TOKEN]},
        "refused": {"alert_webhook": f"{server}/broken"},
        "unreachable": {"alert_webhook": f"http://127.0.0.1:9/{TOKEN}"},
    }[way]
    chosen = settings.load(tmp_path, environ={}, **given)
    configure(chosen)  # to log where this test listens
    assert not notify.send(chosen, "verify", "wrong")
    said = capfd.readouterr()
    assert "not delivered" in said.err
    assert TOKEN not in said.err + said.out


def test_a_webhook_is_printed_nowhere_not_even_when_it_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="alert_webhook") as told:
        settings.load(tmp_path, environ={"HEADRACE_ALERT_WEBHOOK": f"ftp://x/{TOKEN}"})
    assert TOKEN not in str(told.value)
    chosen = settings.load(tmp_path, environ={}, alert_webhook=f"http://x/{TOKEN}")
    assert TOKEN not in repr(chosen)


def test_a_command_may_be_written_as_in_a_shell(tmp_path: Path) -> None:
    environ = {"HEADRACE_ALERT_COMMAND": "page --team 'data people'"}
    assert settings.load(tmp_path, environ=environ).alert_command == (
        "page", "--team", "data people",
    )  # fmt: skip


def test_lag_and_quarantine_beyond_their_limits_are_told_and_others_are_not(
    make_lake: MakeLake, tmp_path: Path
) -> None:
    target = tmp_path / "told"
    lake = make_lake(partitions=2, alert_command=command(target), lag_limit=60, quarantine_limit=1)
    log = Log(lake)
    lines = events(3, seed=1)
    log.append([*lines, b"poison"], [f"t:{n}" for n in range(len(lines) + 1)])
    assert alerts.check(lake) == [], "one is within the limit, and nothing waits for long"
    assert not target.exists()
    log.append([b"poison 2"], ["t:9"])
    now = lake.clock() + timedelta(minutes=5)
    lake.clock = lambda: now
    assert [a.kind for a in alerts.check(lake)] == ["lag", "quarantine"]
    told = [json.loads(line) for line in target.read_bytes().splitlines()]
    assert [t["kind"] for t in told] == ["lag", "quarantine"]
    assert told[0]["details"]["lag_events"] == len(lines)
    assert told[1]["details"]["quarantined"] == 2
    later = now + timedelta(hours=2)
    lake.clock = lambda: later
    assert [a.kind for a in alerts.check(lake)] == ["lag"], "the quarantine no longer grows"


def test_an_entry_that_is_open_for_longer_than_the_limit_is_told_until_it_is_closed(
    make_lake: MakeLake, tmp_path: Path
) -> None:
    target = tmp_path / "told"
    lake = make_lake(alert_command=command(target), quarantine_age=3600)
    Log(lake).append([b"poison"], ["t:1"])
    assert alerts.check(lake) == []
    now = lake.clock() + timedelta(hours=2)
    lake.clock = lambda: now
    Log(lake).append([b"poison", b"poison 2"], ["t:1", "t:2"])
    (alert,) = alerts.check(lake)
    assert (alert.kind, alert.details["open"]) == ("quarantine", 1), "one of the two is old"
    assert json.loads(target.read_bytes())["details"]["limit_seconds"] == 3600
    old, _ = quarantine.entries(lake)
    quarantine.discard(lake, [old.id], by="anna", reason="known")
    assert alerts.check(lake) == []
