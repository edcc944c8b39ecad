"""One connection to a lake: statements, read transactions, and what it knows of the lake's files.

Guarantees: a read transaction sees one state of the lake, and a damaged catalog is said to be one.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import duckdb

from headrace.pipelines.errors import StorageError
from headrace.pipelines.lake import durable, unwritable
from headrace.pipelines.lake.connect import connect
from headrace.pipelines.lake.duckdb_errors import (
    catalog_away,
    damaged_catalog,
    first_line,
    malformed,
    remedy,
)
from headrace.pipelines.lake.home import Home
from headrace.pipelines.settings import Settings

if TYPE_CHECKING:
    from headrace.pipelines.position import Position


def utc_now() -> datetime:
    """The wall clock, in UTC, without a zone: as the lake stores times."""
    return datetime.now(UTC).replace(tzinfo=None)


class Connection:
    """A connection to the lake of a home. Not shared between threads; cheap `cursor`s are."""

    def __init__(
        self,
        home: Home,
        settings: Settings,
        *,
        read_only: bool = False,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self.home = home
        self.settings = settings
        self.clock = clock
        self.log_kind = "embedded"
        self._read_only = read_only
        self._named: set[Path] = set()
        self._side: duckdb.DuckDBPyConnection | None = None
        self._connect()

    def _connect(self) -> None:
        self._file = self._catalog_file()
        self._copy = unwritable.copied(self.home) if self._of_a_copy else None
        self.con = connect(self.home, self.settings, read_only=self._read_only, copy=self._copy)
        self._side = None
        self._begun = 0
        self._open = False
        self._seen: int | None = None
        self.wrote = False
        """Whether the open transaction has written something."""
        self.memory: dict[str, tuple[int, Any]] = {}
        """What `unchanged` remembers: of a question, the snapshot then, and the answer."""
        # What `checksums` remembers of this lake.
        self.checked: tuple[int, frozenset[tuple[str, str]]] = (-1, frozenset())
        self.chain: list[tuple[int, Position]] = []
        self.digests: str | None = None

    @property
    def _of_a_copy(self) -> bool:
        """Whether the catalog is read from a copy, because nothing can be written beside it."""
        return (
            self._read_only
            and self.home.catalog_url is None
            and not unwritable.writable(self.home.path)
        )

    def _catalog_file(self) -> object:
        """Which file the catalog is: a copy that was put in its place is another one."""
        if self._of_a_copy:
            return unwritable.looks(self.home)
        try:
            return None if self.home.catalog_url else self.home.catalog.stat().st_ino
        except OSError:
            return None  # about to be made, or missing: the next statement says so

    @property
    def side(self) -> duckdb.DuckDBPyConnection:
        """A second connection, outside of any transaction of the first."""
        if self._side is None:
            self._side = self.con.cursor()
        return self._side

    def close(self) -> None:
        """Give back the connection."""
        self.con.close()
        if self._copy is not None:
            shutil.rmtree(self._copy, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Run a statement and give back all its rows."""
        found: list[tuple[Any, ...]] = self.con.execute(sql).fetchall()
        return found

    def row(self, sql: str) -> tuple[Any, ...]:
        """Run a statement that gives exactly one row."""
        (only,) = self.rows(sql)
        return only

    def snapshot(self) -> int:
        """The number of the state that the open transaction sees; it stays the same in it."""
        if self._seen is not None:
            return self._seen
        found = int(self.row("SELECT id FROM lake.current_snapshot()")[0])
        self._seen = found if self._open else None
        return found

    def next_number(self, table: str, column: str) -> int:
        """One more than the highest number in a table of `sys`."""
        return int(self.row(f"SELECT coalesce(max({column}), 0) + 1 FROM sys.{table}")[0])

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """One read transaction: everything inside sees one state of the lake.

        Raises:
            DamageError: the catalog turned out to be damaged.
        """
        self._begin()
        try:
            yield
        except duckdb.Error as e:
            if malformed(e):
                raise damaged_catalog(self.home, e) from e
            if catalog_away(e):
                raise StorageError(
                    f"{self.home.catalog_place}: {first_line(e)}. {remedy(e)}"
                ) from e
            raise
        finally:
            self._ended()
            with contextlib.suppress(duckdb.Error):  # it would hide what went wrong
                self.con.execute("ROLLBACK")

    def _begin(self) -> None:
        self._begun += 1
        self.wrote = False
        self.con.execute("BEGIN")
        self._open = True

    def _ended(self) -> None:
        """The open transaction is over, or about to be: what comes next may see another state."""
        self._open, self._seen = False, None

    def folder(self, schema: str, table: str) -> Path:
        """Where DuckLake keeps a table's data files."""
        return self.home.data / schema / table

    def sync_folder(self, folder: Path) -> None:
        """Make the names in a table's folder survive a power loss, and the folder's own name."""
        durable.sync_directory(folder)
        if folder not in self._named:
            for parent in folder.relative_to(self.home.path).parents:
                durable.sync_directory(self.home.path / parent)
            self._named.add(folder)
