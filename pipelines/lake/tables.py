"""The lake's own tables, and the making of a new lake with all of them in it."""

from __future__ import annotations

import contextlib
import sqlite3
import uuid
from importlib.metadata import version
from typing import TYPE_CHECKING

from headrace.pipelines.errors import HomeError
from headrace.pipelines.lake import catalog as catalogs
from headrace.pipelines.lake import failpoints
from headrace.pipelines.lake import home as homes
from headrace.pipelines.lake.home import Home
from headrace.pipelines.lake.lake import Lake
from headrace.pipelines.lake.transaction import Transaction
from headrace.pipelines.settings import Settings
from headrace.schemas.tables import EVENT_COLUMNS

if TYPE_CHECKING:
    from headrace.pipelines.log.kafka.client import Topic


_SYSTEM_TABLES = {
    "events": ", ".join(f'"{name}" {kind}' for name, kind in EVENT_COLUMNS.items()),
    "log": "log_id VARCHAR, kind VARCHAR, partitions INTEGER, created_at TIMESTAMP",
    "kafka": "recorded_at TIMESTAMP, address VARCHAR, identity VARCHAR",
    "files": "path VARCHAR, bytes BIGINT, sha256 VARCHAR, recorded_at TIMESTAMP",
    "holes": '"partition" INTEGER, first_offset BIGINT, next_offset BIGINT, reason VARCHAR',
    "appends": "append_no BIGINT, recorded_at TIMESTAMP, origin VARCHAR, position VARCHAR, "
    "accepted BIGINT, quarantined BIGINT, ahead VARCHAR",
    "landed": "recorded_at TIMESTAMP, path VARCHAR, format VARCHAR, bytes BIGINT, "
    "modified BIGINT, sha256 VARCHAR, done BIGINT, finished BOOLEAN",
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
    "audits": "recorded_at TIMESTAMP, generation INTEGER, base INTEGER, cut VARCHAR, "
    "suite VARCHAR, passed BOOLEAN, forced_reason VARCHAR, findings VARCHAR, report VARCHAR, "
    "seconds DOUBLE, audit_no BIGINT",
    "restatements": "recorded_at TIMESTAMP, generation INTEGER, base INTEGER, view VARCHAR, "
    "key VARCHAR, measure VARCHAR, old VARCHAR, new VARCHAR, cause VARCHAR, events BIGINT, "
    "offsets VARCHAR, from_position VARCHAR, to_position VARCHAR, cells BIGINT",
    "certificates": "recorded_at TIMESTAMP, generation INTEGER, logic VARCHAR, cut VARCHAR, "
    "position VARCHAR, events BIGINT, rows BIGINT, cells BIGINT, wrong BIGINT, "
    "fingerprint VARCHAR, report VARCHAR, certificate_no BIGINT",
}


def create(settings: Settings) -> bool:
    """Make a home with an empty lake, unless there is one. Says whether it was made now."""
    from headrace.pipelines.log import binding

    path = settings.home.absolute()
    homes.check_new(path)
    try:
        for folder in (path, path / "lake", path / "views", path / "locks"):
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise HomeError(f"{path} cannot be made: {e.strerror}; name another home") from e
    topic = binding.prepare(settings)
    partitions = settings.partitions if topic is None else topic.partitions
    url = None if settings.catalog is None else catalogs.checked(settings.catalog)
    home = Home(path, str(uuid.uuid4()), partitions, url)
    with home.lock("commit", settings.lock_wait.total_seconds()):
        if homes.exists(path):
            return False
        homes.check_unused(path)
        for leftover in path.glob("catalog.sqlite*"):  # of a creation that was interrupted
            leftover.unlink()
        _create_tables(home, settings, topic)
        failpoints.here("init.done")
        homes.write_marker(home, version("headrace"))
        failpoints.here("init.marked")
    return True


def _create_tables(home: Home, settings: Settings, topic: Topic | None) -> None:
    from headrace.pipelines.generations import registry
    from headrace.pipelines.log import binding  # they write the first rows

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
        for name, columns in _SYSTEM_TABLES.items():
            tx.execute(f"CREATE TABLE sys.{name} ({columns})")
        kind = "embedded" if topic is None else "kafka"
        tx.record("log", home.log_id, kind, home.partitions, lake.clock())
        if topic is not None:
            binding.bind(tx, topic)
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
