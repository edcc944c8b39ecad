"""The data files that a catalog names: where they lie, what they hold, and in which table."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from headrace.pipelines.lake import durable
from headrace.pipelines.lake.connect import literal
from headrace.pipelines.lake.connection import Connection
from headrace.pipelines.position import Position

METADATA = "__ducklake_metadata_lake"
"""Under this name DuckLake attaches the catalog's own tables."""

Table = tuple[str, str]
"""Schema and name of a table of the lake."""

PATHS = f"""
    SELECT s.path || t.path || f.path AS path, s.schema_name, t.table_name, f.* EXCLUDE (path)
    FROM {METADATA}.ducklake_data_file AS f
    JOIN {METADATA}.ducklake_table AS t ON f.table_id = t.table_id
    JOIN {METADATA}.ducklake_schema AS s ON t.schema_id = s.schema_id"""
"""SQL for all data files that any snapshot names, with their path below the lake's folder."""


@dataclass(frozen=True)
class DataFile:
    """A data file as the catalog names it. `path` is relative to the lake's folder.

    `bytes` and `digest` are what was recorded when it was written; None if nothing was. For a
    segment of the log, `first_row` is how many events came before it.
    """

    schema: str
    table: str
    path: str
    rows: int
    first_row: int | None
    named_bytes: int
    bytes: int | None
    digest: str | None


def files(
    lake: Connection, tables: Collection[Table] | None = None, snapshot: int | None = None
) -> list[DataFile]:
    """The data files of tables (all by default), as the catalog has them at a snapshot (now)."""
    chosen = ""
    if tables is not None:
        listed = ", ".join(f"({literal(s)}, {literal(t)})" for s, t in sorted(tables))
        chosen = f" AND (f.schema_name, f.table_name) IN ({listed})"
    alive = "f.end_snapshot IS NULL"
    if snapshot is not None:
        alive = f"f.begin_snapshot <= {snapshot} AND ({alive} OR f.end_snapshot > {snapshot})"
    # On a connection of its own: the newest state, also inside a transaction that began earlier.
    # What was merged since then is found under its new name, and never missed as deleted.
    found = lake.side.execute(f"""
        SELECT DISTINCT f.schema_name, f.table_name, f.path, f.record_count, f.row_id_start,
          f.file_size_bytes, d.bytes, d.sha256
        FROM ({PATHS}) AS f LEFT JOIN ({recorded_digests(lake)}) AS d ON d.path = f.path
        WHERE {alive}{chosen} ORDER BY ALL""").fetchall()
    named = [DataFile(*row) for row in found]
    if all(f.digest is not None for f in named):
        return named
    noted = durable.noted(lake.home.merged)  # of a merge that was committed a moment ago
    return [
        f
        if f.digest is not None or f.path not in noted
        else replace(f, bytes=noted[f.path][0], digest=noted[f.path][1])
        for f in named
    ]


def held_by(lake: Connection, file: DataFile) -> str:
    """What a data file holds, said without a look into it."""
    rows = f"{file.rows:,} row{'s' * (file.rows != 1)}"
    if (file.schema, file.table) == ("sys", "events"):
        places = ranges(lake, file)
        if places is None:
            return f"log, {file.rows:,} events"
        listed = ", ".join(
            f"partition {p} offsets {a}-{b - 1}" for p, (a, b) in sorted(places.items())
        )
        return f"log, {listed}; {file.rows:,} event{'s' * (file.rows != 1)}"
    if file.schema == "sys":
        return f"{file.table}, {rows}"
    kind, _, name = file.table.partition("_")
    what = "base" if kind.startswith("b") else "deltas on base"
    return f"generation {file.schema[1:]}, {what} {kind[1:]}, {name}, {rows}"


def ranges(lake: Connection, file: DataFile) -> dict[int, tuple[int, int]] | None:
    """Partition to offsets (half-open) that a segment of the log holds, as the appends have it.

    A segment's rows are numbered in the order of the appends, so the two positions between which
    it lies are known without it.
    """
    if file.first_row is None:
        return None
    start, end = None, None
    for rows, position in chain(lake, fresh=True):
        if rows <= file.first_row:
            start = position
        if rows >= file.first_row + file.rows:
            end = position
            break
    if start is None or end is None:
        return None
    pairs = enumerate(zip(start.offsets, end.offsets, strict=True))
    return {p: (a, b) for p, (a, b) in pairs if b > a}


def chain(lake: Connection, *, fresh: bool = False) -> list[tuple[int, Position]]:
    """After each append: how many events the log had, and its position. Begins at nothing."""
    if not lake.chain or fresh:
        rows, found = 0, [(0, Position.zero(lake.home.partitions))]
        for text, accepted in lake.rows(
            "SELECT position, accepted FROM sys.appends ORDER BY append_no"
        ):
            rows += accepted
            found.append((rows, Position.parse(text)))
        lake.chain = found
    return lake.chain


def recorded_digests(lake: Connection) -> str:
    """SQL for the recorded digests: in the catalog, where the rows of `sys.files` are kept.

    Read there, they are of the same moment as the list of files.
    """
    if lake.digests is None:
        tables = lake.side.execute(f"""
            SELECT i.table_name FROM {METADATA}.ducklake_inlined_data_tables AS i
            JOIN {METADATA}.ducklake_table AS t ON i.table_id = t.table_id
            JOIN {METADATA}.ducklake_schema AS s ON t.schema_id = s.schema_id
            WHERE s.schema_name = 'sys' AND t.table_name = 'files' """).fetchall()
        if not tables:
            return "SELECT NULL AS path, NULL AS bytes, NULL AS sha256 WHERE false"
        lake.digests = " UNION ALL ".join(
            # PostgreSQL keeps them as bytes; both are plain ASCII.
            f"SELECT path::VARCHAR AS path, bytes, sha256::VARCHAR AS sha256 "
            f'FROM {METADATA}."{name}" WHERE end_snapshot IS NULL'
            for (name,) in tables
        )
    return lake.digests
