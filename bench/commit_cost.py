"""Does the cost of a commit follow the commit, or the number of orders seen so far?"""

from __future__ import annotations

import shutil
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

from headrace.pipelines import settings
from headrace.pipelines.bootstrap import create, open_lake
from headrace.pipelines.generator.generator import generate
from headrace.pipelines.lake.lake import Lake
from headrace.pipelines.log.embedded import Log
from headrace.pipelines.speed.layer import Speed

COMMITS = 9
EVENTS = 2_000


@dataclass(frozen=True)
class Cost:
    """The median commit of `events` events on a history of so many orders."""

    orders: int
    events: int
    seconds: float


def measure(folder: Path) -> tuple[Cost, Cost]:
    """Commit equal portions on a fresh home, and on the home that the other figures left."""
    shutil.rmtree(folder / "fresh", ignore_errors=True)
    fresh = settings.load(folder / "fresh")
    create(fresh)
    costs = []
    for chosen, seed in ((fresh, 2), (settings.load(folder / "home"), 3)):
        with open_lake(chosen) as lake:
            costs.append(_commits(lake, seed))
    return costs[0], costs[1]


def _commits(lake: Lake, seed: int) -> Cost:
    log = Log(lake)
    lines = list(generate(EVENTS * (COMMITS + 1) // 3, seed))[: EVENTS * (COMMITS + 1)]
    seconds = []
    with Speed.open(lake) as speed:
        speed.run()
        orders = lake.row("SELECT count(*) FROM orders")[0]
        for i in range(0, len(lines), EVENTS):
            portion = lines[i : i + EVENTS]
            log.append(portion, ["bench"] * len(portion))
            started = time.perf_counter()
            speed.run()
            seconds.append(time.perf_counter() - started)
    return Cost(int(orders), EVENTS, statistics.median(seconds[1:]))
