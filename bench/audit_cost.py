"""What the audit of a base costs: `python -m bench.audit_cost [--orders N]`. Prints one table.

Both audits of the same base, and the comparison with what is served, each per million events.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from headrace.pipelines import settings
from headrace.pipelines.batch import run as batch
from headrace.pipelines.bootstrap import open_lake
from headrace.pipelines.generations import registry, restatements
from headrace.pipelines.generator.generator import generate
from headrace.pipelines.ingest.append import append_lines
from headrace.pipelines.ingest.ndjson import Line
from headrace.pipelines.lake.lake import Lake
from headrace.pipelines.log.embedded import Log
from headrace.pipelines.quality import check as quality
from headrace.pipelines.quality.audit import Auditor, Core, Full
from headrace.pipelines.speed.layer import Speed


@dataclass(frozen=True)
class Cost:
    """One measured step."""

    name: str
    events: int
    seconds: float


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, default=250_000)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="headrace-audit-"))
    try:
        with open_lake(settings.load(folder / "home")) as lake:
            for cost in measure(lake, options.orders):
                each = cost.seconds / cost.events * 1e6
                print(
                    f"{cost.name:<40} {cost.events:>10,} events {cost.seconds:8.2f} s "
                    f"{each:8.2f} s a million events"
                )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def measure(lake: Lake, orders: int) -> list[Cost]:
    """All figures, in the order in which they are taken."""
    lines = generate(orders, 1, duplicates=0.02, disorder=0.05, late=0.01, poison=0.0)
    append_lines(lake, (Line(raw, f"bench:{i}") for i, raw in enumerate(lines)))
    with Speed.open(lake) as speed:
        speed.run()
    events = Log(lake).events_below(Log(lake).end())
    real, compared = restatements.at_cut, 0.0

    def timed(*given: object) -> object:
        nonlocal compared
        started = time.monotonic()
        found = real(*given)  # type: ignore[arg-type]
        compared = time.monotonic() - started
        return found

    restatements.at_cut = timed  # type: ignore[assignment]
    found: list[Cost] = []
    auditors: list[tuple[str, Auditor]] = [("core", Core()), ("full", Full())]
    for name, auditor in auditors:
        started = time.monotonic()
        done = batch.run(lake, engine="duckdb", auditor=auditor)
        whole = time.monotonic() - started
        if done is None or done.audit is None or not done.audit.passed:
            raise SystemExit("the base did not pass")
        found.append(Cost(f"batch, {name} audit, in all", events, whole))
        found.append(Cost(f"  its {name} audit", events, done.audit.seconds))
        found.append(Cost("  its comparison with what is served", events, compared))
    restatements.at_cut = real
    for suite in quality.ON_REQUEST:
        checked = quality.check(lake, suite)
        found.append(Cost(f"check of {suite}", events, checked.seconds))
    if registry.read(lake).base != 3:
        raise SystemExit("a base is missing")
    return found


if __name__ == "__main__":
    main()
