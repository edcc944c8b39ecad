"""Traffic on a home: `python -m tests.e2e.traffic write|read HOME SECONDS`, a process each.

`write` appends, commits and publishes bases as fast as it can; `read` asks all the while and
counts answers that cannot be. Both print one JSON object.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from pipelines import batch, lake, serving, settings
from pipelines.errors import SeamError
from pipelines.log import Log
from pipelines.speed import Speed
from tests.e2e.command import REPOSITORY, environment
from tests.e2e.orders import events

TORN = """
SELECT
  (SELECT sum(net) FROM revenue_by_day) AS by_day,
  (SELECT sum(net) FROM country_sales) AS by_country,
  (SELECT sum(net) FROM customer_value) AS by_customer,
  (SELECT sum(amount) FROM ledger) AS by_ledger,
  (SELECT sum(net) FROM orders) AS by_order,
  (SELECT sum(orders) FROM revenue_by_minute) AS placed_by_minute,
  (SELECT sum(placed) FROM order_funnel) AS placed,
  (SELECT count(*) FROM orders) AS placed_orders
"""
"""Five ways to the same money and three to the same count. An answer is torn if they differ."""


def start(what: str, home: Path, seconds: float) -> subprocess.Popen[str]:
    """Start traffic in a process of its own."""
    command = [sys.executable, "-m", "tests.e2e.traffic", what, str(home), str(seconds)]
    return subprocess.Popen(
        command, cwd=REPOSITORY, env=environment({}), stdout=subprocess.PIPE, text=True
    )


def write(home: Path, seconds: float) -> dict[str, Any]:
    """Append and commit in one thread, publish bases in another."""
    chosen = settings.load(home, lock_wait=timedelta(seconds=60))
    over = threading.Event()
    published: list[int] = []

    def publish() -> None:
        with lake.open_lake(chosen) as at:
            while not over.is_set():
                try:
                    done = batch.run(at, engine="duckdb", incremental=len(published) % 2 == 1)
                except SeamError:  # the seam moved away under it: it says so and is run again
                    continue
                if done is not None:
                    published.append(done.base)

    publisher = threading.Thread(target=publish)
    commits = seed = 0
    end = time.monotonic() + seconds
    with lake.open_lake(chosen) as at, Speed.open(at, commit_events=40) as speed:
        publisher.start()
        try:
            while time.monotonic() < end:
                seed += 1
                lines = events(8, 1_000 + seed)
                Log(at).append(lines, ["traffic"] * len(lines))
                commits += len(speed.run())
        finally:
            over.set()
            publisher.join()
    return {"commits": commits, "bases": len(published)}


def read(home: Path, seconds: float) -> dict[str, Any]:
    """Ask until the time is over; count answers, torn ones, and steps back in the log."""
    answers = torn = backwards = 0
    positions, cuts = set(), set()
    last = 0
    slowest = 0.0
    end = time.monotonic() + seconds
    with serving.connect(home, threads=1) as served:
        while (now := time.monotonic()) < end:
            answer = served.query(TORN)
            slowest = max(slowest, time.monotonic() - now)
            (row,) = answer.rows
            answers += 1
            torn += len(set(row[:5])) != 1 or len(set(row[5:])) != 1
            backwards += answer.position.total < last or not answer.position.covers(answer.cut)
            last = answer.position.total
            positions.add(answer.position.text())
            cuts.add(answer.cut.text())
    return {
        "answers": answers, "torn": torn, "backwards": backwards, "positions": len(positions),
        "cuts": len(cuts), "slowest": slowest,
    }  # fmt: skip


if __name__ == "__main__":
    what, where, how_long = sys.argv[1:]
    done = {"write": write, "read": read}[what](Path(where), float(how_long))
    print(json.dumps(done))
