"""Flow `batch`: recompute and publish a base, then prove what is served.

    python -m flows.batch HOME [--engine duckdb] [--incremental]

It fails if the audit refuses the base (then the old one serves on), or if a served cell differs
from a recompute.
"""

# mypy: disallow-untyped-decorators=false
from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE

from flows.steps import opened, prove, waits_for_its_turn
from pipelines import batch as batches
from pipelines.engines import ENGINES


@task(name="publish", cache_policy=NO_CACHE, retries=3, retry_delay_seconds=30,
      retry_condition_fn=waits_for_its_turn)  # fmt: skip
def publish(home: Path, *, engine: str, incremental: bool) -> dict[str, Any] | None:
    """Make a base at the log's end and publish it; None if there was nothing new."""
    log = get_run_logger()
    with opened(home) as lake:
        done = batches.run(lake, engine=engine, incremental=incremental, report=log.info)
    if done is None:
        return None
    return {
        "generation": done.generation,
        "base": done.base,
        "cut": done.cut.as_dict(),
        "seconds": done.seconds,
        "live": done.live,
    }


@flow(name="batch")
def batch(home: Path, *, engine: str = "spark", incremental: bool = False) -> dict[str, Any]:
    """Batch, then verify. Gives what was published and the certificate.

    Raises:
        JobError: the job failed, its base did not pass the audit, or a served cell is wrong.
        LockError: another batch ran all the time.
    """
    published = publish(home, engine=engine, incremental=incremental)
    return {"published": published, "certificate": prove(home)}


def main() -> None:
    """Run the flow once."""
    parser = argparse.ArgumentParser(description="Run the batch flow once.")
    parser.add_argument("home", type=Path)
    parser.add_argument("--engine", choices=ENGINES, default="spark")
    parser.add_argument("--incremental", action="store_true")
    options = parser.parse_args()
    batch(options.home, engine=options.engine, incremental=options.incremental)


if __name__ == "__main__":
    main()
