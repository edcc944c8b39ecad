"""The command `headrace`: finds a command's module when it is used, and says how it ended.

Guarantees: an error is one line on stderr, a traceback only with HEADRACE_DEBUG. Exit codes: 0
fine, 1 refused or found wrong, 2 bad usage, 130 stopped by ctrl-C.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headrace.pipelines.errors import HeadraceError
from headrace.pipelines.processes import run_without_pandas

if TYPE_CHECKING:
    from headrace.pipelines.lake.lake import Lake

_COMMANDS = {
    "init": "ingest",
    "generate": "ingest",
    "append": "ingest",
    "import": "ingest",
    "ingest": "ingest",
    "log": "log",
    "quarantine": "quarantine",
    "speed": "speed",
    "batch": "batch",
    "publish": "batch",
    "check": "verify",
    "replay": "generations",
    "promote": "generations",
    "rollback": "generations",
    "generations": "generations",
    "erase": "erase",
    "maintain": "operations",
    "flows": "flows",
    "doctor": "operations",
    "backup": "backup",
    "restore": "backup",
    "query": "query",
    "explain": "explain",
    "order": "order",
    "sql": "shell",
    "attach": "attach",
    "views": "views",
    "status": "status",
    "verify": "verify",
    "demo": "demo",
}
"""Command to its module here. In the order in which the help lists them."""
_HELP = {
    "init": "Create the home (what brings events in does it when needed).",
    "generate": "Print seeded, realistic order events as NDJSON.",
    "append": "Append CloudEvents NDJSON to the log.",
    "import": "Bring in real data sets.",
    "ingest": "Land the new files of a folder, each once.",
    "log": "Look at the log.",
    "quarantine": "What could not be accepted, and why.",
    "speed": "Keep the views up to the log's end (the speed layer).",
    "batch": "Recompute from scratch, check, publish (Spark).",
    "publish": "Publish the base that an audit refused, after looking at it again.",
    "check": "Check what arrived, or what is served, with Great Expectations.",
    "replay": "Build a new generation from the log and compare it (Kappa).",
    "promote": "Point readers at a replayed generation.",
    "rollback": "Point readers back at the generation before.",
    "generations": "List the generations.",
    "erase": "Make a customer's data unreadable; every sum stays.",
    "maintain": "Merge small files and drop what nobody needs.",
    "flows": "Serve batch, checks and the rest by schedule (Prefect), or run one.",
    "doctor": "Say what is wrong with a home; restore what can be restored.",
    "backup": "Copy the whole home into a folder, consistent and verified.",
    "restore": "Make a home from a backup, proven before it is there.",
    "query": "Answer a SELECT, exactly, with its position.",
    "explain": "Explain a number down to its events, and add it up again.",
    "order": "One order: state, ledger and events, now or as of an earlier position.",
    "sql": "A shell: one SELECT after the other, each with its position.",
    "attach": "Print the SQL with which DuckDB itself reads this home.",
    "views": "List the views, what they hold and cost; try one before it is deployed.",
    "status": "Where the log and the views stand.",
    "verify": "Recompute, compare every cell, store the certificate.",
    "demo": "The whole story on this machine, in about a minute.",
}


_STOPPED = "stopped; everything acknowledged so far is kept"
_LOG = "headrace.log"
"""Where the context keeps `--log`."""


class _Lazy(click.Group):
    """A group that imports a command's module only when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in _COMMANDS:
            return None
        from importlib import import_module

        module = import_module(f"headrace.pipelines.cli.{_COMMANDS[cmd_name]}")
        command: click.Command = getattr(module, f"{cmd_name}_command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, _HELP[name]) for name in _COMMANDS])


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--home",
    type=click.Path(path_type=Path),
    help="The directory with log, lake and views.  [default: $HEADRACE_HOME or ./headrace-data]",
)
@click.option(
    "--log",
    metavar="kafka://HOST:PORT/TOPIC",
    help="The topic that is the log; a new home is bound to it.  [default: the home's own log]",
)
@click.version_option(package_name="headrace", message="headrace %(version)s")
@click.pass_context
def app(ctx: click.Context, home: Path | None, log: str | None) -> None:
    """Order events in, exact numbers out, with proof.

    Start here: `headrace demo`, or

    \b
      headrace generate --orders 1000 --seed 1 | headrace append -
      headrace speed --once
      headrace query "SELECT * FROM revenue_by_day ORDER BY day"
      headrace verify
    """  # noqa: D301 - click wants the character
    ctx.obj = home
    ctx.meta[_LOG] = log


def settings_of(ctx: click.Context, **given: Any) -> Any:
    """The settings for this call."""
    from headrace.pipelines import settings
    from headrace.pipelines.lake import failpoints
    from headrace.pipelines.logs import configure

    chosen = settings.load(ctx.find_root().obj, log=ctx.meta.get(_LOG), **given)
    configure(chosen)
    failpoints.arm(os.environ.get("HEADRACE_CRASH_AT"))
    return chosen


def open_lake(
    ctx: click.Context, *, read_only: bool = False, make: bool = False, **given: Any
) -> Lake:
    """The lake of this call's home.

    Args:
        ctx: of the call.
        read_only: nothing will be written.
        make: make the home if there is none.
        given: settings of this call.

    Raises:
        UsageError: there is no home, and none is to be made.
    """
    from headrace.pipelines import bootstrap

    chosen = settings_of(ctx, **given)
    if not make:
        bootstrap.require(chosen.home)
    return bootstrap.open_lake(chosen, read_only=read_only)


def main() -> None:
    """Run the command and end the process with its exit code."""
    run_without_pandas()
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:  # noqa: PLR0911 - one return an outcome
    """Run the command; gives the exit code. Errors become one line on stderr."""
    try:
        outcome = app.main(arguments, prog_name="headrace", standalone_mode=False)
    except click.exceptions.Exit as e:
        return e.exit_code
    except click.ClickException as e:
        if isinstance(e, click.exceptions.NoArgsIsHelpError):
            click.echo(e.message, err=True)
        else:
            hint = getattr(e, "ctx", None)
            tail = f" See `{hint.command_path} --help`." if hint is not None else ""
            _say(f"{e.format_message()}{tail}")
        return 2
    except HeadraceError as e:
        _say(str(e))
        return e.exit_code
    except (click.exceptions.Abort, KeyboardInterrupt):
        _say(_STOPPED)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as e:
        if interrupted(e):
            _say(_STOPPED)
            return 130
        if os.environ.get("HEADRACE_DEBUG"):
            raise
        _say(line_of(e))
        return 1
    return outcome if isinstance(outcome, int) else 0


def interrupted(e: Exception) -> bool:
    """Whether an error is what DuckDB makes of ctrl-C."""
    return str(e) == "Query interrupted"


def line_of(e: Exception) -> str:
    """What to say of an error, in a line."""
    return str(e) if isinstance(e, HeadraceError) else _unforeseen(e)


def _unforeseen(e: Exception) -> str:
    """What to say of an error that nobody turned into one of ours."""
    from headrace.pipelines.lake.duckdb_errors import disk_refused, malformed, out_of_memory, remedy

    first = (str(e).splitlines() or [""])[0]
    if malformed(e):
        return f"the catalog is damaged ({first}); `headrace doctor` says what is wrong"
    if disk_refused(e) or out_of_memory(e):
        return f"{first}; what was acknowledged is safe. {remedy(e)}, then try again"
    return f"{type(e).__name__}: {first}. Set HEADRACE_DEBUG=1 to see where it happened"


def _say(text: str) -> None:
    click.echo(f"headrace: {text}", err=True)
