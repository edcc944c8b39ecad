"""Commands about checks: `publish` a refused base after all; `check` events or what is served."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from headrace.pipelines.cli import console
from headrace.pipelines.cli.app import open_lake
from headrace.pipelines.cli.events import json_option
from headrace.pipelines.errors import UsageError

if TYPE_CHECKING:
    from headrace.pipelines.quality.check import Checked


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
    from headrace.pipelines.batch import run as batch
    from headrace.pipelines.cli.layers import batch_told
    from headrace.pipelines.log.embedded import Log
    from headrace.pipelines.quality.audit import chosen

    if force and not (reason or "").strip():
        raise UsageError("--force needs --reason TEXT: why the audit is overruled; it is recorded")
    if reason is not None and not force:
        raise UsageError("--reason goes with --force; without it, the audit decides")
    with open_lake(ctx, audit=audit) as lake:
        done = batch.publish_refused(
            lake,
            auditor=chosen(lake.settings),
            forced=reason if force else None,
            report=console.steps("publish"),
        )
        events = Log(lake).events_below(done.cut)
    result, text = batch_told(done, events)
    if force and done.audit is not None and not done.audit.passed:
        text += f"\npublished against its audit: {reason}"
    console.emit(result, text, as_json=as_json)


@click.command("check")
@click.option(
    "--suite",
    type=click.Choice(["events", "served"]),
    default="served",
    show_default=True,
    help="What arrived since the last check, or what readers see.",
)
@json_option
@click.pass_context
def check_command(ctx: click.Context, suite: str, as_json: bool) -> None:
    """Check with Great Expectations, and build the Data Docs. Exit code 1 if it fails."""
    from headrace.pipelines.quality import check as quality

    with open_lake(ctx) as lake:
        found = quality.check(lake, suite)
    console.emit(checked_json(found), checked_text(found), as_json=as_json)
    ctx.exit(0 if found.passed else 1)


def checked_json(found: Checked) -> dict[str, Any]:
    """A check as `check --json` prints it."""
    return {
        "suite": found.suite,
        "passed": found.passed,
        "position": found.position.as_dict(),
        "failures": [f.as_json() for f in found.failures],
        "warnings": [f.as_json() for f in found.warnings],
        "report": str(found.report),
        "seconds": round(found.seconds, 3),
    }


def checked_text(found: Checked) -> str:
    """A check for a person: the verdict, then each finding with its rows."""
    lines = [f"{found.suite}: {'passed' if found.passed else 'FAILED'} at {found.position}"]
    for finding in (*found.failures, *found.warnings):
        lines.append(f"{finding.severity}: {finding}")
        lines += [f"  {row}" for row in finding.rows]
    return "\n".join([*lines, f"report: {found.report}"])
