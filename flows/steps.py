"""Steps that more than one flow takes: one flow at a time on a lake, what is retried, the proof."""

# mypy: disallow-untyped-decorators=false
from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed

from headrace.flows import artifacts
from headrace.pipelines import settings
from headrace.pipelines.bootstrap import open_lake
from headrace.pipelines.errors import BrokerError, JobError, LockError, StorageError
from headrace.pipelines.lake import home as homes
from headrace.pipelines.lake.lake import Lake
from headrace.pipelines.verbs import layers as verbs

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State, TaskRun
    from prefect.tasks import Task

PASSING = (LockError, StorageError, BrokerError)
"""What may be over when the step is done again."""

SKIPPED = "Skipped"
"""The name of the state in which a run ends that overlaps another one."""


def opened(home: Path) -> Lake:
    """The lake of a home; each task opens its own, because a lake stays in one thread."""
    return open_lake(settings.load(home))


def passes(task: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:
    """Whether a failed task is worth a retry: a lock, a disk, a broker may be free again."""
    del task, run
    failure: object = state.result(raise_on_failure=False)
    return isinstance(failure, PASSING)


again: dict[str, Any] = {"retries": 2, "retry_delay_seconds": 5, "retry_condition_fn": passes}
"""For tasks that may be done twice: what the first try did is whole, or is not there."""


@contextlib.contextmanager
def turn(home: Path, *, needs_batch: bool) -> Iterator[None]:
    """Be the only flow on this lake, and see that no batch runs that somebody started by hand.

    Raises:
        LockError: another flow still ran after `flow_wait`, or a batch does.
    """
    chosen = settings.load(home)
    if not homes.exists(home):
        open_lake(chosen).close()
    place = homes.open_home(home)
    with place.lock("flow", chosen.flow_wait.total_seconds()):
        if needs_batch:
            with place.lock("batch", wait=0):
                pass  # who takes it from here on is met by the step that needs it
        yield


Run = Callable[..., Any]


def one_at_a_time(*, needs_batch: bool) -> Callable[[Run], Run]:
    """Let a flow's run that overlaps another one say so, and end cleanly."""

    def wrap(run: Run) -> Run:
        @functools.wraps(run)
        def wrapped(home: Path, *given: Any, **named: Any) -> Any:
            try:
                with turn(home, needs_batch=needs_batch):
                    return run(home, *given, **named)
            except LockError as e:
                message = f"skipped, another run is on this lake: {e}"
                get_run_logger().warning(message)
                return Completed(name=SKIPPED, message=message, data={"skipped": str(e)})

        return wrapped

    return wrap


# A proof that comes out of a cache would prove nothing.
@task(name="verify", cache_policy=NO_CACHE, **again)
def prove(home: Path, generation: int | None = None) -> dict[str, Any]:
    """Recompute, compare every cell, store the certificate.

    Raises:
        JobError: a served cell differs. The certificate with the differences is stored.
    """
    with opened(home) as lake:
        certificate = verbs.verify(lake, generation)
    artifacts.certificate(certificate)
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
