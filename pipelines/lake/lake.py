"""The lake: DuckDB over a DuckLake. One place for connecting, locking, syncing and committing.

A write transaction is all or nothing, holds the commit lock, and names a data file in the
catalog only after the file and its directory are synced.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import duckdb

from headrace.pipelines.errors import HomeError, StorageError
from headrace.pipelines.lake import backups, catalog, failpoints, held_files, identity
from headrace.pipelines.lake import home as homes
from headrace.pipelines.lake.connect import connect
from headrace.pipelines.lake.duckdb_errors import (
    catalog_away,
    damaged_catalog,
    disk_refused,
    first_line,
    malformed,
    out_of_memory,
    remedy,
)
from headrace.pipelines.lake.home import Home
from headrace.pipelines.lake.transaction import Transaction
from headrace.pipelines.settings import Settings

if TYPE_CHECKING:
    from headrace.pipelines.position import Position


_RENEWED = 300
"""Transactions after which a connection is made anew: at most some 15 MB of what it remembers."""


_LONG_JOURNAL = 4 << 20
"""Bytes of SQLite's write-ahead log, some 15 commits: a longer one, each read would feel."""


def utc_now() -> datetime:
    """The wall clock, in UTC, without a zone: as the lake stores times."""
    return datetime.now(UTC).replace(tzinfo=None)


class Lake:
    """One connection to the lake of a home. Not shared between threads; cheap `cursor`s are."""

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
        self._read_only = read_only
        self.log_kind = "embedded"
        self._named: set[Path] = set()
        self._alone = False
        self._long_journal = _LONG_JOURNAL
        self._side: duckdb.DuckDBPyConnection | None = None
        self._connect()

    @property
    def side(self) -> duckdb.DuckDBPyConnection:
        """A second connection, outside of any transaction of the first."""
        if self._side is None:
            self._side = self.con.cursor()
        return self._side

    def refresh(self) -> bool:
        """Connect anew if this connection is old; says whether it did. Between units of work only.

        A connection remembers something of every snapshot that it met, and never lets go. Of a
        catalog that was restored from a copy it would remember what is no longer true.
        """
        if self._begun < _RENEWED and self._file == self._catalog_file():
            return False
        self.con.close()
        self._connect()
        identity.check(self)
        return True

    def _connect(self) -> None:
        self._file = self._catalog_file()
        self.con = connect(self.home, self.settings, read_only=self._read_only)
        self._side = None
        self._begun = 0
        # What `integrity` remembers of this lake.
        self.checked: tuple[int, frozenset[tuple[str, str]]] = (-1, frozenset())
        self.chain: list[tuple[int, Position]] = []
        self.digests: str | None = None

    def _catalog_file(self) -> int | None:
        """Which file the catalog is: a copy that was put in its place is another one."""
        try:
            return None if self.home.catalog_url else self.home.catalog.stat().st_ino
        except OSError:
            return None  # about to be made, or missing: the next statement says so

    def close(self) -> None:
        """Give back the connection."""
        self.con.close()

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
            with contextlib.suppress(duckdb.Error):  # it would hide what went wrong
                self.con.execute("ROLLBACK")

    def _begin(self) -> None:
        self._begun += 1
        self.con.execute("BEGIN")

    def _commit_lock(self) -> contextlib.AbstractContextManager[None]:
        return self.home.lock("commit", self.settings.lock_wait.total_seconds())

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody else commits meanwhile; several units of work of this lake can. Keep it short.

        Raises:
            LockError: another writer did not finish in time.
        """
        with self._commit_lock():
            self._alone = True
            try:
                yield
            finally:
                self._alone = False

    @contextlib.contextmanager
    def writing(self, what: str) -> Iterator[Transaction]:
        """One unit of work under the commit lock: committed whole, or not at all.

        Args:
            what: a word for it (`append`, `commit`, `publish`, …); crash points carry it.

        Raises:
            LockError: another writer did not finish in time.
            StorageError: the disk or the catalog refused; the error says what was recorded.
        """
        with contextlib.nullcontext() if self._alone else self._commit_lock():
            self._begin()
            try:
                tx = Transaction(self, what)
                yield tx
                tx.seal()
                failpoints.here(f"{what}.ready")
                self._commit(tx)
                failpoints.here(f"{what}.done")
            except BaseException as e:
                with contextlib.suppress(duckdb.Error):
                    self.con.execute("ROLLBACK")
                if malformed(e):
                    raise damaged_catalog(self.home, e) from e
                refused = disk_refused(e) or out_of_memory(e) or catalog_away(e)
                if refused or isinstance(e, duckdb.TransactionException):
                    raise StorageError(
                        f"the lake in {self.home.path} refused a write: {first_line(e)}; nothing "
                        f"of it was recorded. {remedy(e)}, then try again"
                    ) from e
                raise
            self._mark()
            self._shorten_journal()
        if what == "publish":
            backups.keep(self.home)

    def _shorten_journal(self) -> None:
        """Keep SQLite's write-ahead log short, also where readers never pause."""
        try:
            size = self.home.journal.stat().st_size
        except OSError:
            return  # none, or a catalog elsewhere
        if size >= self._long_journal:
            done = backups.shorten(self.home)
            self._long_journal = _LONG_JOURNAL if done else 2 * size

    def _commit(self, tx: Transaction) -> None:
        """Commit, and let a commit that failed leave nothing half done.

        Raises:
            StorageError: it is recorded all the same, or nobody can say whether it is.
        """
        before = self._newest()
        held_files.hold(self.home, tx.files)
        failpoints.here(f"{tx.what}.held")
        try:
            self.con.execute("COMMIT")
            failpoints.here(f"{tx.what}.committed")
        except duckdb.Error as e:
            unsure = f"the lake in {self.home.path} refused a write: {first_line(e)};"
            try:
                held_files.put_back(self.home)
                self._write_over()
                recorded = self._newest() != before
            except (duckdb.Error, OSError):
                raise StorageError(
                    f"{unsure} whether it was recorded is not certain. {remedy(e)}, then look at "
                    "headrace status; an event that is sent twice counts once"
                ) from e
            held_files.let_go(self.home)
            if recorded:
                raise StorageError(
                    f"{unsure} it was recorded all the same, but may not outlive a power loss. "
                    f"{remedy(e)}; an event that is sent twice counts once"
                ) from e
            raise
        held_files.let_go(self.home)

    def _write_over(self) -> None:
        """Let SQLite write something over what a failed commit left in its journal."""
        con = self.con.cursor()  # closed with whatever a failure leaves of it
        try:
            con.execute("BEGIN")
            # To set a value to itself would not do: it writes nothing.
            con.execute("CREATE TABLE __ducklake_metadata_lake.headrace_settled (i INTEGER)")
            con.execute("DROP TABLE __ducklake_metadata_lake.headrace_settled")
            con.execute("COMMIT")
        finally:
            con.close()

    def _newest(self) -> int:
        """The number of the last snapshot that is committed."""
        (found,) = self.side.execute(
            "SELECT max(snapshot_id) FROM __ducklake_metadata_lake.ducklake_snapshot"
        ).fetchall()[0]
        return int(found)

    def _mark(self) -> None:
        """Note how far the catalog is, so that an older copy of it is recognized."""
        with contextlib.suppress(duckdb.Error):  # committed already: nothing may fail any more
            backups.mark(self.home, self._newest())

    def folder(self, schema: str, table: str) -> Path:
        """Where DuckLake keeps a table's data files."""
        return self.home.data / schema / table

    def sync_folder(self, folder: Path) -> None:
        """Make the names in a table's folder survive a power loss, and the folder's own name."""
        homes.sync_directory(folder)
        if folder not in self._named:
            for parent in folder.relative_to(self.home.path).parents:
                homes.sync_directory(self.home.path / parent)
            self._named.add(folder)


def open_lake(settings: Settings, *, read_only: bool = False) -> Lake:
    """Open the lake of `settings.home`; make the home first if there is none yet.

    Raises:
        HomeError: the home cannot be used.
    """
    path = settings.home
    if not homes.exists(path):
        from headrace.pipelines.lake.tables import create

        create(settings)
    home = catalog.placed(homes.open_home(path), settings)
    held_files.recover(home)
    if home.catalog_url is None and not home.catalog.is_file():
        raise HomeError(
            f"the catalog {home.catalog} is missing; restore it from a copy: "
            "`headrace doctor --repair`"
        )
    lake = Lake(home, settings, read_only=read_only)
    try:
        identity.check(lake)
    except BaseException:
        lake.close()
        raise
    return lake
