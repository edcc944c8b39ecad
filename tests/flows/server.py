"""A real Prefect server for tests: on a free port of the loopback, with a home of its own."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

_START = 180
"""Seconds that a server may take: the first start makes its database."""


class Server:
    """Its address, and what its API says."""

    def __init__(self, url: str, home: Path) -> None:
        self.url = url
        self.home = home

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to talk to it and to no other."""
        return {"PREFECT_API_URL": self.url, **quiet(self.home)}

    def ask(self, what: str, **conditions: object) -> Any:
        """All objects of a kind that the API finds."""
        return self._tell(f"{what}/filter", **conditions)

    def runs(self, flow: str) -> list[Any]:
        """The runs of a flow, oldest first."""
        found = self.ask(
            "flow_runs", flows={"name": {"any_": [flow]}}, sort="EXPECTED_START_TIME_ASC"
        )
        return list(found)

    def begin_early(self, deployment: str) -> str:
        """A run that is due in an hour and counts as running: a runner fetches some early."""
        due = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        state = {"type": "SCHEDULED", "state_details": {"scheduled_time": due}}
        run = self._tell(f"deployments/{deployment}/create_flow_run", state=state)["id"]
        self._tell(f"flow_runs/{run}/set_state", state={"type": "RUNNING"}, force=True)
        return str(run)

    def _tell(self, what: str, **content: object) -> Any:
        answer = httpx.post(f"{self.url}/{what}", json=content, timeout=30)
        answer.raise_for_status()
        return answer.json()

    def artifacts(self, *, run: str) -> dict[str, Any]:
        """The artifacts of a flow run, by key."""
        found = self.ask("artifacts", artifacts={"flow_run_id": {"any_": [run]}})
        return {artifact["key"]: artifact for artifact in found}


def quiet(home: Path) -> dict[str, str]:
    """Settings of Prefect that keep it to its own home, and from telling anybody."""
    return {
        "PREFECT_HOME": str(home),
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }


@contextlib.contextmanager
def prefect_server(home: Path) -> Iterator[Server]:
    """Start a server, wait until it answers, stop it at the end."""
    home.mkdir(parents=True, exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = Server(f"http://127.0.0.1:{port}/api", home)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    command = [sys.executable, "-m", "prefect", "server", "start"]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    log = home / "server.log"
    with log.open("wb") as out:
        running = subprocess.Popen(
            command, env={**environment, **quiet(home)}, stdout=out, stderr=out
        )
        try:
            wait_for(lambda: _healthy(server, running), _START, lambda: log.read_text()[-2000:])
            yield server
        finally:
            running.terminate()
            try:
                running.wait(30)
            except subprocess.TimeoutExpired:
                running.kill()
                running.wait()


def _healthy(server: Server, running: subprocess.Popen[bytes]) -> bool:
    assert running.poll() is None, "the server ended"
    try:
        return httpx.get(f"{server.url}/health", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def wait_for(
    found: Callable[[], Any], seconds: float, otherwise: Callable[[], object] = lambda: ""
) -> Any:
    """Ask until the answer is something; fails after so many seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if answer := found():
            return answer
        time.sleep(0.5)
    raise AssertionError(f"not within {seconds} s: {otherwise()}")


@contextlib.contextmanager
def serving(
    home: Path, server: Server, log: Path, chosen: Mapping[str, object]
) -> Iterator[subprocess.Popen[bytes]]:
    """`headrace flows serve` as a process of its own; ended by SIGTERM with the block."""
    environment = {
        k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "HEADRACE_"))
    }
    environment |= server.environment
    environment |= {f"HEADRACE_{name.upper()}": str(value) for name, value in chosen.items()}
    # As a shell starts what it puts in the background: ctrl-C is not for it.
    command = ["bash", "-c", 'trap "" INT; exec "$@"', "bash"]
    command += [
        sys.executable,
        "-m",
        "headrace",
        "--home",
        str(home),
        "flows",
        "serve",
    ]
    with log.open("ab") as out:
        running = subprocess.Popen(command, env=environment, stdout=out, stderr=out)
        try:
            yield running
        finally:
            if running.poll() is None:
                running.terminate()
            try:
                running.wait(60)
            except subprocess.TimeoutExpired:
                running.kill()
                running.wait()
                raise
