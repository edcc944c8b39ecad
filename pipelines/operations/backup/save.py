"""Backup: a home as it stood at one moment, while writers go on, into a folder.

Guarantees: the catalog is copied between two units of work, and every data file that it names is
read, compared with its recorded digest and synced, before the manifest says that there is a backup.
What an earlier backup in the folder holds stays whole until then.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from headrace.pipelines.errors import DamageError, StorageError
from headrace.pipelines.generations import registry
from headrace.pipelines.lake import backups, data_files, durable, failpoints, unwritable
from headrace.pipelines.lake import home as homes
from headrace.pipelines.lake.data_files import DataFile
from headrace.pipelines.log.embedded import Log
from headrace.pipelines.operations.backup import folder as folders
from headrace.pipelines.operations.backup import manifest as manifests
from headrace.pipelines.operations.backup.manifest import DATA, Kept, Manifest
from headrace.pipelines.progress import Progress, silent

if TYPE_CHECKING:
    from headrace.pipelines.lake.home import Home
    from headrace.pipelines.lake.lake import Lake

_TAKEN: Final = ("home.json", "headrace.toml", "merged.json", "views", "lookups", "expectations")
"""Places of a home that are kept as they are, beside catalog and data files."""


@dataclass(frozen=True)
class Saved:
    """What a backup holds now, and what it cost.

    Attributes:
        folder: where it is.
        manifest: what it holds.
        copied: data files that were copied.
        copied_bytes: of them.
        kept: data files that were there already, with the right digest.
        removed: files that only an earlier backup named.
    """

    folder: Path
    manifest: Manifest
    copied: int
    copied_bytes: int
    kept: int
    removed: int


def save(lake: Lake, folder: Path, *, progress: Progress = silent) -> Saved:
    """Back up the home of an open lake into a folder.

    Args:
        lake: may be open for reading only.
        folder: new, empty, or with an earlier backup of this home; nothing that is in it with the
            right digest is copied again.
        progress: told (data files done, data files to do).

    Raises:
        UsageError: the folder cannot be used, or the catalog is in PostgreSQL.
        LogError: the folder holds a backup of another log, or of a later state of this one.
        DamageError: a file of the home is not as it was written. An earlier backup stays.
        LockError: another backup is being made.
        StorageError: the disk refused. An earlier backup stays.
    """
    folder = folder.absolute()
    folders.check(lake.home, folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with folders.alone(folder):
            return _saved(lake, folder, progress)
    except OSError as e:
        raise StorageError(
            f"{e.filename or folder} cannot be written: {e.strerror}; free space or repair the "
            "disk, then try again. An earlier backup in the folder is as it was"
        ) from e


def _saved(lake: Lake, folder: Path, progress: Progress) -> Saved:
    before = manifests.read(folder)
    folders.check_history(lake, folder, before)
    begun = {"log_id": lake.home.log_id, "at": _now()}
    folders.begin(folder, before, begun)
    failpoints.here("save.begun")
    state = folder / f"{manifests.STATE}{folders.number(before) + 1}"
    with _nothing_deleted(lake):
        named, told = _moment(lake, state)
        data, copied = _data(lake, folder, named, before, progress)
    rest = _listed(state, folder)
    manifests.sync_tree(folder)
    failpoints.here("save.synced")
    made = Manifest(
        **told,
        log_id=lake.home.log_id,
        made_at=begun["at"],
        made_by=version("headrace"),
        home_format=homes.FORMAT,
        state=state.name,
        data=data,
        rest=rest,
    )
    fresh = manifests.write(folder, made)
    failpoints.here("save.ready")
    fresh.replace(folder / manifests.NAME)
    durable.sync_directory(folder)
    for parent in folder.parents:  # any of them may have been made for it
        with contextlib.suppress(PermissionError):
            durable.sync_directory(parent)
    failpoints.here("save.done")
    removed = folders.clean(folder, made)
    (folder / manifests.UNFINISHED).unlink()
    durable.sync_directory(folder)
    failpoints.here("save.cleaned")
    size = sum(kept.bytes for kept in copied)
    return Saved(folder, made, len(copied), size, len(data) - len(copied), removed)


@contextlib.contextmanager
def _nothing_deleted(lake: Lake) -> Iterator[None]:
    """Maintenance deletes no file meanwhile. Where nothing can be written, no lock can be held."""
    if not unwritable.writable(lake.home.path):
        yield
        return
    with lake.home.lock("backup", lake.settings.lock_wait.total_seconds()):
        yield


def _moment(lake: Lake, state: Path) -> tuple[list[DataFile], dict[str, Any]]:
    """Copy the catalog and the small files, and read what they name, all at one moment.

    Writers wait for that long: 100 MB of catalog take less than a second.
    """
    home = lake.home
    state.mkdir()
    with _no_writer(lake):
        if home.erasing.is_file():
            raise StorageError(
                f"an erasure in {home.path} was interrupted, and what it had to delete may still "
                "be there; `headrace maintain` finishes it, then make the backup"
            )
        snapshot = _catalog(home, state)
        for name in _TAKEN:
            for file in folders.files_in(home.path / name):
                manifests.copied(file, state / file.relative_to(home.path), None, None)
        lake.refresh()
        with lake.reading():
            if lake.snapshot() != snapshot:
                raise StorageError(
                    f"the catalog of {home.path} changed while it was copied; try again"
                )
            line, end = registry.trusted(registry.read(lake)), Log(lake).end()
            last = lake.rows(
                "SELECT append_no, recorded_at::VARCHAR, position FROM sys.appends "
                "ORDER BY append_no DESC LIMIT 1"
            )
        named = data_files.files(lake)
    return named, {
        "snapshot": snapshot,
        "end": end.as_dict(),
        "position": line.position.as_dict(),
        "logic": line.logic,
        "generation": line.number,
        "last_append": list(last[0]) if last else None,
    }


def _no_writer(lake: Lake) -> contextlib.AbstractContextManager[None]:
    return lake.alone() if unwritable.writable(lake.home.path) else contextlib.nullcontext()


def _catalog(home: Home, state: Path) -> int:
    """A copy of the catalog; gives its snapshot."""
    folder: Path | None = None
    try:
        if unwritable.writable(home.path):
            return backups.copy(home.catalog, state / home.catalog.name)
        folder = unwritable.copied(home)
        return backups.copy(folder / home.catalog.name, state / home.catalog.name)
    except subprocess.SubprocessError as e:
        raise DamageError(
            f"the catalog {home.catalog} cannot be copied: {backups.cause(e)}; `headrace doctor` "
            "says what is wrong"
        ) from e
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def _data(
    lake: Lake, folder: Path, named: list[DataFile], before: Manifest | None, progress: Progress
) -> tuple[dict[str, Kept], list[Kept]]:
    """All data files, and those of them that had to be copied."""
    found: dict[str, Kept] = {}
    copied: list[Kept] = []
    old = {} if before is None else {kept.at: kept for kept in before.data.values()}
    for number, file in enumerate(named):
        progress(number, len(named))
        if file.digest is None or file.bytes is None:
            raise _damaged(lake, file, "was never recorded when it was written")
        kept = Kept(_place(folder, file, old), file.bytes, file.digest)
        if not manifests.whole(folder / kept.at, kept.bytes, kept.sha256):
            try:
                manifests.copied(
                    lake.home.data / file.path, folder / kept.at, kept.bytes, kept.sha256
                )
            except DamageError as e:
                raise _damaged(lake, file, str(e)) from e
            copied.append(kept)
            failpoints.here("save.written")
        found[file.path] = kept
    progress(len(named), len(named))
    return found, copied


def _place(folder: Path, file: DataFile, old: dict[str, Kept]) -> str:
    """Where a data file is kept: as in the home, unless the earlier backup has another one there.

    The doctor may write a segment again under its old name.
    """
    at = f"{DATA}/{file.path}"
    there = old.get(at)
    if there is None or there.sha256 == file.digest:
        return at
    if not manifests.whole(folder / at, there.bytes, there.sha256):
        return at
    stem, dot, end = at.rpartition(".")
    return f"{stem}-{str(file.digest)[:16]}{dot}{end}"


def _damaged(lake: Lake, file: DataFile, what: str) -> DamageError:
    return DamageError(
        f"the data file {file.path} ({data_files.held_by(lake, file)}): {what}. There is no new "
        "backup, an earlier one stays; `headrace doctor --repair` restores what can be restored"
    )


def _listed(state: Path, folder: Path) -> dict[str, Kept]:
    """The files of a state, which are on disk before they are named."""
    found = {}
    for file in folders.files_in(state):
        durable.sync_file(file)
        kept = Kept(str(file.relative_to(folder)), file.stat().st_size, durable.digest(file))
        found[str(file.relative_to(state))] = kept
    return found


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
