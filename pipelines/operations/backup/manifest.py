"""What a backup is: a folder, and `backup.json` in it, which names every file with its digest.

Guarantees: the manifest is written last, in one step. What it names is never changed, and goes only
when a newer manifest no longer names it. So a folder holds a finished backup, or none.
"""

from __future__ import annotations

import hashlib
import json
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

from headrace.pipelines.errors import DamageError, HomeError, StorageError, UsageError
from headrace.pipelines.lake import durable
from headrace.pipelines.lake.home import FORMAT as HOME_FORMAT

FORMAT: Final = 1
NAME: Final = "backup.json"
UNFINISHED: Final = "unfinished.json"
"""There while a backup is made; left behind by one that was interrupted."""
LOCK: Final = "lock"
DATA: Final = "lake"
"""The folder of the data files, laid out as in a home."""
STATE: Final = "state-"
"""Begins the name of the folder with everything else, a new one each time."""
_CHUNK: Final = 1 << 20


@dataclass(frozen=True)
class Kept:
    """A file of a backup: where it lies below the folder, its size, its SHA-256."""

    at: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a finished backup holds.

    Attributes:
        log_id: the identity of the home's log.
        made_at: when, in UTC.
        made_by: the version of headrace.
        snapshot: of the catalog.
        end: of the log.
        position: of the live views.
        logic: that made them.
        generation: that is live.
        last_append: the log's newest append: number, when, its position. It tells a later state of
            the same home from one that went another way.
        state: the folder with the catalog, home.json, settings, views and expectations.
        data: of each data file, its path in the lake, and what is kept.
        rest: of each other file, its path in the home, and what is kept.
    """

    log_id: str
    made_at: str
    made_by: str
    home_format: int
    snapshot: int
    end: dict[str, int]
    position: dict[str, int]
    logic: str
    generation: int
    last_append: list[Any] | None
    state: str
    data: Mapping[str, Kept]
    rest: Mapping[str, Kept]
    format: int = FORMAT

    @property
    def places(self) -> set[str]:
        """Where all its files lie, below the folder."""
        return {kept.at for kept in (*self.data.values(), *self.rest.values())}


def read(folder: Path) -> Manifest | None:
    """The finished backup in a folder; None if there is none.

    Raises:
        DamageError: its manifest is not as it was written.
        HomeError: a newer headrace made it.
    """
    file = folder / NAME
    try:
        info = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as e:
        raise DamageError(
            f"{file} cannot be read ({e}); take another backup, or put this file back"
        ) from e
    number = info.get("format") if isinstance(info, dict) else None
    if isinstance(number, int) and number > FORMAT:
        raise HomeError(
            f"{file} has format {number}, this headrace knows up to {FORMAT}: install a newer one"
        )
    if not isinstance(info, dict) or info.get("sum") != durable.sum_of(info):
        raise DamageError(
            f"{file} has other content than was written; take another backup, or put this file back"
        )
    del info["sum"]
    for name in ("data", "rest"):
        info[name] = {path: Kept(**kept) for path, kept in info[name].items()}
    found = Manifest(**info)
    if found.home_format > HOME_FORMAT:
        raise HomeError(
            f"{file} is of a home of format {found.home_format}, made by headrace {found.made_by}; "
            f"this one knows up to {HOME_FORMAT}: install a newer headrace"
        )
    _check_paths(file, found)
    return found


def _check_paths(file: Path, found: Manifest) -> None:
    for path in (*found.data, *found.rest, *found.places):
        parts = PurePosixPath(path)
        if parts.is_absolute() or ".." in parts.parts:
            raise DamageError(f"{file} names {path!r}, outside of the backup; do not trust it")


def write(folder: Path, manifest: Manifest) -> Path:
    """Write a manifest beside its place, synced; gives where. To rename it is to finish."""
    info = asdict(manifest)
    fresh = folder / f"{NAME}.new"
    fresh.write_text(json.dumps({**info, "sum": durable.sum_of(info)}), encoding="utf-8")
    durable.sync_file(fresh)
    return fresh


def require(folder: Path) -> Manifest:
    """The finished backup in a folder.

    Raises:
        UsageError: there is no such folder, or it holds something else.
        HomeError: the only backup into it was interrupted.
        DamageError: its manifest is not as it was written.
    """
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}; name one that headrace backup made")
    found = read(folder)
    if found is None and (folder / UNFINISHED).is_file():
        raise HomeError(
            f"{folder} holds no finished backup: the only one was interrupted. Run headrace backup "
            "again, or name another folder"
        )
    if found is None:
        raise UsageError(f"{folder} is no backup (it has no {NAME}); name another folder")
    return found


def copied(source: Path, place: Path, size: int | None, sha256: str | None) -> Kept:
    """Copy a file, durably, if what is read is what was recorded. `at` of what is given is a name.

    It is written beside its place and renamed. No second name for the same bytes: one damage would
    be in both.

    Args:
        source: what is copied.
        place: where to; its folder is made.
        size: the bytes that were recorded; None: nothing was.
        sha256: the digest that was recorded.

    Raises:
        DamageError: it is missing, or has other content.
        StorageError: it cannot be written.
    """
    beside = place.with_name(f"{place.name}.part")
    hashed, read_bytes = hashlib.sha256(), 0
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with source.open("rb") as given, beside.open("wb") as taken:
            while chunk := given.read(_CHUNK):
                hashed.update(chunk)
                taken.write(chunk)
                read_bytes += len(chunk)
        found = Kept(place.name, read_bytes, hashed.hexdigest())
        if sha256 is not None and (found.bytes, found.sha256) != (size, sha256):
            beside.unlink()
            raise DamageError(f"{source} has other content than was recorded")
        beside.chmod(stat.S_IMODE(source.stat().st_mode) | stat.S_IWUSR)  # settings may be secret
        durable.sync_file(beside)
        beside.replace(place)
    except FileNotFoundError as e:
        raise DamageError(f"{source} is missing") from e
    except OSError as e:
        raise StorageError(
            f"{source} cannot be copied to {place}: {e.strerror}; free space or repair the disk, "
            "then try again"
        ) from e
    return found


def whole(file: Path, size: int, sha256: str) -> bool:
    """Whether a file is there with the content that was recorded."""
    try:
        return file.stat().st_size == size and durable.digest(file) == sha256
    except OSError:
        return False


def sync_tree(folder: Path, *, files: bool = False) -> None:
    """Make the names in a folder and below survive a power loss; if asked, the content too."""
    for path in folder.rglob("*"):
        if path.is_dir():
            durable.sync_directory(path)
        elif files:
            durable.sync_file(path)
    durable.sync_directory(folder)
