"""Second names for the data files of a commit that is under way.

Where the last sync of a COMMIT fails, SQLite says that it failed and DuckLake deletes the files it
wrote; but the commit may be in the catalog's journal, whole, and come to light when the catalog is
next opened. Under a second name a file outlives that, and can be put back.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from headrace.pipelines.errors import LockError
from headrace.pipelines.lake.home import Home


def hold(home: Home, files: Iterable[Path]) -> None:
    """Give files of the lake a second name each. Nothing is synced: it is for this machine's run.

    Raises:
        OSError: the disk refused.
    """
    folder = _folder(home)
    folder.mkdir(exist_ok=True)
    for file in files:
        os.link(file, folder / file.relative_to(home.data).as_posix().replace("/", ":"))


def put_back(home: Home) -> None:
    """Bring back what was deleted. A file that no catalog names goes with the next maintenance.

    Raises:
        OSError: the disk refused.
    """
    for held in _held(home):
        place = home.data / held.name.replace(":", "/")
        if not place.exists() and place.parent.is_dir():
            os.link(held, place)


def let_go(home: Home) -> None:
    """Take the second names away. One that stays does no harm."""
    with contextlib.suppress(OSError):
        for held in _held(home):
            held.unlink()


def recover(home: Home) -> None:
    """Bring back what a commit that failed, or was killed, left held, unless one is under way."""
    if not _held(home):
        return
    with contextlib.suppress(OSError, LockError), home.lock("commit", wait=0):
        put_back(home)
        let_go(home)


def _held(home: Home) -> list[Path]:
    try:
        return sorted(_folder(home).iterdir())
    except FileNotFoundError:
        return []


def _folder(home: Home) -> Path:
    return home.path / "held"
