"""Restore: a home made from a backup, every digest compared, proven before it is in its place.

Guarantees: a home that exists is never touched. The new one is made beside its place, under another
name, and renamed once its numbers equal a recompute from its own log.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from filelock import FileLock, Timeout

from headrace.pipelines import settings
from headrace.pipelines.errors import (
    DamageError,
    HeadraceError,
    HomeError,
    LockError,
    StorageError,
    UsageError,
)
from headrace.pipelines.generations import registry
from headrace.pipelines.lake import backups, durable, failpoints
from headrace.pipelines.lake import home as homes
from headrace.pipelines.lake.lake import Lake
from headrace.pipelines.log.embedded import Log
from headrace.pipelines.operations.backup import manifest as manifests
from headrace.pipelines.operations.backup.manifest import Manifest
from headrace.pipelines.progress import Progress, Report, quiet, silent
from headrace.pipelines.quality import verify as proof
from headrace.pipelines.quality.verify import Certificate

_UNPROVEN: Final = ".unproven"
"""Ends the name of a home that was restored whole, and whose numbers are not proven."""


@dataclass(frozen=True)
class Restored:
    """A home that was made from a backup.

    Attributes:
        home: where it is: at the place that was asked for, if it is proven.
        manifest: of the backup.
        certificate: that its numbers equal a recompute; `equal` says whether they do.
        log_kind: `embedded` or `kafka`.
    """

    home: Path
    manifest: Manifest
    certificate: Certificate
    log_kind: str


def restore(
    folder: Path,
    home: Path,
    *,
    progress: Progress = silent,
    report: Report = quiet,
    **given: Any,
) -> Restored:
    """Make a home from a backup, and prove it.

    Args:
        folder: of the backup.
        home: where; nothing may be there.
        progress: told (files done, files to do).
        report: told about each step.
        given: settings for the proof, such as `threads`.

    Raises:
        UsageError: the folder is no backup.
        HomeError: there is something at the place, or the only backup was interrupted. Or what was
            restored cannot be read: it lies beside the place, at a name that ends in `.unproven`.
        DamageError: a file of the backup is not as it was written; nothing was restored.
        LockError: another restore makes this home.
        StorageError: the disk refused; nothing was restored.
    """
    folder, home = folder.absolute(), home.absolute()
    found = manifests.require(folder)
    _check_place(folder, home)
    if (folder / manifests.UNFINISHED).is_file():
        report(f"a later backup was interrupted, so this is the one of {found.made_at}")
    fresh = home.with_name(f".{home.name}.restoring")
    with _alone(home):
        try:
            home.parent.mkdir(parents=True, exist_ok=True)
            _begin(fresh)
            _copy(folder, found, fresh, progress)
            _get_ready(fresh, found)
        except OSError as e:
            raise StorageError(
                f"{e.filename or fresh} cannot be written: {e.strerror}; free space or repair the "
                f"disk, then try again. {home} is not there yet"
            ) from e
        report(f"{len(found.data):,} data files are whole; proving what they say")
        certificate, kind = _proven(fresh, home, found, given)
        if not certificate.equal:
            place = home.with_name(home.name + _UNPROVEN)
            _put(fresh, place)
            return Restored(place, found, certificate, kind)
        failpoints.here("restore.ready")
        _put(fresh, home)
        failpoints.here("restore.done")
    return Restored(home, found, certificate, kind)


def _check_place(folder: Path, home: Path) -> None:
    unproven = home.with_name(home.name + _UNPROVEN)
    for place in (home, unproven):
        if place.is_symlink() or (place.exists() and not place.is_dir()):
            raise HomeError(f"{place} is there and no folder; name another home with --home")
        if place.is_dir() and any(place.iterdir()):
            raise HomeError(
                f"there is something at {place} already, and a restore touches nothing that is "
                "there; move it away, or name another home with --home"
            )
    inner, outer = home.resolve(), folder.resolve()
    if inner.is_relative_to(outer):
        raise HomeError(f"{home} lies in the backup {folder}; name another home with --home")


@contextlib.contextmanager
def _alone(home: Path) -> Iterator[None]:
    home.parent.mkdir(parents=True, exist_ok=True)
    file = home.with_name(f".{home.name}.restoring.lock")
    try:
        with FileLock(file).acquire(timeout=0):
            try:
                yield
            finally:
                file.unlink(missing_ok=True)
    except Timeout as e:
        raise LockError(f"another restore makes {home}; wait for it, then look there") from e


def _begin(fresh: Path) -> None:
    """An empty folder; what an interrupted restore left in it is thrown away."""
    if fresh.exists():
        shutil.rmtree(fresh)
    for folder in (fresh, fresh / "lake", fresh / "views", fresh / "locks"):
        folder.mkdir()
    failpoints.here("restore.begun")


def _copy(folder: Path, found: Manifest, fresh: Path, progress: Progress) -> None:
    """Copy all files, each compared with its digest."""
    wanted = [(fresh / "lake" / path, kept) for path, kept in found.data.items()]
    wanted += [(fresh / path, kept) for path, kept in found.rest.items()]
    for number, (place, kept) in enumerate(wanted):
        progress(number, len(wanted))
        try:
            manifests.copied(folder / kept.at, place, kept.bytes, kept.sha256)
        except DamageError as e:
            shutil.rmtree(fresh)
            raise DamageError(
                f"the backup is damaged: {e}; nothing was restored. The next headrace backup of "
                "the home mends it; else take another backup"
            ) from e
        failpoints.here("restore.written")
    progress(len(wanted), len(wanted))


def _get_ready(fresh: Path, found: Manifest) -> None:
    """What a home needs beside the files that were kept, and all of it durable."""
    with contextlib.closing(sqlite3.connect(fresh / "catalog.sqlite")) as catalog:
        # A copy is one file. Readers and writers of it would stall each other for seconds.
        catalog.execute("PRAGMA journal_mode=WAL")
    home = homes.open_home(fresh)
    if home.log_id != found.log_id:
        raise DamageError(f"the backup is of the log {found.log_id}, its home.json of another one")
    backups.mark(home, found.snapshot)
    manifests.sync_tree(fresh, files=True)
    failpoints.here("restore.synced")


def _proven(
    fresh: Path, home: Path, found: Manifest, given: dict[str, Any]
) -> tuple[Certificate, str]:
    """The proof of what was restored; and which kind of log it has."""
    try:
        chosen = settings.load(fresh, **given)
        with Lake.open(chosen) as lake:
            position = registry.read(lake).position
            told = (Log(lake).end().as_dict(), position.as_dict(), lake.snapshot())
            if told != (found.end, found.position, found.snapshot):
                raise DamageError("log and views do not stand where the backup says")
            return proof.verify(lake), lake.log_kind
    except UsageError:
        raise  # of the settings: nothing is wrong with the home
    except HeadraceError as e:
        place = home.with_name(home.name + _UNPROVEN)
        _put(fresh, place)
        raise HomeError(
            f"what was restored cannot be proven: {e}. It lies in {place}; look at it with "
            "`headrace doctor`"
        ) from e


def _put(fresh: Path, place: Path) -> None:
    """Rename the finished home to its place, durably."""
    try:
        manifests.sync_tree(fresh)
        fresh.rename(place)  # onto nothing, or an empty folder
        for parent in place.parents:
            with contextlib.suppress(PermissionError):
                durable.sync_directory(parent)
    except OSError as e:
        raise StorageError(
            f"{fresh} is whole, but cannot be renamed to {place}: {e.strerror}; name a home that "
            "is not there yet, and no mount point"
        ) from e
