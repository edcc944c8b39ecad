"""The commit protocol: a COMMIT that fails leaves nothing half done, or says what it left.

Where the last sync of a COMMIT fails, SQLite says that it failed and DuckLake deletes the files it
wrote; but the commit may be in the catalog's journal, whole, and come to light when the catalog is
next opened. So each data file has a second name meanwhile, under which it outlives that and can be
put back.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

import duckdb

from headrace.pipelines.errors import LockError, StorageError
from headrace.pipelines.lake import backups, failpoints, unwritable
from headrace.pipelines.lake.connection import Connection
from headrace.pipelines.lake.duckdb_errors import first_line, remedy
from headrace.pipelines.lake.home import Home


def commit(lake: Connection, files: Iterable[Path], what: str) -> None:
    """Commit the open transaction, and let a commit that failed leave nothing half done.

    Args:
        lake: the connection.
        files: the data files that the transaction wrote, synced.
        what: a word for it; crash points carry it.

    Raises:
        StorageError: it is recorded all the same, or nobody can say whether it is.
    """
    before = lake.snapshot()  # under the commit lock: what it sees is the newest
    _hold(lake.home, files)
    failpoints.here(f"{what}.held")
    try:
        lake.con.execute("COMMIT")
        failpoints.here(f"{what}.committed")
    except duckdb.Error as e:
        unsure = f"the lake in {lake.home.path} refused a write: {first_line(e)};"
        try:
            _put_back(lake.home)
            _write_over(lake)
            recorded = _newest(lake) != before
        except (duckdb.Error, OSError):
            raise StorageError(
                f"{unsure} whether it was recorded is not certain. {remedy(e)}, then look at "
                "headrace status; an event that is sent twice counts once"
            ) from e
        _let_go(lake.home)
        if recorded:
            raise StorageError(
                f"{unsure} it was recorded all the same, but may not outlive a power loss. "
                f"{remedy(e)}; an event that is sent twice counts once"
            ) from e
        raise
    _let_go(lake.home)


def mark(lake: Connection) -> int:
    """Note how far the catalog is, so that an older copy of it is recognized; -1: not known."""
    with contextlib.suppress(duckdb.Error):  # committed already: nothing may fail any more
        newest = _newest(lake)
        backups.mark(lake.home, newest)
        return newest
    return -1


def recover(home: Home) -> None:
    """Bring back what a commit that failed, or was killed, left held, unless one is under way."""
    if not _held(home) or not unwritable.writable(home.path):
        return
    with contextlib.suppress(OSError, LockError), home.lock("commit", wait=0):
        _put_back(home)
        _let_go(home)


def _write_over(lake: Connection) -> None:
    """Let SQLite write something over what a failed commit left in its journal."""
    con = lake.con.cursor()  # closed with whatever a failure leaves of it
    try:
        con.execute("BEGIN")
        # To set a value to itself would not do: it writes nothing.
        con.execute("CREATE TABLE __ducklake_metadata_lake.headrace_settled (i INTEGER)")
        con.execute("DROP TABLE __ducklake_metadata_lake.headrace_settled")
        con.execute("COMMIT")
    finally:
        con.close()


def _newest(lake: Connection) -> int:
    """The number of the last snapshot that is committed."""
    (found,) = lake.side.execute(
        "SELECT max(snapshot_id) FROM __ducklake_metadata_lake.ducklake_snapshot"
    ).fetchall()[0]
    return int(found)


def _hold(home: Home, files: Iterable[Path]) -> None:
    """Give files of the lake a second name each. Nothing is synced: it is for this machine's run.

    Raises:
        OSError: the disk refused.
    """
    home.held.mkdir(exist_ok=True)
    for file in files:
        os.link(file, home.held / file.relative_to(home.data).as_posix().replace("/", ":"))


def _put_back(home: Home) -> None:
    """Bring back what was deleted. A file that no catalog names goes with the next maintenance.

    Raises:
        OSError: the disk refused.
    """
    for held in _held(home):
        place = home.data / held.name.replace(":", "/")
        if not place.exists() and place.parent.is_dir():
            os.link(held, place)


def _let_go(home: Home) -> None:
    """Take the second names away. One that stays does no harm."""
    with contextlib.suppress(OSError):
        for held in _held(home):
            held.unlink()


def _held(home: Home) -> list[Path]:
    try:
        return sorted(home.held.iterdir())
    except FileNotFoundError:
        return []
