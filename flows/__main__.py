"""`python -m flows serve` deploys all flows by schedule; `python -m flows run NAME` runs one once.

Which home, and when, is in the settings. `headrace flows` becomes this process.
"""

from __future__ import annotations

import json
import sys
import urllib.request
from importlib import import_module
from typing import TYPE_CHECKING, Any

from pipelines import settings
from pipelines.errors import HeadraceError, UsageError
from pipelines.logs import configure
from pipelines.schedules import FLOWS, schedule

if TYPE_CHECKING:
    from prefect import Flow

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
    result = flow(chosen.home.absolute(), **parameters)
    sys.stdout.write(json.dumps(result, default=str) + "\n")


def serve() -> None:
    """Deploy all flows, and run them as their schedules say, until SIGTERM or ctrl-C.

    Raises:
        UsageError: no server can be reached, or a schedule is wrong.
    """
    chosen = settings.load()
    _check_server()
    from prefect import serve as serve_all
    from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
    from prefect.deployments.runner import EntrypointType

    # A run that comes while the one before it still goes on is dropped, not kept for later.
    alone = ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW)
    deployments = []
    for name, what in FLOWS.items():
        when = schedule(chosen, name)
        deployments.append(
            flow_of(name).to_deployment(
                f"headrace-{chosen.home.name}",
                cron=when.cron,
                interval=when.interval,
                parameters={"home": str(chosen.home.absolute())},
                concurrency_limit=alone,
                description=f"Headrace in {chosen.home.absolute()}: {what}.",
                tags=["headrace"],
                entrypoint_type=EntrypointType.MODULE_PATH,
            )
        )
    # Paused at the end, schedules would stay so until somebody noticed.
    serve_all(*deployments, pause_on_shutdown=False, limit=len(deployments))


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
