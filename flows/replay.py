"""Flow `replay`: build a generation from the log, compare it, promote it if asked, prove it.

    python -m headrace.flows run replay [since=2026-03-01] [views=FOLDER] [go_live=true]

Readers notice nothing before the promotion, which is one step.
"""

# mypy: disallow-untyped-decorators=false
from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from headrace.flows.steps import again, one_at_a_time, opened, prove
from headrace.pipelines.errors import PromotionError
from headrace.pipelines.verbs import layers as verbs


@task(name="build", cache_policy=NO_CACHE)
def build(home: Path, since: str, views: Path | None) -> dict[str, Any]:
    """Build a generation beside the live one and compare both. Not retried: it would build two."""
    with opened(home) as lake:
        done = verbs.replay(lake, since, views=views)
    return {
        "generation": done.generation,
        "events": done.events,
        "differing_cells": done.diff.comparison.wrong,
        "logic_changed": done.diff.logic_changed,
        "promotable": done.diff.promotable,
    }


@task(name="promote", cache_policy=NO_CACHE, **again)
def promote(home: Path, generation: int) -> dict[str, int]:
    """Point readers at the generation. Gives the position that it serves."""
    with opened(home) as lake:
        return verbs.promote(lake, generation, reason="flow replay").position.as_dict()


@flow(name="replay")
@one_at_a_time(needs_batch=True)
def replay(
    home: Path, *, since: str = verbs.BEGINNING, views: Path | None = None, go_live: bool = False
) -> dict[str, Any]:
    """Replay, then promote (only if `go_live`), then verify what was built.

    Args:
        home: the home directory.
        since: event time in UTC, or `beginning`.
        views: a folder with views to try in place of the home's own.
        go_live: promote without a person's look at the diff; else it is only compared.

    Raises:
        PromotionError: same logic, other numbers; the live generation serves on.
    """
    built = build(home, since, views)
    if not built["promotable"]:
        raise PromotionError(
            f"generation {built['generation']} has the live logic but differs in "
            f"{built['differing_cells']} cells; it was not promoted, run headrace verify"
        )
    position = promote(home, built["generation"]) if go_live else None
    return {
        "built": built,
        "promoted_at": position,
        "certificate": prove(home, built["generation"]),
    }
