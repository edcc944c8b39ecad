"""The lake's own tables, in its schema `sys`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb

from headrace.schemas.tables import EVENT_COLUMNS

if TYPE_CHECKING:
    from headrace.pipelines.lake.connection import Connection
    from headrace.pipelines.lake.transaction import Transaction

SYSTEM_TABLES = {
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
    "quarantine_sightings": "id VARCHAR, recorded_at TIMESTAMP, origin VARCHAR, times BIGINT",
    "quarantine_decisions": "id VARCHAR, recorded_at TIMESTAMP, who VARCHAR, reason VARCHAR",
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
    "erasures": "erasure_no BIGINT, state VARCHAR, recorded_at TIMESTAMP, reason VARCHAR, "
    "pseudonym VARCHAR, position VARCHAR, events BIGINT, orders BIGINT, entries BIGINT, "
    "files BIGINT",
    "erased_orders": "erasure_no BIGINT, order_id VARCHAR, pseudonym VARCHAR",
    "certificates": "recorded_at TIMESTAMP, generation INTEGER, logic VARCHAR, cut VARCHAR, "
    "position VARCHAR, events BIGINT, rows BIGINT, cells BIGINT, wrong BIGINT, "
    "fingerprint VARCHAR, report VARCHAR, certificate_no BIGINT",
}


def there(lake: Connection, name: str) -> bool:
    """Whether this home has a table: one that an earlier version made may lack some."""
    try:
        # To ask the list of tables takes DuckDB half a second, because it looks into each of them.
        lake.con.execute(f"SELECT 1 FROM sys.{name} LIMIT 0")
    except duckdb.CatalogException:
        return False
    return True


def complete(tx: Transaction, name: str) -> None:
    """Make a table that a home of an earlier version lacks."""
    if not there(tx.lake, name):
        tx.execute(f"CREATE TABLE sys.{name} ({SYSTEM_TABLES[name]})")
