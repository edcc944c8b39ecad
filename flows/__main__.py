"""`python -m headrace.flows serve` deploys all flows by schedule, `run NAME` runs one, `ls` lists.

Which home, and when, is in the settings. `headrace flows` becomes this process.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from headrace.flows.schedules import FLOWS, schedule
from headrace.pipelines import settings
from headrace.pipelines.bootstrap import open_lake
from headrace.pipelines.cli import console
from headrace.pipelines.errors import HeadraceError, UsageError
from headrace.pipelines.logs import configure

if TYPE_CHECKING:
    from uuid import UUID

    from prefect import Flow

    from headrace.pipelines.lake.home import Home


def flow_of(name: str) -> Flow[..., Any]:
    """A flow by its name.

    Raises:
        UsageError: there is none, or Prefect is not installed.
    """
    if name not in FLOWS:
        raise UsageError(f"there is no flow {name!r}; name one of {', '.join(FLOWS)}")
    _check_prefect()
    found: Flow[..., Any] = getattr(import_module(f"headrace.flows.{name}"), name)
    return found


def _check_prefect() -> None:
    if find_spec("prefect") is None:
        raise UsageError("Prefect is not installed, so no flow can run; install 'headrace[flows]'")


def ls(*, as_json: bool) -> None:
    """Print the flows and when they run."""
    chosen = settings.load()
    found = [(name, str(schedule(chosen, name)), what) for name, what in FLOWS.items()]
    names = ["flow", "schedule", "does"]
    result = {"flows": [dict(zip(names, row, strict=True)) for row in found]}
    console.emit(result, console.table(names, found), as_json=as_json)


def run(name: str, given: list[str]) -> None:
    """Run a flow once and print what it gives, as JSON.

    Raises:
        UsageError: there is no such flow or parameter.
    """
    chosen = settings.load()
    flow = flow_of(name)
    known = set(flow.parameters.properties) - {"home"}
    parameters = dict(text.split("=", 1) for text in given)
    for key in parameters:
        if key not in known:
            raise UsageError(
                f"the flow {name} has no parameter {key!r}; it has {', '.join(sorted(known))}"
                if known
                else f"the flow {name} takes no parameters"
            )
    from prefect.exceptions import ParameterTypeError
    from prefect.settings import PREFECT_API_URL

    if PREFECT_API_URL.value():
        from headrace.flows import deployments

        deployments.check_server()

    try:
        result = flow(chosen.home.absolute(), **parameters)
    except ParameterTypeError as e:
        raise UsageError(f"a parameter of the flow {name} is wrong: {_shortly(e)}") from e
    sys.stdout.write(json.dumps(result, default=str) + "\n")


def _shortly(error: Exception) -> str:
    return " ".join(line.strip() for line in str(error).splitlines()[:3])


def serve() -> None:
    """Deploy all flows, and run them as their schedules say, until SIGTERM or ctrl-C.

    Raises:
        UsageError: no server can be reached, a schedule is wrong, or Prefect is not installed.
        HomeError: the home cannot be used.
        LockError: another process serves this home.
    """
    chosen = settings.load()
    for name in FLOWS:
        schedule(chosen, name)  # a wrong one is told before Prefect is loaded
    _check_prefect()
    from headrace.flows import deployments

    deployments.check_server()
    import asyncio

    # A shell starts what it puts in the background with SIGINT ignored; SIGTERM needs it below.
    signal.signal(signal.SIGINT, signal.default_int_handler)

    deployed: list[UUID] = []
    with open_lake(chosen) as lake:
        home = lake.home
    with home.lock("serve", wait=0):
        try:
            asyncio.run(_serve(chosen, home, deployed))
        except KeyboardInterrupt:
            for number in (signal.SIGINT, signal.SIGTERM):  # a second one finds us ending already
                signal.signal(number, signal.SIG_IGN)
            asyncio.run(deployments.tidy(deployed))
            sys.stderr.write("headrace: the flows are served no more; schedules stay as they are\n")


async def _serve(chosen: settings.Settings, home: Home, deployed: list[UUID]) -> None:
    from prefect.runner import Runner

    from headrace.flows import deployments

    # Paused at the end, schedules would stay so until somebody noticed.
    runner = Runner(
        "headrace", pause_on_shutdown=False, limit=len(FLOWS), query_seconds=5, prefetch_seconds=5
    )
    # SIGTERM is the same as ctrl-C: what runs is stopped, and can be at any moment.
    runner.handle_sigterm = lambda *_: os.kill(os.getpid(), signal.SIGINT)
    deployed += [await deployments.deploy(runner, chosen, home, flow_of(name)) for name in FLOWS]
    await deployments.tidy(deployed)
    sys.stderr.write(f"headrace: {len(deployed)} flows are served; ctrl-C ends it\n")
    await runner.start()


def main(arguments: list[str]) -> int:
    """Run the command; gives the exit code. Errors become one line on stderr."""
    try:
        configure(settings.load())
        if arguments == ["serve"]:
            serve()
        elif arguments[:1] == ["ls"]:
            ls(as_json="--json" in arguments)
        elif arguments[:1] == ["run"] and len(arguments) > 1:
            run(arguments[1], arguments[2:])
        else:
            raise UsageError("call it as `serve`, `ls` or `run NAME [KEY=VALUE]…`")
    except HeadraceError as e:
        sys.stderr.write(f"headrace: {e}\n")
        return e.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
