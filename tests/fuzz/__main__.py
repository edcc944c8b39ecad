"""`python -m tests.fuzz`: attack the seam at random, and say what it withstood."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from headrace.pipelines.cli import console
from headrace.pipelines.cli.options import json_option

if TYPE_CHECKING:
    from tests.fuzz.fuzzer import Outcome


@click.command("fuzz")
@click.option("--seed", type=int, default=1, show_default=True, help="Of all that is drawn.")
@click.option(
    "--minutes",
    type=click.FloatRange(0),
    default=1.0,
    show_default=True,
    help="No episode begins after it.",
)
@click.option(
    "--script",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Repeat what an earlier run wrote down, instead.",
)
@click.option("--keep", is_flag=True, help="Keep the home that failed, in the working folder.")
@json_option
@click.pass_context
def fuzz_command(
    ctx: click.Context, seed: int, minutes: float, script: Path | None, keep: bool, as_json: bool
) -> None:
    """Attack the seam: random steps, kills and readers, each answer held against an oracle.

    It works in temporary homes of its own; `--home` is not used and no home of yours is touched.
    A failure is made short and written to headrace-fuzz-SEED-EPISODE.json in the working folder.
    """
    from tests.fuzz import fuzzer
    from tests.fuzz.script import Script

    folder = Path.cwd()
    if script is not None:
        outcome = fuzzer.repeat(Script.read(script), folder=folder, keep=keep)
        outcome.file = script
        head = f"script {script}"
    else:
        duration, report = timedelta(minutes=minutes), console.steps("fuzz")
        outcome = fuzzer.run(seed, duration, folder=folder, keep=keep, report=report)
        head = f"seed {seed}"
    result = {"seed": seed if script is None else None, **outcome.as_json()}
    console.emit(result, f"{_failure(outcome)}{head}: {_figures(outcome)}", as_json=as_json)
    ctx.exit(0 if outcome.failure is None else 1)


def _figures(outcome: Outcome) -> str:
    f, steps = outcome.figures, outcome.as_json()["steps"]
    found = "nothing" if outcome.failure is None else outcome.failure.kind
    listed = ", ".join(f"{count} {kind}" for kind, count in steps.items())
    return (
        f"{f.episodes} episodes, {sum(steps.values()):,} steps ({listed}), {f.kills} kills of which"
        f" {f.fired} fired, {f.events:,} events acknowledged, {f.quarantined:,} quarantined,"
        f" {f.refused} refusals in order, {f.answers:,} answers checked, {f.cells:,} cells compared"
        f"; " + ("0 wrong, 0 torn, 0 lost" if outcome.failure is None else f"found: {found}")
    )


def _failure(outcome: Outcome) -> str:
    if outcome.failure is None or outcome.script is None:
        return ""
    script = outcome.script
    lines = [
        f"seed {script.seed}, episode {script.episode}: {outcome.failure}",
        f"in {len(script.steps)} steps:",
        *(f"  {json.dumps(step, ensure_ascii=False)}" for step in script.steps),
        f"python -m tests.fuzz --script {outcome.file}",
    ]
    if outcome.home is not None:
        lines.append(f"its home: {outcome.home}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    fuzz_command()
