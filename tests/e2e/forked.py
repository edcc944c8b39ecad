"""The command as a fork of a process that has loaded everything: real, without Python's start.

Each call is a process of its own, with its own files, environment and exit code; it can be killed
like any other. `python -m tests.e2e.forked` is the process that they are forked from.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
import importlib
import json
import os
import resource
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.e2e.command import REPOSITORY, Headrace, Outcome

_LONGEST = 120
"""Seconds of a command: a hang is a bug as well."""
_OURS = (
    "log.segments", "log.binding", "batch.run", "cli.query", "cli.generations", "cli.ingest",
    "cli.speed", "cli.batch", "cli.status", "cli.verify", "cli.operations", "cli.backup",
    "operations.backup.save", "operations.backup.restore",
    "operations.maintenance", "operations.erasure", "replay.build",
    "replay.promote", "speed.layer", "quality.verify",
    "views.load",
)  # fmt: skip
_NEEDED = ("duckdb", "numpy", "pyarrow", *(f"headrace.pipelines.{name}" for name in _OURS))
"""What a command imports: once, before it is forked."""


class Forks:
    """A process from which commands are forked, one after the other."""

    def __init__(self, **environment: str) -> None:
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.e2e.forked"], env={**os.environ, **environment},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY,
        )  # fmt: skip
        self._scratch = tempfile.TemporaryDirectory(prefix="headrace-commands-")

    def run(
        self,
        arguments: list[str],
        environment: Mapping[str, str],
        limits: Mapping[str, int] | None = None,
    ) -> Outcome:
        """Run a command to its end.

        Args:
            arguments: its command line, without `headrace`.
            environment: all of it.
            limits: of the process, such as `{"NOFILE": 40}`.
        """
        out, err = (Path(self._scratch.name) / name for name in ("out", "err"))
        request = {
            "arguments": arguments,
            "environment": dict(environment),
            "limits": dict(limits or {}),
            "out": str(out),
            "err": str(err),
        }
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        ready, _, _ = select.select([self._server.stdout], [], [], _LONGEST + 30)
        assert ready, f"{arguments} did not end"
        code = int(self._server.stdout.readline())
        return Outcome(code, *(p.read_text(errors="surrogateescape") for p in (out, err)))

    def close(self) -> None:
        """End the process."""
        self._server.kill()
        self._server.communicate()
        self._scratch.cleanup()


@functools.cache
def _forks() -> Forks:
    """Of this process, for all its tests."""
    made = Forks()
    atexit.register(made.close)
    return made


def run(headrace: Headrace, *arguments: object, **settings: object) -> Outcome:
    """Run the command on a home to its end, as `Headrace.process` does, but in a fork."""
    if sys.platform != "linux":  # elsewhere a fork of a process with threads may not live
        return headrace.process(*arguments, **settings)
    return _forks().run(headrace.arguments(arguments), headrace.environment(settings))


def _serve() -> None:
    """Fork a command for each request on standard input; answer with its exit code."""
    from headrace.pipelines.processes import run_without_pandas

    run_without_pandas()  # as the command does
    for module in _NEEDED:
        importlib.import_module(module)
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            _command(request)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _command(request: Mapping[str, object]) -> None:
    """Become one command; does not return."""
    from headrace.pipelines.cli import app as cli

    code = 70  # nothing of ours: this function failed
    try:
        signal.alarm(_LONGEST)
        given = request["arguments"], request["environment"], request["limits"]
        arguments, told, limits = given
        os.environ.clear()
        os.environ.update(told)
        for number, path in ((0, os.devnull), (1, request["out"]), (2, request["err"])):
            fd = os.open(path, os.O_RDWR | (os.O_CREAT | os.O_TRUNC if number else 0), 0o666)
            os.dup2(fd, number)
            os.close(fd)
        with contextlib.suppress(AttributeError):  # a disk that fails is not under every command
            ctypes.CDLL(None).disk_begin()
        for name, limit in limits.items():
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (limit, limit))
        code = cli.run(arguments)
        sys.stdout.flush()
    finally:
        os._exit(code)


if __name__ == "__main__":
    _serve()
