"""Commands around Prefect: `flows` serves, runs and lists them, as a process of its own; `ingest`.

Nothing of Prefect is imported here: it takes seconds.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from headrace.pipelines.cli import console
from headrace.pipelines.cli.app import open_lake, settings_of
from headrace.pipelines.cli.events import json_option
from headrace.pipelines.errors import UsageError
from headrace.pipelines.processes import become_python

if TYPE_CHECKING:
    from headrace.pipelines.ingest.landing_zone import Landed
    from headrace.pipelines.settings import Settings

_FORMATS = ("cloudevents", "uci-online-retail", "csv")


@click.group("flows")
def flows_command() -> None:
    """Batch, replay, checks, maintenance and ingest as Prefect flows."""


@flows_command.command("ls")
@json_option
@click.pass_context
def ls_command(ctx: click.Context, as_json: bool) -> None:
    """List the flows and when they run."""
    from headrace.flows.schedules import FLOWS, schedule

    settings = settings_of(ctx)
    found = [(name, str(schedule(settings, name)), what) for name, what in FLOWS.items()]
    names = ["flow", "schedule", "does"]
    result = {"flows": [dict(zip(names, row, strict=True)) for row in found]}
    console.emit(result, console.table(names, found), as_json=as_json)


@flows_command.command("run")
@click.argument("name")
@click.option("--param", "params", multiple=True, metavar="KEY=VALUE", help="Of the flow.")
@click.pass_context
def run_command(ctx: click.Context, name: str, params: tuple[str, ...]) -> None:
    """Run a flow once, without a server (or known to the one that PREFECT_API_URL names).

    Parameters: batch takes engine and incremental; replay since and go_live; quality suite; ingest
    folder, form, mapping and limit.
    """
    from headrace.flows.schedules import FLOWS

    if name not in FLOWS:
        raise UsageError(f"there is no flow {name!r}; name one of {', '.join(FLOWS)}")
    wrong = [given for given in params if "=" not in given]
    if wrong:
        raise UsageError(f"--param {wrong[0]!r} is not KEY=VALUE")
    _become(settings_of(ctx), "run", name, *params)


@flows_command.command("serve")
@click.pass_context
def serve_command(ctx: click.Context) -> None:
    """Deploy all flows with their schedules to the server of PREFECT_API_URL, and run them.

    Ends at ctrl-C or SIGTERM; schedules go on when it is started again.
    """
    from headrace.flows.schedules import FLOWS, schedule

    settings = settings_of(ctx)
    for name in FLOWS:
        schedule(settings, name)  # a wrong one is told before Prefect is loaded
    _become(settings, "serve")


def _become(settings: Settings, *arguments: str) -> NoReturn:
    """Go on as the flows' own process: same terminal, so a kill or ctrl-C hits it."""
    from headrace.pipelines.settings import as_environment

    env = {**as_environment(settings), "HEADRACE_HOME": str(settings.home.absolute())}
    become_python("headrace.flows", *arguments, env=env)


@click.command("ingest")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--format", "form", type=click.Choice(_FORMATS), default="cloudevents", show_default=True
)
@click.option("--mapping", type=click.Path(path_type=Path), help="With csv: columns to fields.")
@click.option("--limit", type=click.IntRange(1), help="New files at most.")
@json_option
@click.pass_context
def ingest_command(
    ctx: click.Context,
    folder: Path,
    form: str,
    mapping: Path | None,
    limit: int | None,
    as_json: bool,
) -> None:
    """Land the new files of FOLDER in the log, each once, whatever dies meanwhile.

    Names that end in .tmp or .part, or begin with a dot, are left alone, and files that still
    grow. A file that is not what landed under its name is reported and not read: exit code 1.
    """
    from headrace.pipelines.ingest.landing import land

    with open_lake(ctx) as lake, console.bar("ingest", "files") as progress:
        found = land(lake, folder, form=form, mapping=mapping, limit=limit, progress=progress)
    console.emit(found.as_json(), landed_text(found), as_json=as_json)
    ctx.exit(0 if found.clean else 1)


def landed_text(found: Landed) -> str:
    """What landed, for a person; then each file that needs one."""
    text = (
        f"{found.files:,} files landed: {found.accepted:,} accepted, {found.quarantined:,} "
        f"quarantined; {found.known:,} files landed before"
    )
    if found.copies:
        text += f", {found.copies:,} have the content of one that did"
    for what, count in found.skipped.items():
        text += f", {count:,} {what} skipped"
    lines = [f"{path}: still written, left alone" for path in found.unfinished]
    lines += [
        f"{path}: changed after it landed, not read again; give what is new another name"
        for path in found.changed
    ]
    lines += [f"{path}: {why}" for path, why in found.failed.items()]
    return "\n".join([text, *lines])
