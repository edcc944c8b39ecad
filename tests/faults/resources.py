"""Each write of each command fails once or for good: `python -m tests.faults.resources --seed S`.

A command whose disk refuses says so in one line, acknowledges nothing that is not durable, leaves
what is served as it was, and does its work when it is run again. `--all` takes every single
write. Without it, like writes in a row count as one, and where an operation comes back to the same
kind of write (SQLite opens and closes its files 68 times in a batch), `--each` of them are chosen.
"""

from __future__ import annotations

import argparse
import errno
import itertools
import random
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.command import Outcome
from tests.e2e.orders import Truth
from tests.faults.disk import Commands, NoCompilerError, Ran, Site, commands
from tests.faults.powerloss import NEEDS_EVENTS, Machine

OPERATIONS = ("append", "speed", "retry", "batch", "incremental", "replay", "maintain")
KINDS = tuple(itertools.product(("fail", "fail-on"), (errno.EIO, errno.ENOSPC)))
"""How a write fails: once or from then on, and with which error."""
REMEDIES = ("repair the disk", "ulimit -n", "memory_limit")
EACH = 6
"""Of each kind of write, at most so many runs."""
_A_HOME = 25
"""Faults before a new home is begun, so that each costs the same."""


@dataclass
class Figures:
    """What the sweep did and found."""

    sites: int = 0
    fired: int = 0
    refused: int = 0
    survived: int = 0
    recorded: int = 0
    resumed: int = 0
    lost: int = 0
    wrong: int = 0

    def __str__(self) -> str:
        return (
            f"{self.sites:,} sites, {self.fired:,} faults fired, {self.refused:,} refused "
            f"({self.recorded:,} of them recorded all the same), {self.survived:,} acknowledged "
            f"and durable, {self.resumed:,} resumed, {self.lost:,} lost, {self.wrong:,} wrong"
        )


def refused(outcome: Outcome, *words: str) -> None:
    """Check that a command failed with one clear line, which names a remedy, as its last."""
    *steps, last = outcome.err.splitlines() or [""]
    assert outcome.code == 1, outcome
    assert outcome.out == "", outcome
    assert last.startswith("headrace: "), outcome
    told = ("batch: ", "replay: ", "commit ")  # progress, and warnings about caches
    assert all(step.startswith(told) or "[warning" in step for step in steps), outcome
    assert "HEADRACE_DEBUG" not in outcome.err, f"nobody foresaw this error: {outcome.err}"
    assert any(word in last for word in words or REMEDIES), outcome


class Sweep:
    """A home whose disk fails at one write after the other."""

    def __init__(self, machine: Machine, figures: Figures) -> None:
        self.machine = machine
        self.figures = figures

    def prepare(self) -> None:
        """A past: events in all places, and all operations known to work."""
        for step in ("append", "batch", "append", "speed", "append"):
            self.machine.done(step)

    def check(self) -> None:
        """Nothing is lost, and what is served is exact where it stands."""
        try:
            self.machine.check_held()
            self.machine.verify()
        finally:
            self.figures.lost = self.machine.figures.lost
            self.figures.wrong = self.machine.figures.wrong

    def ready(self, operation: str) -> None:
        """Something for the operation to do."""
        if operation in NEEDS_EVENTS:
            self.machine.done("append")
        if operation == "replay":
            self.machine.done("speed")

    def fail(self, operation: str, site: int, kind: tuple[str, int]) -> Ran:
        """Let one write of an operation fail, and check what is left."""
        how, number = kind
        machine, figures = self.machine, self.figures
        before = machine.held
        ran = machine.do(operation, f"{how}:{site}:{number}", durable=False)
        figures.fired += ran.fired
        if not ran.fired:
            assert ran.outcome.code == 0, (operation, site, kind, ran.outcome)
            return ran
        if ran.outcome.code == 0:
            figures.survived += 1
            machine.check_held()
        else:
            refused(ran.outcome)
            figures.refused += 1
            machine.check_held()
            figures.recorded += machine.held != before
        return ran

    def resume(self, operation: str) -> None:
        """The same command, now that the disk works again: it does what it is there for."""
        self.machine.done(operation, again=True)
        self.machine.check_held()
        self.machine.done("speed")
        Truth.of(self.machine.held.log).check(self.machine.headrace)
        self.figures.resumed += 1


def sample(sites: list[Site], chance: random.Random, each: int = EACH) -> list[Site]:
    """Some of each kind of write, one of a run: a hundred pages of a commit are one of them."""
    kinds: dict[tuple[str, str], list[Site]] = {}
    for kind, run in itertools.groupby(sites, key=lambda s: (s.call, Path(s.path).suffix)):
        kinds.setdefault(kind, []).append(chance.choice(list(run)))
    chosen = [s for found in kinds.values() for s in chance.sample(found, min(each, len(found)))]
    return sorted(chosen, key=lambda s: s.number)


def sweep(
    folder: Path, shim: Path, running: Commands, options: argparse.Namespace, figures: Figures
) -> None:
    """Fail writes of each operation, as `main` was told; tells of each operation."""
    seed, chance = options.seed, random.Random(options.seed)
    for operation in options.operations or OPERATIONS:
        pending: list[Site] | None = None
        for number in itertools.count():
            here = Sweep(
                Machine(folder / "home", shim, running, seed, append_events=1_000), figures
            )
            here.prepare()
            here.ready(operation)
            passed = here.machine.done(operation).sites
            if pending is None:
                pending = passed if options.all else sample(passed, chance, options.each)
                figures.sites += len(pending)
            for site in pending[:_A_HOME]:
                here.ready(operation)
                here.fail(operation, site.number, chance.choice(KINDS))
                here.resume(operation)
            here.check()
            shutil.rmtree(folder / "home")
            pending = pending[_A_HOME:]
            print(f"seed {seed}: {operation} {number + 1}: {figures}", flush=True)
            if not pending:
                break


def main() -> int:
    """Run the sweep; gives the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("operations", nargs="*", help=f"of {', '.join(OPERATIONS)}; all of them")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--each", type=int, default=EACH, help="of each kind of write at most")
    parser.add_argument("--all", action="store_true", help="every write, not one of each run")
    options = parser.parse_args()
    figures, started = Figures(), time.monotonic()
    try:
        with (
            commands() as (shim, running),
            tempfile.TemporaryDirectory(prefix="headrace-resources-") as folder,
        ):
            sweep(Path(folder), shim, running, options, figures)
    except NoCompilerError as e:
        print(e, file=sys.stderr)
        return 2
    except AssertionError as e:
        again = f"python -m tests.faults.resources {' '.join(sys.argv[1:])}"
        print(f"seed {options.seed}: {figures}\n{e}\nagain: {again}", file=sys.stderr)
        return 1
    print(f"seed {options.seed}: {figures}; {time.monotonic() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
