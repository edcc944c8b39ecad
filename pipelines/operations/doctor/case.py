"""The doctor: says of a home what is whole, what is wrong, where, and what to do about it.

Nothing is changed here. It works on homes that no other command opens: each check looks for
itself, and one that cannot look says so.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from headrace.pipelines.errors import HeadraceError, HomeError
from headrace.pipelines.lake import home as homes
from headrace.pipelines.lake.home import Home
from headrace.pipelines.lake.lake import Lake
from headrace.pipelines.settings import Settings

State = Literal["ok", "note", "wrong"]

REPAIR = "headrace doctor --repair"


@dataclass(frozen=True)
class Finding:
    """What a check found. `note` is worth knowing, and no reason to worry."""

    check: str
    state: State
    what: str
    where: str = ""
    remedy: str = ""


@dataclass
class Case:
    """A home that is looked at: what could be read of it, and why the rest could not.

    `home` has the identity that home.json gives, or nothing in its place. `lake` is open for
    reading, its identity unchecked; None if the catalog does not allow it.
    """

    home: Home
    settings: Settings
    marker: dict[str, Any] | None = None
    marker_said: str = ""
    catalog_said: str = ""
    lake: Lake | None = None
    broken: set[tuple[str, str]] = field(default_factory=set)
    """Tables with damaged files; their content is not looked at."""


Check = Callable[[Case], Iterable[Finding]]


@contextlib.contextmanager
def opened(settings: Settings) -> Iterator[Case]:
    """Open what can be opened of a home.

    Raises:
        HomeError: there is no directory.
    """
    path = settings.home.absolute()
    if not path.is_dir():
        raise HomeError(f"there is no directory {path}; name a home with --home")
    marker, said = homes.read_marker(path)
    held = {} if said else marker  # what it says of the log is believed only if it is whole
    url = settings.catalog or held.get("catalog")
    home = Home(path, str(held.get("log_id", "")), int(held.get("partitions", 0)), url)
    told = catalog_says(home.catalog) if url is None else ""
    case = Case(home, settings, None if said else marker, said, told)
    if not case.catalog_said:
        try:
            case.lake = Lake(home, settings, read_only=True)
        except HeadraceError as e:
            case.catalog_said = str(e)
    try:
        yield case
    finally:
        if case.lake is not None:
            case.lake.close()


def catalog_says(catalog: Path) -> str:
    """What SQLite finds wrong with a catalog; nothing if it is whole.

    To be asked while this process does not have it open: closing it drops the locks of the other
    SQLite library in this process.
    """
    if not catalog.is_file():
        return "is missing"
    try:
        with contextlib.closing(sqlite3.connect(f"{catalog.as_uri()}?mode=rw", uri=True)) as con:
            (said,) = con.execute("PRAGMA integrity_check(1)").fetchone()
            if said == "ok":
                con.execute("SELECT max(snapshot_id) FROM ducklake_snapshot").fetchone()
    except sqlite3.Error as e:
        return f"cannot be read ({e})"
    return "" if said == "ok" else f"is damaged ({said.splitlines()[0]})"
