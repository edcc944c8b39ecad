"""Processes of ours: how they are started, and what is kept out of them.

Guarantees: a child finds the package that its parent runs, from whatever folder it is started in,
and nothing of that folder.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, Final, NoReturn

ROOT: Final = Path(__file__).absolute().parents[1]
"""The folder of the package: pipelines, jobs, flows and schemas are in it."""
_NONE: Final[Mapping[str, str]] = {}


def start_python(
    module: str, *arguments: str, env: Mapping[str, str] = _NONE, **popen: Any
) -> subprocess.Popen[Any]:
    """Start a module of ours as a process of its own.

    Args:
        module: run as `python -m` does.
        arguments: of its command line.
        env: variables beside those of this process.
        popen: for `subprocess.Popen`.
    """
    return subprocess.Popen(_command(module, arguments), env=_environment(env), **popen)  # noqa: S603


def become_python(module: str, *arguments: str, env: Mapping[str, str] = _NONE) -> NoReturn:
    """Go on as a module of ours: same process, same terminal, so a kill or ctrl-C hits it."""
    sys.stdout.flush()
    os.execve(sys.executable, _command(module, arguments), _environment(env))  # noqa: S606


def _command(module: str, arguments: Sequence[str]) -> list[str]:
    """With -P, the working folder is not searched: it may have a `headrace` of its own."""
    return [sys.executable, "-P", "-m", module, *arguments]


def _environment(more: Mapping[str, str]) -> dict[str, str]:
    known = os.environ.get("PYTHONPATH")
    path = str(ROOT.parent) if not known else f"{ROOT.parent}{os.pathsep}{known}"
    return {**os.environ, **more, "PYTHONPATH": path}


class _Absent(MetaPathFinder):
    """Says of pandas that it is not there."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        del path, target
        if fullname == "pandas":
            raise ModuleNotFoundError("headrace runs without pandas", name=fullname)
        return None


def run_without_pandas() -> None:
    """Let pyarrow and DuckDB find no pandas: for processes that run our code and no other.

    It comes with Great Expectations, which has a process of its own. pyarrow would import it at the
    first array, only to see whether it was given one of its objects. DuckDB does the same at the
    first bound parameter.
    """
    sys.meta_path.insert(0, _Absent())
