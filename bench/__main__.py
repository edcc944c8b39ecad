"""Run the benchmarks: `python -m bench [--events N]`. Prints one table."""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil

EVENTS_AN_ORDER = 4
HEADRACE = [sys.executable, "-m", "headrace"]


@dataclass(frozen=True)
class Figure:
    """One measured process. `seconds` is the work's own time where it tells it, else `wall`."""

    name: str
    events: int
    seconds: float
    wall: float
    peak_mb: float


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--keep", type=Path, help="work here and leave the home behind")
    parser.add_argument("--no-spark", action="store_true", help="leave the Spark batch out")
    options = parser.parse_args()
    folder = options.keep or Path(tempfile.mkdtemp(prefix="headrace-bench-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        report(measure(folder, options.events, spark=not options.no_spark))
        report_commits(folder)
    finally:
        if options.keep is None:
            shutil.rmtree(folder, ignore_errors=True)


def measure(folder: Path, events: int, *, spark: bool) -> list[Figure]:
    """All figures, in the order in which they are taken."""
    home, lines = str(folder / "home"), folder / "events.ndjson"
    if not lines.exists():
        with lines.open("wb") as out:
            orders = str(events // EVENTS_AN_ORDER)
            faults = ["--duplicates", "0.02", "--disorder", "0.05", "--late", "0.01"]
            command = [*HEADRACE, "generate", "--orders", orders, "--seed", "1", *faults]
            subprocess.run(command, stdout=out, check=True)
    shutil.rmtree(home, ignore_errors=True)
    at = [*HEADRACE, "--home", home]
    total = sum(1 for _ in lines.open("rb"))
    found = [timed("append", [*at, "append", str(lines), "--json"], lambda _: total)]
    once = [sys.executable, "-m", "bench.one_shot", home]
    found.append(timed("one-shot DuckDB recompute", once, lambda r: r["events"]))
    found.append(timed("speed --once", [*at, "speed", "--once", "--json"], lambda r: r["events"]))
    replay = [*at, "replay", "--from", "beginning", "--json"]
    found.append(timed("replay --from beginning", replay, lambda r: r["events"]))
    for engine in ("duckdb", "spark") if spark else ("duckdb",):
        batch = [*at, "batch", "--engine", engine, "--json"]
        found.append(timed(f"batch --engine {engine}", batch, lambda r: r["events"]))
    found.append(timed("verify", [*at, "verify", "--json"], lambda r: r["events"]))
    found.append(timed("one-shot, again", once, lambda r: r["events"]))
    return found


def timed(name: str, command: list[str], events: Callable[[dict[str, int]], int]) -> Figure:
    """Run a command once and account for it; its last line of output is its JSON result."""
    sys.stderr.write(f"{name} …\n")
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process, Peak(process.pid) as peak:
        output, _ = process.communicate()
    wall = time.perf_counter() - started
    if process.returncode:
        raise SystemExit(f"{name} ended with exit code {process.returncode}")
    result = json.loads(output.decode().strip().splitlines()[-1])
    return Figure(name, events(result), float(result.get("seconds", wall)), wall, peak.mb)


class Peak:
    """The most memory that a process and its children (Spark's Java is one) held together.

    Sampled ten times a second; pages that they share count for each.
    """

    def __init__(self, pid: int) -> None:
        self.mb = 0.0
        self._process = psutil.Process(pid)
        self._over = threading.Event()
        self._watch = threading.Thread(target=self._sample)

    def __enter__(self) -> Self:
        self._watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._watch.join()

    def _sample(self) -> None:
        while not self._over.wait(0.1):
            held = 0
            with contextlib.suppress(psutil.Error):
                for one in (self._process, *self._process.children(recursive=True)):
                    with contextlib.suppress(psutil.Error):
                        held += one.memory_info().rss
            self.mb = max(self.mb, held / 1e6)


def report(figures: list[Figure]) -> None:
    """Print the table, each figure beside its ratio to the one-shot recompute."""
    yardsticks = [f.events / f.seconds for f in figures if f.name.startswith("one-shot")]
    yardstick = sum(yardsticks) / len(yardsticks)
    row = "{:<28} {:>10} {:>9} {:>9} {:>12} {:>9} {:>8}"
    print(row.format("", "events", "work s", "wall s", "events/s", "peak MB", "ratio"))
    for f in figures:
        rate = f.events / f.seconds
        print(
            row.format(
                f.name,
                f"{f.events:,}",
                f"{f.seconds:.2f}",
                f"{f.wall:.2f}",
                f"{rate:,.0f}",
                f"{f.peak_mb:,.0f}",
                f"{rate / yardstick:.2f}",
            )
        )
    print("ratio: to the mean of the one-shot recomputes of this run (fold and all views, DuckDB)")


def report_commits(folder: Path) -> None:
    """Print what a small commit costs on a small and on a large history."""
    from bench.commit_cost import measure as commits

    few, many = commits(folder)
    print(
        f"commit of {few.events:,} events: {few.seconds * 1000:.0f} ms after {few.orders:,} "
        f"orders, {many.seconds * 1000:.0f} ms after {many.orders:,} "
        f"(ratio {many.seconds / few.seconds:.2f})"
    )


if __name__ == "__main__":
    main()
