"""Integrity: whether data files are as they were written. Found before a number comes out of them.

Every data file's digest is recorded in the transaction that names it. Before files are read, they
are compared with it: hashed once a process, and after that looked at (size, time, inode).
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from headrace.pipelines.errors import DamageError
from headrace.pipelines.lake import durable
from headrace.pipelines.lake.connection import Connection
from headrace.pipelines.lake.data_files import (
    PATHS,
    DataFile,
    Table,
    chain,
    files,
    held_by,
    recorded_digests,
)
from headrace.pipelines.position import Position

_WORTH_A_THREAD = 4 << 20
"""Bytes: to hash less than that takes less time than to share it."""

_Seen = tuple[int, int, int]
_whole: dict[Path, tuple[_Seen, str]] = {}
"""What this process has hashed: what the file looked like then, and its digest."""


@dataclass(frozen=True)
class Damage:
    """A data file that is not as it was written, and how it differs."""

    file: DataFile
    what: str


def check(lake: Connection, tables: Iterable[Table], snapshot: int | None = None) -> None:
    """Refuse damaged data files of tables that are about to be read, at the lake's state now.

    `snapshot` is the number of that state, for whoever knows it already.

    Costs nothing if the same tables were checked at the same snapshot, a look at each file if this
    process has hashed them before.

    Raises:
        DamageError: a file is missing, cut, changed, or was never recorded.
    """
    wanted = frozenset(tables)
    if snapshot is None:
        snapshot = lake.snapshot()
    if lake.checked[0] != snapshot:
        lake.checked = (snapshot, frozenset())
    missing = wanted - lake.checked[1]
    if missing:
        _refuse(lake, missing, snapshot)
        lake.checked = (snapshot, lake.checked[1] | missing)


def check_log(lake: Connection, start: Position, end: Position) -> None:
    """Refuse damaged segments of the log that hold events from `start` up to `end`.

    Raises:
        DamageError: one of them is missing, cut, changed, or was never recorded.
    """
    if start != end:
        snapshot = lake.snapshot()
        _refuse(lake, {("sys", "events")}, snapshot, _rows_between(lake, start, end))


def damage_of(lake: Connection, file: DataFile) -> Damage | None:
    """How a file differs from what was written; None if it is whole."""
    path = lake.home.data / file.path
    if file.digest is None or file.bytes is None:
        return Damage(file, "was never recorded when it was written")
    try:
        size = path.stat().st_size
        if size != file.bytes or size != file.named_bytes:
            return Damage(file, f"has {size:,} bytes, not the {file.bytes:,} that were written")
        if digest(path) != file.digest:
            return Damage(file, "has other content than was written")
    except FileNotFoundError:
        return Damage(file, "is missing")
    except OSError as e:
        return Damage(file, f"cannot be read ({e.strerror})")
    return None


def damages(lake: Connection, found: Sequence[DataFile]) -> list[Damage]:
    """All of these files that are not as they were written."""
    if sum(f.named_bytes for f in found) < _WORTH_A_THREAD or len(found) == 1:
        results = [damage_of(lake, f) for f in found]
    else:
        with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
            results = list(pool.map(lambda f: damage_of(lake, f), found))
    return [d for d in results if d is not None]


def digest(path: Path) -> str:
    """The SHA-256 of a file's content; computed once as long as the file looks the same."""
    with path.open("rb") as f:
        state = os.fstat(f.fileno())
        seen = (state.st_size, state.st_mtime_ns, state.st_ino)
        known = _whole.get(path)
        if known is None or known[0] != seen:
            known = (seen, durable.digest(path))
            _whole[path] = known
    return known[1]


def forget(path: Path) -> None:
    """Hash a file again when it is asked for the next time."""
    _whole.pop(path, None)


def refusal(lake: Connection, found: Sequence[Damage]) -> DamageError:
    """The error that says which files are damaged, what they hold, and what to do."""
    first = found[0]
    more = f", and {len(found) - 1} more" if len(found) > 1 else ""
    return DamageError(
        f"the data file {lake.home.data / first.file.path} ({held_by(lake, first.file)}) "
        f"{first.what}{more}; nothing was read from it. `headrace doctor` says what is wrong, "
        "`headrace doctor --repair` restores what can be restored"
    )


def unrecorded(lake: Connection) -> set[str]:
    """Files that the catalog names and whose digests the lake does not have."""
    found = lake.side.execute(f"""
        SELECT path FROM ({PATHS})
        WHERE path NOT IN (SELECT path FROM ({recorded_digests(lake)}))""").fetchall()
    return {path for (path,) in found}


def forgotten(lake: Connection) -> list[str]:
    """Recorded files that the catalog names no longer and that do not exist."""
    found = lake.side.execute(f"""
        SELECT d.path FROM ({recorded_digests(lake)}) AS d WHERE d.path NOT IN (
          SELECT path FROM ({PATHS}))""").fetchall()
    return [path for (path,) in found if not (lake.home.data / path).exists()]


def _refuse(
    lake: Connection,
    tables: Collection[Table],
    snapshot: int,
    rows: tuple[int, int | None] | None = None,
) -> None:
    found: list[Damage] = []
    for _ in range(2):  # the second time against files that a merge or cleanup moved meanwhile
        named = files(lake, tables, snapshot)
        if rows is not None:
            named = [f for f in named if _overlaps(f, *rows)]
        found = damages(lake, named)
        if not found:
            return
    raise refusal(lake, found)


def _overlaps(file: DataFile, low: int, high: int | None) -> bool:
    if file.first_row is None:
        return True
    return file.first_row + file.rows > low and (high is None or file.first_row < high)


def _rows_between(lake: Connection, start: Position, end: Position) -> tuple[int, int | None]:
    """Between which rows of the log, in order of arrival, all events of a range lie."""
    low, high = 0, None
    for rows, position in chain(lake):
        if start.covers(position):
            low = rows
        if position.covers(end):
            high = rows
            break
    return low, high
