"""`headrace verify` and `headrace check`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from headrace.pipelines.cli import console
from headrace.pipelines.cli.app import open_lake
from headrace.pipelines.cli.certificate import certificate_json, certificate_text
from headrace.pipelines.cli.options import json_option

if TYPE_CHECKING:
    from headrace.pipelines.quality.check import Checked


@click.command("verify")
@click.option("--generation", type=int, help="Another generation than the live one.")
@json_option
@click.pass_context
def verify_command(ctx: click.Context, generation: int | None, as_json: bool) -> None:
    """Prove what is served: recompute it from the log, compare every cell of every view.

    Exit code 1 if a single cell differs. The certificate is stored in the lake.
    """
    from headrace.pipelines.verbs import layers as verbs

    with open_lake(ctx) as lake, console.bar("verify", "slices") as progress:
        certificate = verbs.verify(lake, generation, progress=progress)
    console.emit(certificate_json(certificate), certificate_text(certificate), as_json=as_json)
    ctx.exit(0 if certificate.equal else 1)


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
    from headrace.pipelines.verbs import layers as verbs

    with open_lake(ctx) as lake:
        found = verbs.check(lake, suite)
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
