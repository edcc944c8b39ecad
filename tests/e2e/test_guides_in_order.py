"""Each guide as a reader would follow it: all of its commands, in order, on a home of its own.

What stands for something of the reader's (an id, an address) is replaced by what there is here. A
command that another test runs is listed with that test. No command is left out: what is neither
run nor listed fails.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from headrace.pipelines.generator.generator import generate
from tests.e2e.command import REPOSITORY, Headrace, environment
from tests.flows.server import prefect_server
from tests.postgres.server import server as postgres_server
from tests.unit.pages import PAGES, ROOT, files_of_the_views_guide, name_of
from tests.unit.test_docs import rescue

pytestmark = pytest.mark.thorough

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NAMED = re.compile(r"^<!-- file: (\S+) -->\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LASTING = re.compile(r"speed --follow|flows serve|prefect server start|headrace serve\b|&$")
"""Commands that stay: they are ended as a person would, by ctrl-C, when the guide is through."""

ELSEWHERE = {
    r"make demo": "tests/e2e/test_demo.py",
    r"make test": "tests/halves.py",
    r"python -m pdb": "tests/unit/test_tour.py",
    r"make fuzz|tests\.fuzz --script": "tests/fuzz",
    r"docker compose": "tests/e2e/test_compose_services.py",
    r"--log kafka://": "tests/e2e/test_kafka_story.py",
    r"--workers 4": "tests/integration/test_kafka_workers.py",
    r"--engine spark": "tests/conformance/test_streaming.py",
    r"^mvn |HEADRACE_SPARK_JARS": "tests/kafka/spark.py",
    r"spark-class|^spark=": "tests/kafka/spark.py",
    r"prefect server start": "tests/flows/server.py",
    r"^createdb": "tests/postgres/server.py",
    r"^useradd |^install |^systemctl |-m venv /opt": "tests/unit/test_systemd.py",
}
"""Command to the test, or the part of the tests, that runs it."""

NOT_RUN = r"--master spark://"
"""What no test runs: the batch on a cluster of its own. (The stream on one has a test.)"""


@dataclass
class Reader:
    """Who follows a guide: a folder, a home in it, and what stands for what is the reader's own."""

    folder: Path
    stack: ExitStack
    stand_ins: dict[str, str] = field(default_factory=dict)
    codes: dict[str, int] = field(default_factory=dict)
    exported: list[str] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def headrace(self) -> Headrace:
        return Headrace(self.folder / "headrace-data")

    def fill(self, *, poison: float = 0.0) -> None:
        """A small home, with everything that can happen to an order."""
        lines = generate(150, 5, duplicates=0.1, disorder=0.1, late=0.05, poison=poison)
        self.headrace.fed(b"\n".join(lines), "append", "-", "--json").json()
        self.headrace.json("speed", "--once", commit_events=200)

    def environment(self) -> dict[str, str]:
        binaries = str(Path(sys.executable).parent)
        found = {k: v for k, v in environment({}).items() if k != "HEADRACE_AUDIT"}
        path = f"{binaries}:{found['PATH']}"
        return {**found, "PATH": path, "PYTHONPATH": str(ROOT), **self.variables}

    def command(self, text: str) -> str:
        for mine, here in self.stand_ins.items():
            text = text.replace(mine, here)
        return "\n".join(["set -euo pipefail", *self.exported, text])

    def run(self, text: str) -> None:
        expected = next((code for part, code in self.codes.items() if part in text), 0)
        done = subprocess.run(
            ["bash", "-c", self.command(text)], check=False, cwd=self.folder,
            env=self.environment(), capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == expected, f"{text}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr, done.stderr

    def start(self, text: str) -> None:
        """Start what stays; at the end it is interrupted, and has to go quietly."""
        exec_it = self.command(text).replace("headrace ", "exec headrace ")
        running = subprocess.Popen(
            ["bash", "-c", exec_it], cwd=self.folder, env=self.environment(),
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        time.sleep(5)
        assert running.poll() is None, running.communicate()

        def end() -> None:
            running.send_signal(signal.SIGINT)
            _, err = running.communicate(timeout=60)
            assert running.returncode in {0, 130}, (text, running.returncode, err)
            assert "Traceback" not in err, err

        self.stack.callback(end)


Scene = Callable[[Reader], None]


def a_filled_home(reader: Reader) -> None:
    reader.fill()


def nothing(reader: Reader) -> None:
    assert not list(reader.folder.iterdir())


def contract(reader: Reader) -> None:
    reader.fill(poison=0.1)
    import_of(reader)
    entries = reader.headrace.json("quarantine", "ls")["entries"]
    (run,) = reader.headrace.json("log", "imports")["imports"]
    line = {
        "specversion": "1.0", "id": "1", "source": "shop/eu", "type": "OrderDelivered",
        "subject": "o-1001", "time": "2026-03-01T09:30:00Z",
    }  # fmt: skip
    reader.headrace.fed(json.dumps(line).encode(), "append", "-", "--json").json()
    reader.stand_ins = {"6c3d7d06": entries[0]["id"][:8], "b1d6bb87c4bf": run["import_id"]}


def import_of(reader: Reader) -> None:
    """The file and the mapping of the guide to imports, imported as it says."""
    guide = (ROOT / "docs/guides/csv-import.md").read_text("utf-8")
    blocks = BLOCK.findall(guide)
    export = next(text for kind, text in blocks if kind == "csv")
    mapping = next(text for kind, text in blocks if kind == "toml")
    (reader.folder / "export.csv").write_text(export, encoding="utf-8")
    (reader.folder / "shop.toml").write_text(mapping, encoding="utf-8")
    reader.run("headrace import csv --mapping shop.toml export.csv")


def csv_import(reader: Reader) -> None:
    import_of(reader)
    (run,) = reader.headrace.json("log", "imports")["imports"]
    reader.stand_ins = {"b1d6bb87c4bf": run["import_id"]}


def flows(reader: Reader) -> None:
    reader.fill()
    import_of(reader)
    server = reader.stack.enter_context(prefect_server(reader.folder / "prefect"))
    reader.variables = server.environment
    reader.stand_ins = {"http://127.0.0.1:4200/api": server.url}
    for name in ("incoming", "by-day", "shop"):
        (reader.folder / name).mkdir()


def quarantine(reader: Reader) -> None:
    reader.fill()
    assert reader.headrace.fed(b"no event", "append", "-").code == 1
    import_of(reader)
    lines = generate(20, 6, duplicates=0.0, disorder=0.0, late=0.0, poison=0.1)
    (reader.folder / "orders.ndjson").write_bytes(b"\n".join(lines))
    (reader.folder / "export.csv").rename(reader.folder / "orders.csv")
    entries = reader.headrace.json("quarantine", "ls")["entries"]
    reader.stand_ins = {"6c3d7d06": entries[0]["id"][:8]}


def operations(reader: Reader) -> None:
    reader.fill()
    reader.variables = reader.stack.enter_context(
        prefect_server(reader.folder / "prefect")
    ).environment
    rescue(reader.folder)


def fuzz(reader: Reader) -> None:
    reader.stand_ins = {"--minutes 10": "--minutes 0.1"}


def refused_base(reader: Reader) -> None:
    """A home whose last batch did not pass: an expectation of the reader's own that fails."""
    reader.fill()
    own = reader.headrace.home / "expectations"
    own.mkdir(exist_ok=True)
    (own / "mine.toml").write_text(
        'suite = "base"\n[[expectations]]\ntable = "orders"\ncolumn = "net"\nmax_value = 1\n'
        'type = "expect_column_values_to_be_between"\n',
        encoding="utf-8",
    )
    told = reader.headrace.run("batch", "--engine", "duckdb", audit="full")
    assert told.code == 1, told
    reader.codes = {"headrace publish  ": 1}


def shared_lake(reader: Reader) -> None:
    made = reader.stack.enter_context(postgres_server())
    url = made.database("orders_lake")
    reader.stand_ins = {
        "postgresql://headrace@db.internal:5432/orders_lake": url,
        "/mnt/lakes/orders": str(reader.folder / "lakes" / "orders"),
        "HEADRACE_CATALOG_PASSWORD=…": f"HEADRACE_CATALOG_PASSWORD={made.password}",
    }
    (reader.folder / "lakes").mkdir()


def views(reader: Reader) -> None:
    reader.fill()
    reader.stand_ins = {"headrace init": "headrace --home another init"}
    assert len(files_of_the_views_guide(reader.headrace.home)) > 8


SCENES: Mapping[str, Scene] = {
    "README.md": nothing,
    "docs/tour.md": nothing,
    "docs/guides/contract.md": contract,
    "docs/guides/csv-import.md": csv_import,
    "docs/guides/flows.md": flows,
    "docs/guides/fuzz.md": fuzz,
    "docs/guides/kafka.md": nothing,
    "docs/guides/operations.md": operations,
    "docs/guides/quality.md": refused_base,
    "docs/guides/quarantine.md": quarantine,
    "docs/guides/querying.md": nothing,
    "docs/guides/replay.md": a_filled_home,
    "docs/guides/shared-lake.md": shared_lake,
    "docs/guides/spark.md": nothing,
    "docs/guides/views.md": views,
}


def commands(page: str) -> Iterator[str]:
    """All commands of a page, in order; one of several lines is one."""
    text = (ROOT / page).read_text("utf-8").replace("<!-- story -->\n```sh", "```story")
    for kind, block in BLOCK.findall(text):
        if kind == "sh":
            held = ""
            for line in block.splitlines():
                held += line
                if held.strip() and not line.endswith("\\") and _whole(held):
                    yield held
                    held = ""
                elif held:
                    held += "\n"
            assert not held.strip(), f"{page}: {held}"


def _whole(command: str) -> bool:
    """Whether bash needs nothing more: no quote and no document is open."""
    told = subprocess.run(
        ["bash", "-n", "-c", command], check=False, capture_output=True, text=True
    )
    return told.returncode == 0 and "here-document" not in told.stderr


PLACES = [page for page in map(name_of, PAGES) if not page.startswith("docs/decisions/")]


def elsewhere(command: str) -> str | None:
    return next((test for part, test in ELSEWHERE.items() if re.search(part, command)), None)


def test_every_page_with_commands_has_a_scene() -> None:
    assert {page for page in PLACES if any(commands(page))} == set(SCENES)
    assert all((REPOSITORY / test).exists() for test in ELSEWHERE.values())


@pytest.mark.parametrize("page", SCENES)
def test_the_commands_of_a_guide_run_in_order(page: str, tmp_path: Path) -> None:
    with ExitStack() as stack:
        reader = Reader(tmp_path, stack)
        SCENES[page](reader)
        ran = 0
        for command in commands(page):
            if elsewhere(command) is not None or re.search(NOT_RUN, command):
                continue
            ran += 1
            if LASTING.search(command):
                reader.start(command)
                continue
            if command.startswith("export "):
                reader.exported.append(reader.command(command).splitlines()[-1])
            reader.run(command)
        assert ran or all(elsewhere(c) or re.search(NOT_RUN, c) for c in commands(page))
