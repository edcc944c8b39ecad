"""The lake: DuckDB over a DuckLake. One place for connecting, locking, syncing and committing.

A write transaction is all or nothing, holds the commit lock, and names a data file in the
catalog only after the file and its directory are synced.
"""

from __future__ import annotations

import contextlib
import importlib.util
import sqlite3
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import duckdb

from pipelines import backups, crash, held_files
from pipelines import home as homes
from pipelines.errors import DamageError, HomeError, LogError, StorageError, UsageError
from pipelines.home import Home
from pipelines.settings import Settings

if TYPE_CHECKING:
    from pipelines.kafka_client import Topic
    from pipelines.position import Position

EVENT_COLUMNS = {
    "partition": "INTEGER",
    "offset": "BIGINT",
    "order_hash": "INTEGER",
    "source": "VARCHAR",
    "id": "VARCHAR",
    "type": "VARCHAR",
    "version": "SMALLINT",
    "time": "TIMESTAMP",
    "order_id": "VARCHAR",
    "sequence": "BIGINT",
    "customer_id": "VARCHAR",
    "currency": "VARCHAR",
    "country": "VARCHAR",
    "channel": "VARCHAR",
    "amount": "DECIMAL(18,4)",
    "shipping": "DECIMAL(18,4)",
    "discount": "DECIMAL(18,4)",
    "goods": "DECIMAL(18,4)",
    "units": "BIGINT",
    "lines": "STRUCT(product_id VARCHAR, quantity BIGINT, amount DECIMAL(18,4))[]",
    "digest": "BIGINT",
    "appended_at": "TIMESTAMP",
    "raw": "VARCHAR",
}
"""The log's table `sys.events`: place, envelope, typed data, original JSON line. Times in UTC."""

_SYSTEM_TABLES = {
    "events": ", ".join(f'"{name}" {kind}' for name, kind in EVENT_COLUMNS.items()),
    "log": "log_id VARCHAR, kind VARCHAR, partitions INTEGER, created_at TIMESTAMP",
    "kafka": "recorded_at TIMESTAMP, address VARCHAR, identity VARCHAR",
    "files": "path VARCHAR, bytes BIGINT, sha256 VARCHAR, recorded_at TIMESTAMP",
    "holes": '"partition" INTEGER, first_offset BIGINT, next_offset BIGINT, reason VARCHAR',
    "appends": "append_no BIGINT, recorded_at TIMESTAMP, origin VARCHAR, position VARCHAR, "
    "accepted BIGINT, quarantined BIGINT, ahead VARCHAR",
    "quarantine": "id VARCHAR, recorded_at TIMESTAMP, origin VARCHAR, reason VARCHAR, raw BLOB",
    "quarantine_outcomes": "id VARCHAR, recorded_at TIMESTAMP, outcome VARCHAR",
    "generations": "generation INTEGER, recorded_at TIMESTAMP, logic VARCHAR, views VARCHAR, "
    "origin VARCHAR",
    "bases": "generation INTEGER, base INTEGER, recorded_at TIMESTAMP, cut VARCHAR, "
    "after_commit BIGINT, engine VARCHAR, seconds DOUBLE",
    "commits": "generation INTEGER, commit_no BIGINT, recorded_at TIMESTAMP, "
    "from_position VARCHAR, to_position VARCHAR, events BIGINT, repeats BIGINT",
    "cuts": "generation INTEGER, recorded_at TIMESTAMP, cut VARCHAR, cut_no BIGINT",
    "live": "switch_no BIGINT, recorded_at TIMESTAMP, generation INTEGER, reason VARCHAR",
    "diffs": "generation INTEGER, recorded_at TIMESTAMP, against INTEGER, position VARCHAR, "
    "logic_changed BOOLEAN, cells BIGINT, report VARCHAR",
    "certificates": "recorded_at TIMESTAMP, generation INTEGER, logic VARCHAR, cut VARCHAR, "
    "position VARCHAR, events BIGINT, rows BIGINT, cells BIGINT, wrong BIGINT, "
    "fingerprint VARCHAR, report VARCHAR, certificate_no BIGINT",
}


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
        self.con = connect(home, settings, read_only=read_only)
        self.log_kind = "embedded"
        self._named: set[Path] = set()
        self._alone = False
        self._side: duckdb.DuckDBPyConnection | None = None
        # What `integrity` remembers of this lake.
        self.checked: tuple[int, frozenset[tuple[str, str]]] = (-1, frozenset())
        self.chain: list[tuple[int, Position]] = []
        self.digests: str | None = None

    @property
    def side(self) -> duckdb.DuckDBPyConnection:
        """A second connection, outside of any transaction of the first."""
        if self._side is None:
            self._side = self.con.cursor()
        return self._side

    def check_identity(self) -> None:
        """Refuse a catalog whose log is not the one that the home was made with.

        Raises:
            HomeError: the catalog holds no lake of ours.
            LogError: it holds another log, or is an older copy of itself.
        """
        # Before the catalog is asked: a writer may commit at any moment, and the mark comes later.
        furthest = backups.furthest(self.home)
        try:
            with self.reading():
                found = self.rows("SELECT log_id, kind FROM sys.log")
                snapshot = int(self.row("SELECT id FROM lake.current_snapshot()")[0])
        except duckdb.Error as e:
            if out_of_memory(e):
                raise
            raise HomeError(
                f"{self.home.catalog} is no catalog of a lake ({_first_line(e)}); "
                f"{_remedy(e)}restore it from a copy: `headrace doctor --repair`"
            ) from e
        if [log_id for log_id, _ in found] != [self.home.log_id]:
            raise LogError(
                f"the log in {self.home.path} is not the one this home was made with (expected "
                f"{self.home.log_id}, found {found}); restore home.json and catalog together, "
                "or import the events into a new home"
            )
        if snapshot < furthest:
            raise LogError(
                f"the catalog {self.home.catalog} is older than the lake: it stands at snapshot "
                f"{snapshot}, the lake was at {furthest}. Put the newer one back, or let "
                "`headrace doctor --repair` restore what came after it"
            )
        self.log_kind = str(found[0][1])
        if self.settings.log is not None and self.log_kind == "embedded":
            raise LogError(
                f"the home {self.home.path} has a log of its own, not {self.settings.log}; name "
                "another home for that topic"
            )

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
        self.con.execute("BEGIN")
        try:
            yield
        except duckdb.Error as e:
            if malformed(e):
                raise damaged_catalog(self.home, e) from e
            raise
        finally:
            with contextlib.suppress(duckdb.Error):  # it would hide what went wrong
                self.con.execute("ROLLBACK")

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
            self.con.execute("BEGIN")
            try:
                tx = Transaction(self, what)
                yield tx
                tx.seal()
                crash.here(f"{what}.ready")
                self._commit(tx)
                crash.here(f"{what}.done")
            except BaseException as e:
                with contextlib.suppress(duckdb.Error):
                    self.con.execute("ROLLBACK")
                if malformed(e):
                    raise damaged_catalog(self.home, e) from e
                refused = disk_refused(e) or out_of_memory(e)
                if refused or isinstance(e, duckdb.TransactionException):
                    raise StorageError(
                        f"the lake in {self.home.path} refused a write: {_first_line(e)}; nothing "
                        f"of it was recorded. {remedy(e)}, then try again"
                    ) from e
                raise
            self._mark()
        if what == "publish":
            backups.keep(self.home)

    def _commit(self, tx: Transaction) -> None:
        """Commit, and let a commit that failed leave nothing half done.

        Raises:
            StorageError: it is recorded all the same, or nobody can say whether it is.
        """
        before = self._newest()
        held_files.hold(self.home, tx.files)
        try:
            self.con.execute("COMMIT")
        except duckdb.Error as e:
            unsure = f"the lake in {self.home.path} refused a write: {_first_line(e)};"
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


class Transaction:
    """What can be done inside one unit of work."""

    def __init__(self, lake: Lake, what: str) -> None:
        self.lake = lake
        self.con = lake.con
        self._what = what
        self._written: list[Path] = []
        self.files: list[Path] = []
        crash.here(f"{what}.begun")

    def execute(self, sql: str) -> None:
        """Run a statement that writes no data file of its own."""
        self.con.execute(sql)

    def insert(self, schema: str, table: str, select: str) -> None:
        """Insert the rows of a SELECT and sync the data files that this wrote."""
        folder = self.lake.folder(schema, table)
        before = _names(folder)
        self.con.execute(f'INSERT INTO {schema}."{table}" {select}')
        fresh = _names(folder) - before
        crash.here(f"{self._what}.written")
        self.sync(folder / name for name in fresh)
        crash.here(f"{self._what}.synced")

    def sync(self, files: Iterable[Path]) -> None:
        """Make finished data files survive a power loss; their digests are recorded at the end."""
        written = list(files)
        for file in written:
            homes.sync_file(file)
        for folder in {file.parent for file in written}:
            self.lake.sync_folder(folder)
        self._written += written

    def seal(self) -> None:
        """Record the digests of all data files that this unit of work wrote."""
        self.record_files(
            (self._relative(file), file.stat().st_size, homes.digest(file))
            for file in self._written
        )
        self.files += self._written
        self._written = []

    def set_aside(self) -> None:
        """Note these digests in a synced file instead, to be recorded by the next unit of work.

        DuckLake commits no rows together with a merge. Readers know the file meanwhile.
        """
        noted = homes.noted(self.lake.home)
        for file in self._written:
            noted[self._relative(file)] = (file.stat().st_size, homes.digest(file))
        homes.note(self.lake.home, noted)
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
        listed = ", ".join(literal(value) for value in values)
        self.con.execute(f"INSERT INTO sys.{table} VALUES ({listed})")

    def adopt(self, schema: str, table: str, files: Sequence[Path]) -> None:
        """Make finished Parquet files part of a table: move them to its folder, sync, name them.

        Files that are there already were synced by whoever wrote them.
        """
        folder = self.lake.folder(schema, table)
        folder.mkdir(parents=True, exist_ok=True)
        moved = [folder / f"{uuid.uuid4()}.parquet" if f.parent != folder else f for f in files]
        for file, place in zip(files, moved, strict=True):
            if place != file:
                homes.sync_file(file)
                file.replace(place)
        self.lake.sync_folder(folder)
        self._written += moved
        crash.here(f"{self._what}.moved")
        for file in moved:
            self.con.execute(
                f"CALL ducklake_add_data_files('lake', {literal(table)}, {literal(file)}, "
                f"schema => {literal(schema)})"
            )
        crash.here(f"{self._what}.adopted")


def open_lake(settings: Settings, *, read_only: bool = False) -> Lake:
    """Open the lake of `settings.home`; make the home first if there is none yet.

    Raises:
        HomeError: the home cannot be used.
    """
    path = settings.home
    if not homes.exists(path):
        create(settings)
    home = homes.open_home(path)
    held_files.recover(home)
    if not home.catalog.is_file():
        raise HomeError(
            f"the catalog {home.catalog} is missing; restore it from a copy: "
            "`headrace doctor --repair`"
        )
    lake = Lake(home, settings, read_only=read_only)
    try:
        lake.check_identity()
    except BaseException:
        lake.close()
        raise
    return lake


def create(settings: Settings) -> bool:
    """Make a home with an empty lake, unless there is one. Says whether it was made now."""
    from pipelines import open_log

    path = settings.home.absolute()
    homes.check_new(path)
    try:
        for folder in (path, path / "lake", path / "views", path / "locks"):
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise HomeError(f"{path} cannot be made: {e.strerror}; name another home") from e
    topic = open_log.prepare(settings)
    partitions = settings.partitions if topic is None else topic.partitions
    home = Home(path, str(uuid.uuid4()), partitions)
    with home.lock("commit", settings.lock_wait.total_seconds()):
        if homes.exists(path):
            return False
        homes.check_unused(path)
        for leftover in path.glob("catalog.sqlite*"):  # of a creation that was interrupted
            leftover.unlink()
        _create_tables(home, settings, topic)
        crash.here("init.done")
        homes.write_marker(home, version("headrace"))
        crash.here("init.marked")
    return True


def engine(home: Home, settings: Settings) -> duckdb.DuckDBPyConnection:
    """An in-memory DuckDB, bounded as the settings say, that spills into the home."""
    config = {
        "temp_directory": str(home.scratch),
        "preserve_insertion_order": "false",
        "autoinstall_known_extensions": "false",
    }
    if settings.threads is not None:
        config["threads"] = str(settings.threads)
    if settings.memory_limit is not None:
        config["memory_limit"] = settings.memory_limit
    try:
        return duckdb.connect(":memory:", config=config)
    except duckdb.Error as e:
        raise UsageError(
            f"DuckDB does not take these settings ({_first_line(e)}); memory_limit is "
            f"{settings.memory_limit!r}: write one such as '4GB'"
        ) from e


def _create_tables(home: Home, settings: Settings, topic: Topic | None) -> None:
    from pipelines import generations, open_log  # they write the first rows

    with (
        contextlib.closing(Lake(home, settings)) as lake,
        contextlib.closing(sqlite3.connect(home.catalog)) as catalog,
    ):
        # Readers and writers of one catalog stall each other for seconds without it.
        catalog.execute("PRAGMA journal_mode=WAL")
        lake.con.execute("BEGIN")
        tx = Transaction(lake, "init")
        tx.execute("CREATE SCHEMA sys")
        for name, columns in _SYSTEM_TABLES.items():
            tx.execute(f"CREATE TABLE sys.{name} ({columns})")
        kind = "embedded" if topic is None else "kafka"
        tx.record("log", home.log_id, kind, home.partitions, lake.clock())
        if topic is not None:
            open_log.bind(tx, topic)
        generations.create_first(tx)
        tx.seal()
        crash.here("init.ready")
        lake.con.execute("COMMIT")
        # A row of megabytes, put into the catalog as text, takes it 20 s; a file of its own 1 s.
        # Digests stay in the catalog: a file with them would need a digest itself.
        for table, limit in (("quarantine", 0), ("files", 1 << 30)):
            tx.execute(
                f"CALL lake.set_option('data_inlining_row_limit', {limit}, schema => 'sys', "
                f"table_name => '{table}')"
            )


_loading = threading.Lock()


def connect(home: Home, settings: Settings, *, read_only: bool) -> duckdb.DuckDBPyConnection:
    """An in-memory DuckDB with the lake attached as `lake` and chosen as default."""
    con = engine(home, settings)
    with _loading:
        for name in ("sqlite_scanner", "ducklake"):
            _load_extension(con, name)
    mode = f"DATA_PATH {literal(home.data)}, OVERRIDE_DATA_PATH true"  # a home can be moved
    mode += ", READ_ONLY" if read_only else ""
    try:
        con.execute(f"ATTACH {literal(f'ducklake:sqlite:{home.catalog}')} AS lake ({mode})")
    except duckdb.Error as e:
        con.close()
        if out_of_memory(e):
            raise
        raise HomeError(
            f"the catalog {home.catalog} cannot be opened ({_first_line(e)}); "
            f"{_remedy(e)}restore it from a copy: `headrace doctor --repair`"
        ) from e
    con.execute("USE lake")
    return con


def _load_extension(con: duckdb.DuckDBPyConnection, name: str) -> None:
    """Load an extension from its Python package; where there is none, let DuckDB install it."""
    spec = importlib.util.find_spec(f"duckdb_extension_{name}")
    for root in (spec.submodule_search_locations or ()) if spec else ():
        for file in Path(root).glob(f"extensions/v{duckdb.__version__}/*.duckdb_extension"):
            con.execute(f"LOAD {literal(file)}")
            return
    con.execute(f"INSTALL {name}")
    con.execute(f"LOAD {name}")


def literal(value: object) -> str:
    """A value as a SQL literal.

    Used instead of bound parameters: to bind one, DuckDB imports pandas where it is installed,
    which takes a second of every command.
    """
    if value is None:
        return "NULL"
    if isinstance(value, bool | int | float):
        return str(value)
    if isinstance(value, datetime):
        return f"TIMESTAMP '{value.isoformat(sep=' ')}'"
    return "'" + str(value).replace("'", "''") + "'"


def disk_refused(e: BaseException) -> bool:
    """Whether an error says that the disk is full or broken; SQLite's own come as any class."""
    if isinstance(e, duckdb.IOException | OSError):
        return True
    texts: tuple[str, ...] = ("disk I/O error", "disk is full", "unable to open database file")
    texts += ("No space left", "File too large")
    return isinstance(e, duckdb.Error) and any(text in str(e) for text in texts)


def malformed(e: BaseException) -> bool:
    """Whether an error says that the catalog's file is damaged."""
    texts = ("disk image is malformed", "file is not a database", "database corruption")
    return isinstance(e, duckdb.Error) and any(text in str(e) for text in texts)


def damaged_catalog(home: Home, e: BaseException) -> DamageError:
    """The error for a catalog that turned out to be damaged."""
    return DamageError(
        f"the catalog {home.catalog} is damaged ({_first_line(e)}); nothing was read from it or "
        "recorded in it. `headrace doctor` says what is wrong, `headrace doctor --repair` puts "
        "back a copy"
    )


def out_of_memory(e: BaseException) -> bool:
    """Whether an error says that there is too little memory for the work."""
    return isinstance(e, duckdb.OutOfMemoryException | MemoryError)


def remedy(e: BaseException) -> str:
    """What helps where the machine refused: its disk, its memory, or its open files."""
    if out_of_memory(e):
        return "Raise memory_limit, or lower append_events and commit_events"
    if "Too many open files" in str(e):
        return "Raise the limit of open files (ulimit -n)"
    if "unable to open database file" in str(e):  # SQLite's word for both
        return "Free space or repair the disk, or raise the limit of open files (ulimit -n)"
    return "Free space or repair the disk"


def _remedy(e: BaseException) -> str:
    """What to try before a copy: a catalog on a disk that refuses may well be whole."""
    return f"{remedy(e)}, and only if that does not help " if disk_refused(e) else ""


def _names(folder: Path) -> set[str]:
    try:
        return {p.name for p in folder.iterdir()}
    except FileNotFoundError:
        return set()


def _first_line(e: BaseException) -> str:
    return (str(e).splitlines() or [type(e).__name__])[0]
