"""Copies of the catalog, and a mark of how far it has come.

A copy is made after each publish and each maintenance, by SQLite's own backup, checked, synced, and
only then given its name: `backups/catalog-SNAPSHOT.sqlite`. The newest two are kept. The mark says
which snapshot was committed last: a catalog that is behind it is an older copy of itself.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from headrace.pipelines.lake import durable, failpoints
from headrace.pipelines.lake.home import Home
from headrace.pipelines.logs import logger

_KEPT = 2
_PATIENCE_MS = 2_000
"""Milliseconds that writers may have to wait for readers, so that the journal can begin anew."""
_LONGEST = 600
"""Seconds for a copy: 100 MB take less than one."""

_COPY = """
import sqlite3, sys
from contextlib import closing
with closing(sqlite3.connect(sys.argv[1])) as a, closing(sqlite3.connect(sys.argv[2])) as b:
    a.backup(b)
    b.execute("PRAGMA journal_mode=DELETE")
    (said,) = b.execute("PRAGMA quick_check(1)").fetchone()
    if said != "ok":
        sys.exit(said)
    print(b.execute("SELECT max(snapshot_id) FROM ducklake_snapshot").fetchone()[0])
"""
_SHORTEN = """
import sqlite3, sys
from contextlib import closing
with closing(sqlite3.connect(sys.argv[1])) as a:
    a.execute(f"PRAGMA busy_timeout = {int(sys.argv[2])}")
    print(*a.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone())
"""
_CLEAN = """
import sqlite3, sys
from contextlib import closing
with closing(sqlite3.connect(sys.argv[1])) as a:
    a.execute(f"PRAGMA busy_timeout = {int(sys.argv[2])}")
    a.execute("PRAGMA secure_delete = ON")
    a.execute("VACUUM")
    print(*a.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone())
"""
"""All run in a process of their own. A second SQLite library in one that has the catalog open
would drop the first one's locks when it closes the file."""


@dataclass(frozen=True)
class Backup:
    """A copy of the catalog as it stood at a snapshot."""

    path: Path
    snapshot: int


def keep(home: Home) -> Backup | None:
    """Make a copy and let go of those before the newest two; None if it could not be made.

    Nothing depends on it, so that a disk that refuses stops nobody; it is said in the log. A
    catalog in PostgreSQL is that server's to keep safe.
    """
    if home.catalog_url is not None:
        return None
    try:
        home.backups.mkdir(exist_ok=True)
        fresh = home.backups / "catalog.new"
        for leftover in home.backups.glob("catalog.new*"):
            leftover.unlink()
        done = copy(home.catalog, fresh)
        durable.sync_file(fresh)
        failpoints.here("backup.synced")
        backup = Backup(home.backups / f"catalog-{done}.sqlite", done)
        fresh.replace(backup.path)
        durable.sync_directory(home.backups)
        durable.sync_directory(home.path)
        failpoints.here("backup.done")
        for old in kept(home)[_KEPT:]:
            old.path.unlink(missing_ok=True)
    except (OSError, ValueError, subprocess.SubprocessError) as e:
        logger("backup").warning("not made", cause=cause(e), folder=str(home.backups))
        return None
    return backup


def shorten(home: Home) -> bool:
    """Move SQLite's write-ahead log into the catalog and begin it anew; whether that went well.

    By itself SQLite begins anew only while nobody reads. Where readers never pause, the log would
    grow with each commit, and each read look through all of it. Writers wait meanwhile.
    """
    if home.catalog_url is not None:
        return True
    try:
        said = _apart(_SHORTEN, str(home.catalog), str(_PATIENCE_MS))
    except (OSError, subprocess.SubprocessError) as e:
        logger("backup").warning("journal not shortened", cause=cause(e))
        return False
    return said.split()[0] == "0"


def clean(home: Home, wait: float) -> bool:
    """Write catalog and copies anew without their free pages; whether that went well.

    What was deleted from it, or replaced in it, lies in no file of the home after this.

    Args:
        home: whose catalog.
        wait: seconds to wait for readers, who keep the journal.
    """
    try:
        said = _apart(_CLEAN, str(home.catalog), str(int(wait * 1000)))
    except (OSError, subprocess.SubprocessError) as e:
        logger("backup").warning("catalog not cleaned", cause=cause(e))
        return False
    if said.split()[0] != "0":
        return False
    made = keep(home)
    if made is None:
        return False
    for old in home.backups.iterdir():
        if old != made.path:
            old.unlink()
    durable.sync_directory(home.backups)
    return True


def copy(catalog: Path, target: Path) -> int:
    """Copy a catalog, consistent whoever writes to it, and check the copy. Gives its snapshot.

    Raises:
        subprocess.SubprocessError: it could not be copied, or the copy is not whole.
    """
    return int(_apart(_COPY, str(catalog), str(target)))


def _apart(program: str, *arguments: str) -> str:
    """Run one of our few lines in a process of its own; gives what it printed."""
    command = [sys.executable, "-I", "-S", "-c", program, *arguments]
    ran = subprocess.run(  # noqa: S603 - our own few lines
        command, capture_output=True, text=True, timeout=_LONGEST, check=True
    )
    return ran.stdout


def kept(home: Home) -> list[Backup]:
    """The copies there are, newest first."""
    found = []
    for path in home.backups.glob("catalog-*.sqlite") if home.backups.is_dir() else ():
        with contextlib.suppress(ValueError):
            found.append(Backup(path, int(path.stem.removeprefix("catalog-"))))
    return sorted(found, key=lambda b: b.snapshot, reverse=True)


def mark(home: Home, snapshot: int) -> None:
    """Note that a snapshot is committed. Not synced: what it says is true, or it is not there."""
    with contextlib.suppress(OSError):
        text = json.dumps({"log_id": home.log_id, "snapshot": snapshot})
        home.mark.write_text(text, encoding="utf-8")


def furthest(home: Home) -> int:
    """The newest snapshot that the catalog is known to have had; -1 if nothing is known."""
    known = max((b.snapshot for b in kept(home)), default=-1)
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        marked = json.loads(home.mark.read_text(encoding="utf-8"))
        if marked["log_id"] == home.log_id:
            known = max(known, int(marked["snapshot"]))
    return known


def cause(e: Exception) -> str:
    """Why a copy was not made, in a line."""
    said = getattr(e, "stderr", None) or str(e)
    return (said.strip().splitlines() or [type(e).__name__])[-1]
