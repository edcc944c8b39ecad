"""A disk that can lose power or fail: the commands run on it as real processes, under `disk.c`.

What a power loss leaves is rebuilt from what was synced, and from nothing else; or, since a kernel
may write back early, from a seeded mix of synced and unsynced names and pages. `python -m
tests.faults.disk` is the process from which the commands are forked, so that each costs a fork
and not a start of Python.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import random
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.command import REPOSITORY, Outcome, environment

SOURCE = Path(__file__).with_name("disk.c")
_PAGE = 4096
_LONGEST = 120
"""Seconds of a command: a hang is a bug as well."""


class NoCompilerError(Exception):
    """The shim cannot be built here."""


def compiled(folder: Path) -> Path:
    """Build the shim; needs Linux and a C compiler."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None or sys.platform != "linux":
        raise NoCompilerError("the disk of these tests needs Linux and a C compiler (cc)")
    made = folder / "disk.so"
    flags = ["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-fvisibility=hidden"]
    subprocess.run([compiler, *flags, "-o", made, SOURCE], check=True)
    return made


@dataclass(frozen=True)
class Site:
    """One call that writes: its number within the command, what it does, and where."""

    number: int
    call: str
    path: str


@dataclass(frozen=True)
class Ran:
    """What a command did, and which writes it passed on its way."""

    outcome: Outcome
    sites: list[Site]
    fired: bool

    @property
    def killed(self) -> bool:
        """Whether it died at the site where it was to die."""
        return self.fired and self.outcome.code == -signal.SIGKILL

    def syncs(self, home: Path) -> Counter[str]:
        """How often it synced a data file, a folder, and the catalog."""
        kinds: Counter[str] = Counter()
        for site in self.sites:
            if site.call == "fsync" and Path(site.path).is_relative_to(home):
                name = Path(site.path).name
                data = name.endswith(".parquet")
                catalog = name.startswith("catalog.sqlite")
                kinds["file" if data else "catalog" if catalog else "folder"] += 1
        return kinds


@dataclass(frozen=True)
class Lost:
    """What a power loss took back: names in folders, and pages of files."""

    names: int
    pages: int


class Disk:
    """A folder whose content is only as durable as it was synced."""

    def __init__(self, folder: Path, shim: Path) -> None:
        self.root = folder / "disk"
        self.root.mkdir(parents=True)
        self.shadow = folder / "shadow"
        self.log = folder / "sites.log"
        self._shim = ctypes.CDLL(str(shim))
        self.settle()

    def settle(self) -> None:
        """Take all that is there now as durable."""
        shutil.rmtree(self.shadow, ignore_errors=True)
        self.shadow.mkdir()
        for path in (self.root, *self.root.rglob("*")):
            if self._shim.disk_record(os.fsencode(path), os.fsencode(self.shadow)) != 0:
                raise OSError(f"{path} could not be recorded")

    def lose_power(self, chance: random.Random | None = None) -> Lost:
        """Leave of the disk what was synced; with `chance`, some of the rest as well."""
        fresh = self.root.with_name("rebuilt")
        fresh.mkdir()
        places = {self._id(path): path for path in (self.root, *self.root.rglob("*"))}
        names = pages = 0
        pending = [(self._id(self.root), fresh)]
        while pending:
            folder, place = pending.pop()
            now = self._names(places.get(folder))
            synced = self._synced_names(folder)
            kept = synced if chance is None else _chosen(synced, now, chance)
            names += sum(now.get(name) != kept.get(name) for name in now.keys() | kept.keys())
            for name, (kind, identity) in kept.items():
                if kind == "d":
                    (place / name).mkdir()
                    pending.append((identity, place / name))
                    continue
                before = self._synced_content(identity)
                after = places[identity].read_bytes() if identity in places else before
                content = before if chance is None else _mixed(before, after, chance)
                (place / name).write_bytes(content)
                pages += sum(a != b for a, b in _pages(content, after))
        shutil.rmtree(self.root)
        fresh.rename(self.root)
        self.settle()
        return Lost(names, pages)

    def environment(self, fault: str | None = None, *, durable: bool = True) -> dict[str, str]:
        """What the shim is told. Without `durable` it notes no syncs, which is faster."""
        self.log.unlink(missing_ok=True)
        told = {"DISK_ROOT": self.root, "DISK_LOG": self.log, "DISK_FAULT": fault or ""}
        told |= {"DISK_SHADOW": self.shadow} if durable else {}
        return {name: str(value) for name, value in told.items()}

    def passed(self) -> tuple[list[Site], bool]:
        """The sites of the last command, and whether its fault fired."""
        found = [line.split(" ", 2) for line in self.log.read_text().splitlines()]
        sites = [Site(int(n), call, path) for n, call, path in (f for f in found if len(f) == 3)]
        return sites, ["fired"] in found

    def _id(self, path: Path) -> str:
        given = ctypes.create_string_buffer(128)
        if self._shim.disk_id(os.fsencode(path), given, ctypes.c_size_t(128)) != 0:
            raise OSError(f"{path} cannot be told from others")
        return given.value.decode()

    def _names(self, folder: Path | None) -> _Names:
        found = sorted(folder.iterdir()) if folder is not None else []
        return {path.name: ("d" if path.is_dir() else "f", self._id(path)) for path in found}

    def _synced_names(self, folder: str) -> _Names:
        file = self.shadow / f"d-{folder}"
        lines = file.read_text().splitlines() if file.exists() else []
        return {name: (kind, of) for kind, of, name in (n.split(" ", 2) for n in sorted(lines))}

    def _synced_content(self, identity: str) -> bytes:
        file = self.shadow / f"f-{identity}"
        return file.read_bytes() if file.exists() else b""


_Names = dict[str, tuple[str, str]]
"""A folder's names: of what kind each is (`d` or `f`), and which."""


def _chosen(synced: _Names, now: _Names, chance: random.Random) -> _Names:
    """For each name, what was synced of it or what is there now."""
    picked = {
        name: chance.choice((synced.get(name), now.get(name)))
        for name in sorted(synced.keys() | now.keys())
    }
    return {name: found for name, found in picked.items() if found is not None}


def _mixed(synced: bytes, now: bytes, chance: random.Random) -> bytes:
    """A file whose pages are some of them as they were synced, some as they are now."""
    size = len(chance.choice((synced, now)))
    picked = [
        chance.choice(pair).ljust(_PAGE, b"\0") if pair[0] != pair[1] else pair[0]
        for pair in _pages(synced, now)
    ]
    return b"".join(picked)[:size].ljust(size, b"\0")


def _pages(one: bytes, other: bytes) -> Iterator[tuple[bytes, bytes]]:
    for at in range(0, max(len(one), len(other)), _PAGE):
        yield one[at : at + _PAGE], other[at : at + _PAGE]


class Commands:
    """A process under the shim that runs commands, each in a fork of its own."""

    def __init__(self, shim: Path) -> None:
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.disk"],
            env={**os.environ, "LD_PRELOAD": str(shim)},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY,
        )  # fmt: skip
        self._scratch = Path(tempfile.mkdtemp(prefix="headrace-commands-"))

    def run(
        self,
        disk: Disk,
        home: Path,
        *arguments: object,
        fault: str | None = None,
        durable: bool = True,
        limits: Mapping[str, int] | None = None,
        **settings: object,
    ) -> Ran:
        """Run `headrace --home HOME ARGUMENTS…` to its end.

        Args:
            disk: where the home is.
            home: the home.
            arguments: of the command.
            fault: what the shim is to do, as in `disk.c`.
            durable: whether the disk has to know later what was synced.
            limits: of the process, such as `{"NOFILE": 40}`.
            settings: become `HEADRACE_…`.
        """
        out, err = self._scratch / "out", self._scratch / "err"
        request = {
            "arguments": ["--home", str(home), *map(str, arguments)],
            "environment": environment(settings) | disk.environment(fault, durable=durable),
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
        sites, fired = disk.passed()
        texts = (path.read_text(errors="surrogateescape") for path in (out, err))
        return Ran(Outcome(code, *texts), sites, fired)

    def close(self) -> None:
        """End the process."""
        self._server.kill()
        self._server.communicate()
        shutil.rmtree(self._scratch)


@contextlib.contextmanager
def commands() -> Iterator[tuple[Path, Commands]]:
    """The shim, built, and a process that runs commands under it."""
    with tempfile.TemporaryDirectory(prefix="headrace-shim-") as folder:
        shim = compiled(Path(folder))
        running = Commands(shim)
        try:
            yield shim, running
        finally:
            running.close()


_OURS = (
    "log.segments", "batch.run", "cli.query", "cli.generations", "cli.ingest", "cli.speed",
    "cli.batch", "cli.status", "cli.verify", "cli.operations",
    "operations.maintenance", "replay.replay", "quality.verify", "views.load",
)  # fmt: skip
_NEEDED = ("duckdb", "numpy", "pyarrow", *(f"headrace.pipelines.{name}" for name in _OURS))
"""What a command imports: once, before it is forked."""


def _serve() -> None:
    """Fork a command for each request on standard input; answer with its exit code."""
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
        ctypes.CDLL(None).disk_begin()
        for name, limit in limits.items():
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (limit, limit))
        code = cli.run(arguments)
        sys.stdout.flush()
    finally:
        os._exit(code)


if __name__ == "__main__":
    _serve()
