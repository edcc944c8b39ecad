"""A home that this process may read and not write: a read-only mount, or another user's.

SQLite needs to write beside a catalog even to read it. So a copy of the catalog is read instead,
made where files may be made; the data files stay where they are. Nobody else is disturbed.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Final

from headrace.pipelines.errors import HomeError, StorageError
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
