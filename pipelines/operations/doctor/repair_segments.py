"""Files of the log and the quarantine that the catalog lost: found, proved, and put back.

A file found elsewhere is only believed if its digest was recorded, or if each of its events says
by its original text what its columns say.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from headrace.pipelines.lake import checksums, data_files, durable
from headrace.pipelines.lake.connect import exactly, literal
from headrace.pipelines.lake.data_files import METADATA, DataFile
from headrace.pipelines.lake.lake import Lake
from headrace.pipelines.log.embedded import Log
from headrace.pipelines.operations.doctor.lake_checks import offsets_in, orphans
from headrace.pipelines.position import Position
from headrace.schemas.decode import decode
from headrace.schemas.tables import EVENT_COLUMNS

_PLACED = ("partition", "offset", "order_hash", "appended_at", "raw")
"""Columns that the original text does not give."""
_ANY_SIZE = 1 << 40


class Say(Protocol):
    """Tells what was restored, or what cannot be."""

    def __call__(self, what: str, *, restored: bool = True) -> None:
        """Say it."""


@dataclass(frozen=True)
class Segment:
    """A file with events that the catalog does not name: partition to offsets (half-open)."""

    path: Path
    offsets: dict[int, tuple[int, int]]

    @property
    def events(self) -> int:
        """How many it holds."""
        return sum(b - a for a, b in self.offsets.values())

    def overlaps(self, other: Segment) -> bool:
        """Whether both claim an offset."""
        return any(
            a < other.offsets[p][1] and other.offsets[p][0] < b
            for p, (a, b) in self.offsets.items()
            if p in other.offsets
        )

    def __str__(self) -> str:
        listed = ", ".join(
            f"partition {p} offsets {a}-{b - 1}" for p, (a, b) in self.offsets.items()
        )
        return f"{self.path.name} ({listed}; {self.events:,} events)"


@contextlib.contextmanager
def sqlite(catalog: Path) -> Iterator[sqlite3.Connection]:
    """A catalog that nobody in this process has open, read as what it is."""
    with contextlib.closing(sqlite3.connect(f"{catalog.as_uri()}?mode=rw", uri=True)) as con:
        yield con


def inlined(con: sqlite3.Connection, table: str) -> str:
    """Where a catalog keeps the rows of a table of `sys` that has no files."""
    (name,) = con.execute(
        "SELECT i.table_name FROM ducklake_inlined_data_tables AS i "
        "JOIN ducklake_table AS t ON i.table_id = t.table_id "
        "JOIN ducklake_schema AS s ON t.schema_id = s.schema_id "
        "WHERE s.schema_name = 'sys' AND t.table_name = ?",
        (table,),
    ).fetchone()
    return str(name)


def twin(lake: Lake, file: DataFile, source: Path | None) -> Path | None:
    """A file with the bytes that were recorded for another, in the lake's folder or a named one."""
    if file.digest is None:
        return None
    for folder in (lake.home.data, source):
        for path in folder.rglob("*.parquet") if folder is not None else ():
            with contextlib.suppress(OSError):
                if path.stat().st_size == file.bytes and checksums.digest(path) == file.digest:
                    return path
    return None


def put(found: Path, place: Path) -> Path:
    """Copy a file beside its place, durably; gives where, to be renamed once all are copied."""
    place.parent.mkdir(parents=True, exist_ok=True)
    beside = place.with_suffix(".restored")
    shutil.copyfile(found, beside)
    durable.sync_file(beside)
    return beside


def rebuild(lake: Lake, file: DataFile, source: Path | None) -> bool:
    """Write a segment again from other files that hold the same offsets."""
    wanted = data_files.ranges(lake, file)
    if wanted is None:
        return False
    parts = []
    for segment in _segments(lake, source):
        held = pq.read_table(segment.path, columns=list(EVENT_COLUMNS))
        keep = pa.array([False] * held.num_rows)
        for p, (a, b) in wanted.items():
            offset = held.column("offset")
            inside = pc.and_(pc.greater_equal(offset, a), pc.less(offset, b))
            keep = pc.or_(keep, pc.and_(pc.equal(held.column("partition"), p), inside))
        parts.append(held.filter(keep))
    if not parts:
        return False
    con = lake.side
    con.register("parts", pa.concat_tables(parts))
    place = lake.home.data / file.path
    fresh = place.with_suffix(".restored")
    columns = ", ".join(f'"{name}"' for name in EVENT_COLUMNS)
    con.execute(
        f'COPY (SELECT DISTINCT ON ("partition", "offset") {columns} FROM parts '
        f'ORDER BY "partition", "offset") TO {literal(fresh)} (FORMAT parquet, COMPRESSION zstd)'
    )
    con.unregister("parts")
    if offsets_in(fresh) != wanted or not sound(fresh):
        fresh.unlink()
        return False
    durable.sync_file(fresh)
    _replace(lake, file, fresh)
    return True


def _replace(lake: Lake, file: DataFile, fresh: Path) -> None:
    """Put a rewritten file in the place of another; tell the catalog its size, then its digest.

    Until the last step the file counts as damaged: a repair that dies is simply done again.
    """
    place = lake.home.data / file.path
    with fresh.open("rb") as f:
        f.seek(-8, 2)
        footer = int.from_bytes(f.read(4), "little")
    size = fresh.stat().st_size
    with lake.home.lock("commit", lake.settings.lock_wait.total_seconds()):
        fresh.replace(place)
        durable.sync_directory(place.parent)
        checksums.forget(place)
        # By name, as files are that were adopted: this one has no field ids.
        lake.side.execute(f"""
            UPDATE {METADATA}.ducklake_data_file SET file_size_bytes = {size},
              footer_size = {footer}, partial_max = NULL, mapping_id = (
                SELECT max(m.mapping_id) FROM {METADATA}.ducklake_column_mapping AS m
                WHERE m.table_id = ducklake_data_file.table_id)
            WHERE path = {literal(place.name)}""")
    with lake.writing("repair") as tx:
        tx.execute(f"DELETE FROM sys.files WHERE path = {literal(file.path)}")
        tx.record_files([(file.path, size, durable.digest(place))])


def adopt(lake: Lake, source: Path | None) -> list[tuple[str, bool]]:
    """Name the segments again that came after a catalog that was put back. Says each.

    Where two files claim the same offset, the later written one is taken, or none. Numbering
    starts at the log's end, and a writer holds the commit lock from then until it has committed or
    is dead. So when the later one was numbered, the earlier had not been committed, and its writer
    was dead: it was never acknowledged. The converse need not hold: the last file may be one that
    was never acknowledged either. To take it in is right too: nobody was told that it failed.
    """
    said = _adopt_quarantine(lake)
    end = Log(lake).end()
    found = [
        s
        for s in _segments(lake, source)
        if all(a >= end.offsets[p] for p, (a, _) in s.offsets.items())
    ]
    found.sort(key=lambda s: (s.path.stat().st_mtime_ns, s.path.name))
    later = {s.path: found[n + 1 :] for n, s in enumerate(found)}
    left = [s for s in found if not any(s.overlaps(o) for o in later[s.path])]
    chosen: list[Segment] = []
    here = list(end.offsets)
    while (following := _next(left, here)) is not None:
        left.remove(following)
        chosen.append(following)
        for p, (_, b) in following.offsets.items():
            here[p] = b
    _name(lake, chosen, end)
    said += [(f"log: named {s} again", True) for s in chosen]
    kafka = lake.log_kind == "kafka"
    said += [(f"log: {s} lies beyond a gap; what is before it is lost", kafka) for s in left]
    return said


def _next(left: Sequence[Segment], here: Sequence[int]) -> Segment | None:
    """A segment that begins exactly where the log ends, in all its partitions."""
    fitting = (s for s in left if all(a == here[p] for p, (a, _) in s.offsets.items()))
    return next(fitting, None)


def _name(lake: Lake, chosen: Sequence[Segment], end: Position) -> None:
    """Make segments part of the log, in one unit of work."""
    if not chosen:
        return
    offsets = list(end.offsets)
    with lake.writing("repair") as tx:
        number = lake.row("SELECT coalesce(max(append_no), 0) FROM sys.appends")[0]
        for n, segment in enumerate(chosen, 1):
            folder = lake.folder("sys", "events")
            path = segment.path
            if path.parent != folder:
                path = folder / path.name
                put(segment.path, path).replace(path)
            tx.adopt("sys", "events", [path])
            for p, (_, b) in segment.offsets.items():
                offsets[p] = b
            position = Position(tuple(offsets)).text()
            tx.record(
                "appends", number + n, lake.clock(), "doctor", position, segment.events, 0, None
            )


def _adopt_quarantine(lake: Lake) -> list[tuple[str, bool]]:
    """Take in rejected events that a catalog that was put back does not know."""
    paths = []
    for path in orphans(lake):
        with contextlib.suppress(OSError, pa.ArrowException):
            if path.parent == lake.folder("sys", "quarantine"):
                pq.read_table(path)
                paths.append(str(path))
    if not paths:
        return []
    select = (
        "SELECT DISTINCT ON (id) id, recorded_at, origin, reason, raw "
        f"FROM read_parquet({exactly(*paths)}) WHERE id NOT IN (SELECT id FROM sys.quarantine)"
    )
    number = int(lake.row(f"SELECT count(*) FROM ({select})")[0])
    if not number:
        return []
    with lake.writing("repair") as tx:
        tx.insert("sys", "quarantine", select)
    return [(f"quarantine: {number:,} entries taken in again", True)]


def _segments(lake: Lake, source: Path | None) -> list[Segment]:
    """Whole segments of the log that the catalog does not name."""
    paths = [p for p in orphans(lake) if p.parent == lake.folder("sys", "events")]
    known = {p.name for p in (lake.folder("sys", "events")).glob("*.parquet")}
    if source is not None:
        paths += [p for p in source.rglob("events/*.parquet") if p.name not in known]
    found = []
    for path in paths:
        offsets = offsets_in(path)
        if offsets and max(offsets) < lake.home.partitions and sound(path):
            found.append(Segment(path, offsets))
    return found


def sound(path: Path) -> bool:
    """Whether each event in a file is, column by column, what its original text says."""
    try:
        held = pq.read_table(path, columns=list(EVENT_COLUMNS))
        raws = [raw.encode() for raw in held.column("raw").to_pylist()]
        again = decode(raws, max_event_bytes=_ANY_SIZE)
        if again.rejected:
            return False
        names = [name for name in EVENT_COLUMNS if name not in _PLACED]
        typed = again.events.select(names)
        return bool(held.select(names).cast(typed.schema).equals(typed))
    except Exception:  # noqa: BLE001 - a damaged file can raise anything
        return False
