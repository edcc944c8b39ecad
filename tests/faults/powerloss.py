"""Power fails while commands write: `python -m tests.faults.powerloss --seed S --rounds N`.

Each round runs a few commands, kills the last at one of its writes or lets it end, and takes from
the disk what was not synced. What is left must open, hold all that was acknowledged, and be exact.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace.pipelines import bootstrap, settings
from headrace.pipelines.log import quarantine
from tests.e2e.command import Headrace
from tests.e2e.orders import Truth, events, write
from tests.faults.crashing import Counts, counts
from tests.faults.disk import Commands, Disk, NoCompilerError, Ran, Site, commands

POISON = (b"not json", b'{"specversion": "1.0"}', b"\xff\xfe\x00")
OPERATIONS = (
    "append", "speed", "append", "speed", "retry", "batch", "incremental", "maintain", "replay",
)  # fmt: skip
"""What a round chooses from; twice means twice as often."""
CALLS: dict[str, tuple[list[object], dict[str, object]]] = {
    "speed": (["speed", "--once"], {"commit_events": 20}),
    "batch": (["batch", "--engine", "duckdb"], {}),
    "incremental": (["batch", "--engine", "duckdb", "--incremental"], {}),
    "replay": (["replay", "--from", "beginning", "--promote"], {"replay_events": 100}),
    "retry": (["quarantine", "retry"], {}),
    "maintain": (["maintain"], {"keep_snapshots": 0}),
}
"""Operations but `append`, as they are called, with their settings."""
NEEDS_EVENTS = ("speed", "incremental", "retry")
"""Operations that write little if nothing was appended since the last one."""
_BATCH = 12
"""Lines of an append that are durable together."""
_LONG = 1_024
"""Bytes of a line that is quarantined as too long, until a retry allows it."""
_A_HOME = 10
"""Rounds before a new home is begun."""


@dataclass
class Figures:
    """What the rounds did and found."""

    losses: int = 0
    kills: int = 0
    commands: int = 0
    names: int = 0
    pages: int = 0
    acknowledged: int = 0
    lost: int = 0
    doubled: int = 0
    wrong: int = 0

    def __str__(self) -> str:
        return (
            f"{self.losses:,} power losses, {self.kills:,} of them in the middle of a command, "
            f"{self.commands:,} commands; {self.names:,} names, {self.pages:,} pages taken back; "
            f"{self.acknowledged:,} events acknowledged, {self.lost:,} lost, "
            f"{self.doubled:,} doubled, {self.wrong:,} wrong cells"
        )


@dataclass(frozen=True)
class Held:
    """Lines that a home holds: in the log, and in quarantine, some only because they are long."""

    log: tuple[bytes, ...] = ()
    poison: tuple[bytes, ...] = ()
    long: tuple[bytes, ...] = ()
    taken: frozenset[bytes] = frozenset()
    """Long lines that a retry took in: their entries are closed, and stay so."""

    def plus(self, lines: Iterable[bytes]) -> Held:
        """With these lines appended."""
        log, poison, long = list(self.log), list(self.poison), list(self.long)
        for line in lines:
            if line in self.taken:
                continue
            (poison if line in POISON else long if len(line) > _LONG else log).append(line)
        return Held(tuple(log), tuple(poison), tuple(long), self.taken)

    def retried(self) -> Held:
        """With the long lines accepted, each once: one that came again is no entry of its own."""
        return Held(self.log + tuple(dict.fromkeys(self.long)), self.poison, (),
                    self.taken | set(self.long))  # fmt: skip


class Machine:
    """A computer with a home on a disk that forgets, and what was acknowledged in it."""

    def __init__(
        self, folder: Path, shim: Path, commands: Commands, seed: int, append_events: int = _BATCH
    ) -> None:
        self.disk = Disk(folder, shim)
        self.home = self.disk.root / "far" / "home"
        self.headrace = Headrace(self.home)
        self.chance = random.Random(seed)
        self.figures = Figures()
        self.held = Held()
        self.sites: dict[str, list[Site]] = {}
        self._folder = folder
        self._append_events = append_events
        self._commands = commands
        self._futures: list[Held] = []
        self._lines: list[bytes] = []
        self._counted = 0

    def do(
        self, operation: str, fault: str | None = None, *, again: bool = False, **given: Any
    ) -> Ran:
        """Run one operation; what it acknowledges has to be held from then on.

        Args:
            operation: which.
            fault: what the disk is to do.
            again: append the same lines as the last time, not new ones.
            given: limits and settings.
        """
        arguments, needed = self._prepared(operation, again=again)
        ran = self._commands.run(self.disk, self.home, *arguments, fault=fault, **needed, **given)
        self.figures.commands += 1
        if ran.outcome.code == 0:
            self.held = self._futures[-1]
            self._futures = []
            if not ran.fired:
                self.sites[operation] = ran.sites
        return ran

    def done(self, operation: str, *, again: bool = False) -> Ran:
        """Run one operation that has to end well."""
        ran = self.do(operation, again=again)
        assert ran.outcome.code == 0, (operation, ran.outcome)
        return ran

    def killed(self, operation: str) -> bool:
        """Run one operation that dies at one of its writes; False if it ended before it did."""
        if operation not in self.sites:
            self.done("append")
            self.done(operation)
        if operation in NEEDS_EVENTS:
            self.done("append")
        fault = f"kill:{self._site(operation)}"
        ran = self.do(operation, fault)
        assert ran.killed or (ran.outcome.code == 0 and not ran.fired), (operation, fault, ran)
        self.figures.kills += ran.killed
        return ran.killed

    def lose_power(self, *, strict: bool) -> None:
        """Take from the disk what was not synced, or, if not `strict`, some of it."""
        lost = self.disk.lose_power(None if strict else self.chance)
        self.figures.losses += 1
        self.figures.names += lost.names
        self.figures.pages += lost.pages

    def counts(self) -> Counts:
        """What the home holds."""
        return counts(self.headrace)

    def check(self) -> None:
        """The home opens, holds all that was acknowledged, once, and is exact."""
        self.check_held()
        self.verify()
        self.headrace.json("speed", "--once")
        Truth.of(self.held.log).check(self.headrace)
        self.verify()
        self.disk.settle()

    def check_held(self) -> None:
        """Log and quarantine are as acknowledged, or with some whole steps of what was killed."""
        logged, entries = self._found()
        futures = self._futures or [self.held]
        for future in futures:
            if logged == Counter(future.log) and entries == Counter(future.poison + future.long):
                self.held, self._futures = future, []
                self.figures.acknowledged += len(future.log) - self._counted
                self._counted = len(future.log)
                return
        self.figures.lost += (Counter(futures[0].log) - logged).total()
        self.figures.doubled += (logged - Counter(futures[-1].log)).total()
        raise AssertionError(
            f"the log holds {logged.total()} events, the quarantine {entries.total()}; possible: "
            f"{[(len(f.log), len(f.poison + f.long)) for f in futures]}"
        )

    def verify(self) -> None:
        """What is served is what the log gives, at the position where it stands."""
        outcome = self.headrace.run("verify", "--json")
        told = json.loads(outcome.out) if outcome.out else {}
        self.figures.wrong += told.get("wrong", 0)
        assert told.get("equal") is True, outcome

    def _prepared(self, operation: str, *, again: bool) -> tuple[list[object], dict[str, object]]:
        """The arguments and settings of an operation; notes in which states it may leave us."""
        self._futures = [self.held]
        if operation == "append":
            if not again:
                good = [*events(8, self.chance.randrange(10**9)), *self.held.log[:2]]
                long = [n[:-1] + b', "x": "' + b"x" * _LONG + b'"}' for n in events(1, len(good))]
                self._lines = [*good, *POISON, *long]
            size = self._append_events
            for i in range(0, len(self._lines), size):
                self._futures.append(self._futures[-1].plus(self._lines[i : i + size]))
            path = write(self._folder / "new.ndjson", self._lines)
            return ["append", path], {"append_events": size, "max_event_bytes": _LONG}
        if operation == "retry":
            self._futures.append(self.held.retried())
        return CALLS[operation]

    def _site(self, operation: str) -> int:
        """A write of an operation: of each kind of call and file as likely as of any other."""
        kinds: dict[tuple[str, str], list[int]] = {}
        for site in self.sites[operation]:
            path = Path(site.path)
            kinds.setdefault((site.call, path.suffix or path.name[:4]), []).append(site.number)
        return self.chance.choice(self.chance.choice(list(kinds.values())))

    def _found(self) -> tuple[Counter[bytes], Counter[bytes]]:
        """The lines in the log, and those in open quarantine."""
        chosen = settings.load(self.home, environ={}, threads=1)
        with bootstrap.open_lake(chosen, read_only=True) as at:
            logged = at.rows("SELECT raw FROM sys.events")
            entries = quarantine.entries(at)
        return Counter(row[0].encode() for row in logged), _times(entries)


def _times(entries: Iterable[quarantine.Entry]) -> Counter[bytes]:
    """How often each quarantined line came: one that is known is counted, and not listed again."""
    found: Counter[bytes] = Counter()
    for entry in entries:
        found[entry.raw] += entry.seen
    return found


def play(machine: Machine) -> None:
    """One round: a few commands, the last perhaps killed, a power loss, and the check."""
    chance = machine.chance
    for _ in range(chance.randrange(3)):
        machine.done(chance.choice(OPERATIONS))
    operation, strict = chance.choice(OPERATIONS), chance.random() < 0.5
    if chance.random() < 0.8 and machine.killed(operation):
        machine.lose_power(strict=strict)
    else:
        before = machine.counts()
        machine.lose_power(strict=strict)
        assert machine.counts() == before
    machine.check()


def main() -> int:
    """Run the rounds; gives the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=100)
    options = parser.parse_args()
    figures, started = Figures(), time.monotonic()
    try:
        with (
            commands() as (shim, running),
            tempfile.TemporaryDirectory(prefix="headrace-power-") as folder,
        ):
            for number in range(0, options.rounds, _A_HOME):
                seed = options.seed * 100_000 + number
                machine = Machine(Path(folder) / str(number), shim, running, seed)
                machine.figures = figures
                for _ in range(min(_A_HOME, options.rounds - number)):
                    play(machine)
                shutil.rmtree(Path(folder) / str(number))
                print(f"seed {options.seed}: {figures}", flush=True)
    except NoCompilerError as e:
        print(e, file=sys.stderr)
        return 2
    except AssertionError as e:
        print(f"seed {options.seed}: {figures}\nround {figures.losses}: {e}", file=sys.stderr)
        print(
            f"again: python -m tests.faults.powerloss --seed {options.seed} --rounds "
            f"{options.rounds}",
            file=sys.stderr,
        )
        return 1
    print(f"seed {options.seed}: {figures}; {time.monotonic() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
