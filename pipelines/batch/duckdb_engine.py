"""The incremental base plan, run in DuckDB: the same steps that the Spark job runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace.pipelines.fold import base_plan
from headrace.pipelines.generations.generation import table_columns
from headrace.pipelines.generations.recompute import recomputed
from headrace.pipelines.lake.connect import exactly, literal
from headrace.pipelines.lake.lake import Lake
from headrace.pipelines.log.embedded import Log
from headrace.pipelines.log.scan import between
from headrace.pipelines.position import Position
from headrace.pipelines.progress import Progress, silent
from headrace.pipelines.views.packed import unpack
from headrace.pipelines.views.stacked import over_tables
from headrace.schemas.tables import TYPED_COLUMNS

if TYPE_CHECKING:
    from headrace.pipelines.views.load import View


def run_plan(lake: Lake, plan: dict[str, Any]) -> dict[str, Any]:
    """Run a batch plan's incremental mode; gives what the Spark job's `result.json` gives."""
    views = unpack(plan["views"], "view")
    made = base_plan.incremental(views, "duckdb")
    columns = ", ".join(f'"{c}"' for c in TYPED_COLUMNS)
    low = Position.of({int(p): r[0] for p, r in plan["ranges"].items()})
    high = Position.of({int(p): r[1] for p, r in plan["ranges"].items()})
    con = lake.con.cursor()
    try:
        con.execute("USE memory")
        earlier = f"SELECT {columns} FROM read_parquet({exactly(*plan['touched_files'])})"
        con.execute(f"CREATE TEMP VIEW earlier AS {earlier}")
        parts = ["SELECT * FROM earlier"]
        if plan["event_files"]:
            files = exactly(*plan["event_files"])
            parts.append(f"SELECT {columns} FROM read_parquet({files}) WHERE {between(low, high)}")
        con.execute(f"CREATE TEMP VIEW events AS {' UNION ALL '.join(parts)}")
        for name, files in plan["previous"].items():
            con.execute(f"CREATE TEMP VIEW prev_{name} AS FROM read_parquet({exactly(*files)})")
        for name, sql in made.steps:
            kind = "TABLE" if name in made.reused else "VIEW"
            con.execute(f"CREATE TEMP {kind} {name} AS {sql}")
        for name, sql in made.tables.items():
            path = Path(plan["output"]) / name / "part.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            con.execute(f"COPY ({sql}) TO {literal(path)} (FORMAT parquet, COMPRESSION zstd)")
        repeats = plan["previous_repeats"] + int(con.execute(made.repeats).fetchall()[0][0])
    finally:
        con.close()
    return {"repeats": repeats}


def write_base(
    lake: Lake,
    log: Log,
    views: Mapping[str, View],
    cut: Position,
    folder: Path,
    progress: Progress = silent,
) -> int:
    """Write the base at `cut` as Parquet files `{folder}/{table}/part.parquet`.

    Gives the number of redelivered events.
    """
    with recomputed(lake, log, cut, "full_", progress) as repeats:
        for name, columns in table_columns(over_tables(views)).items():
            if name in views:
                view = views[name]
                select = view.partial_sql(f"full_{view.source}")
            else:
                listed = ", ".join(f'"{c}"' for c in columns)
                select = f"SELECT {listed} FROM full_{name}"
            path = folder / name / "part.parquet"
            path.parent.mkdir(parents=True)
            lake.con.execute(
                f"COPY ({select}) TO {literal(path)} (FORMAT parquet, COMPRESSION zstd)"
            )
    return repeats
