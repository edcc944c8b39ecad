"""Commands around Prefect: `flows` serves, runs and lists them, as a process of its own; `ingest`.

Nothing of Prefect is imported here: it takes seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import click

from headrace.pipelines.cli import console
from headrace.pipelines.cli.app import settings_of
from headrace.pipelines.cli.options import json_option
from headrace.pipelines.errors import UsageError
from headrace.pipelines.processes import become_python

if TYPE_CHECKING:
    from headrace.pipelines.settings import Settings


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
