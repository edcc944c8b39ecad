"""`headrace batch` and `headrace publish`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from headrace.pipelines.cli import console
from headrace.pipelines.cli.app import open_lake
from headrace.pipelines.cli.options import json_option
from headrace.pipelines.errors import UsageError

if TYPE_CHECKING:
    from headrace.pipelines.batch.run import Batch


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
    from headrace.pipelines.log.embedded import Log
    from headrace.pipelines.verbs import layers as verbs

    with open_lake(ctx, spark_master=master, audit=audit) as lake:
        done = verbs.batch(
            lake, engine=engine, incremental=incremental, report=console.steps("batch")
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
        text += f"; audit {'core' if done.audit.suite == 'core' else 'full'}"
        text += "".join(f"\nwarning: {found}" for found in done.audit.warnings)
    return result, text


@click.command("publish")
@click.option("--force", is_flag=True, help="Even if it does not pass; needs --reason.")
@click.option("--reason", help="Why, with --force; it is recorded in sys.audits.")
@click.option(
    "--audit", type=click.Choice(["full", "core"]), help="With Great Expectations, or not."
)
@json_option
@click.pass_context
def publish_command(
    ctx: click.Context, force: bool, reason: str | None, audit: str | None, as_json: bool
) -> None:
    """Publish the base that an audit refused last, after auditing it again.

    It is refused again if it still does not pass (unless --force), and in any case if it no longer
    meets the deltas or a newer base is live.
    """
    from headrace.pipelines.log.embedded import Log
    from headrace.pipelines.verbs import layers as verbs

    if force and not (reason or "").strip():
        raise UsageError("--force needs --reason TEXT: why the audit is overruled; it is recorded")
    if reason is not None and not force:
        raise UsageError("--reason goes with --force; without it, the audit decides")
    with open_lake(ctx, audit=audit) as lake:
        done = verbs.publish(
            lake, forced=reason if force else None, report=console.steps("publish")
        )
        events = Log(lake).events_below(done.cut)
    result, text = batch_told(done, events)
    if force and done.audit is not None and not done.audit.passed:
        text += f"\npublished against its audit: {reason}"
    console.emit(result, text, as_json=as_json)
