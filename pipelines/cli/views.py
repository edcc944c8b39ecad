"""`headrace views`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headrace.pipelines.cli import console
from headrace.pipelines.cli.app import open_lake
from headrace.pipelines.cli.options import json_option

if TYPE_CHECKING:
    from headrace.pipelines.batch.view_check import Checked


@click.command("views")
@click.argument("name", required=False)
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--no-spark", is_flag=True, help="With check: without Spark, which starts slowly.")
@json_option
@click.pass_context
def views_command(
    ctx: click.Context, name: str | None, file: Path | None, no_spark: bool, as_json: bool
) -> None:
    """List what can be queried: tables, views, their columns and size; and view files that wait.

    With the NAME of a view, show its text as it is live, with the home's zone in it.

    `headrace views check FILE` tries a view on the live data: what it would give and cost, and
    whether all engines give the same. Nothing is changed.
    """
    from headrace.pipelines.verbs.views import views

    if name == "check":
        if file is None:
            raise click.UsageError("name the file: headrace views check FILE")
        _check(ctx, file, spark=not no_spark, as_json=as_json)
        return
    if file is not None or no_spark:
        raise click.UsageError("only `headrace views check FILE` takes a file, or --no-spark")
    with open_lake(ctx, read_only=True) as lake:
        found = views(lake, name)
    console.emit(found, _text(found) if name else _listed(found), as_json=as_json)


def _text(found: dict[str, Any]) -> str:
    return "\n".join(each["text"].rstrip() for each in found["views"])


def _check(ctx: click.Context, file: Path, *, spark: bool, as_json: bool) -> None:
    from headrace.pipelines.lake.guarded_sql import plain
    from headrace.pipelines.verbs.views import check_view

    with open_lake(ctx) as lake:
        done = check_view(lake, file, spark=spark, report=console.steps("views"))
    told = {
        "view": done.view.name,
        "equal": done.equal,
        "position": done.position.as_dict(),
        "generation": done.generation,
        "reads": list(done.view.inner or (done.view.source,)),
        "columns": {c.name: c.type for c in done.view.outputs},
        "key": [c.name for c in done.view.keys],
        "ways": [vars(way) for way in done.ways],
        "source_rows": done.source_rows,
        "stored_rows": done.stored_rows,
        "stored_bytes": done.stored_bytes,
        "commit_rows": done.commit_rows,
        "commit_seconds": round(done.commit_seconds, 4),
        "sample": [[plain(value) for value in row] for row in done.sample],
    }
    console.emit(told, _checked(done), as_json=as_json)
    if not done.equal:
        ctx.exit(1)


def _checked(done: Checked) -> str:
    ways = [
        (way.name, f"{way.rows:,}", f"{way.seconds:.2f}", "equal" if not way.differ else
         f"{way.differ:,} ROWS DIFFER") for way in done.ways
    ]  # fmt: skip
    cost = (
        f"It reads {done.source_rows:,} rows. A base would hold {done.stored_rows:,} rows of it, "
        f"{done.stored_bytes:,} bytes. It adds {done.commit_seconds * 1000:,.0f} ms to a commit "
        f"that changes {done.commit_rows:,} of those rows."
    )
    sample = console.table(done.columns, [[console.cell(v) for v in r] for r in done.sample])
    table = console.table(["way", "rows", "seconds", "against its text"], ways)
    lines = [table, "", cost, "", sample]
    if done.view.inner:
        lines.append(f"A base makes it in DuckDB, from {', '.join(done.view.inner)}.")
    return "\n".join(lines)


def _listed(found: dict[str, Any]) -> str:
    """All that can be queried, what waits, and what the home changed of the built-in views."""
    rows = [
        (
            f["name"],
            f["kind"],
            f"{f['rows']:,}",
            f"{f['stored_rows']:,}",
            f"{f['bytes']:,}",
            "-" if f["rows_a_commit"] is None else f"{f['rows_a_commit']:,}",
            ", ".join(f.get("zones", ())),
            ", ".join(f["columns"]),
        )
        for f in found["views"]
    ]
    head = ["name", "kind", "rows", "stored", "bytes", "a commit", "local time", "columns"]
    lines = [console.table(head, rows)]
    for each in found["views"]:
        for lookup, count in each.get("without", {}).items():
            if count:
                lines.append(
                    f"{each['name']}: {count:,} of the rows that it reads have nothing in "
                    f"{lookup}, and stand under NULL"
                )
    if not found["fresh"]:
        lines.append("not up to date: the log has events that `headrace speed --once` would read")
    lines += [
        f"{said}: {', '.join(found[key])}"
        for key, said in (("replaced", "built in, replaced here"), ("off", "built in, off here"))
        if found[key]
    ]
    if found["waiting"]:
        moved = f" ({found['zones_moved']})" if found["zones_moved"] else ""
        lines.append(
            f"changed on disk, not live yet: {', '.join(found['waiting'])}{moved}. "
            "`headrace batch` builds a generation with them, and so does `headrace replay --from "
            "DATE`: it starts from the nearest base, so a late date reads least"
        )
    return "\n".join(lines)
