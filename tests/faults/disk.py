"""A disk that can lose power or fail: the commands run on it as real processes, under `disk.c`.

What a power loss leaves is rebuilt from what was synced, and from nothing else; or, since a kernel
may write back early, from a seeded mix of synced and unsynced names and pages. The commands are
forks of one process under the shim, so that each costs a fork and not a start of Python.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.command import Outcome, environment
from tests.e2e.forked import Forks

SOURCE = Path(__file__).with_name("disk.c")
_PAGE = 4096


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
        self._forks = Forks(LD_PRELOAD=str(shim))

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
        outcome = self._forks.run(
            ["--home", str(home), *map(str, arguments)],
            environment(settings) | disk.environment(fault, durable=durable),
            limits,
        )
        return Ran(outcome, *disk.passed())

    def close(self) -> None:
        """End the process."""
        self._forks.close()


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
