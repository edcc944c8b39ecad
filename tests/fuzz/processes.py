"""The fuzzer's processes: two that do steps, and a spare that is ready when one of them dies."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Any, Self

_HANGS = 120.0
"""Seconds without an answer after which a process counts as hung. A step takes well under one."""
_MEANWHILE = {"appended", "inner"}
"""Messages that do not end a command."""
_TAIL = 2_000
"""Characters of what a process said last."""


class Process:
    """One worker process."""

    def __init__(self, said: Path) -> None:
        self._said = said
        with said.open("ab") as stderr:
            self._popen = subprocess.Popen(
                [sys.executable, "-m", "tests.fuzz.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                cwd=Path(__file__).resolve().parents[2],
            )
        self._rest = b""
        self.home: Path | None = None
        self.busy = False

    def send(self, command: dict[str, Any]) -> None:
        """Give it a command. A process that is dead shows when it is asked for the answer."""
        self.busy = True
        with contextlib.suppress(BrokenPipeError):
            pipe = _pipe(self._popen.stdin)
            pipe.write(json.dumps(command).encode() + b"\n")
            pipe.flush()

    def receive(self, until: float | None = None) -> dict[str, Any] | None:
        """The next message; None if the time `until` came first.

        Raises:
            DiedError: there is no process any more.
        """
        limit = time.monotonic() + _HANGS if until is None else until
        out = _pipe(self._popen.stdout).fileno()
        while b"\n" not in self._rest:
            ready, _, _ = select.select([out], [], [], max(0.0, limit - time.monotonic()))
            if not ready:
                if until is None:
                    self.kill()
                    raise DiedError(f"no answer within {_HANGS:.0f} s")
                return None
            chunk = os.read(out, 1 << 16)
            if not chunk:
                self._popen.wait()
                raise DiedError(self._last_words())
            self._rest += chunk
        line, self._rest = self._rest.split(b"\n", 1)
        message: dict[str, Any] = json.loads(line)
        self.busy = bool(_MEANWHILE & set(message))
        return message

    def ask(self, command: dict[str, Any]) -> dict[str, Any]:
        """Give it a command and wait for the answer that ends it."""
        self.send(command)
        while True:
            message = self.receive()
            if message is not None and not self.busy:
                return message

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self._popen.kill()
        self._popen.wait()

    @property
    def killed(self) -> bool:
        """Whether it ended by SIGKILL."""
        return self._popen.poll() == -signal.SIGKILL

    def close(self) -> None:
        """End it."""
        self.kill()
        for pipe in (self._popen.stdin, self._popen.stdout):
            with contextlib.suppress(BrokenPipeError):
                _pipe(pipe).close()

    def _last_words(self) -> str:
        words = self._said.read_text(encoding="utf-8", errors="replace")[-_TAIL:].strip()
        return f"exit code {self._popen.returncode}; it said last: {words or 'nothing'}"


class DiedError(Exception):
    """A worker process is gone, or does not answer."""


class Crew:
    """Two workers on one home, each replaced by a fresh process once it is dead."""

    def __init__(self, folder: Path) -> None:
        self._said = folder / "workers.log"
        self._opening: dict[str, Any] = {}
        self._workers: list[Process | None] = [None, None]
        self._spare = Process(self._said)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in (*self._workers, self._spare):
            if process is not None:
                process.close()

    def turn_to(self, home: Path, settings: dict[str, Any], *, pilot: bool) -> None:
        """From now on, steps happen in this home."""
        self._opening = {"do": "open", "home": str(home), "settings": settings, "pilot": pilot}

    def worker(self, number: int = 0) -> Process:
        """A living worker that has opened the home."""
        process, home = self._workers[number], Path(self._opening["home"])
        if process is None:
            process, self._spare = self._spare, Process(self._said)
            self._workers[number] = process
        if process.home != home:
            answer = process.ask(self._opening)
            if "done" not in answer:
                raise DiedError(f"the home could not be opened: {answer}")
            process.home = home
        return process

    def bury(self, process: Process) -> None:
        """A worker died: the next to be asked for is another."""
        process.close()
        self._workers = [None if w is process else w for w in self._workers]

    def dismiss(self) -> None:
        """Let go of the home in the middle of a script: who is still at work is killed."""
        for process in self._workers:
            if process is not None and process.busy:
                self.bury(process)
        try:
            self.leave()
        except DiedError:
            for process in self._workers:
                if process is not None:
                    self.bury(process)

    def leave(self) -> None:
        """Let go of the home."""
        for process in self._workers:
            if process is not None:
                process.ask({"do": "close"})
                process.home = None


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise DiedError("it has no pipes")
    return pipe
