"""Data files written again with other values in the same rows, and the catalog that names them so.

Only erasure does this. All files change in one transaction of the catalog, with their digests and
with the rows that the catalog keeps itself, for every snapshot: nobody reads the old values again.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet as pq

from headrace.pipelines.lake import durable
from headrace.pipelines.lake.connect import literal
from headrace.pipelines.lake.data_files import METADATA, PATHS, DataFile, recorded_digests

if TYPE_CHECKING:
    import pyarrow as pa

    from headrace.pipelines.lake.lake import Lake

Change = Callable[["pa.Table"], "pa.Table | None"]
"""Gives rows with other values, as many and in the same order; None if nothing has to change."""


@dataclass(frozen=True)
class Rewritten:
    """A data file and the one that takes its place; `columns` are those with other values."""

    file: DataFile
    place: Path
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Kept:
    """A table in which the catalog itself keeps rows of a table of the lake."""

    name: str
    schema: str
    table: str
    columns: tuple[str, ...]

    @property
    def sql(self) -> str:
        """Its name in a statement."""
        return f'{METADATA}."{self.name}"'


def write(lake: Lake, file: DataFile, change: Change, columns: Sequence[str]) -> Rewritten | None:
    """Write a file again beside itself, synced, unless nothing in it changes.

    One row group is held at a time. Field ids, row groups and types stay.
    """
    source = lake.home.data / file.path
    place = source.with_name(f"{uuid.uuid4()}.parquet")
    found = pq.ParquetFile(source)
    changed, writer = False, None
    try:
        writer = pq.ParquetWriter(
            place, found.schema_arrow, compression="zstd", store_decimal_as_integer=True
        )
        for group in range(found.num_row_groups):
            rows = found.read_row_group(group)
            fresh = change(rows)
            changed = changed or fresh is not None
            writer.write_table(rows if fresh is None else fresh, row_group_size=len(rows) or None)
    finally:
        if writer is not None:
            writer.close()
        found.close()
    if not changed:
        place.unlink()
        return None
    durable.sync_file(place)
    lake.sync_folder(place.parent)
    return Rewritten(file, place, tuple(columns))


def kept(lake: Lake) -> list[Kept]:
    """The tables of the catalog with rows of the lake in them."""
    found = lake.side.execute(f"""
        SELECT i.table_name, s.schema_name, t.table_name
        FROM {METADATA}.ducklake_inlined_data_tables AS i
        JOIN {METADATA}.ducklake_table AS t ON i.table_id = t.table_id
        JOIN {METADATA}.ducklake_schema AS s ON t.schema_id = s.schema_id
        ORDER BY ALL""").fetchall()
    tables: list[Kept] = []
    for name, schema, table in found:
        described = lake.side.execute(f'DESCRIBE {METADATA}."{name}"').fetchall()
        if not any(t.name == name for t in tables):
            tables.append(Kept(name, schema, table, tuple(row[0] for row in described)))
    return tables


def swap(
    lake: Lake,
    rewritten: Iterable[Rewritten],
    statements: Iterable[str],
    bounds: Collection[tuple[str, str, str]],
) -> int:
    """Let the catalog name the new files, and run statements in it: all in one transaction.

    It also begins a new snapshot, so that no answer is remembered from before. To be called under
    the commit lock. Gives the snapshot's number.

    Args:
        lake: whose catalog.
        rewritten: the files, synced.
        statements: SQL on the catalog's own tables.
        bounds: schema, table and column whose lowest and highest value are no longer known.
    """
    con = lake.con.cursor()
    try:
        con.execute("BEGIN")
        digests = _digests_table(lake)
        for each in rewritten:
            for sql in _renamed(lake, each, digests):
                con.execute(sql)
        for sql in (*statements, *_unbounded(lake, bounds)):
            con.execute(sql)
        con.execute(f"""
            INSERT INTO {METADATA}.ducklake_snapshot
            SELECT snapshot_id + 1, strftime(now()::TIMESTAMP, '%Y-%m-%d %H:%M:%S.%f') || '+00',
              schema_version, next_catalog_id, next_file_id + 1
            FROM {METADATA}.ducklake_snapshot
            WHERE snapshot_id = (SELECT max(snapshot_id) FROM {METADATA}.ducklake_snapshot)""")
        con.execute(f"""
            INSERT INTO {METADATA}.ducklake_snapshot_changes
            SELECT max(snapshot_id), '', NULL, 'erasure', NULL FROM {METADATA}.ducklake_snapshot""")
        (number,) = con.execute(
            f"SELECT max(snapshot_id) FROM {METADATA}.ducklake_snapshot"
        ).fetchall()[0]
        con.execute("COMMIT")
    finally:
        con.close()
    return int(number)


def _digests_table(lake: Lake) -> list[str]:
    """Where the catalog keeps the rows of `sys.files`."""
    recorded_digests(lake)
    return [t.sql for t in kept(lake) if (t.schema, t.table) == ("sys", "files")]


def _renamed(lake: Lake, each: Rewritten, digests: Sequence[str]) -> list[str]:
    with each.place.open("rb") as f:
        f.seek(-8, 2)
        footer = int.from_bytes(f.read(4), "little")
    size = each.place.stat().st_size
    path = each.place.relative_to(lake.home.data).as_posix()
    listed = ", ".join(literal(name) for name in each.columns)
    found = lake.side.execute(
        f"SELECT f.data_file_id, f.table_id FROM ({PATHS}) AS f "
        f"WHERE f.path = {literal(each.file.path)}"
    ).fetchall()
    file_id, table_id = found[0]
    sha = literal(durable.digest(each.place))
    file = (
        f"UPDATE {METADATA}.ducklake_data_file SET path = {literal(each.place.name)}, "
        f"file_size_bytes = {size}, footer_size = {footer} WHERE data_file_id = {file_id}"
    )
    stats = (
        f"UPDATE {METADATA}.ducklake_file_column_stats SET min_value = NULL, max_value = NULL "
        f"WHERE data_file_id = {file_id} AND column_id IN (SELECT column_id FROM "
        f"{METADATA}.ducklake_column WHERE table_id = {table_id} AND column_name IN ({listed}))"
    )
    recorded = (
        f"UPDATE {table} SET path = {literal(path)}, bytes = {size}, sha256 = {sha} "
        f"WHERE path = {literal(each.file.path)}"
        for table in digests
    )
    return [file, stats, *recorded]


def _unbounded(lake: Lake, bounds: Collection[tuple[str, str, str]]) -> list[str]:
    """What the catalog says of whole tables: the bounds of columns that have other values now."""
    found = lake.side.execute(f"""
        SELECT s.schema_name, t.table_name, c.column_name, t.table_id, c.column_id
        FROM {METADATA}.ducklake_table AS t
        JOIN {METADATA}.ducklake_schema AS s ON t.schema_id = s.schema_id
        JOIN {METADATA}.ducklake_column AS c ON c.table_id = t.table_id""").fetchall()
    places = {(i, c) for schema, table, name, i, c in found if (schema, table, name) in bounds}
    return [
        f"UPDATE {METADATA}.ducklake_table_column_stats SET min_value = NULL, max_value = NULL "
        f"WHERE table_id = {table} AND column_id = {column}"
        for table, column in sorted(places)
    ]
