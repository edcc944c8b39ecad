"""A batch every minute for ten minutes, the speed layer following, events arriving all the time.

    python -m tests.flows.ten_minutes [--minutes 10] [--every 60]

A real Prefect server and `headrace flows serve`. Every publish must be equal to a recompute, and
no run may wait behind another: prints figures, ends with 1 if one of both does not hold.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from headrace.flows.schedules import FLOWS
from headrace.pipelines import settings
from headrace.pipelines.bootstrap import open_lake
from headrace.pipelines.generator.generator import generate
from headrace.pipelines.ingest.append import append_lines
from headrace.pipelines.ingest.ndjson import Line
from tests.flows.server import prefect_server, serving

_PORTION = 200
"""Events that arrive at a time, about once a second."""


def main() -> int:
    """Run, print; gives the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--every", type=int, default=60, help="seconds between two batches")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="headrace-ten-") as place:
        folder = Path(place)
        home = folder / "home"
        open_lake(settings.load(home)).close()
        chosen: dict[str, object] = {f"schedule_{n}": "" for n in FLOWS if n != "replay"}
        chosen |= {
            "schedule_batch": options.every, "flow_engine": "duckdb", "audit": "core",
            "flow_wait": 5,
        }  # fmt: skip
        with (
            prefect_server(folder / "prefect") as server,
            following(home),
            serving(home, server, folder / "serve.log", chosen),
        ):
            appended = arrive(home, options.minutes * 60)
            runs = [run for run in server.runs("batch") if run["deployment_id"]]
        return told(home, runs, appended, options.minutes * 60 / options.every)


@contextlib.contextmanager
def following(home: Path) -> Iterator[None]:
    """The speed layer as a process of its own."""
    command = [
        sys.executable,
        "-m",
        "headrace",
        "--home",
        str(home),
        "speed",
        "--follow",
    ]
    with subprocess.Popen(command, env=dict(os.environ), stderr=subprocess.DEVNULL) as running:
        try:
            yield
        finally:
            running.terminate()


def arrive(home: Path, seconds: float) -> int:
    """Append portions of events until the time is over; gives how many."""
    end, appended, seed = time.monotonic() + seconds, 0, 0
    with open_lake(settings.load(home)) as lake:
        while time.monotonic() < end:
            seed += 1
            lines = list(generate(_PORTION // 4, seed, duplicates=0.05, disorder=0.1, late=0.05))
            total = append_lines(lake, (Line(raw, f"{seed}:{i}") for i, raw in enumerate(lines)))
            appended += total.accepted
            time.sleep(1)
    return appended


def told(home: Path, runs: list[Any], appended: int, expected: float) -> int:
    """Print what happened; gives the exit code."""
    now = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
    due = [run for run in runs if run["expected_start_time"] < now]
    states = Counter(run["state_name"] for run in due)
    waited = [run["estimated_start_time_delta"] for run in due if run["start_time"]]
    with open_lake(settings.load(home)) as lake:
        proofs = lake.rows("SELECT wrong, events FROM sys.certificates ORDER BY certificate_no")
        bases = lake.row("SELECT count(*) FROM sys.bases WHERE base > 1")[0]
    print(f"{appended:,} events arrived; {len(due)} runs were due ({expected:.0f} expected)")
    print(f"states: {', '.join(f'{name} {n}' for name, n in sorted(states.items()))}")
    print(f"start after due: at most {max(waited, default=0):.1f} s")
    wrong = sum(differing > 0 for differing, _ in proofs)
    print(f"{bases} bases published, {len(proofs)} certificates, {wrong} with a wrong cell")
    late = states["Late"] + states["Pending"] + states["AwaitingConcurrencySlot"]
    broken = states["Failed"] + states["Crashed"]
    fine = len(proofs) >= expected / 2 and not wrong and late <= 1 and not broken
    print("PASSED" if fine else "FAILED")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
