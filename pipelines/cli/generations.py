"""Commands about generations: replay, promote, rollback, generations."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headrace.pipelines.cli import console
from headrace.pipelines.cli.app import open_lake
from headrace.pipelines.cli.options import json_option
from headrace.pipelines.errors import SeamError

if TYPE_CHECKING:
    from headrace.pipelines.lake.lake import Lake
    from headrace.pipelines.replay.promote import Diff


@click.command("replay")
@click.option(
    "--from",
    "since",
    required=True,
    metavar="TIMESTAMP|beginning",
    help="Event time (UTC unless it says otherwise), or `beginning`.",
)
@click.option(
    "--views", type=click.Path(path_type=Path), help="Folder of .sql files instead of HOME/views."
)
@click.option("--promote", "go_live", is_flag=True, help="Promote it if it may go live.")
@json_option
@click.pass_context
def replay_command(
    ctx: click.Context, since: str, views: Path | None, go_live: bool, as_json: bool
) -> None:
    """Build a new generation beside the live one from the log, and print how it differs.

    Nothing that readers see changes until `headrace promote`.
    """
    from headrace.pipelines.verbs import layers as verbs

    with open_lake(ctx) as lake:
        with console.bar("replay") as progress:
            done = verbs.replay(lake, since, views=views, progress=progress)
        promoted = go_live and done.diff.promotable
        if promoted:
            verbs.promote(lake, done.generation, reason="replay --promote")
    result = {
        "generation": done.generation,
        "requested": done.requested.as_dict(),
        "started_at": done.started_at.as_dict(),
        "events": done.events,
        "seconds": round(done.seconds, 3),
        **_diff_json(done.diff),
        "promoted": promoted,
    }
    text = (
        f"generation {done.generation}: {done.events:,} events from {done.started_at}, "
        f"{done.seconds:.1f} s\n"
        f"{_diff_text(done.diff)}"
    )
    if promoted:
        text += f"\npromoted: generation {done.generation} is live"
    elif done.diff.promotable:
        text += f"\n`headrace promote {done.generation}` makes it live"
    console.emit(result, text, as_json=as_json)
    ctx.exit(0 if done.diff.promotable else 1)


def _diff_json(diff: Diff) -> dict[str, Any]:
    from headrace.pipelines.lake.guarded_sql import plain

    c = diff.comparison
    return {
        "against": diff.against,
        "position": diff.position.as_dict(),
        "equal": diff.equal,
        "logic_changed": diff.logic_changed,
        "promotable": diff.promotable,
        "rows": c.rows,
        "cells": c.cells,
        "differing_cells": c.wrong,
        "by_view": dict(c.by_view),
        "added": list(diff.added),
        "removed": list(diff.removed),
        "columns": {name: dict(change) for name, change in diff.columns.items()},
        "differences": [
            {
                "view": x.view,
                "key": plain(dict(x.key)),
                "column": x.column,
                "new": plain(x.served),
                "live": plain(x.expected),
            }
            for x in c.shown
        ],
    }


def _diff_text(diff: Diff) -> str:
    c = diff.comparison
    head = (
        f"compared with generation {diff.against} at {diff.position}: {c.cells:,} cells in "
        f"{c.rows:,} rows, {'all equal' if diff.equal else f'{c.wrong:,} differ'}"
    )
    lines = [head]
    if diff.columns:
        lines[0] += " among the columns that both have"
    for name, change in diff.columns.items():
        told = "; ".join(f"{kind}: {', '.join(columns)}" for kind, columns in change.items())
        lines.append(f"changed logic: {name} has other columns ({told})")
    regrouped = [name for name in diff.added if name in diff.removed]
    if regrouped:
        lines.append(f"changed logic: grouped by other keys: {', '.join(regrouped)}")
    for where, names in (("new", diff.added), ("live", diff.removed)):
        alone = [name for name in names if name not in regrouped]
        if alone:
            lines.append(f"only in the {where} one: {', '.join(alone)}")
    if c.shown:
        rows = [(x.view, _key(x.key), x.column, x.served, x.expected) for x in c.shown]
        lines.append(console.table(["view", "key", "column", "new", "live"], rows))
        if c.wrong > len(c.shown):
            lines.append(f"… and {c.wrong - len(c.shown):,} more cells")
    if not diff.promotable:
        lines.append("the logic is the same, so this must not be: it cannot be promoted")
    return "\n".join(lines)


def _key(key: Any) -> str:
    return " ".join(f"{k}={console.cell(v)}" for k, v in key.items())


@click.command("promote")
@click.argument("generation", type=int, required=False)
@json_option
@click.pass_context
def promote_command(ctx: click.Context, generation: int | None, as_json: bool) -> None:
    """Make a generation live (the newest by default), in one step."""
    from headrace.pipelines.verbs import layers as verbs

    with open_lake(ctx) as lake, console.bar("catching up") as progress:
        line = verbs.promote(lake, generation, progress=progress)
    _switched(line, as_json)


@click.command("rollback")
@json_option
@click.pass_context
def rollback_command(ctx: click.Context, as_json: bool) -> None:
    """Make the generation live that was live before, caught up with the log, in one step."""
    from headrace.pipelines.verbs import layers as verbs

    with open_lake(ctx) as lake, console.bar("catching up") as progress:
        line = verbs.rollback(lake, progress=progress)
    _switched(line, as_json)


def _switched(line: Any, as_json: bool) -> None:
    result = {
        "generation": line.number,
        "logic": line.logic,
        "cut": line.cut.as_dict(),
        "position": line.position.as_dict(),
    }
    text = f"generation {line.number} is live, logic {line.logic}, at {line.position}"
    console.emit(result, text, as_json=as_json)


@click.command("generations")
@json_option
@click.pass_context
def generations_command(ctx: click.Context, as_json: bool) -> None:
    """List the generations: which is live, where each came from, how far it has read."""
    from headrace.pipelines.generations import registry

    with open_lake(ctx, read_only=True) as lake, lake.reading():
        live = registry.live_number(lake)
        lines = [line for n in registry.numbers(lake) if (line := _readable(lake, n)) is not None]
    names = ["generation", "live", "made", "origin", "logic", "base", "cut", "position"]
    rows = [
        (
            g.number,
            "live" if g.number == live else "",
            g.created_at,
            g.origin,
            g.logic,
            g.base,
            str(g.cut),
            str(g.position),
        )
        for g in lines
    ]
    result = [
        {
            "generation": g.number,
            "live": g.number == live,
            "made": str(g.created_at),
            "origin": g.origin,
            "logic": g.logic,
            "base": g.base,
            "cut": g.cut.as_dict(),
            "position": g.position.as_dict(),
            "views": sorted(g.views),
        }
        for g in lines
    ]
    console.emit({"generations": result}, console.table(names, rows), as_json=as_json)


def _readable(lake: Lake, number: int) -> Any:
    from headrace.pipelines.generations import registry

    try:
        return registry.read(lake, number)
    except SeamError as e:
        console.note(f"generation {number} cannot be served: {e}")
        return None
