"""Flow `batch`: recompute and publish a base, then prove what is served.

    python -m headrace.flows run batch [engine=duckdb] [incremental=true]

It fails if the audit refuses the base (then the old one serves on), or if a served cell differs
from a recompute.
"""

# mypy: disallow-untyped-decorators=false
from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE

from headrace.flows import artifacts
from headrace.flows.steps import again, one_at_a_time, opened, prove
from headrace.pipelines.verbs import layers as verbs


@task(name="publish", cache_policy=NO_CACHE, **again)
def publish(home: Path, *, engine: str | None, incremental: bool) -> dict[str, Any] | None:
    """Cut at the log's end, make a base, audit and publish it; None if there was nothing new."""
    log = get_run_logger()
    with opened(home) as lake:
        try:
            done = verbs.batch(
                lake,
                engine=engine or lake.settings.flow_engine,
                incremental=incremental,
                report=log.info,
            )
        finally:
            artifacts.checked(lake)  # also of a base that was refused
        if done is None:
            return None
        artifacts.published(done)
        artifacts.restated(lake, done)
    return {
        "generation": done.generation,
        "base": done.base,
        "cut": done.cut.as_dict(),
        "seconds": done.seconds,
        "live": done.live,
    }


@flow(name="batch")
@one_at_a_time(needs_batch=True)
def batch(home: Path, *, engine: str | None = None, incremental: bool = False) -> dict[str, Any]:
    """Batch, then verify. Gives what was published and the certificate.

    Args:
        home: the home directory.
        engine: `spark` or `duckdb`; by default that of the settings (`flow_engine`).
        incremental: start from the live base and read only what is new.

    Raises:
        JobError: the job failed, its base did not pass the audit, or a served cell is wrong.
    """
    published = publish(home, engine=engine, incremental=incremental)
    return {"published": published, "certificate": prove(home)}
