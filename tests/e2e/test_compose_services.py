"""Every service of the compose file, run without Docker: its own command, environment and check."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.command import REPOSITORY, SCRIPT
from tests.e2e.orders import events
from tests.kafka.broker import free_port
from tests.kafka.running import cluster
from tests.postgres.server import server

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.spark,
    pytest.mark.thorough,
    pytest.mark.xdist_group("compose"),
]

SERVICES: dict[str, Any] = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text("utf-8"))[
    "services"
]
LINES = events(20, seed=61)


class Composed:
    """Services as processes of this machine; names of hosts become addresses of it."""

    def __init__(self, folder: Path, places: dict[str, str]) -> None:
        self.folder = folder
        self.places = {"/data": str(folder / "data"), "/tmp/spark": str(folder / "spark")}  # noqa: S108
        self.places |= places
        (folder / "data").mkdir()

    def here(self, text: str) -> str:
        """A command or a value with the addresses of this machine."""
        longest = sorted(self.places, key=len, reverse=True)
        names = "|".join(map(re.escape, longest))
        return re.sub(names, lambda found: self.places[found[0]], text)

    def argv(self, name: str, *arguments: str) -> list[str]:
        """The command line of a service, as its image would run it."""
        service = SERVICES[name]
        entry = service.get("entrypoint", ["headrace"] if "build" in service else [])
        program, *rest = [*entry, *(arguments or service.get("command", []))]
        found = Path(sys.executable).with_name(program)
        return [str(found), *map(self.here, rest)]

    def environment(self, name: str) -> dict[str, str]:
        """The environment of a service, and nothing of this process but where programs are."""
        given = SERVICES[name].get("environment", {})
        kept = {k: os.environ[k] for k in ("PATH", "JAVA_HOME", "LANG") if k in os.environ}
        kept["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
        home = {"HOME": str(self.folder), "PYTHONPATH": str(REPOSITORY)}
        return {**kept, **home, **{k: self.here(v) for k, v in given.items()}}

    def run(self, name: str, *arguments: str, stdin: bytes = b"") -> str:
        """Run a service that ends; gives what it printed."""
        done = subprocess.run(
            self.argv(name, *arguments),
            env=self.environment(name),
            input=stdin,
            capture_output=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    @contextlib.contextmanager
    def up(self, name: str) -> Iterator[subprocess.Popen[bytes]]:
        """A service that stays, once its own health check says that it is healthy."""
        log = self.folder / f"{name}.log"
        with (
            log.open("wb") as out,
            subprocess.Popen(
                self.argv(name),
                env=self.environment(name),
                stdout=out,
                stderr=out,
                start_new_session=True,
            ) as running,
        ):
            try:
                deadline = time.monotonic() + 120
                while self.check(name) != 0:
                    assert running.poll() is None, log.read_text()
                    assert time.monotonic() < deadline, log.read_text()
                    time.sleep(0.2)
                yield running
            finally:
                running.terminate()
                try:
                    running.wait(30)
                except subprocess.TimeoutExpired:
                    running.kill()

    def check(self, name: str) -> int:
        """Run a service's health check; 0 means healthy."""
        kind, program, *rest = SERVICES[name]["healthcheck"]["test"]
        assert kind == "CMD"
        found = SCRIPT if program == "headrace" else Path(sys.executable)
        done = subprocess.run(
            [str(found), *map(self.here, rest)],
            env=self.environment(name),
            capture_output=True,
            check=False,
        )
        return done.returncode


@pytest.fixture(scope="module")
def composed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Composed]:
    """Kafka and PostgreSQL run, as their images would; the rest is to be started."""
    folder = tmp_path_factory.mktemp("composed")
    with server() as postgres, cluster() as kafka:
        postgres.database("lake")
        servers = kafka.url("orders").removeprefix("kafka://").removesuffix("/orders")
        master, page, worker, prefect = (str(free_port()) for _ in range(4))
        (password,) = {
            value
            for service in SERVICES.values()
            for key, value in service.get("environment", {}).items()
            if key == "HEADRACE_CATALOG_PASSWORD"
        }
        yield Composed(
            folder,
            {
                "kafka:19092": servers,
                "postgres:5432": f"127.0.0.1:{postgres.port}",
                password: postgres.password,
                "7077": master,
                "8080": page,
                "8081": worker,
                "prefect:4200": f"127.0.0.1:{prefect}",
                "4200": prefect,
                "0.0.0.0": "127.0.0.1",  # noqa: S104 - it is replaced
                "spark-master": "127.0.0.1",
                "spark-worker": "127.0.0.1",
                "/var/lib/prefect": str(folder / "prefect"),
            },
        )


def test_the_services_work_together(composed: Composed) -> None:
    composed.run("init")
    composed.run("init")  # after a restart of the machine
    with contextlib.ExitStack() as stack:
        stack.enter_context(composed.up("speed"))
        composed.run("headrace", "append", "-", stdin=b"\n".join(LINES))
        deadline = time.monotonic() + 60
        while (told := status(composed))["lag_events"] or told["events"] < len(LINES):
            assert time.monotonic() < deadline, told
            time.sleep(0.2)
        stack.enter_context(composed.up("spark-master"))
        stack.enter_context(composed.up("spark-worker"))
        made = json.loads(composed.run("headrace", "batch", "--json"))
        assert made["published"] is True
        assert made["events"] == len(LINES)
        assert json.loads(composed.run("headrace", "verify", "--json"))["equal"] is True
        stack.enter_context(composed.up("prefect"))
        stack.enter_context(composed.up("flows"))
        wanted = {"batch", "replay", "quality", "maintenance", "ingest"}
        deadline = time.monotonic() + 120
        while not wanted <= (found := deployments(composed)):
            assert time.monotonic() < deadline, found
            time.sleep(0.5)


def status(composed: Composed) -> Any:
    return json.loads(composed.run("headrace", "status", "--json"))


def deployments(composed: Composed) -> set[str]:
    """The flows that Prefect's server has deployments of."""
    flows = {found["id"]: found["name"] for found in asked(composed, "flows")}
    return {flows[found["flow_id"]] for found in asked(composed, "deployments")}


def asked(composed: Composed, what: str) -> Any:
    url = composed.environment("flows")["PREFECT_API_URL"]
    question = urllib.request.Request(  # noqa: S310 - our own server
        f"{url}/{what}/filter", b"{}", {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(question, timeout=10) as answer:  # noqa: S310
        return json.load(answer)


def test_every_service_is_run_here() -> None:
    run_here = {"init", "headrace", "speed", "spark-master", "spark-worker", "prefect", "flows"}
    assert run_here | {"kafka", "postgres"} == set(SERVICES)
