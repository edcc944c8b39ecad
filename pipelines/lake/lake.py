"""The lake: DuckDB over a DuckLake. One place for locking and for units of work.

A unit of work is all or nothing, holds the commit lock, and names a data file in the catalog only
after the file and its directory are synced.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from datetime import datetime

import duckdb

from headrace.pipelines.errors import HomeError, StorageError
from headrace.pipelines.lake import backups, commit, failpoints, identity, unwritable
from headrace.pipelines.lake import home as homes
from headrace.pipelines.lake.connect import placed
from headrace.pipelines.lake.connection import Connection, utc_now
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

_RENEWED = 300
"""Transactions after which a connection is made anew: at most some 15 MB of what it remembers."""

_LONG_JOURNAL = 4 << 20
"""Bytes of SQLite's write-ahead log, some 15 commits: a longer one, each read would feel."""


class Lake(Connection):
    """A connection that can also write. Not shared between threads."""

    def __init__(
        self,
        home: Home,
        settings: Settings,
        *,
        read_only: bool = False,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        super().__init__(home, settings, read_only=read_only, clock=clock)
        self._alone = False
        self.committed = -1
        """The snapshot of the last unit of work; -1: it is not known."""
        self._long_journal = _LONG_JOURNAL

    @classmethod
    def open(cls, settings: Settings, *, read_only: bool = False) -> Lake:
        """Open the lake of `settings.home`, which must be there.

        Raises:
            HomeError: there is no home, or it cannot be used.
            LogError: its catalog holds another log, or is an older copy of itself.
        """
        home = placed(homes.open_home(settings.home), settings)
        if not read_only:
            unwritable.refuse_to_write(home.path)
        commit.recover(home)
        if home.catalog_url is None and not home.catalog.is_file():
            raise HomeError(
                f"the catalog {home.catalog} is missing; restore it from a copy: "
                "`headrace doctor --repair`"
            )
        lake = cls(home, settings, read_only=read_only)
        try:
            identity.check(lake)
        except BaseException:
            lake.close()
            raise
        return lake

    def refresh(self) -> bool:
        """Connect anew if this connection is old; says whether it did. Between units of work only.

        A connection remembers something of every snapshot that it met, and never lets go. Of a
        catalog that was restored from a copy it would remember what is no longer true.
        """
        if self._begun < _RENEWED and self._file == self._catalog_file():
            return False
        self.close()
        self._connect()
        identity.check(self)
        return True

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
                commit.commit(self, tx.files, what)
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
            finally:
                self._ended()
            self.committed = commit.mark(self)
            self.wrote = False
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
