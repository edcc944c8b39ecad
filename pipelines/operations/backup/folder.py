"""The folder that a backup goes into: whether it may, and what is begun and thrown away in it."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from headrace.pipelines.errors import LockError, LogError, UsageError
from headrace.pipelines.lake import durable
from headrace.pipelines.operations.backup import manifest as manifests
from headrace.pipelines.operations.backup.manifest import DATA, Manifest

if TYPE_CHECKING:
    from headrace.pipelines.lake.home import Home
    from headrace.pipelines.lake.lake import Lake


def check(home: Home, folder: Path) -> None:
    """Refuse a folder that no backup of a home can go into, and a home that has none of its own.

    Raises:
        UsageError: the catalog is in PostgreSQL, or the folder holds something else.
    """
    if home.catalog_url is not None:
        raise UsageError(
            f"the catalog of {home.path} is in {home.catalog_url}: `pg_dump` that database first, "
            f"then copy {home.data} and home.json, and keep them together "
            "(docs/guides/shared-lake.md)"
        )
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; name a folder")
    inner, outer = folder.resolve(), home.path.resolve()
    if inner.is_relative_to(outer) or outer.is_relative_to(inner):
        raise UsageError(
            f"{folder} and the home {home.path} lie in each other; name a folder elsewhere, best "
            "on another disk"
        )
    held = sorted(folder.iterdir()) if folder.is_dir() else []
    strange = [path for path in held if path.name != manifests.LOCK]
    ours = (manifests.NAME, manifests.UNFINISHED)
    if strange and not any((folder / name).is_file() for name in ours):
        raise UsageError(
            f"{folder} is not empty and no backup (it holds {strange[0].name!r}); name an empty or "
            "new folder"
        )


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Nobody else makes a backup into the folder meanwhile.

    Raises:
        LockError: somebody does.
    """
    try:
        with FileLock(folder / manifests.LOCK).acquire(timeout=0):
            yield
    except Timeout as e:
        raise LockError(
            f"another backup into {folder} is being made; wait for it, then try again"
        ) from e


def begin(folder: Path, before: Manifest | None, begun: dict[str, str]) -> None:
    """Say that a backup is under way. Data files of an interrupted one stay: they may be whole."""
    note = folder / manifests.UNFINISHED
    note.write_text(json.dumps(begun), encoding="utf-8")
    durable.sync_file(note)
    durable.sync_directory(folder)
    for state in folder.glob(f"{manifests.STATE}*"):
        if before is None or state.name != before.state:
            shutil.rmtree(state)


def check_history(lake: Lake, folder: Path, before: Manifest | None) -> None:
    """Refuse to put a state of this log in the place of one that it did not come from.

    Raises:
        LogError: the folder holds another log, or appends that this home does not have.
    """
    if before is None:
        return
    if before.log_id != lake.home.log_id:
        raise LogError(
            f"{folder} holds a backup of another log ({before.log_id}, this home has "
            f"{lake.home.log_id}); name another folder"
        )
    if before.last_append is None:
        return
    number = int(before.last_append[0])
    found = lake.rows(
        "SELECT append_no, recorded_at::VARCHAR, position FROM sys.appends "
        f"WHERE append_no = {number}"
    )
    if [list(row) for row in found] != [before.last_append]:
        raise LogError(
            f"the backup in {folder}, of {before.made_at}, holds appends that this home does not "
            "have: it is of a later state, or of a copy that went another way. Name another folder"
        )


def number(before: Manifest | None) -> int:
    """Of the state that the folder holds; 0 for none."""
    return 0 if before is None else int(before.state.removeprefix(manifests.STATE))


def files_in(place: Path) -> list[Path]:
    """A file, or all files below a folder, in their order."""
    if place.is_file():
        return [place]
    return sorted(file for file in place.rglob("*") if file.is_file())


def clean(folder: Path, known: Manifest) -> int:
    """Remove what the manifest does not name: of an interrupted backup, or of an earlier one."""
    names, removed = known.places, 0
    for file in files_in(folder / DATA):
        if str(file.relative_to(folder)) not in names:
            file.unlink()
            removed += not file.name.endswith(".part")
    for state in folder.glob(f"{manifests.STATE}*"):
        if state.name != known.state:
            shutil.rmtree(state)
    return removed
