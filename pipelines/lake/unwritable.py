"""A home that this process may read and not write: a read-only mount, or another user's.

SQLite needs to write beside a catalog even to read it. So a copy of the catalog is read instead,
made where files may be made; the data files stay where they are. Nobody else is disturbed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Final

from headrace.pipelines.errors import HomeError, StorageError
from headrace.pipelines.lake import backups
from headrace.pipelines.lake.home import Home

_TRIES: Final = 40
_PAUSE: Final = 0.05
"""Seconds. A writer commits a few times a second at most, so a pause is met soon."""


def writable(home: Path) -> bool:
    """Whether this process may make files in a home."""
    return os.access(home, os.W_OK)


def refuse_to_write(home: Path) -> None:
    """Refuse a home that cannot be written, for work that writes.

    Raises:
        HomeError: it cannot be written.
    """
    if not writable(home):
        raise HomeError(
            f"the home {home} cannot be written here: it is mounted read-only, or belongs to "
            "another user. It can be queried: headrace query, views, status, generations, log, "
            "quarantine ls. For all else, work where it can be written"
        )


def looks(home: Home) -> tuple[tuple[int, int, int], ...]:
    """How the catalog's files look now: another look means another content."""
    found = []
    for file in (home.catalog, home.journal):
        try:
            stat = file.stat()
            found.append((stat.st_ino, stat.st_size, stat.st_mtime_ns))
        except FileNotFoundError:
            found.append((0, 0, 0))
    return tuple(found)


def copied(home: Home) -> Path:
    """A folder of our own with the catalog as it was at one moment.

    Raises:
        StorageError: it changed all the time.
    """
    folder = Path(tempfile.mkdtemp(prefix="headrace-"))
    for _ in range(_TRIES):
        before = looks(home)
        for file in (home.catalog, home.journal):
            place = folder / file.name
            place.unlink(missing_ok=True)
            if file.exists():
                shutil.copyfile(file, place)
        if looks(home) == before:
            return folder
        time.sleep(_PAUSE)
    shutil.rmtree(folder, ignore_errors=True)
    raise StorageError(
        f"the catalog {home.catalog} changed each time it was copied; try again, or read it where "
        "the home can be written"
    )


def copied_for_others(home: Home) -> Path:
    """A folder with a copy of the catalog that outlives this process, for DuckDB itself to read.

    One a home and user, below `XDG_CACHE_HOME`; the next copy takes its place, in one step.

    Raises:
        StorageError: it changed all the time, or the copy cannot be written.
    """
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(caches).absolute() / "headrace" / home.log_id
    source = copied(home)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = folder / f"{home.catalog.name}.{os.getpid()}"
        backups.copy(source / home.catalog.name, fresh)
        fresh.replace(folder / home.catalog.name)
    except (OSError, subprocess.SubprocessError) as e:
        raise StorageError(
            f"a copy of the catalog of {home.path} cannot be written into {folder} ({e}); let "
            "XDG_CACHE_HOME name a folder that can be written"
        ) from e
    finally:
        shutil.rmtree(source, ignore_errors=True)
    return folder
