"""Headrace and its peers on the same events, cells compared: `make bench-full`.

    python -m bench.full --events 50000,250000,1000000 --repeats 3 --out docs

Writes OUT/benchmarks.md and OUT/benchmarks/*.svg. Each run is a process of its own, the order of
the peers turns from repeat to repeat, and a ratio is taken to the plain DuckDB recompute of its own
repeat. A peer whose cells differ from that recompute's has no figures: the report says how many are
wrong.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from pathlib import Path

import psutil

from bench import full_report
from bench.__main__ import EVENTS_AN_ORDER, HEADRACE, Peak
from bench.commit_cost import measure as commits
from bench.peers import KEYS, VALUES
from headrace.schemas.upcast import upcast

ROOT = Path(__file__).parent.parent
PEERS = ("headrace", "duckdb", "polars", "spark", "pathway", "bytewax")
TRUTH = "duckdb"
ELSEWHERE = {"pathway", "bytewax"}
"""Peers that run in the environment of `--python`; the others are in our own."""
FAULTS = ("--duplicates", "0.02", "--disorder", "0.05", "--late", "0.01")


class FailedError(Exception):
    """A peer did not end well; its first words say why. It has no figures."""


@dataclass(frozen=True)
class Run:
    """One process of a peer. `ratio` is its rate to that of the yardstick in the same repeat."""

    seconds: float
    wall: float
    peak_mb: float
    written_mb: float | None
    ratio: float


@dataclass
class Results:
    """All of a run of this command. Keys are peers and numbers of events."""

    repeats: int
    runs: dict[str, dict[int, list[Run]]] = field(default_factory=lambda: {p: {} for p in PEERS})
    wrong: dict[str, dict[int, str]] = field(default_factory=lambda: {p: {} for p in PEERS})
    versions: dict[str, str] = field(default_factory=dict)
    events: dict[int, int] = field(default_factory=dict)
    cells: dict[int, int] = field(default_factory=dict)
    commit: dict[int, float] = field(default_factory=dict)
    first_commit: float | None = None


def main() -> None:
    """Measure, write the report, draw."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument(
        "--events",
        default="50000,250000,1000000",
        help="sizes, with commas; what the generator makes of them",
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peers", default=",".join(PEERS), help=f"some of {', '.join(PEERS)}")
    parser.add_argument("--out", type=Path, default=Path("docs"))
    parser.add_argument(
        "--python", default=".venv-bench/bin/python", help="has peers and matplotlib"
    )
    parser.add_argument("--timeout", type=int, default=3600, help="seconds for one process")
    parser.add_argument("--work", type=Path, help="a folder to work in, not on a RAM disk")
    options = parser.parse_args()
    asked = options.peers.split(",")
    if unknown := set(asked) - set(PEERS):
        parser.error(f"unknown peers: {', '.join(sorted(unknown))}")
    sizes = sorted({int(size) for size in options.events.split(",")})
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="headrace-bench-", dir=options.work) as folder:
        bench = Bench(Path(folder), options.python, options.timeout, options.repeats)
        for size in sizes:
            # The yardstick comes first, because the others are compared with it.
            bench.measure(size, [TRUTH, *(p for p in PEERS if p in asked and p != TRUTH)])
        drawn = bench.draw(options.out / "benchmarks")
    report = full_report.text(bench.results, drawn)
    (options.out / "benchmarks.md").write_text(report, encoding="utf-8")
    print(report)


class Bench:
    """The measuring, in a folder of its own."""

    def __init__(self, folder: Path, python: str, timeout: int, repeats: int) -> None:
        self.results = Results(repeats)
        self._folder, self._python, self._timeout = folder, python, timeout

    def measure(self, size: int, peers: list[str]) -> None:
        """All peers on so many events, repeat by repeat, and our commits on what they left."""
        lines = self._folder / "events.ndjson"
        total = self.results.events[size] = written(lines, size)
        expected: dict[str, Cells] = {}
        for repeat in range(self.results.repeats):
            turn = 1 + repeat % max(len(peers) - 1, 1)
            yardstick = 0.0
            for peer in [TRUTH, *peers[turn:], *peers[1:turn]]:
                if size in self.results.wrong[peer]:
                    continue
                note(f"{size:,} events, {repeat + 1} of {self.results.repeats}: {peer}")
                try:
                    run, found = self._run(peer, lines, total, yardstick)
                except FailedError as error:
                    self._void(peer, size, str(error))
                    continue
                if peer == TRUTH:
                    yardstick, expected = total / run.seconds, expected or found
                self._compare(peer, size, found, expected)
                self.results.runs[peer].setdefault(size, []).append(run)
        self.results.cells[size] = sum(len(cells) for cells in expected.values())
        for peer, voided in self.results.wrong.items():
            if size in voided:
                self.results.runs[peer].pop(size, None)
        if size in self.results.runs["headrace"]:
            note(f"{size:,} events: commits")
            few, many = commits(self._folder / "headrace")
            self.results.first_commit = self.results.first_commit or few.seconds
            self.results.commit[size] = many.seconds

    def _run(
        self, peer: str, lines: Path, total: int, yardstick: float
    ) -> tuple[Run, dict[str, Cells]]:
        python = self._python if peer in ELSEWHERE else sys.executable
        out = self._folder / peer
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        command = [python, "-m", f"bench.peers.{peer}", str(lines), str(out)]
        before, started = bytes_written(), time.perf_counter()
        with (self._folder / "errors").open("w+", encoding="utf-8", errors="replace") as errors:
            try:
                with (
                    subprocess.Popen(
                        command, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=ROOT
                    ) as process,
                    Peak(process.pid) as peak,
                ):
                    try:
                        output, _ = process.communicate(timeout=self._timeout)
                    except subprocess.TimeoutExpired:
                        for one in psutil.Process(process.pid).children(recursive=True):
                            one.kill()
                        process.kill()
                        raise FailedError(f"not done after {self._timeout} s") from None
            except OSError as error:
                raise FailedError(f"{type(error).__name__}: {error.strerror}") from None
            wall = time.perf_counter() - started
            after = bytes_written()
            if process.returncode:
                errors.seek(0)
                raise FailedError(self._first_words(errors.read(), process.returncode))
        try:
            told = json.loads(output.strip().splitlines()[-1])
            found = {view: cells_of(out / f"{view}.csv", view) for view in KEYS}
        except (OSError, LookupError, ValueError, ArithmeticError) as error:
            raise FailedError(f"its result cannot be read: {type(error).__name__}") from error
        self.results.versions[peer] = told["version"]
        mb = None if before is None or after is None else (after - before) / 1e6
        rate = total / told["seconds"]
        run = Run(told["seconds"], wall, peak.mb, mb, rate / (yardstick or rate))
        return run, found

    def _first_words(self, errors: str, code: int) -> str:
        """The line that names the error, without the places of this machine."""
        lines = [line.strip() for line in errors.splitlines() if line.strip()]
        named = [line for line in lines if re.match(r"[\w.]*(Error|Exception)\b", line)]
        line = (named or lines or [f"exit code {code}"])[0]
        for place in (str(self._folder), str(ROOT), str(Path.home())):
            line = line.replace(place, "…")
        return line[:200]

    def _compare(
        self, peer: str, size: int, found: dict[str, Cells], expected: dict[str, Cells]
    ) -> None:
        wrong = sum(
            found[view].get(cell, Decimal(0)) != cells.get(cell, Decimal(0))
            for view, cells in expected.items()
            for cell in cells.keys() | found[view].keys()
        )
        if wrong:
            self._void(peer, size, f"wrong: {wrong:,} cells")

    def _void(self, peer: str, size: int, why: str) -> None:
        note(f"{peer}: {why}")
        if peer == TRUTH:
            raise SystemExit("without the yardstick there is nothing to compare with")
        self.results.wrong[peer][size] = why

    def draw(self, out: Path) -> str | None:
        """Draw the plots; the error's words where they could not be drawn."""
        data = self._folder / "results.json"
        data.write_text(json.dumps(asdict(self.results)), encoding="utf-8")
        command = [self._python, "-m", "bench.plots", str(data), str(out.absolute())]
        try:
            done = subprocess.run(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, check=False)
        except OSError as error:
            return f"{type(error).__name__}: {error.strerror}"
        return self._first_words(done.stderr, done.returncode) if done.returncode else None


Cells = dict[tuple[str, ...], Decimal]


def cells_of(file: Path, view: str) -> Cells:
    """A view's cells by key and column. A cell that is not there counts as 0."""
    with file.open(newline="", encoding="utf-8") as rows:
        return {
            (*(row[key] for key in KEYS[view]), column): Decimal(row[column] or 0)
            for row in csv.DictReader(rows)
            for column in VALUES[view]
        }


def written(lines: Path, size: int) -> int:
    """Write the events, the few old ones lifted to the newest contract; say how many there are."""
    orders = str(size // EVENTS_AN_ORDER)
    command = [*HEADRACE, "generate", "--orders", orders, "--seed", "1", *FAULTS]
    total = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE) as source, lines.open("wb") as out:
        for raw in source.stdout or ():
            line = raw
            total += 1
            if b'"dataschema"' in raw:
                event = json.loads(raw)
                old = int(event.pop("dataschema").rpartition("/")[2])
                event["data"] = upcast(event["type"], old, event["data"])
                line = json.dumps(event, separators=(",", ":")).encode() + b"\n"
            out.write(line)
    if source.returncode:
        raise SystemExit(f"headrace generate ended with exit code {source.returncode}")
    return total


def bytes_written() -> int | None:
    """What this process and the children that it waited for sent to a disk; Linux counts it."""
    try:
        counts = Path("/proc/self/io").read_text(encoding="ascii")
    except OSError:
        return None
    return int(counts.split("\nwrite_bytes: ")[1].split("\n")[0])


def note(words: str) -> None:
    """Say on standard error what is going on."""
    sys.stderr.write(words + " …\n")


if __name__ == "__main__":
    os.chdir(ROOT)
    main()
