"""Commands that bring the views up to the log: speed, batch; and maintain."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from headrace.pipelines.cli import console
from headrace.pipelines.cli.app import interrupted, open_lake
from headrace.pipelines.cli.events import json_option
from headrace.pipelines.errors import LockError, UsageError

if TYPE_CHECKING:
    from headrace.pipelines.batch.run import Batch
    from headrace.pipelines.lake.lake import Lake


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
        from headrace.pipelines.batch import engines

        engines.become_stream(lake, follow=mode == "follow", as_json=as_json)


def _adopt_views(lake: Lake) -> str | None:
    """Before the first event, views that changed simply become the live ones; later they wait."""
    from headrace.pipelines.generations import registry

    wanted = registry.current_views(lake.home)
    live = registry.read(lake)
    if registry.logic_of(wanted) == live.logic:
        return None
    if live.position.total == 0:
        with lake.writing("switch") as tx:
            registry.replace_views(tx, live.number, wanted)
        return None
    return (
        "the view files have changed since the live generation was made; it goes on with its own. "
        "`headrace replay --from beginning` or `headrace batch` builds one with the new views"
    )


def _once(lake: Lake, *, as_json: bool) -> None:
    from headrace.pipelines.generations import registry
    from headrace.pipelines.speed import loop
    from headrace.pipelines.speed.layer import Speed, summary

    started = time.monotonic()
    with Speed.open(lake) as speed, console.bar("speed") as progress:
        commits = loop.once(lake, speed, progress)
    position = registry.read(lake).position
    result, text = summary(commits, position, time.monotonic() - started)
    console.emit(result, text, as_json=as_json)


def _follow(lake: Lake) -> None:
    import signal

    # What a service manager sends means the same as ctrl-C, also where that is ignored.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _commits(lake)
    except Exception as e:
        if interrupted(e):
            raise KeyboardInterrupt from e
        raise


def _commits(lake: Lake) -> None:
    from headrace.pipelines.speed import loop
    from headrace.pipelines.speed.layer import Speed

    with Speed.open(lake) as speed:
        for commit in loop.follow(lake, speed):
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
    from headrace.pipelines.batch import run as batch
    from headrace.pipelines.log.embedded import Log
    from headrace.pipelines.quality.audit import chosen

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


@click.command("maintain")
@json_option
@click.pass_context
def maintain_command(ctx: click.Context, as_json: bool) -> None:
    """Merge small files, forget old snapshots, drop generations nobody can return to."""
    from headrace.pipelines.operations import maintenance

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
