"""Integrity: whether data files are as they were written. Found before a number comes out of them.

Every data file's digest is recorded in the transaction that names it. Before files are read, they
are compared with it: hashed once a process, and after that looked at (size, time, inode).
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from headrace.pipelines.errors import DamageError
from headrace.pipelines.lake import home as homes
from headrace.pipelines.lake.connect import literal
from headrace.pipelines.lake.lake import Lake
from headrace.pipelines.position import Position

METADATA = "__ducklake_metadata_lake"
"""Under this name DuckLake attaches the catalog's own tables."""

PATHS = f"""
    SELECT s.path || t.path || f.path AS path, s.schema_name, t.table_name, f.* EXCLUDE (path)
    FROM {METADATA}.ducklake_data_file AS f
    JOIN {METADATA}.ducklake_table AS t ON f.table_id = t.table_id
    JOIN {METADATA}.ducklake_schema AS s ON t.schema_id = s.schema_id"""
"""SQL for all data files that any snapshot names, with their path below the lake's folder."""

Table = tuple[str, str]
"""Schema and name of a table of the lake."""

_WORTH_A_THREAD = 4 << 20
"""Bytes: to hash less than that takes less time than to share it."""

_Seen = tuple[int, int, int]
_whole: dict[Path, tuple[_Seen, str]] = {}
"""What this process has hashed: what the file looked like then, and its digest."""


@dataclass(frozen=True)
class DataFile:
    """A data file as the catalog names it. `path` is relative to the lake's folder.

    `bytes` and `digest` are what was recorded when it was written; None if nothing was. For a
    segment of the log, `first_row` is how many events came before it.
    """

    schema: str
    table: str
    path: str
    rows: int
    first_row: int | None
    named_bytes: int
    bytes: int | None
    digest: str | None


@dataclass(frozen=True)
class Damage:
    """A data file that is not as it was written, and how it differs."""

    file: DataFile
    what: str


def check(lake: Lake, tables: Iterable[Table], snapshot: int | None = None) -> None:
    """Refuse damaged data files of tables that are about to be read, at the lake's state now.

    `snapshot` is the number of that state, for whoever knows it already.

    Costs nothing if the same tables were checked at the same snapshot, a look at each file if this
    process has hashed them before.

    Raises:
        DamageError: a file is missing, cut, changed, or was never recorded.
    """
    wanted = frozenset(tables)
    if snapshot is None:
        snapshot = int(lake.row("SELECT id FROM lake.current_snapshot()")[0])
    if lake.checked[0] != snapshot:
        lake.checked = (snapshot, frozenset())
    missing = wanted - lake.checked[1]
    if missing:
        _refuse(lake, missing, snapshot)
        lake.checked = (snapshot, lake.checked[1] | missing)


def check_log(lake: Lake, start: Position, end: Position) -> None:
    """Refuse damaged segments of the log that hold events from `start` up to `end`.

    Raises:
        DamageError: one of them is missing, cut, changed, or was never recorded.
    """
    if start != end:
        snapshot = int(lake.row("SELECT id FROM lake.current_snapshot()")[0])
        _refuse(lake, {("sys", "events")}, snapshot, _rows_between(lake, start, end))


def files(
    lake: Lake, tables: Collection[Table] | None = None, snapshot: int | None = None
) -> list[DataFile]:
    """The data files of tables (all by default), as the catalog has them at a snapshot (now)."""
    chosen = ""
    if tables is not None:
        listed = ", ".join(f"({literal(s)}, {literal(t)})" for s, t in sorted(tables))
        chosen = f" AND (f.schema_name, f.table_name) IN ({listed})"
    alive = "f.end_snapshot IS NULL"
    if snapshot is not None:
        alive = f"f.begin_snapshot <= {snapshot} AND ({alive} OR f.end_snapshot > {snapshot})"
    # On a connection of its own: the newest state, also inside a transaction that began earlier.
    # What was merged since then is found under its new name, and never missed as deleted.
    found = lake.side.execute(f"""
        SELECT DISTINCT f.schema_name, f.table_name, f.path, f.record_count, f.row_id_start,
          f.file_size_bytes, d.bytes, d.sha256
        FROM ({PATHS}) AS f LEFT JOIN ({_digests(lake)}) AS d ON d.path = f.path
        WHERE {alive}{chosen} ORDER BY ALL""").fetchall()
    named = [DataFile(*row) for row in found]
    if all(f.digest is not None for f in named):
        return named
    noted = homes.noted(lake.home)  # of a merge that was committed a moment ago
    return [
        f
        if f.digest is not None or f.path not in noted
        else replace(f, bytes=noted[f.path][0], digest=noted[f.path][1])
        for f in named
    ]


def damage_of(lake: Lake, file: DataFile) -> Damage | None:
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


def damages(lake: Lake, found: Sequence[DataFile]) -> list[Damage]:
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
            known = (seen, homes.digest(path))
            _whole[path] = known
    return known[1]


def forget(path: Path) -> None:
    """Hash a file again when it is asked for the next time."""
    _whole.pop(path, None)


def held_by(lake: Lake, file: DataFile) -> str:
    """What a data file holds, said without a look into it."""
    rows = f"{file.rows:,} row{'s' * (file.rows != 1)}"
    if (file.schema, file.table) == ("sys", "events"):
        places = ranges(lake, file)
        if places is None:
            return f"log, {file.rows:,} events"
        listed = ", ".join(
            f"partition {p} offsets {a}-{b - 1}" for p, (a, b) in sorted(places.items())
        )
        return f"log, {listed}; {file.rows:,} event{'s' * (file.rows != 1)}"
    if file.schema == "sys":
        return f"{file.table}, {rows}"
    kind, _, name = file.table.partition("_")
    what = "base" if kind.startswith("b") else "deltas on base"
    return f"generation {file.schema[1:]}, {what} {kind[1:]}, {name}, {rows}"


def ranges(lake: Lake, file: DataFile) -> dict[int, tuple[int, int]] | None:
    """Partition to offsets (half-open) that a segment of the log holds, as the appends have it.

    A segment's rows are numbered in the order of the appends, so the two positions between which
    it lies are known without it.
    """
    if file.first_row is None:
        return None
    start, end = None, None
    for rows, position in chain(lake, fresh=True):
        if rows <= file.first_row:
            start = position
        if rows >= file.first_row + file.rows:
            end = position
            break
    if start is None or end is None:
        return None
    pairs = enumerate(zip(start.offsets, end.offsets, strict=True))
    return {p: (a, b) for p, (a, b) in pairs if b > a}


def chain(lake: Lake, *, fresh: bool = False) -> list[tuple[int, Position]]:
    """After each append: how many events the log had, and its position. Begins at nothing."""
    if not lake.chain or fresh:
        rows, found = 0, [(0, Position.zero(lake.home.partitions))]
        for text, accepted in lake.rows(
            "SELECT position, accepted FROM sys.appends ORDER BY append_no"
        ):
            rows += accepted
            found.append((rows, Position.parse(text)))
        lake.chain = found
    return lake.chain


def refusal(lake: Lake, found: Sequence[Damage]) -> DamageError:
    """The error that says which files are damaged, what they hold, and what to do."""
    first = found[0]
    more = f", and {len(found) - 1} more" if len(found) > 1 else ""
    return DamageError(
        f"the data file {lake.home.data / first.file.path} ({held_by(lake, first.file)}) "
        f"{first.what}{more}; nothing was read from it. `headrace doctor` says what is wrong, "
        "`headrace doctor --repair` restores what can be restored"
    )


def unrecorded(lake: Lake) -> set[str]:
    """Files that the catalog names and whose digests the lake does not have."""
    found = lake.side.execute(f"""
        SELECT path FROM ({PATHS})
        WHERE path NOT IN (SELECT path FROM ({_digests(lake)}))""").fetchall()
    return {path for (path,) in found}


def forgotten(lake: Lake) -> list[str]:
    """Recorded files that the catalog names no longer and that do not exist."""
    found = lake.side.execute(f"""
        SELECT d.path FROM ({_digests(lake)}) AS d WHERE d.path NOT IN (
          SELECT path FROM ({PATHS}))""").fetchall()
    return [path for (path,) in found if not (lake.home.data / path).exists()]


def _refuse(
    lake: Lake,
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


def _rows_between(lake: Lake, start: Position, end: Position) -> tuple[int, int | None]:
    """Between which rows of the log, in order of arrival, all events of a range lie."""
    low, high = 0, None
    for rows, position in chain(lake):
        if start.covers(position):
            low = rows
        if position.covers(end):
            high = rows
            break
    return low, high


def _digests(lake: Lake) -> str:
    """SQL for the recorded digests: in the catalog, where the rows of `sys.files` are kept.

    Read there, they are of the same moment as the list of files.
    """
    if lake.digests is None:
        tables = lake.side.execute(f"""
            SELECT i.table_name FROM {METADATA}.ducklake_inlined_data_tables AS i
            JOIN {METADATA}.ducklake_table AS t ON i.table_id = t.table_id
            JOIN {METADATA}.ducklake_schema AS s ON t.schema_id = s.schema_id
            WHERE s.schema_name = 'sys' AND t.table_name = 'files' """).fetchall()
        if not tables:
            return "SELECT NULL AS path, NULL AS bytes, NULL AS sha256 WHERE false"
        lake.digests = " UNION ALL ".join(
            # PostgreSQL keeps them as bytes; both are plain ASCII.
            f"SELECT path::VARCHAR AS path, bytes, sha256::VARCHAR AS sha256 "
            f'FROM {METADATA}."{name}" WHERE end_snapshot IS NULL'
            for (name,) in tables
        )
    return lake.digests
