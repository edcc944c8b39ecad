"""Commands that move the views: speed, batch, replay, promote, rollback, generations, maintain."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipelines import console
from pipelines.cli import open_lake
from pipelines.cli_log import json_option
from pipelines.errors import LockError, SeamError, UsageError

if TYPE_CHECKING:
    from pipelines.batch import Batch
    from pipelines.lake import Lake
    from pipelines.replay import Diff


@click.command("speed")
@click.option("--once", "mode", flag_value="once", help="Commit up to the log's end, then stop.")
@click.option("--follow", "mode", flag_value="follow", help="Stay there until stopped.")
@click.option("--commit-events", type=click.IntRange(1), help="Events a commit.")
@click.option("--workers", type=click.IntRange(1), help="Processes that read a topic's partitions.")
@click.option("--engine", type=click.Choice(["local", "spark"]), default="local", show_default=True)
@click.option("--master", help="Spark master, such as spark://host:7077.")
@json_option
@click.pass_context
def speed_command(
    ctx: click.Context,
    mode: str | None,
    commit_events: int | None,
    workers: int | None,
    engine: str,
    master: str | None,
    as_json: bool,
) -> None:
    """Run the speed layer: read new events, commit what they change in all views.

    It can be stopped or killed at any moment; the next start goes on exactly there.
    """
    if mode is None:
        raise UsageError("say --once or --follow")
    given: dict[str, Any] = {
        "commit_events": commit_events,
        "workers": workers,
        "spark_master": master,
    }
    with open_lake(ctx, **given) as lake:
        try:
            with lake.home.lock("speed", wait=0):
                adopted = _adopt_views(lake)
                if adopted:
                    console.note(adopted)
                if engine == "spark":
                    pass  # below, when the lake is closed and the lock free
                elif mode == "follow":
                    _follow(lake)
                else:
                    _once(lake, as_json=as_json)
        except KeyboardInterrupt:
            console.note("stopped; what is committed stays")
    if engine == "spark":
        from pipelines import engines

        engines.become_stream(lake, follow=mode == "follow", as_json=as_json)


def _adopt_views(lake: Lake) -> str | None:
    """Before the first event, views that changed simply become the live ones; later they wait."""
    from pipelines import generations

    wanted = generations.current_views(lake.home)
    live = generations.read(lake)
    if generations.logic_of(wanted) == live.logic:
        return None
    if live.position.total == 0:
        with lake.writing("switch") as tx:
            generations.replace_views(tx, live.number, wanted)
        return None
    return (
        "the view files have changed since the live generation was made; it goes on with its own. "
        "`headrace replay --from beginning` or `headrace batch` builds one with the new views"
    )


def _once(lake: Lake, *, as_json: bool) -> None:
    from pipelines import generations, pump
    from pipelines.speed import Speed, summary

    started = time.monotonic()
    with Speed.open(lake) as speed, console.bar("speed") as progress:
        commits = pump.once(lake, speed, progress)
    position = generations.read(lake).position
    result, text = summary(commits, position, time.monotonic() - started)
    console.emit(result, text, as_json=as_json)


def _follow(lake: Lake) -> None:
    from pipelines import pump
    from pipelines.speed import Speed

    with Speed.open(lake) as speed:
        for commit in pump.follow(lake, speed):
            console.note(f"commit {commit.number}: {commit.events:,} events, at {commit.position}")


@click.command("batch")
@click.option(
    "--engine", type=click.Choice(["spark", "duckdb"]), default="spark", show_default=True
)
@click.option("--incremental", is_flag=True, help="From the last base, reading only new events.")
@click.option("--master", help="Spark master, such as spark://host:7077.")
@click.option(
    "--audit", type=click.Choice(["full", "core"]), help="With Great Expectations, or not."
)
@json_option
@click.pass_context
def batch_command(
    ctx: click.Context,
    engine: str,
    incremental: bool,
    master: str | None,
    audit: str | None,
    as_json: bool,
) -> None:
    """Recompute a base at the log's end, check it, and publish it in one step.

    A base that does not pass its audit is kept aside: `headrace query --staged` reads it,
    `headrace publish` audits it again.
    """
    from pipelines import batch
    from pipelines.audit import chosen
    from pipelines.log import Log

    with open_lake(ctx, spark_master=master, audit=audit) as lake:
        done = batch.run(
            lake,
            engine=engine,
            incremental=incremental,
            auditor=chosen(lake.settings),
            report=console.steps("batch"),
        )
        events = 0 if done is None else Log(lake).events_below(done.cut)
    if done is None:
        console.emit({"published": False}, "nothing to recompute: no new events", as_json=as_json)
        return
    result, text = batch_told(done, events)
    console.emit(result, text, as_json=as_json)


def batch_told(done: Batch, events: int) -> tuple[dict[str, Any], str]:
    """What a batch did: for a program, and for a person."""
    result = {
        "published": done.live,
        "generation": done.generation,
        "base": done.base,
        "cut": done.cut.as_dict(),
        "engine": done.engine,
        "mode": done.mode,
        "rows": dict(done.rows),
        "events": events,
        "events_read": done.events_read,
        "repeats": done.repeats,
        "seconds": round(done.seconds, 3),
        "restated": done.restated,
        "revised": done.revised,
        "audit": None if done.audit is None else done.audit.as_json(),
    }
    text = (
        f"base {done.base} of generation {done.generation} at {done.cut}: {events:,} "
        f"events ({done.repeats:,} redelivered), {done.engine} {done.mode}, {done.seconds:.1f} s"
    )
    if done.restated:
        text += f"; {done.restated:,} cells restated"
    if done.revised:
        text += f"; {done.revised:,} cells of closed days and minutes revised"
    if not done.live:
        text += "; the views changed, so it is a new generation: `headrace promote` serves it"
    if done.audit is not None:
        text += "".join(f"\nwarning: {found}" for found in done.audit.warnings)
    return result, text


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
    from pipelines import generations, replay
    from pipelines.serving import parse_time

    moment = None if since == "beginning" else parse_time(since)
    with open_lake(ctx) as lake:
        wanted = generations.current_views(lake.home, views)
        with console.bar("replay") as progress:
            done = replay.replay(lake, moment, views=wanted, progress=progress)
        promoted = go_live and done.diff.promotable
        if promoted:
            replay.promote(lake, done.generation, reason="replay --promote")
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
    from pipelines.serving import plain

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
    if diff.added:
        lines.append(f"only in the new one: {', '.join(diff.added)}")
    if diff.removed:
        lines.append(f"only in the live one: {', '.join(diff.removed)}")
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
    from pipelines import replay

    with open_lake(ctx) as lake, console.bar("catching up") as progress:
        line = replay.promote(lake, generation, progress=progress)
    _switched(line, as_json)


@click.command("rollback")
@json_option
@click.pass_context
def rollback_command(ctx: click.Context, as_json: bool) -> None:
    """Make the generation live that was live before, caught up with the log, in one step."""
    from pipelines import replay

    with open_lake(ctx) as lake, console.bar("catching up") as progress:
        line = replay.rollback(lake, progress=progress)
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
    from pipelines import generations

    with open_lake(ctx, read_only=True) as lake, lake.reading():
        live = generations.live_number(lake)
        numbers = [r[0] for r in lake.rows("SELECT generation FROM sys.generations ORDER BY 1")]
        lines = [line for n in numbers if (line := _readable(lake, n)) is not None]
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
    from pipelines import generations

    try:
        return generations.read(lake, number)
    except SeamError as e:
        console.note(f"generation {number} cannot be served: {e}")
        return None


@click.command("maintain")
@json_option
@click.pass_context
def maintain_command(ctx: click.Context, as_json: bool) -> None:
    """Merge small files, forget old snapshots, drop generations nobody can return to."""
    from pipelines import maintenance

    with open_lake(ctx) as lake:
        try:
            done = maintenance.maintain(lake)
        except LockError as e:
            raise LockError(f"maintenance waits for its turn: {e}") from e
    result = vars(done)
    text = (
        f"{done.files_merged} files merged, {len(done.generations_dropped)} generations dropped, "
        f"{done.files_deleted} files deleted"
    )
    console.emit(result, text, as_json=as_json)
