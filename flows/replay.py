"""Flow `replay`: build a generation from the log, compare it, promote it if asked, prove it.

    python -m flows.replay HOME --from 2026-03-01 [--promote]

Readers notice nothing before the promotion, which is one step.
"""

# mypy: disallow-untyped-decorators=false
from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows.steps import opened, prove, waits_for_its_turn
from pipelines import replay as replays
from pipelines.errors import PromotionError
from pipelines.serving import parse_time

BEGINNING = "beginning"


@task(name="build", cache_policy=NO_CACHE)
def build(home: Path, since: str) -> dict[str, Any]:
    """Build a generation beside the live one and compare both. Not retried: it would build two."""
    moment = None if since == BEGINNING else parse_time(since)
    with opened(home) as lake:
        done = replays.replay(lake, moment)
    return {
        "generation": done.generation,
        "events": done.events,
        "differing_cells": done.diff.comparison.wrong,
        "logic_changed": done.diff.logic_changed,
        "promotable": done.diff.promotable,
    }


@task(name="promote", cache_policy=NO_CACHE, retries=3, retry_delay_seconds=30,
      retry_condition_fn=waits_for_its_turn)  # fmt: skip
def promote(home: Path, generation: int) -> dict[str, int]:
    """Point readers at the generation. Gives the position that it serves."""
    with opened(home) as lake:
        return replays.promote(lake, generation, reason="flow replay").position.as_dict()


@flow(name="replay")
def replay(home: Path, *, since: str = BEGINNING, go_live: bool = False) -> dict[str, Any]:
    """Replay, then promote (only if `go_live`), then verify what was built.

    Args:
        home: the home directory.
        since: event time in UTC, or `beginning`.
        go_live: promote without a person's look at the diff.

    Raises:
        PromotionError: same logic, other numbers; the live generation serves on.
    """
    built = build(home, since)
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


def main() -> None:
    """Run the flow once."""
    parser = argparse.ArgumentParser(description="Run the replay flow once.")
    parser.add_argument("home", type=Path)
    parser.add_argument("--from", dest="since", default=BEGINNING)
    parser.add_argument("--promote", action="store_true")
    options = parser.parse_args()
    replay(options.home, since=options.since, go_live=options.promote)


if __name__ == "__main__":
    main()
