"""`python -m flows serve` deploys all flows by schedule; `python -m flows run NAME` runs one once.

Which home, and when, is in the settings. `headrace flows` becomes this process.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import urllib.request
from importlib import import_module
from typing import TYPE_CHECKING, Any

from headrace.flows.schedules import FLOWS, schedule
from headrace.pipelines import settings
from headrace.pipelines.bootstrap import open_lake
from headrace.pipelines.errors import HeadraceError, UsageError
from headrace.pipelines.logs import configure

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from prefect import Flow
    from prefect.runner import Runner

    from headrace.pipelines.lake.home import Home

_PATIENCE = 10.0
_HOW = (
    "start one with `prefect server start` and set PREFECT_API_URL=http://127.0.0.1:4200/api; "
    "without one, `headrace flows run NAME` runs a flow once"
)


def flow_of(name: str) -> Flow[..., Any]:
    """A flow by its name.

    Raises:
        UsageError: there is none.
    """
    if name not in FLOWS:
        raise UsageError(f"there is no flow {name!r}; name one of {', '.join(FLOWS)}")
    found: Flow[..., Any] = getattr(import_module(f"flows.{name}"), name)
    return found


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
        UsageError: no server can be reached, or a schedule is wrong.
        HomeError: the home cannot be used.
        LockError: another process serves this home.
    """
    chosen = settings.load()
    _check_server()
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
            asyncio.run(_tidy(deployed))
            sys.stderr.write("headrace: the flows are served no more; schedules stay as they are\n")


async def _serve(chosen: settings.Settings, home: Home, deployed: list[UUID]) -> None:
    from prefect.runner import Runner

    # Paused at the end, schedules would stay so until somebody noticed.
    runner = Runner(
        "headrace", pause_on_shutdown=False, limit=len(FLOWS), query_seconds=5, prefetch_seconds=5
    )
    # SIGTERM is the same as ctrl-C: what runs is stopped, and can be at any moment.
    runner.handle_sigterm = lambda *_: os.kill(os.getpid(), signal.SIGINT)
    deployed += [await _deploy(runner, chosen, home, name) for name in FLOWS]
    await _tidy(deployed)
    sys.stderr.write(f"headrace: {len(deployed)} flows are served; ctrl-C ends it\n")
    await runner.start()


async def _deploy(runner: Runner, chosen: settings.Settings, home: Home, name: str) -> UUID:
    """Make or renew the deployment of a flow for this home."""
    from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
    from prefect.deployments.runner import EntrypointType

    when = schedule(chosen, name)
    place = home.path.absolute()
    deployment = await flow_of(name).ato_deployment(
        f"{place.name}-{home.log_id[:8]}",  # homes of one name may share a server
        cron=when.cron,
        interval=when.interval,
        parameters={"home": str(place)},
        # A run that comes while the one before it goes on is dropped, not kept for later.
        concurrency_limit=ConcurrencyLimitConfig(
            limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW
        ),
        description=f"Headrace in {place}: {FLOWS[name]}.",
        tags=["headrace"],
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    found: UUID = await runner.aadd_deployment(deployment)
    return found


async def _tidy(deployments: list[UUID]) -> None:
    """Drop what nobody serves: runs that are late, and those that ended with whoever ran them.

    The next run by schedule does the work of all late ones. A dead run that counts as running would
    keep every later one from its turn.
    """
    from datetime import UTC, datetime

    from prefect import get_client
    from prefect.states import Cancelled, Crashed

    now = datetime.now(UTC)
    async with get_client() as client:
        # Due or not: the runner fetches a run a little before its time, and may begin it then.
        for run in await _runs(client, deployments, ("PENDING", "RUNNING")):
            state = Crashed(message="it ended together with `headrace flows serve`")
            await client.set_flow_run_state(run.id, state, force=True)
        late = True
        while late:
            found = await _runs(client, deployments, ("SCHEDULED",), before=now)
            dropped = [run for run in found if run.auto_scheduled]  # others, somebody asked for
            late = bool(dropped)
            for run in dropped:
                state = Cancelled(message="dropped: the flows were not served at that time")
                await client.set_flow_run_state(run.id, state, force=True)


async def _runs(
    client: Any, deployments: list[UUID], states: Sequence[str], before: datetime | None = None
) -> Any:
    """Runs in one of these states that were due before this time, or at any: the first 200."""
    from prefect.client.schemas.filters import FlowRunFilter
    from prefect.client.schemas.sorting import FlowRunSort

    wanted = FlowRunFilter.model_validate(
        {
            "deployment_id": {"any_": deployments},
            "state": {"type": {"any_": list(states)}},
            "expected_start_time": {"before_": before},
        }
    )
    return await client.read_flow_runs(
        flow_run_filter=wanted, sort=FlowRunSort.EXPECTED_START_TIME_ASC, limit=200
    )


def _check_server() -> None:
    from prefect.settings import PREFECT_API_URL

    address = PREFECT_API_URL.value()
    if not address:
        raise UsageError(f"no Prefect server is named; {_HOW}")
    if not address.startswith(("http://", "https://")):
        raise UsageError(f"PREFECT_API_URL is {address!r}, which is no address of a server; {_HOW}")
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=_PATIENCE):  # noqa: S310 - checked
            pass
    except OSError as e:
        raise UsageError(f"no Prefect server answers at {address} ({e}); {_HOW}") from e


def main(arguments: list[str]) -> int:
    """Run the command; gives the exit code. Errors become one line on stderr."""
    try:
        configure(settings.load())
        if arguments == ["serve"]:
            serve()
        elif arguments[:1] == ["run"] and len(arguments) > 1:
            run(arguments[1], arguments[2:])
        else:
            raise UsageError("call it as `serve`, or `run NAME [KEY=VALUE]…`")
    except HeadraceError as e:
        sys.stderr.write(f"headrace: {e}\n")
        return e.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
