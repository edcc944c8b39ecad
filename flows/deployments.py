"""What the Prefect server knows of a home: its deployments, and the runs that nobody serves."""

from __future__ import annotations

import urllib.request
from typing import TYPE_CHECKING, Any

from headrace.flows.schedules import FLOWS, schedule
from headrace.pipelines import settings
from headrace.pipelines.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from prefect import Flow
    from prefect.runner import Runner

    from headrace.pipelines.lake.home import Home


_PATIENCE = 10.0


_HOW = (
    "start one with `PREFECT_SERVER_ANALYTICS_ENABLED=false DO_NOT_TRACK=1 prefect server start` "
    "and set PREFECT_API_URL=http://127.0.0.1:4200/api; "
    "without one, `headrace flows run NAME` runs a flow once"
)


async def deploy(
    runner: Runner, chosen: settings.Settings, home: Home, flow: Flow[..., Any]
) -> UUID:
    """Make or renew the deployment of a flow for this home."""
    from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
    from prefect.deployments.runner import EntrypointType

    when = schedule(chosen, flow.name)
    place = home.path.absolute()
    deployment = await flow.ato_deployment(
        f"{place.name}-{home.log_id[:8]}",  # homes of one name may share a server
        cron=when.cron,
        interval=when.interval,
        parameters={"home": str(place)},
        # A run that comes while the one before it goes on is dropped, not kept for later.
        concurrency_limit=ConcurrencyLimitConfig(
            limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW
        ),
        description=f"Headrace in {place}: {FLOWS[flow.name]}.",
        tags=["headrace"],
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    found: UUID = await runner.aadd_deployment(deployment)
    return found


async def tidy(deployments: list[UUID]) -> None:
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


def check_server() -> None:
    """See that the server of PREFECT_API_URL answers.

    Raises:
        UsageError: none is named, or it does not.
    """
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
