"""Opens the lake of a home, and makes home and lake where there are none.

Guarantees: a home exists once its `home.json` does, the last thing that is written; what was
interrupted before it is made anew.
"""

from __future__ import annotations

import contextlib
import difflib
import sqlite3
import uuid
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.pipelines.errors import HomeError, UsageError
from headrace.pipelines.generations import registry
from headrace.pipelines.lake import connect, failpoints
from headrace.pipelines.lake import home as homes
from headrace.pipelines.lake.home import Home
from headrace.pipelines.lake.lake import Lake
from headrace.pipelines.lake.tables import SYSTEM_TABLES
from headrace.pipelines.lake.transaction import Transaction
from headrace.pipelines.log import binding
from headrace.pipelines.settings import Settings, keep_zone

if TYPE_CHECKING:
    from headrace.pipelines.log.kafka.client import Topic


def open_lake(settings: Settings, *, read_only: bool = False) -> Lake:
    """Open the lake of `settings.home`; make the home first if there is none yet.

    Raises:
        HomeError: the home cannot be used.
        LogError: its catalog holds another log, or is an older copy of itself.
    """
    if not homes.exists(settings.home):
        create(settings)
    return Lake.open(settings, read_only=read_only)


def require(path: Path) -> None:
    """See that there is a home, before something is read that nobody ever wrote.

    Raises:
        UsageError: there is none; names the nearest one that is.
    """
    if homes.exists(path) or any(path.glob("catalog.sqlite*")):  # a damaged one has its own words
        return
    around = {place.parent for place in path.absolute().parent.glob("*/home.json")}
    close = difflib.get_close_matches(path.name, [place.name for place in around], n=1, cutoff=0.3)
    hint = f"; did you mean --home {path.parent / close[0]}?" if close else ""
    raise UsageError(
        f"there is no home at {path}{hint} `headrace --home {path} init` makes one"
        if hint
        else f"there is no home at {path}; `headrace --home {path} init` makes one"
    )


def create(settings: Settings) -> bool:
    """Make a home with an empty lake, unless there is one. Says whether it was made now."""
    path = settings.home.absolute()
    homes.check_new(path)
    try:
        for folder in (path, path / "lake", path / "views", path / "locks"):
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise HomeError(f"{path} cannot be made: {e.strerror}; name another home") from e
    topic = binding.prepare(settings)
    partitions = settings.partitions if topic is None else topic.partitions
    url = None if settings.catalog is None else connect.checked(settings.catalog)
    home = Home(path, str(uuid.uuid4()), partitions, url)
    with home.lock("commit", settings.lock_wait.total_seconds()):
        if homes.exists(path):
            return False
        homes.check_unused(path)
        for leftover in path.glob("catalog.sqlite*"):  # of a creation that was interrupted
            leftover.unlink()
        keep_zone(path, settings.business_zone)
        _create_tables(home, settings, topic)
        failpoints.here("init.done")
        homes.write_marker(home, version("headrace"))
        failpoints.here("init.marked")
    return True


def _create_tables(home: Home, settings: Settings, topic: Topic | None) -> None:
    with contextlib.ExitStack() as stack:
        lake = stack.enter_context(contextlib.closing(Lake(home, settings)))
        if home.catalog_url is None:
            catalog = stack.enter_context(contextlib.closing(sqlite3.connect(home.catalog)))
            # Readers and writers of one catalog stall each other for seconds without it.
            catalog.execute("PRAGMA journal_mode=WAL")
        elif lake.rows("SELECT 1 FROM duckdb_schemas() WHERE schema_name = 'sys'"):
            raise HomeError(
                f"{home.catalog_url} holds the catalog of another lake, or of one whose making was "
                "interrupted; make a new database for this home"
            )
        lake.con.execute("BEGIN")
        tx = Transaction(lake, "init")
        tx.execute("CREATE SCHEMA sys")
        for name, columns in SYSTEM_TABLES.items():
            tx.execute(f"CREATE TABLE sys.{name} ({columns})")
        kind = "embedded" if topic is None else "kafka"
        tx.record("log", home.log_id, kind, home.partitions, lake.clock())
        if topic is not None:
            binding.bind(lake, tx, topic)
        registry.create_first(tx)
        tx.seal()
        failpoints.here("init.ready")
        lake.con.execute("COMMIT")
        # A row of megabytes, put into the catalog as text, takes it 20 s; a file of its own 1 s.
        # Digests stay in the catalog: a file with them would need a digest itself.
        for table, limit in (("quarantine", 0), ("files", 1 << 30)):
            tx.execute(
                f"CALL lake.set_option('data_inlining_row_limit', {limit}, schema => 'sys', "
                f"table_name => '{table}')"
            )
