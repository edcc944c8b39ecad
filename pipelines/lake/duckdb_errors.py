"""What DuckDB's and SQLite's errors mean: what refused, and what helps.

SQLite's own errors come as any class of DuckDB's, so that their texts have to tell.
"""

from __future__ import annotations

import duckdb

from headrace.pipelines.errors import DamageError
from headrace.pipelines.lake.home import Home


def disk_refused(e: BaseException) -> bool:
    """Whether an error says that the disk is full or broken; SQLite's own come as any class."""
    if isinstance(e, duckdb.IOException | OSError):
        return True
    texts: tuple[str, ...] = ("disk I/O error", "disk is full", "unable to open database file")
    texts += ("No space left", "File too large")
    return isinstance(e, duckdb.Error) and any(text in str(e) for text in texts)


def catalog_away(e: BaseException) -> bool:
    """Whether an error says that the database with the catalog does not answer."""
    texts: tuple[str, ...] = ("connection to server", "server closed the connection")
    texts += (
        "terminating connection",
        "Unable to connect to Postgres",
        "connection has been closed",
        "no connection to",
    )
    return isinstance(e, duckdb.Error) and any(text in str(e) for text in texts)


def malformed(e: BaseException) -> bool:
    """Whether an error says that the catalog's file is damaged."""
    texts = ("disk image is malformed", "file is not a database", "database corruption")
    return isinstance(e, duckdb.Error) and any(text in str(e) for text in texts)


def damaged_catalog(home: Home, e: BaseException) -> DamageError:
    """The error for a catalog that turned out to be damaged."""
    return DamageError(
        f"the catalog {home.catalog} is damaged ({first_line(e)}); nothing was read from it or "
        "recorded in it. `headrace doctor` says what is wrong, `headrace doctor --repair` puts "
        "back a copy"
    )


def out_of_memory(e: BaseException) -> bool:
    """Whether an error says that there is too little memory for the work."""
    return isinstance(e, duckdb.OutOfMemoryException | MemoryError)


def remedy(e: BaseException) -> str:
    """What helps where the machine refused: its disk, its memory, or its open files."""
    if catalog_away(e):
        return "See that PostgreSQL runs and can be reached"
    if out_of_memory(e):
        return "Raise memory_limit, or lower append_events and commit_events"
    if "Too many open files" in str(e):
        return "Raise the limit of open files (ulimit -n)"
    if "unable to open database file" in str(e):  # SQLite's word for both
        return "Free space or repair the disk, or raise the limit of open files (ulimit -n)"
    return "Free space or repair the disk"


def before_a_copy(e: BaseException) -> str:
    """What to try before a copy: a catalog on a disk that refuses may well be whole."""
    return f"{remedy(e)}, and only if that does not help " if disk_refused(e) else ""


def first_line(e: BaseException) -> str:
    """What an error says, without the lines that only a developer needs."""
    return (str(e).splitlines() or [type(e).__name__])[0]
