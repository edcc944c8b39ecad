"""Each write of each command fails once or for good: `python -m tests.faults.resources --seed S`.

A command whose disk refuses says so in one line, acknowledges nothing that is not durable, leaves
what is served as it was, and does its work when it is run again. `--all` takes every single
write; without it, one of each run of like writes.
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
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.e2e.command import Outcome
from tests.e2e.orders import Truth
from tests.faults.disk import Commands, NoCompilerError, Ran, Site, commands
from tests.faults.powerloss import NEEDS_EVENTS, Machine

OPERATIONS = ("append", "speed", "retry", "batch", "incremental", "replay", "maintain")
KINDS = tuple(itertools.product(("fail", "fail-on"), (errno.EIO, errno.ENOSPC)))
"""How a write fails: once or from then on, and with which error."""
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
    answers: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        return (
            f"{self.sites:,} sites, {self.fired:,} faults fired, {self.refused:,} refused "
            f"({self.recorded:,} of them recorded all the same), {self.survived:,} acknowledged "
            f"and durable, {self.resumed:,} resumed, {self.lost:,} lost, {self.wrong:,} wrong"
        )


def refused(outcome: Outcome) -> str:
    """Check that a command failed in one clear line, and give that line."""
    *steps, last = outcome.err.splitlines() or [""]
    assert outcome.code == 1, outcome
    assert outcome.out == "", outcome
    assert last.startswith("headrace: "), outcome
    told = ("batch: ", "replay: ", "commit ")  # progress, and warnings about caches
    assert all(step.startswith(told) or "[warning" in step for step in steps), outcome
    assert "HEADRACE_DEBUG" not in outcome.err, f"nobody foresaw this error: {outcome.err}"
    assert "repair the disk" in last, outcome
    return last


class Sweep:
    """A home whose disk fails at one write after the other."""

    def __init__(self, machine: Machine, figures: Figures) -> None:
        self.machine = machine
        self.figures = figures

    def prepare(self) -> None:
        """A past: events in all places, and all operations known to work."""
        for step in ("append", "batch", "append", "speed", "append"):
            self.machine.done(step)

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
            line = refused(ran.outcome)
            figures.refused += 1
            figures.answers[line] += 1
            machine.check_held()
            figures.recorded += machine.held != before
            if figures.recorded:
                figures.unclear.append(f"{operation} {site} {kind}: {line}")
        return ran

    def resume(self, operation: str) -> None:
        """The same command, now that the disk works again: it does what it is there for."""
        self.machine.done(operation, again=True)
        self.machine.check_held()
        self.machine.done("speed")
        Truth.of(self.machine.held.log).check(self.machine.headrace)
        self.figures.resumed += 1


def sample(sites: list[Site], chance: random.Random) -> list[Site]:
    """One of each run of like writes: a hundred pages of a commit are one of them."""
    runs = itertools.groupby(sites, key=lambda s: (s.call, Path(s.path).suffix))
    return [chance.choice(list(run)) for _, run in runs]
