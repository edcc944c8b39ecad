"""The command `headrace` as tests use it: in this process where that is enough, or as a real one.

Both give the same thing: exit code, standard output, standard error.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, cast
from unittest import mock

from headrace.pipelines.cli import app as cli

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPT = Path(sys.executable).with_name("headrace")
"""The installed command, beside the interpreter that runs the tests."""

_LONGEST = 300
"""Seconds that a process may take before the test fails: a hang is a bug as well."""


@dataclass(frozen=True)
class Outcome:
    """What a call of the command did."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """Standard output as the one JSON document that it must be."""
        assert self.code == 0, self.err
        return json.loads(self.out)

    def refused(self, code: int, *words: str) -> None:
        """Check for one clear line on stderr that holds these words, and nothing on stdout."""
        lines = self.err.splitlines()
        assert self.code == code, self
        assert self.out == "", self
        assert len(lines) == 1, self.err
        assert lines[0].startswith("headrace: "), self.err
        assert "Traceback" not in self.err
        assert "HEADRACE_DEBUG" not in self.err, f"nobody foresaw this error: {self.err}"
        for word in words:
            assert word in self.err, f"{word!r} is not in {self.err!r}"


class Headrace:
    """The command on one home."""

    def __init__(self, home: Path, **chosen: object) -> None:
        self.home = home
        self.chosen = chosen
        """Settings that go with every call, unless it names others."""

    def run(self, *arguments: object, **settings: object) -> Outcome:
        """Call the command in this process; `settings` become `HEADRACE_…`."""
        return self.fed(b"", *arguments, **settings)

    def fed(self, stdin: bytes, *arguments: object, **settings: object) -> Outcome:
        """Call it in this process with something on standard input."""
        out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in "ab")
        given = io.TextIOWrapper(io.BytesIO(stdin), "utf-8")
        with (
            mock.patch.dict(os.environ, self.environment(settings), clear=True),
            mock.patch.object(sys, "stdin", given),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            code = cli.run(self.arguments(arguments))
        return Outcome(code, _text(out), _text(err))

    def json(self, *arguments: object, **settings: object) -> Any:
        """Call it in this process with `--json`; it must go well. Gives what it printed."""
        return self.run(*arguments, "--json", **settings).json()

    def rows(self, sql: str) -> list[list[Any]]:
        """The rows of a query; decimals are strings."""
        found: list[list[Any]] = self.json("query", sql)["rows"]
        return found

    def start(self, *arguments: object, **settings: object) -> subprocess.Popen[str]:
        """Start it as a process of its own."""
        return subprocess.Popen(
            [SCRIPT, *self.arguments(arguments)],
            env=self.environment(settings),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def process(self, *arguments: object, **settings: object) -> Outcome:
        """Run it as a process of its own to its end."""
        with self.start(*arguments, **settings) as running:
            try:
                out, err = running.communicate(timeout=_LONGEST)
            except BaseException:
                running.kill()
                raise
        return Outcome(running.returncode, out, err)

    def arguments(self, arguments: Sequence[object]) -> list[str]:
        """A command line, without `headrace`."""
        return ["--home", str(self.home), *map(str, arguments)]

    def environment(self, settings: Mapping[str, object]) -> dict[str, str]:
        """The environment of a call."""
        return environment({**self.chosen, **settings})


def environment(settings: Mapping[str, object]) -> dict[str, str]:
    """This process's environment with other settings than its own.

    One thread is the default: on data as small as a test's, more of them cost half as much again.
    So is the short audit: to load Great Expectations takes seconds. Its own tests ask for it.
    """
    kept = {k: v for k, v in os.environ.items() if not k.startswith("HEADRACE_")}
    chosen = {"threads": 1, "audit": "core", **settings}
    return {**kept, **{f"HEADRACE_{k.upper()}": str(v) for k, v in chosen.items()}}


def _text(stream: io.TextIOWrapper) -> str:
    written = cast("io.BytesIO", stream.buffer).getvalue()
    return written.decode(errors="surrogateescape")  # poison holds bytes that are no text


def money(rows: Sequence[Sequence[Any]]) -> dict[tuple[Any, ...], Decimal]:
    """Rows whose last column is an amount, by the columns before it."""
    return {tuple(row[:-1]): Decimal(row[-1]) for row in rows}


@contextlib.contextmanager
def stopped_at_end(running: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """A process that is dead when the block ends, whatever happens in it."""
    try:
        with running:
            try:
                yield running
            finally:
                running.kill()
    finally:
        running.wait()


@contextlib.contextmanager
def lock_holder(home: Path, name: str) -> Iterator[int]:
    """Another real process that holds a lock of a home; gives its process id."""
    program = (
        "import pathlib, sys\n"
        "from headrace.pipelines.lake import home\n"
        "with home.open_home(pathlib.Path(sys.argv[1])).lock(sys.argv[2], wait=0):\n"
        "    print('held', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", program, home, name],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY,
    )  # fmt: skip
    with stopped_at_end(holder):
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        yield holder.pid
