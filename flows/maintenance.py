"""Flow `maintenance`: merge small files, forget old snapshots, delete what nobody names."""

# mypy: disallow-untyped-decorators=false
from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from headrace.flows import artifacts
from headrace.flows.steps import again, one_at_a_time, opened
from headrace.pipelines.operations import maintenance as rounds


@task(name="maintain", cache_policy=NO_CACHE, **again)
def maintain(home: Path) -> dict[str, Any]:
    """Run one round. Safe beside readers and writers, and safe to run twice."""
    with opened(home) as lake:
        done = rounds.maintain(lake)
        artifacts.lag(lake)
    return asdict(done)


@flow(name="maintenance")
@one_at_a_time(needs_batch=True)
def maintenance(home: Path) -> dict[str, Any]:
    """Maintain. Gives what was merged, dropped and deleted.

    Args:
        home: the home directory.
    """
    done: dict[str, Any] = maintain(home)
    return done
