"""A real PostgreSQL for tests: a cluster of its own in a folder, from Debian's package."""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import psutil
import pytest

from tests.kafka.broker import free_port

_PATIENCE = 60.0
USER = "headrace"


def binaries() -> Path | None:
    """Where the newest installed PostgreSQL has its programs."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if found:
        return found[-1].parent
    initdb = shutil.which("initdb")
    return None if initdb is None else Path(initdb).parent


def need_postgres() -> None:
    """Skip the test, and say why, where there is none."""
    if binaries() is None:
        pytest.skip("no PostgreSQL here; install Debian's package postgresql")


@contextlib.contextmanager
def server() -> Iterator[Server]:
    """A running server in a folder of its own, which its own user can reach; gone at the end."""
    need_postgres()
    with tempfile.TemporaryDirectory(prefix="postgres-") as folder:
        Path(folder).chmod(0o755)
        with Server(Path(folder)) as made:
            yield made


class Server:
    """A PostgreSQL server that asks for a password; made, started, killed and started again."""

    def __init__(self, folder: Path) -> None:
        found = binaries()
        assert found is not None
        self._bin = found
        self._folder = folder
        self._data = folder / "data"
        self.port = free_port()
        self.password = secrets.token_hex(12)
        self._as = [] if os.geteuid() else ["setpriv", "--reuid=postgres", "--regid=postgres"]
        self._as += ["--clear-groups"] if self._as else []
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        if self._as:  # PostgreSQL does not run as root
            os.chown(self._folder, *pwd.getpwnam("postgres")[2:4])
        word = self._folder / "word"
        word.write_text(self.password)
        word.chmod(0o644)
        self._run(
            "initdb", "-D", self._data, "-U", USER, "--auth=scram-sha-256", f"--pwfile={word}",
            "--no-sync",
        )  # fmt: skip
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)  # its fast shutdown
            self._process.wait(_PATIENCE)

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._process = subprocess.Popen(
            [
                *self._as, self._bin / "postgres", "-D", self._data, "-p", str(self.port),
                "-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={self._data}",
            ],
            stdout=subprocess.DEVNULL,
            stderr=(self._folder / "log").open("ab"),
        )  # fmt: skip
        deadline = time.monotonic() + _PATIENCE
        while self._ask("pg_isready", "-q").returncode:
            assert time.monotonic() < deadline, (self._folder / "log").read_text()
            time.sleep(0.05)

    def kill(self) -> None:
        """As a power cut would: the server and all its children gone at once."""
        assert self._process is not None
        server = psutil.Process(self._process.pid)
        gone = [server, *server.children(recursive=True)]
        for process in gone:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait()
        _, alive = psutil.wait_procs(gone, _PATIENCE)
        assert not alive
        (self._data / "postmaster.pid").unlink(missing_ok=True)

    def database(self, name: str) -> str:
        """Make a database; gives its address, without the password."""
        self._ask("createdb", name).check_returncode()
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{name}"

    def _ask(self, program: str, *arguments: object) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [
                self._bin / program, "-h", "127.0.0.1", "-p", str(self.port), "-U", USER,
                *map(str, arguments),
            ],
            env={**os.environ, "PGPASSWORD": self.password},
            capture_output=True,
            check=False,
        )  # fmt: skip

    def _run(self, program: str, *arguments: object) -> None:
        done = subprocess.run(
            [*self._as, self._bin / program, *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
            cwd=self._folder,
        )
        assert done.returncode == 0, done.stderr
