"""What an erasure has to delete after its commit, and whoever comes next finishes.

A file in the home says that there is something left. Each step can be done twice. Nothing here
needs to know who was erased: all that may hold an old value goes, and is made again when needed.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from headrace.pipelines.errors import StorageError
from headrace.pipelines.lake import backups, durable, failpoints
from headrace.pipelines.lake.connect import literal
from headrace.pipelines.lake.data_files import METADATA, PATHS
from headrace.pipelines.lake.home import Home
from headrace.pipelines.lake.lake import Lake


def begin(home: Home) -> None:
    """Note, durably, that an erasure is under way."""
    fresh = home.path / "erasing.new"
    fresh.write_text("{}", encoding="utf-8")
    durable.sync_file(fresh)
    fresh.replace(home.erasing)
    durable.sync_directory(home.path)


def finish(lake: Lake) -> bool:
    """Delete what an interrupted erasure left, if there is something; says whether there was.

    Raises:
        LockError: a writer or a batch did not finish in time.
        StorageError: a reader keeps the catalog's journal; nothing else is left to do.
    """
    if not lake.home.erasing.is_file():
        return False
    wait = lake.settings.lock_wait.total_seconds()
    with lake.home.lock("batch", wait), lake.alone():
        delete(lake)
    return True


def delete(lake: Lake) -> int:
    """Delete all that no reader of the present needs; gives how many data files went.

    To be called under the locks `batch` and `commit`.

    Raises:
        StorageError: a reader keeps the catalog's journal.
    """
    home = lake.home
    gone = forget_past(lake)
    failpoints.here("erase.deleted")
    for folder in (home.index, home.path / "held", home.staging, home.scratch, home.path / "docs"):
        _empty(folder)
    for folder in (home.path / "refused", home.refused_new):
        shutil.rmtree(folder, ignore_errors=True)
    failpoints.here("erase.emptied")
    if not backups.clean(home, lake.settings.lock_wait.total_seconds()):
        raise StorageError(
            f"all of {home.path} is rewritten, but a reader still holds the journal of the catalog "
            f"{home.catalog}, and what it held before may be in there; stop that reader, then "
            "`headrace maintain` finishes"
        )
    failpoints.here("erase.cleaned")
    home.erasing.unlink(missing_ok=True)
    durable.sync_directory(home.path)
    return gone


def forget_past(lake: Lake) -> int:
    """Forget all snapshots but the newest, and delete every data file that it does not name."""
    old = lake.rows(
        "SELECT snapshot_id FROM ducklake_snapshots('lake') "
        "WHERE snapshot_id < (SELECT id FROM lake.current_snapshot())"
    )
    if old:
        listed = ", ".join(str(number) for (number,) in old)
        lake.con.execute(f"CALL ducklake_expire_snapshots('lake', versions => [{listed}])")
    named = {
        lake.home.data / path
        for (path,) in lake.side.execute(f"SELECT path FROM ({PATHS})").fetchall()
    }
    found = [p for p in lake.home.data.rglob("*") if p.is_file() and p not in named]
    for path in found:
        path.unlink(missing_ok=True)
    for folder in {path.parent for path in found}:
        durable.sync_directory(folder)
    lake.con.execute(f"DELETE FROM {METADATA}.ducklake_files_scheduled_for_deletion")
    gone = [p.relative_to(lake.home.data).as_posix() for p in found]
    recorded = {path for (path,) in lake.rows("SELECT path FROM sys.files")}
    listed = ", ".join(literal(path) for path in gone if path in recorded)
    if listed:
        with lake.writing("erase") as tx:
            tx.execute(f"DELETE FROM sys.files WHERE path IN ({listed})")
    return len(found)


def _empty(folder: Path) -> None:
    """Delete what is in a folder. Whoever has a file open keeps it until it is closed."""
    for each in folder.iterdir() if folder.is_dir() else ():
        if each.is_dir() and not each.is_symlink():
            shutil.rmtree(each, ignore_errors=True)
        else:
            each.unlink(missing_ok=True)
