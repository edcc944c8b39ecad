"""The home: the directory that holds a lake, its locks, the user's views and scratch space.

Guarantees: nothing is made where something else lies, and a home that a newer program made, or that
is damaged, is refused. `PLACES` lists all that is in one.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from headrace.pipelines.errors import HomeError, LockError
from headrace.pipelines.lake.durable import sum_of, sync_directory

FORMAT = 2
"""Of the directory and the lake's own tables. Raised when an older program could not read them."""


PLACES = {
    "home.json": "format of this directory, identity of the log",
    "headrace.toml": "the settings of this home",
    "catalog.sqlite": "the lake's catalog, if it is not in a database",
    "lake": "the lake's Parquet files",
    "views": "the user's own views",
    "lookups": "tables of the user's own that views may join",
    "expectations": "the user's own expectations",
    "index": "events by order; a cache, made again when it is missing",
    "backups": "copies of the catalog",
    "mark.json": "the newest snapshot that was committed",
    "merged.json": "digests of merged files, for the moment until the lake has them",
    "erasing.json": "data files that an erasure has replaced, until they are deleted",
    "held": "second names of the data files of a commit that is under way",
    "staging": "bases on their way to be published",
    "refused": "the base that an audit refused last",
    "docs": "Data Docs: what the last checks found",
    "locks": "one file a lock, and who holds it",
    "tmp": "what does not fit into memory, and logs of jobs",
}
"""What is in a home, and what for."""

_BESIDE = (
    "catalog.sqlite-wal", "catalog.sqlite-shm", "home.json.new", "headrace.toml.new", "merged.new",
    "refused.new", "erasing.new",
)  # fmt: skip
"""What is there for a moment, beside the place that it belongs to."""

LOCKS = ("commit", "speed", "batch", "index", "ingest", "flow", "serve", "backup")
"""The locks of a home. `commit` is held for one transaction, or a few; the others while
the work runs."""


@dataclass(frozen=True)
class Home:
    """A home that exists and has a format that this program knows."""

    path: Path
    log_id: str
    partitions: int
    catalog_url: str | None = None
    """The PostgreSQL database with the catalog; None: it is a file of the home."""

    @property
    def catalog(self) -> Path:
        """The SQLite file with the lake's catalog."""
        return self.path / "catalog.sqlite"

    @property
    def journal(self) -> Path:
        """SQLite's write-ahead log of the catalog."""
        return self.path / "catalog.sqlite-wal"

    @property
    def catalog_place(self) -> str:
        """Where the catalog is, to be told."""
        return self.catalog_url or str(self.catalog)

    @property
    def data(self) -> Path:
        """The folder with the lake's Parquet files."""
        return self.path / "lake"

    @property
    def backups(self) -> Path:
        """The folder with copies of the catalog."""
        return self.path / "backups"

    @property
    def mark(self) -> Path:
        """The file that says which snapshot was committed last."""
        return self.path / "mark.json"

    @property
    def merged(self) -> Path:
        """The file with digests of merged files, until the lake has them."""
        return self.path / "merged.json"

    @property
    def erasing(self) -> Path:
        """The file that says which data files an erasure replaces, while one is under way."""
        return self.path / "erasing.json"

    @property
    def views(self) -> Path:
        """The folder with the user's own views."""
        return self.path / "views"

    @property
    def lookups(self) -> Path:
        """The folder with the user's own lookups."""
        return self.path / "lookups"

    @property
    def index(self) -> Path:
        """The folder of the order index."""
        return self.path / "index"

    @property
    def staging(self) -> Path:
        """The folder where batch jobs put bases before they are published."""
        return self.path / "staging"

    @property
    def refused(self) -> Path:
        """Where the base that was refused last lies; see `batch.rejected`."""
        fresh = self.refused_new
        return fresh if (fresh / "stage.json").is_file() else self.path / "refused"

    @property
    def refused_new(self) -> Path:
        """Where the next one gets ready to take its place."""
        return self.path / "refused.new"

    @property
    def held(self) -> Path:
        """The folder with second names of a commit's data files."""
        return self.path / "held"

    @property
    def scratch(self) -> Path:
        """Where DuckDB spills what does not fit into memory."""
        return self.path / "tmp"

    @contextlib.contextmanager
    def lock(self, name: str, wait: float) -> Iterator[None]:
        """Hold the named lock, across processes; it is free as soon as its holder is dead.

        A lock is a file `locks/NAME.lock` that the system locks; `NAME.holder` beside it says who
        holds it. Not across machines, unless the file system's locks are.

        Args:
            name: one of `LOCKS`.
            wait: seconds to wait for another holder.

        Raises:
            LockError: it is still held by another process, which is named.
            ValueError: there is no such lock.
        """
        if name not in LOCKS:
            raise ValueError(f"there is no lock {name!r}; take one of {', '.join(LOCKS)}")
        folder = self.path / "locks"
        folder.mkdir(exist_ok=True)
        lock = FileLock(folder / f"{name}.lock")
        holder = folder / f"{name}.holder"
        try:
            lock.acquire(timeout=wait)
        except Timeout as e:
            raise LockError(
                f"the {name} lock of {self.path} is held by {_describe(holder)}; "
                "wait for it or stop that process, then try again"
            ) from e
        try:
            since = datetime.now(UTC).isoformat(timespec="seconds")
            with contextlib.suppress(OSError):  # on a full disk the lock itself still works
                holder.write_text(json.dumps({"pid": os.getpid(), "since": since}))
            yield
        finally:
            lock.release()


def _describe(holder: Path) -> str:
    try:
        info = json.loads(holder.read_text())
        return f"process {info['pid']} since {info['since']}"
    except (OSError, ValueError, KeyError):
        return "another process"


def exists(path: Path) -> bool:
    """Whether there is a finished home at `path`."""
    return (path / "home.json").is_file()


def open_home(path: Path) -> Home:
    """Read and check an existing home.

    Raises:
        HomeError: it is no home, is damaged, or was made by a newer version.
    """
    path = path.absolute()
    marker = path / "home.json"
    info, said = read_marker(path)
    number = int(info["format"]) if info else 0
    if number > FORMAT:
        raise HomeError(
            f"{path} has format {number}, made by headrace {info.get('made_by', '?')}; this one "
            f"knows up to {FORMAT}: install a newer headrace"
        )
    if said:
        raise HomeError(
            f"{marker} {said}; name another home with --home, or let `headrace doctor --repair` "
            "restore it"
        )
    if number < FORMAT:
        raise HomeError(
            f"{path} has format {number}, of a headrace before the first release; this one reads "
            f"format {FORMAT}: import the events into a new home"
        )
    return Home(path, str(info["log_id"]), int(info["partitions"]), info.get("catalog"))


def read_marker(path: Path) -> tuple[dict[str, Any], str]:
    """The content of home.json, as far as it can be read, and what is wrong with it."""
    try:
        info = json.loads((path / "home.json").read_text(encoding="utf-8"))
        number = int(info["format"])
    except FileNotFoundError:
        return {}, "is missing"
    except (OSError, ValueError, KeyError, TypeError) as e:
        return {}, f"cannot be read ({type(e).__name__})"
    lacking = [name for name in ("log_id", "partitions") if name not in info]
    if lacking:
        return info, f"lacks {lacking[0]!r}"
    if number >= FORMAT and info.get("sum") != sum_of(info):
        return info, "has other content than was written"
    return info, ""


def check_new(path: Path) -> None:
    """Whether a home can be made at `path`.

    Raises:
        HomeError: it is a file, or a directory with something else in it.
    """
    if path.exists() and not path.is_dir():
        raise HomeError(f"{path} is not a directory; name another home with --home")
    ours = {*PLACES, *_BESIDE}
    strange = sorted(p.name for p in path.iterdir() if p.name not in ours) if path.exists() else []
    if strange:
        raise HomeError(
            f"{path} is not empty and no headrace home (it holds {strange[0]!r}); "
            "name an empty or new directory with --home"
        )


def check_unused(path: Path) -> None:
    """Refuse to begin a home anew where the data of one lies: only its `home.json` is missing.

    A creation that was interrupted leaves no data file behind.

    Raises:
        HomeError: there are data files, or copies of a catalog.
    """
    held = [*(path / "lake").rglob("*.parquet"), *(path / "backups").glob("catalog-*")]
    if held:
        raise HomeError(
            f"{path} has no home.json, but data ({held[0].relative_to(path)}); nothing was "
            "touched. `headrace doctor --repair` writes it again, or name another home with --home"
        )


def write_marker(home: Home, made_by: str) -> None:
    """Write `home.json` as the last step of making a home: with it, the home exists."""
    info: dict[str, Any] = {
        "format": FORMAT,
        "log_id": home.log_id,
        "partitions": home.partitions,
        "made_by": made_by,
    }
    if home.catalog_url is not None:
        info["catalog"] = home.catalog_url
    fresh = home.path / "home.json.new"
    with fresh.open("w", encoding="utf-8") as f:
        json.dump({**info, "sum": sum_of(info)}, f, indent=2)
        f.flush()
        os.fsync(f.fileno())
    fresh.replace(home.path / "home.json")
    sync_directory(home.path)
    for parent in home.path.parents:  # any of them may have been made for this home
        with contextlib.suppress(PermissionError):  # one that we may not read, we did not make
            sync_directory(parent)
