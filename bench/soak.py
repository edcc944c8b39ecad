"""Does a home that runs for long stay small? `python -m bench.soak --minutes 20`.

On the real clock: small appends without pause, `speed --follow`, a reader, a batch every two
minutes, maintenance every five. Memory and file handles of the three that stay are sampled; after
a first third to get warm, the last third's median must not lie above the middle third's by more
than a tenth. Disk is shown: the log itself grows.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import psutil

from bench.__main__ import HEADRACE
from headrace.pipelines import settings
from headrace.pipelines.bootstrap import create, open_lake
from headrace.pipelines.generator.generator import generate
from headrace.pipelines.log.embedded import Log
from headrace.pipelines.serving import query as serving

FLAT = 1.1
"""The last third's median over the middle third's, at most."""
SAMPLE, BATCH, MAINTAIN = 5.0, 120.0, 300.0
"""Seconds between samples, batches, and rounds of maintenance."""
LOOKS = 12
"""At the handles, for one sample."""
PORTION, PAUSE = 20, 0.5
"""Events an append, and seconds between appends."""
HISTORY = 20_000
"""Events in the log before anything is measured."""
QUESTIONS = (
    "SELECT sum(net) FROM revenue_by_day",
    "SELECT country, sum(net) FROM country_sales GROUP BY country",
    "SELECT count(*), sum(net) FROM orders",
)


@dataclass
class Samples:
    """What one process held, over time; MB, and handles."""

    memory: list[float] = field(default_factory=list)
    handles: list[float] = field(default_factory=list)


def append(home: Path, seed: int) -> None:
    """Append small portions until killed."""
    lines = generate(10_000_000, seed, duplicates=0.02, disorder=0.05, late=0.01)
    with open_lake(settings.load(home, environ=_environment())) as lake:
        log = Log(lake)
        while True:
            portion = [next(lines) for _ in range(PORTION)]
            log.append(portion, ["soak"] * PORTION)
            time.sleep(PAUSE)


def read(home: Path, seed: int) -> None:
    """Ask until killed; half of the questions can come from the cache, half cannot."""
    chance = random.Random(seed)
    with serving.connect(home, threads=1) as served:
        while True:
            sql = chance.choice(QUESTIONS)
            served.query(sql if chance.random() < 0.5 else f"{sql} -- {chance.random()}")
            time.sleep(0.1)


def soak(home: Path, minutes: float, seed: int) -> tuple[dict[str, Samples], list[float]]:
    """Let it all run, and sample; gives what each process held, and the home's MB.

    Raises:
        SystemExit: one of them ended, or a batch or a maintenance failed.
    """
    chosen = settings.load(home, environ=_environment())
    create(chosen)
    with open_lake(chosen) as lake:
        first = [line for _, line in zip(range(HISTORY), generate(HISTORY, seed), strict=False)]
        Log(lake).append(first, ["soak"] * len(first))
    _once(home, "speed", "--once")
    found: dict[str, Samples] = defaultdict(Samples)
    disk: list[float] = []
    started = time.monotonic()
    end = started + minutes * 60
    turns = {"batch": started + BATCH / 4, "maintain": started + MAINTAIN / 4}
    with _running(home, seed) as running:
        working: dict[str, subprocess.Popen[bytes]] = {}
        while (now := time.monotonic()) < end:
            for name, process in running.items():
                if process.poll() is not None:
                    raise SystemExit(f"{name} ended with exit code {process.returncode}")
            _sample(found, running)
            disk.append(_size(home) / 1e6)
            for name, every in (("batch", BATCH), ("maintain", MAINTAIN)):
                if name in working and working[name].poll() is not None:
                    _checked(name, working.pop(name))
                if name not in working and now >= turns[name]:
                    arguments = ["--engine", "duckdb"] if name == "batch" else []
                    working[name] = _start(home, name, *arguments)
                    turns[name] = now + every
            time.sleep(max(0.0, SAMPLE - (time.monotonic() - now)))
        for name, process in working.items():
            process.wait()
            _checked(name, process)
    _once(home, "speed", "--once")
    _once(home, "verify")
    return found, disk


def ratio(values: Sequence[float]) -> float:
    """The last third's median over the middle third's; the first third gets warm."""
    third = len(values) // 3
    return statistics.median(values[2 * third :]) / statistics.median(values[third : 2 * third])


def report(found: dict[str, Samples], disk: Sequence[float]) -> bool:
    """Print the table; says whether everything that must be flat is."""
    row = "{:<10} {:<8} {:>10} {:>10} {:>10} {:>10} {:>7}"
    print(row.format("", "", "first", "middle", "last", "most", "ratio"))
    flat = True
    for name, samples in found.items():
        for what, values in (("MB", samples.memory), ("handles", samples.handles)):
            print(row.format(name, what, *_thirds(values)))
            flat &= ratio(values) <= FLAT
    print(row.format("home", "disk MB", *_thirds(disk)))
    return flat


def _thirds(values: Sequence[float]) -> list[str]:
    third = len(values) // 3
    parts = (values[:third], values[third : 2 * third], values[2 * third :])
    medians = [f"{statistics.median(part):,.1f}" for part in parts]
    return [*medians, f"{max(values):,.1f}", f"{ratio(values):.3f}"]


@contextlib.contextmanager
def _running(home: Path, seed: int) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """The processes that stay; dead when the block ends."""
    ours = [sys.executable, "-m", "bench.soak"]
    commands = {
        "appender": [*ours, "--append", str(home), "--seed", str(seed + 1)],
        "speed": [*HEADRACE, "--home", str(home), "speed", "--follow"],
        "reader": [*ours, "--read", str(home), "--seed", str(seed)],
    }
    running = {
        name: subprocess.Popen(
            command, env=_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for name, command in commands.items()
    }
    try:
        yield running
    finally:
        for process in running.values():
            process.kill()
            process.wait()


def _start(home: Path, *arguments: str) -> subprocess.Popen[bytes]:
    command = [*HEADRACE, "--home", str(home), *arguments]
    return subprocess.Popen(
        command, env=_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )


def _once(home: Path, *arguments: str) -> None:
    process = _start(home, *arguments)
    process.wait()
    _checked(arguments[0], process)


def _checked(name: str, process: subprocess.Popen[bytes]) -> None:
    said = process.stderr.read().decode() if process.stderr is not None else ""
    if process.stderr is not None:
        process.stderr.close()
    if process.returncode:
        raise SystemExit(f"{name} ended with exit code {process.returncode}: {said}")


def _environment() -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("HEADRACE_")}
    return {**kept, "HEADRACE_THREADS": "1", "HEADRACE_KEEP_SNAPSHOTS": "60"}


def _sample(found: dict[str, Samples], running: dict[str, subprocess.Popen[bytes]]) -> None:
    """Memory as it is; of the handles, the fewest of several looks: those that are held at rest.

    A file that is open for one query comes and goes. One that is never closed stays.
    """
    looks = []
    for _ in range(LOOKS):
        looks.append({n: psutil.Process(p.pid).num_fds() for n, p in running.items()})
        time.sleep(0.05)
    for name, process in running.items():
        found[name].memory.append(psutil.Process(process.pid).memory_info().rss / 1e6)
        found[name].handles.append(min(look[name] for look in looks))


def _size(home: Path) -> int:
    total = 0
    for path in home.rglob("*"):
        with contextlib.suppress(OSError):  # it went while we looked
            total += path.stat().st_size
    return total


def main() -> int:
    """Run, print, and say whether it was flat."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--append", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.append is not None:
        append(options.append, options.seed)
    if options.read is not None:
        read(options.read, options.seed)
    with tempfile.TemporaryDirectory(prefix="headrace-soak-") as folder:
        started = time.monotonic()
        found, disk = soak(Path(folder) / "home", options.minutes, options.seed)
        took = timedelta(seconds=round(time.monotonic() - started))
    flat = report(found, disk)
    said = "flat" if flat else f"NOT FLAT (a ratio above {FLAT})"
    print(f"seed {options.seed}: {len(disk)} samples in {took}, verified at the end: {said}")
    return 0 if flat else 1


if __name__ == "__main__":
    sys.exit(main())
