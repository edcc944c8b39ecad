"""Steps that more than one flow takes, as Prefect tasks."""

# mypy: disallow-untyped-decorators=false
from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from pipelines import settings
from pipelines.errors import JobError, LockError
from pipelines.lake import Lake, open_lake
from pipelines.verify import verify

if TYPE_CHECKING:
    from pathlib import Path

    from prefect.client.schemas.objects import State, TaskRun
    from prefect.tasks import Task


def opened(home: Path) -> Lake:
    """The lake of a home; each task opens its own, because a lake stays in one thread."""
    return open_lake(settings.load(home))


def waits_for_its_turn(task: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:
    """Whether a failed task is worth a retry: only if another process held a lock."""
    del task, run
    failure: object = state.result(raise_on_failure=False)
    return isinstance(failure, LockError)


# A proof that comes out of a cache would prove nothing.
@task(name="verify", cache_policy=NO_CACHE)
def prove(home: Path, generation: int | None = None) -> dict[str, Any]:
    """Recompute, compare every cell, store the certificate.

    Raises:
        JobError: a served cell differs. The certificate with the differences is stored.
    """
    with opened(home) as lake:
        certificate = verify(lake, generation)
    if not certificate.equal:
        raise JobError(
            f"generation {certificate.generation} differs from a recompute in "
            f"{certificate.comparison.wrong} cells at {certificate.position}; see headrace verify, "
            "then run headrace batch"
        )
    return {
        "position": certificate.position.as_dict(),
        "cells": certificate.comparison.cells,
        "fingerprint": certificate.fingerprint,
    }
