"""What the doctor looks at inside the lake: data files, log, generations, order index, clock."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pyarrow.parquet as pq

from headrace.pipelines.errors import SeamError
from headrace.pipelines.generations import registry
from headrace.pipelines.lake import checksums, data_files, durable
from headrace.pipelines.lake.data_files import DataFile
from headrace.pipelines.lake.lake import Lake
from headrace.pipelines.log.embedded import Log
from headrace.pipelines.operations.doctor.case import REPAIR, Case, Finding
from headrace.pipelines.position import Position

_SKEW = timedelta(minutes=1)
"""How far ahead a record may be: machines that share a home rarely agree to the second."""
_LISTED = 20
"""Findings of a kind that are listed one by one."""


def check_data_files(case: Case) -> Iterator[Finding]:
    """Every data file that the catalog names: there, and as it was written."""
    if case.lake is None:
        return
    named = data_files.files(case.lake)
    found = checksums.damages(case.lake, named)
    case.broken |= {(d.file.schema, d.file.table) for d in found}
    for d in found:
        where = str(case.home.data / d.file.path)
        what = f"{d.what}: {data_files.held_by(case.lake, d.file)}"
        yield Finding("data files", "wrong", what, where, REPAIR)
    size = sum(f.named_bytes for f in named)
    if not found:
        yield Finding("data files", "ok", f"{len(named):,} files, {size:,} bytes, all whole")


def check_footers(case: Case) -> Iterator[Finding]:
    """What the catalog says of a file, and what the file says of itself."""
    if case.lake is None:
        return
    found = 0
    stats = _catalog_stats(case.lake)
    for file in data_files.files(case.lake):
        if (file.schema, file.table) in case.broken:
            continue
        said = _disagreement(case, file, stats.get(file.path, {}))
        if said:
            found += 1
            where = str(case.home.data / file.path)
            remedy = "the catalog is damaged: put back a copy, then headrace verify"
            yield Finding("footers", "wrong", said, where, remedy)
    if not found:
        yield Finding("footers", "ok", "the catalog's rows and bounds are those of the files")


def check_orphans(case: Case) -> Iterator[Finding]:
    """Data files that the catalog does not name."""
    if case.lake is None:
        return
    found = orphans(case.lake)
    if not found:
        yield Finding("orphans", "ok", "none")
        return
    end = Log(case.lake).end()
    for path in found[:_LISTED]:
        beyond = offsets_in(path) if path.parent.name == "events" else None
        if beyond and any(high > end.offsets[p] for p, (_, high) in beyond.items()):
            listed = ", ".join(f"partition {p} offsets {a}-{b - 1}" for p, (a, b) in beyond.items())
            what = f"holds events beyond the log's end: {listed}; never acknowledged, unless"
            what += " the catalog is an older copy"
        else:
            what = "is named by nobody: left by a writer that died, or by a merge"
        yield Finding("orphans", "note", what, str(path), "headrace maintain deletes it in time")
    if len(found) > _LISTED:
        yield Finding("orphans", "note", f"and {len(found) - _LISTED:,} more")


def check_log(case: Case) -> Iterator[Finding]:
    """Each partition holds its offsets from 0 to the log's end, each once."""
    if case.lake is None:
        return
    if ("sys", "events") in case.broken:
        yield Finding("log", "note", "not looked at: some of its files are damaged")
        return
    end = Log(case.lake).end()
    counted = {
        partition: row
        for partition, *row in case.lake.rows(
            'SELECT "partition", count(*), count(DISTINCT "offset"), min("offset"), max("offset") '
            'FROM sys.events GROUP BY "partition"'
        )
    }
    holes = dict(
        case.lake.rows(
            'SELECT "partition", sum(next_offset - first_offset) FROM sys.holes GROUP BY 1'
        )
    )
    broken = False
    for partition, high in enumerate(end.offsets):
        rows, distinct, low, last = counted.pop(partition, [0, 0, 0, -1])
        wanted = high - int(holes.get(partition, 0))
        if rows == distinct == wanted and low >= 0 and last < high:
            continue
        broken = True
        what = (
            f"partition {partition}: {rows:,} events with {distinct:,} offsets up to {last}; "
            f"{wanted:,} were appended, up to {high - 1}"
        )
        yield Finding("log", "wrong", what, remedy=f"{REPAIR}; headrace verify")
    if counted:
        broken = True
        yield Finding(
            "log", "wrong", f"has partitions {sorted(counted)} beyond its {len(end.offsets)}"
        )
    if not broken:
        yield Finding("log", "ok", f"contiguous to {end}, {end.total:,} offsets")


def check_generations(case: Case) -> Iterator[Finding]:
    """The seam of each generation, and that what the live one serves can be read."""
    if case.lake is None:
        return
    live = registry.live_number(case.lake)
    end = Log(case.lake).end()
    for number in registry.numbers(case.lake):
        name = f"generation {number}{' (live)' if number == live else ''}"
        try:
            line = registry.trusted(registry.read(case.lake, number))
        except SeamError as e:
            yield Finding("generations", "wrong", str(e), name, REPAIR)
            continue
        if not end.covers(line.position):
            what = f"has read up to {line.position}, the log ends at {end}: it was truncated"
            yield Finding("generations", "wrong", what, name, "put back the newer catalog")
        elif line.stored() & case.broken:
            yield Finding("generations", "wrong", "has damaged data files", name, REPAIR)
        else:
            what = f"seam whole, cut {line.cut}, position {line.position}"
            yield Finding("generations", "ok", what, name)
            if number == live:
                yield from _served(case.lake, list(line.tables))


def check_index(case: Case) -> Iterator[Finding]:
    """The order index: a cache, but a wrong one would give wrong numbers."""
    manifest = case.home.index / "manifest.json"
    if not manifest.exists():
        yield Finding("index", "ok", "none; it is made from the log")
        return
    said = index_says(case)
    if said:
        remedy = f"the speed layer builds it again; {REPAIR} throws it away now"
        yield Finding("index", "wrong", said, str(manifest), remedy)
    else:
        yield Finding("index", "ok", "as it was written", str(manifest))


def check_clock(case: Case) -> Iterator[Finding]:
    """Nothing in the lake was recorded in the future of this machine's clock."""
    if case.lake is None:
        return
    now = case.lake.clock()
    newest = case.lake.row(
        "SELECT max(newest) FROM (SELECT max(recorded_at) AS newest FROM sys.appends UNION ALL "
        "SELECT max(recorded_at) FROM sys.commits UNION ALL SELECT max(recorded_at) FROM sys.bases)"
    )[0]
    if newest is not None and newest > now + _SKEW:
        what = f"the newest record is of {newest} UTC, this clock says {now:%Y-%m-%d %H:%M:%S}"
        yield Finding("clock", "note", what, remedy="set the clock; no result depends on it")
    else:
        yield Finding("clock", "ok", f"{now:%Y-%m-%d %H:%M:%S} UTC")


def orphans(lake: Lake) -> list[Path]:
    """Parquet files in the lake's folder that no snapshot names."""
    named = {
        lake.home.data / path
        for (path,) in lake.side.execute(f"SELECT path FROM ({data_files.PATHS})").fetchall()
    }
    return sorted(p for p in lake.home.data.rglob("*.parquet") if p not in named)


def offsets_in(path: Path) -> dict[int, tuple[int, int]] | None:
    """Partition to offsets (half-open) in a segment, read from it; None if it cannot be read."""
    try:
        places = pq.read_table(path, columns=["partition", "offset"])
        grouped = places.group_by("partition").aggregate(
            [("offset", "min"), ("offset", "max"), ("offset", "count_distinct")]
        )
    except Exception:  # noqa: BLE001 - a damaged file can raise anything
        return None
    found = {}
    for row in grouped.to_pylist():
        low, high = row["offset_min"], row["offset_max"] + 1
        if row["offset_count_distinct"] != high - low:
            return None
        found[row["partition"]] = (low, high)
    return found if sum(b - a for a, b in found.values()) == places.num_rows else None


def index_says(case: Case) -> str:
    """What is wrong with the order index; nothing if it is whole."""
    folder = case.home.index
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        if manifest["sum"] != durable.sum_of(manifest):
            return "has other content than was written"
        position = Position.parse(manifest["position"])
        for name, digest in dict(manifest["runs"]).items():
            if checksums.digest(folder / name) != digest:
                return f"{name} has other content than was written"
    except FileNotFoundError as e:
        return f"{Path(str(e.filename)).name} is missing"
    except (OSError, ValueError, KeyError, TypeError) as e:
        return f"cannot be read ({type(e).__name__})"
    if case.lake is not None and not Log(case.lake).end().covers(position):
        return f"has read up to {position}, the log ends at {Log(case.lake).end()}"
    return ""


def _served(lake: Lake, names: list[str]) -> Iterator[Finding]:
    """That the SQL views that people query are there and answer."""
    lake.rows("SELECT ok FROM sys.seam")
    for name in names:
        lake.rows(f'SELECT * FROM main."{name}" LIMIT 0')
    yield Finding("generations", "ok", f"{len(names)} tables and views are served", "live")


def _catalog_stats(lake: Lake) -> dict[str, dict[str, tuple[int, int]]]:
    """File to column to bounds, of the log's segments, as the catalog has them."""
    found: dict[str, dict[str, tuple[int, int]]] = {}
    meta = data_files.METADATA
    for path, column, low, high in lake.side.execute(f"""
        SELECT f.path, c.column_name, x.min_value, x.max_value
        FROM {meta}.ducklake_file_column_stats AS x
        JOIN ({data_files.PATHS}) AS f ON x.data_file_id = f.data_file_id
        JOIN {meta}.ducklake_column AS c ON c.column_id = x.column_id AND c.table_id = f.table_id
        WHERE f.schema_name = 'sys' AND f.table_name = 'events' AND f.end_snapshot IS NULL
          AND c.column_name IN ('partition', 'offset')""").fetchall():
        found.setdefault(path, {})[column] = (int(low), int(high))
    return found


def _disagreement(case: Case, file: DataFile, stats: dict[str, tuple[int, int]]) -> str:
    """Where a file's footer and the catalog do not say the same; nothing if they do."""
    footer = pq.read_metadata(case.home.data / file.path)
    if footer.num_rows != file.rows:
        return f"holds {footer.num_rows:,} rows, the catalog says {file.rows:,}"
    names = {footer.schema.column(i).path: i for i in range(footer.num_columns)}
    for column, bounds in stats.items():
        groups = [footer.row_group(g).column(names[column]) for g in range(footer.num_row_groups)]
        if all(g.statistics is not None and g.statistics.has_min_max for g in groups):
            low = min(g.statistics.min for g in groups)
            high = max(g.statistics.max for g in groups)
            if (low, high) != bounds:
                return f"has {column} {low} to {high}, the catalog says {bounds[0]} to {bounds[1]}"
    return ""


LAKE_CHECKS = (
    check_data_files,
    check_footers,
    check_orphans,
    check_log,
    check_generations,
    check_index,
    check_clock,
)
