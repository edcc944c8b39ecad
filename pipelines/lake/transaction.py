"""What can be done inside one unit of work. Files are synced, and their digests recorded."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.pipelines.lake import durable, failpoints
from headrace.pipelines.lake.connect import literal

if TYPE_CHECKING:
    from headrace.pipelines.lake.connection import Connection

_AT_ONCE = 8
"""Files that are synced at the same time: the disk then writes its journal once for many of them,
and 12 new files with their folders take 8 ms, not 65 ms one after the other."""


class Transaction:
    """What can be done inside one unit of work."""

    def __init__(self, lake: Connection, what: str) -> None:
        self.lake = lake
        self.con = lake.con
        self.what = what
        self._fresh: list[Path] | None = None
        self._written: list[Path] = []
        self.files: list[Path] = []
        failpoints.here(f"{what}.begun")

    def execute(self, sql: str) -> None:
        """Run a statement that writes no data file of its own."""
        self.lake.wrote = True
        self.con.execute(sql)

    def insert(self, schema: str, table: str, select: str) -> None:
        """Insert the rows of a SELECT; `seal` syncs the data files that this wrote."""
        self.lake.wrote = True
        folder = self.lake.folder(schema, table)
        before = _names(folder)
        self.con.execute(f'INSERT INTO {schema}."{table}" {select}')
        fresh = sorted(_names(folder) - before)
        self._fresh = [*(self._fresh or ()), *(folder / name for name in fresh)]
        failpoints.here(f"{self.what}.written")

    def sync(self, files: Iterable[Path]) -> None:
        """Make finished data files survive a power loss; their digests are recorded at the end."""
        written = list(files)
        _each(durable.sync_file, written)
        _each(self.lake.sync_folder, sorted({file.parent for file in written}))
        self._written += written

    def seal(self) -> None:
        """Sync the data files that were inserted, and record the digests of all that it wrote."""
        if self._fresh is not None:
            self.sync(self._fresh)
            self._fresh = None
            failpoints.here(f"{self.what}.synced")
        self.record_files(
            (self._relative(file), file.stat().st_size, durable.digest(file))
            for file in self._written
        )
        self.files += self._written
        self._written = []

    def set_aside(self) -> None:
        """Note these digests in a synced file instead, to be recorded by the next unit of work.

        DuckLake commits no rows together with a merge. Readers know the file meanwhile.
        """
        noted = durable.noted(self.lake.home.merged)
        for file in self._written:
            noted[self._relative(file)] = (file.stat().st_size, durable.digest(file))
        durable.note(self.lake.home.merged, noted)
        self.files += self._written
        self._written = []

    def record_files(self, digests: Iterable[tuple[str, int, str]]) -> None:
        """Record data files: path below the lake's folder, bytes, SHA-256."""
        now = literal(self.lake.clock())
        rows = ", ".join(
            f"({literal(path)}, {size}, {literal(digest)}, {now})" for path, size, digest in digests
        )
        if rows:
            self.con.execute(f"INSERT INTO sys.files VALUES {rows}")

    def _relative(self, file: Path) -> str:
        return file.relative_to(self.lake.home.data).as_posix()

    def record(self, table: str, *values: object) -> None:
        """Append one row to a table of `sys`."""
        self.lake.wrote = True
        listed = ", ".join(literal(value) for value in values)
        self.con.execute(f"INSERT INTO sys.{table} VALUES ({listed})")

    def adopt(self, schema: str, table: str, files: Sequence[Path]) -> None:
        """Make finished Parquet files part of a table: move them to its folder, sync, name them.

        Files that are there already were synced by whoever wrote them.
        """
        self.lake.wrote = True
        folder = self.lake.folder(schema, table)
        folder.mkdir(parents=True, exist_ok=True)
        moved = [folder / f"{uuid.uuid4()}.parquet" if f.parent != folder else f for f in files]
        for file, place in zip(files, moved, strict=True):
            if place != file:
                durable.sync_file(file)
                file.replace(place)
        self.lake.sync_folder(folder)
        self._written += moved
        failpoints.here(f"{self.what}.moved")
        for file in moved:
            self.con.execute(
                f"CALL ducklake_add_data_files('lake', {literal(table)}, {literal(file)}, "
                f"schema => {literal(schema)})"
            )
        failpoints.here(f"{self.what}.adopted")


def _each(do: Callable[[Path], None], paths: Sequence[Path]) -> None:
    """Do something with each path, at the same time.

    Raises:
        OSError: the disk refused one of them.
    """
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(do, paths))


def _names(folder: Path) -> set[str]:
    try:
        return {p.name for p in folder.iterdir()}
    except FileNotFoundError:
        return set()
