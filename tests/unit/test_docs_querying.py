"""Every block of the guide on queries runs as it stands, without a network."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.command import SCRIPT
from tests.e2e.offline import offline
from tests.unit.pages import page_text

BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", page_text("querying"), re.MULTILINE | re.DOTALL)
KINDS = ("sh", "sql", "python", "text")
PLAIN = """
import json, sys, duckdb
statements, code = json.load(sys.stdin)
con = duckdb.connect()
for statement in statements:
    con.execute(statement)
for statement in duckdb.extract_statements(code):
    con.execute(statement).fetchall()
assert not [name for name in sys.modules if name.split(".")[0] == "headrace"]
"""
"""DuckDB as anybody has it, given what `headrace attach` prints."""


def run(place: Path, *command: object, given: str = "") -> str:
    """Run a command without a network, in a folder, as somebody who never used DuckDB before."""
    path = f"{SCRIPT.parent}:{os.environ['PATH']}"
    ran = subprocess.run(
        [*offline(), *map(str, command)], input=given, capture_output=True, text=True,
        check=False, cwd=place, env={"HOME": str(place / "user"), "PATH": path},
    )  # fmt: skip
    assert ran.returncode == 0, f"{command}: {ran.stderr}"
    return ran.stdout


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder after the page's first block, which makes the home."""
    folder = tmp_path_factory.mktemp("querying")
    (folder / "user").mkdir()
    kind, code = BLOCKS[0]
    assert kind == "sh"
    assert "generate" in code
    run(folder, "bash", "-euo", "pipefail", "-c", code)
    return folder


def blocks(kind: str) -> list[str]:
    return [code for k, code in BLOCKS[1:] if k == kind]


def test_each_block_has_a_kind_that_a_test_runs() -> None:
    assert {kind for kind, _ in BLOCKS} == set(KINDS)
    # A picture of the shell, whose statements the shell's own tests type.
    assert [code for kind, code in BLOCKS if kind == "text" and "headrace> " not in code] == []


@pytest.mark.parametrize("code", blocks("sh"))
def test_every_command_line_runs(code: str, place: Path) -> None:
    run(place, "bash", "-euo", "pipefail", "-c", code)


@pytest.mark.parametrize("code", blocks("sql"))
def test_every_sql_runs_in_duckdb_alone_after_what_attach_prints(code: str, place: Path) -> None:
    told = json.loads(run(place, SCRIPT, "attach", "--json"))
    run(place, sys.executable, "-I", "-c", PLAIN, given=json.dumps([told["statements"], code]))


@pytest.mark.parametrize("code", blocks("python"))
def test_every_python_runs(code: str, place: Path) -> None:
    assert run(place, sys.executable, "-c", code, given="").strip()


def test_the_page_says_of_each_command_of_the_shell_what_it_does() -> None:
    from headrace.pipelines.cli.shell import _HELP

    for call in _HELP:
        assert f"| `{call.replace('|', chr(92) + '|')}` |" in page_text("querying"), call
