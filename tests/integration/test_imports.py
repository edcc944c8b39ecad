"""What a process of ours loads, and what it must not: libraries that others of ours need."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from headrace.flows.schedules import FLOWS
from tests.e2e.command import REPOSITORY
from tests.e2e.orders import events, write


def test_the_command_runs_without_pandas_and_whoever_imports_our_code_keeps_it(
    tmp_path: Path,
) -> None:
    lines = write(tmp_path / "lines.ndjson", events(40, seed=21))
    program = """
import sys
from headrace.pipelines.cli import app as cli
from headrace.pipelines.serving import query
sys.argv[1:] = ["--home", *sys.argv[1:]]
try:
    cli.main()
except SystemExit as e:
    print(e.code, [name for name in ("duckdb", "pyarrow", "pandas") if name in sys.modules])
"""
    for call in (["append", lines], ["speed", "--once"]):
        done = python(program, tmp_path / "home", *call)
        assert done.splitlines()[-1] == "0 ['duckdb', 'pyarrow']", call
    program = (
        "import headrace.pipelines.cli.app, headrace.pipelines.speed.worker, pandas; "
        "print(pandas.__name__)"
    )
    assert python(program) == "pandas\n"


def test_the_commands_do_not_import_great_expectations(tmp_path: Path) -> None:
    code = (
        "import sys; from headrace.pipelines.cli import app as cli; "
        f"cli.run(['--home', {str(tmp_path / 'home')!r}, 'status']); "
        "import headrace.pipelines.quality.check, headrace.pipelines.batch.run; "
        "print([m for m in ('great_expectations', 'pandas', 'prefect') if m in sys.modules])"
    )
    assert python(code).splitlines()[-1] == "[]"


def test_importing_the_flows_starts_nothing_and_turns_usage_data_off() -> None:
    listed = ", ".join(f"headrace.flows.{name}" for name in FLOWS)
    code = (
        f"import json, os, threading, {listed}; "
        "print(json.dumps([os.environ['DO_NOT_TRACK'], "
        "os.environ['PREFECT_SERVER_ANALYTICS_ENABLED'], threading.active_count()]))"
    )
    clean = {k: v for k, v in os.environ.items() if k not in {"DO_NOT_TRACK"}}
    found = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env=clean,
    )
    assert json.loads(found.stdout) == ["1", "false", 1]


def test_the_command_imports_nothing_of_prefect() -> None:
    code = (
        "import os, sys; from headrace.pipelines.cli import app as cli; "
        "ours = lambda: [m for m in sys.modules if m.startswith(('prefect', 'headrace.flows'))]; "
        "os.execve = lambda program, *_: sys.exit(f'goes on as another process, {ours()}'); "
        "cli.run(['flows', 'ls'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.stderr == "goes on as another process, []\n"


def python(program: str, *arguments: object) -> str:
    """Run a program in a process of its own; gives what it printed."""
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        cwd=REPOSITORY, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
