"""What a flow costs beside the bare command: python -m bench.flows [--events N] [--rounds R].

The same batch on copies of one home: `headrace batch` and `headrace verify`, and the flow `batch`
that does both, first with a server that runs, then with one that Prefect starts for the run.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from headrace.pipelines import settings
from headrace.pipelines.bootstrap import open_lake
from headrace.pipelines.generator.generator import generate
from headrace.pipelines.ingest.append import append_lines
from headrace.pipelines.ingest.ndjson import Line
from tests.flows.server import prefect_server, quiet

HEADRACE = Path(sys.executable).with_name("headrace")
BATCH = ("batch", "--engine", "duckdb")
FLOW = ("flows", "run", "batch", "--param", "engine=duckdb")


def seconds(home: Path, env: dict[str, str], *calls: tuple[str, ...]) -> float:
    """Wall time of some calls of the command on a copy of a home."""
    with tempfile.TemporaryDirectory(dir=home.parent) as folder:
        copy = shutil.copytree(home, Path(folder) / "home")
        started = time.perf_counter()
        for call in calls:
            subprocess.run(
                [HEADRACE, "--home", copy, *call], check=True, env=env, capture_output=True
            )
        return time.perf_counter() - started


def started(*call: str) -> float:
    """Wall time of a call of the command alone."""
    begun = time.perf_counter()
    subprocess.run([HEADRACE, *call], check=True, capture_output=True)
    return time.perf_counter() - begun


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        home = place / "home"
        with open_lake(settings.load(home)) as lake:
            lines = (Line(raw, "bench") for raw in generate(options.events // 4, 1))
            events = append_lines(lake, lines).accepted
        env = {**os.environ, "HEADRACE_AUDIT": "core", **quiet(place / "prefect")}
        env.pop("PREFECT_API_URL", None)
        found: dict[str, list[float]] = {"commands": [], "flow": [], "flow, no server": []}
        with prefect_server(place / "server") as server:
            with_server = {**env, **server.environment}
            for _ in range(options.rounds):
                found["commands"].append(seconds(home, env, BATCH, ("verify",)))
                found["flow"].append(seconds(home, with_server, FLOW))
        for _ in range(options.rounds):
            found["flow, no server"].append(seconds(home, env, FLOW))
        found["headrace --help"] = [started("--help") for _ in range(5)]
        status = ("--home", str(home), "status")
        found["headrace status"] = [started(*status) for _ in range(5)]
    print(f"{events:,} events, load {os.getloadavg()[0]:.1f}")
    for what, times in found.items():
        shown = ", ".join(f"{one:.2f}" for one in times)
        print(f"{what}: median {statistics.median(times):.2f} s ({shown})")


if __name__ == "__main__":
    main()
