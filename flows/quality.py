"""Flow `quality`: check what arrived and what is served; tell of lag and quarantine."""

# mypy: disallow-untyped-decorators=false
from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from headrace.flows import artifacts
from headrace.flows.steps import again, one_at_a_time, opened
from headrace.pipelines.errors import JobError
from headrace.pipelines.operations import alerts
from headrace.pipelines.quality import check as checks
from headrace.pipelines.verbs import layers as verbs


@task(name="check", cache_policy=NO_CACHE, **again)
def check(home: Path, suite: str) -> dict[str, Any]:
    """Check one suite. Gives whether it passed, and its report."""
    with opened(home) as lake:
        found = verbs.check(lake, suite)
    return {
        "passed": found.passed,
        "failures": [str(f) for f in found.failures],
        "report": str(found.report),
    }


@task(name="lag", cache_policy=NO_CACHE)
def lag(home: Path) -> list[str]:
    """Where the views stand; an alert for each limit that is passed. Gives their texts."""
    with opened(home) as lake:
        artifacts.checked(lake)
        artifacts.lag(lake)
        return [alert.text for alert in alerts.check(lake)]


@flow(name="quality")
@one_at_a_time(needs_batch=False)
def quality(home: Path, *, suite: str | None = None) -> dict[str, Any]:
    """Check `events` and `served`, or one of them.

    Args:
        home: the home directory.
        suite: `events` or `served`; both by default.

    Raises:
        JobError: a blocking expectation failed. Nothing that is served was changed.
    """
    found = {name: check(home, name) for name in ((suite,) if suite else checks.ON_REQUEST)}
    told = lag(home)
    failed = [f"{n}: {'; '.join(c['failures'])}" for n, c in found.items() if not c["passed"]]
    if failed:
        raise JobError(f"checks failed: {' | '.join(failed)}; see the reports in the artifacts")
    return {"checks": found, "alerts": told}
