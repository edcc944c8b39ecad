"""What views cost a commit: `python -m bench.views [--orders N]`. Prints ratios within one run.

1. A commit of 100,000 events with all built-in views, against the six that only add up.
2. A commit that touches 1,000 groups of an inner view, if that has as many groups as the shop has
   orders, against one of 10,000 groups.

Both homes of a pair hold as many events; their commits are measured in turns, and each ends
proven.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from headrace.pipelines.batch import run as batch
from headrace.pipelines.bootstrap import open_lake
from headrace.pipelines.generations import registry
from headrace.pipelines.generator.generator import generate
from headrace.pipelines.lake.lake import Lake
from headrace.pipelines.log.embedded import Log
from headrace.pipelines.quality.verify import verify
from headrace.pipelines.settings import load
from headrace.pipelines.speed.layer import Speed
from headrace.pipelines.views.load import BUILTIN_VIEWS

ADDING_UP = {
    "revenue_by_day", "revenue_by_minute", "product_sales", "customer_value", "order_funnel",
    "country_sales",
}  # fmt: skip
OUTER = (
    "SELECT orders, currency, count(*) AS customers, max(net) AS best, sum(net) AS net "
    "FROM customer_value GROUP BY orders, currency"
)
FEW = 10_000
TOUCHED = 1_000


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, default=100_000, help="of the first pair")
    parser.add_argument("--groups", type=int, default=1_000_000, help="of the larger inner view")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
        many, six = all_against_six(Path(folder), options.orders)
        told("100,000 events, all built-in views", many, "the six that add up", six)
        large, small = touched_groups(Path(folder), options.groups)
        what = f"{TOUCHED:,} touched groups of"
        told(f"{what} {options.groups:,}", large, f"{what} {FEW:,}", small)


def all_against_six(folder: Path, orders: int) -> tuple[list[float], list[float]]:
    """Seconds of commits of 100,000 events, with all views and with six."""
    events = list(generate(orders, 1, duplicates=0.02, disorder=0.05, late=0.01))
    with ExitStack() as stack:
        lakes = [
            stack.enter_context(opened(folder / name, off))
            for name, off in (("all", set()), ("six", built_in() - ADDING_UP))
        ]
        for lake in lakes:
            Log(lake).append(events, [f"bench:{n}" for n in range(len(events))])
        speeds = [stack.enter_context(Speed.open(lake, commit_events=100_000)) for lake in lakes]
        seconds: tuple[list[float], list[float]] = ([], [])
        while True:
            taken = [step(lake, speed) for lake, speed in zip(lakes, speeds, strict=True)]
            if not all(taken):
                break
            for each, one in zip(seconds, taken, strict=True):
                each.append(one)
        for lake in lakes:
            prove(lake)
    return seconds


def touched_groups(folder: Path, groups: int) -> tuple[list[float], list[float]]:
    """Seconds of commits that touch 1,000 groups of a large inner view, and of a small one."""
    with ExitStack() as stack:
        lakes = []
        for name, customers in (("large", groups), ("small", FEW)):
            lake = stack.enter_context(
                opened(folder / name, built_in() - {"customer_value"}, OUTER)
            )
            for start in range(0, groups, 100_000):
                lines = list(placed(range(start, min(start + 100_000, groups)), customers))
                Log(lake).append(lines, ["bench"] * len(lines))
            batch.run(lake, engine="duckdb")
            lakes.append((lake, customers))
        speeds = [stack.enter_context(Speed.open(lake)) for lake, _ in lakes]
        seconds: tuple[list[float], list[float]] = ([], [])
        for turn in range(7):
            for (lake, customers), speed, each in zip(lakes, speeds, seconds, strict=True):
                first = groups + turn * TOUCHED
                lines = list(placed(range(first, first + TOUCHED), customers))
                Log(lake).append(lines, ["bench"] * len(lines))
                each.append(step(lake, speed))
        for lake, _ in lakes:
            prove(lake)
    return seconds[0][2:], seconds[1][2:]  # the first ones open files that later ones have


def built_in() -> set[str]:
    """The names of all built-in views."""
    return {path.stem for path in BUILTIN_VIEWS.glob("*.sql")}


def opened(home: Path, off: set[str], own: str | None = None) -> ExitStack:
    """The lake of a new home without some built-in views."""
    (home / "views").mkdir(parents=True)
    for name in off:
        (home / "views" / f"{name}.sql").write_text("-- off\n", encoding="utf-8")
    if own is not None:
        (home / "views" / "mine.sql").write_text(own, encoding="utf-8")
    return open_lake(load(home, environ={}))  # type: ignore[return-value]


def placed(numbers: range, customers: int) -> Iterator[bytes]:
    """Orders of one line, each of the next customer."""
    for n in numbers:
        lines = [{"product_id": f"p{n % 100}", "quantity": 1, "unit_price": f"{n % 90 + 1}.50"}]
        yield json.dumps(
            {
                "specversion": "1.0", "id": f"e{n}", "source": "bench", "type": "OrderPlaced",
                "subject": f"o{n}", "time": f"2026-03-{n % 28 + 1:02}T09:30:00Z",
                "data": {"customer_id": f"c{n % customers}", "currency": "EUR", "lines": lines},
            }
        ).encode()  # fmt: skip


def step(lake: Lake, speed: Speed) -> float:
    """Seconds of the next commit; 0 if there is nothing to read."""
    line, goal = registry.read(lake), Log(lake).end()
    started = time.perf_counter()
    done = speed.step(line.number, goal)
    return time.perf_counter() - started if done else 0.0


def prove(lake: Lake) -> None:
    """End with a proof; a wrong cell voids the figures."""
    if not verify(lake).equal:
        raise SystemExit("NOT EQUAL: the figures are void")


def told(name: str, seconds: list[float], against: str, others: list[float]) -> None:
    """Print both medians and their ratio."""
    one, other = statistics.median(seconds), statistics.median(others)
    sys.stdout.write(
        f"{name}: median {one:.3f} s of {len(seconds)} commits\n"
        f"{against}: median {other:.3f} s\n"
        f"ratio {one / other:.2f}\n"
    )


if __name__ == "__main__":
    main()
