"""`headrace flows`: goes on as the flows' own process. Nothing of Prefect is imported here."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import click

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
    _become(settings_of(ctx), "ls", *["--json"] * as_json)


@flows_command.command("run")
@click.argument("name")
@click.option("--param", "params", multiple=True, metavar="KEY=VALUE", help="Of the flow.")
@click.pass_context
def run_command(ctx: click.Context, name: str, params: tuple[str, ...]) -> None:
    """Run a flow once, without a server (or known to the one that PREFECT_API_URL names).

    Parameters: batch takes engine and incremental; replay since and go_live; quality suite; ingest
    folder, form, mapping and limit.
    """
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
    _become(settings_of(ctx), "serve")


def _become(settings: Settings, *arguments: str) -> NoReturn:
    """Go on as the flows' own process: same terminal, so a kill or ctrl-C hits it."""
    from headrace.pipelines.settings import as_environment

    env = {**as_environment(settings), "HEADRACE_HOME": str(settings.home.absolute())}
    become_python("headrace.flows", *arguments, env=env)
