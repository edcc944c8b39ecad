"""Maintenance: keeps reads fast and the disk small, and changes nothing that anybody can see.

Small files are merged (content and offsets stay), old snapshots forgotten, files that no snapshot
names deleted, and generations beyond those kept for rollback dropped.
"""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import dataclass
from pathlib import Path

from headrace.pipelines.errors import LockError
from headrace.pipelines.generations import registry
from headrace.pipelines.lake import backups, checksums, durable, failpoints
from headrace.pipelines.lake.connect import literal
from headrace.pipelines.lake.lake import Lake
from headrace.pipelines.logs import logger
from headrace.pipelines.operations import erasure_leftovers


@dataclass(frozen=True)
class Maintained:
    """What one round did."""

    files_merged: int
    generations_dropped: tuple[int, ...]
    files_deleted: int


def maintain(lake: Lake) -> Maintained:
    """Run one round. Safe at any time, beside readers and writers.

    Raises:
        LockError: a writer did not finish in time.
        DamageError: a file that was to be merged is damaged; what was merged before it stays.
    """
    erasure_leftovers.finish(lake)
    _record_merged(lake)
    dropped = _drop_generations(lake)
    merged = 0
    live = registry.read(lake)
    tables = [("sys", name) for name in ("events", "appends", "commits", "quarantine")]
    tables += [(live.schema, f"d{live.base}_{name}") for name in live.tables]
    for schema, table in tables:
        merged += _merge(lake, schema, table)
    _record_merged(lake)
    # Before old files go: from here on, no copy names a file that a merge replaced.
    backups.keep(lake.home)
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(lake.home.lock("backup", wait=0))
        except LockError as e:  # it reads files that no later state may name
            logger("maintenance").warning("old files stay until the next round", cause=str(e))
            return Maintained(merged, dropped, 0)
        deleted = _clean_up(lake)
    _forget_digests(lake)
    return Maintained(merged, dropped, deleted)


def _merge(lake: Lake, schema: str, table: str) -> int:
    """Merge a table's small files; the merged file is synced before the catalog names it.

    Raises:
        DamageError: a file is not as it was written; merged, it would look as if it were.
    """
    folder = lake.folder(schema, table)
    with lake.writing("maintenance") as tx:
        checksums.check(lake, {(schema, table)})
        before = {p.name for p in folder.iterdir()} if folder.is_dir() else set()
        found = lake.rows(
            f"CALL ducklake_merge_adjacent_files('lake', '{table}', schema => '{schema}')"
        )
        failpoints.here("maintenance.merged")
        if folder.is_dir():
            tx.sync(p for p in folder.iterdir() if p.name not in before)
            tx.set_aside()
            failpoints.here("maintenance.noted")
    return sum(int(row[2]) for row in found)


def _record_merged(lake: Lake) -> None:
    """Bring the digests of merged files into the lake, also those that a killed round left."""
    noted = durable.noted(lake.home.merged)
    if not noted:
        return
    with lake.writing("maintenance") as tx:
        wanted = checksums.unrecorded(lake)
        tx.record_files((p, size, sha) for p, (size, sha) in noted.items() if p in wanted)
    durable.note(lake.home.merged, {})


def _drop_generations(lake: Lake) -> tuple[int, ...]:
    """Drop generations that are neither live nor among the newest kept for rollback."""
    with lake.home.lock("batch", wait=0), lake.writing("maintenance") as tx:
        numbers, present = registry.numbers(lake), registry.with_tables(lake)
        kept: set[int | None] = {
            *numbers[-lake.settings.keep_generations :],
            registry.live_number(lake),
        }
        kept |= {registry.before_live(lake)}
        gone = [n for n in numbers if n not in kept and n in present]
        for number in gone:
            registry.drop(tx, number)
    return tuple(gone)


def _clean_up(lake: Lake) -> int:
    """Forget old snapshots and delete the files that only they named."""
    seconds = int(lake.settings.keep_snapshots.total_seconds())
    limit = f"(now() - INTERVAL {seconds} SECOND)"
    with lake.home.lock("commit", lake.settings.lock_wait.total_seconds()):
        # Not `older_than`: with a SQLite catalog it is compared as text, and everything of the
        # same day counts as older. Files would go that a reader still has to open.
        old = lake.rows(
            f"SELECT snapshot_id FROM ducklake_snapshots('lake') WHERE snapshot_time < {limit} "
            "AND snapshot_id < (SELECT id FROM lake.current_snapshot())"
        )
        if old:
            listed = ", ".join(str(number) for (number,) in old)
            lake.con.execute(f"CALL ducklake_expire_snapshots('lake', versions => [{listed}])")
        failpoints.here("maintenance.expired")
        deleted = _delete_scheduled(lake, limit)
        # Left by a writer that died between writing and committing. Whoever writes holds the
        # lock that is held here, so no file that is still to be committed is among them.
        deleted += len(
            lake.rows(f"CALL ducklake_delete_orphaned_files('lake', older_than => {limit})")
        )
        failpoints.here("maintenance.cleaned")
    # While a batch runs, what lies there is no leftover.
    with contextlib.suppress(OSError, LockError), lake.home.lock("batch", wait=0):
        for leftover in lake.home.staging.iterdir():
            shutil.rmtree(leftover, ignore_errors=True)
    return deleted


def _delete_scheduled(lake: Lake, limit: str) -> int:
    """Delete the files that no snapshot has named since `limit`, then their rows in the catalog."""
    table = "__ducklake_metadata_lake.ducklake_files_scheduled_for_deletion"
    found = lake.rows(
        f"SELECT data_file_id, path, path_is_relative::BOOLEAN FROM {table} "
        f"WHERE schedule_start::TIMESTAMPTZ < {limit}"
    )
    for _, path, relative in found:
        (lake.home.data / path if relative else Path(path)).unlink(missing_ok=True)
        failpoints.here("maintenance.deleted")
    if found:
        listed = ", ".join(str(number) for number, _, _ in found)
        lake.con.execute(f"DELETE FROM {table} WHERE data_file_id IN ({listed})")
    return len(found)


def _forget_digests(lake: Lake) -> None:
    """Drop the digests of files that are gone, all in one go."""
    with lake.writing("maintenance") as tx:
        gone = checksums.forgotten(lake)
        if gone:
            listed = ", ".join(literal(path) for path in gone)
            tx.execute(f"DELETE FROM sys.files WHERE path IN ({listed})")
