"""Days of work in minutes, on a clock of its own, with a fault in every simulated minute.

    python -m tests.faults.longrun --hours 24 --seeds 3

Each minute events come in and are committed; batch, maintenance, retry, replay, promote and
rollback happen when they are due. A kill is a real SIGKILL: the work is done by a process that is
forked from a warm one, so that a restart costs no more than opening the lake. Each hour, and after
a kill in anything but an append or a commit, every cell is compared with the oracle.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from headrace.pipelines.bootstrap import create
from headrace.pipelines.position import Position
from headrace.pipelines.settings import load
from tests.faults import crashing
from tests.faults.longrun_worker import Reply, Worker
from tests.fuzz.model import Model, Totals
from tests.fuzz.readers import FailedError, Reader, judge
from tests.fuzz.traffic import Sent, lines_of

PARTITIONS = 2
HOUR, DAY_QUARTER = 60, 360
DAWN = datetime(2026, 3, 10)  # noqa: DTZ001 - UTC
LONG = 1_500
"""Bytes of an event that is too long at first, and accepted on a retry."""
FAULTS = {"kill": 6, "late": 1, "duplicate": 1, "reorder": 1, "poison": 1, "clock": 2}
"""What goes wrong in a minute, and how often."""
POINTS: dict[str, tuple[str, ...]] = {
    "append": crashing.APPEND,
    "speed": crashing.COMMIT,
    "batch": (*crashing.BATCH, *crashing.BACKUP),
    "replay": crashing.REPLAY,
    "promote": crashing.SWITCH,
    "rollback": crashing.SWITCH,
    "retry": crashing.RETRY,
    "verify": crashing.VERIFY,
    "maintain": (*crashing.MAINTAIN, *crashing.BACKUP),
}


@dataclass
class Figures:
    """What a run did and found."""

    minutes: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    fired: Counter[str] = field(default_factory=Counter)
    missed: int = 0
    steps: Counter[str] = field(default_factory=Counter)
    acknowledged: int = 0
    cells: int = 0
    compared: int = 0
    verified: int = 0

    def __str__(self) -> str:
        return (
            f"{self.minutes:,} simulated minutes, {self.faults.total():,} faults "
            f"({self.fired.total()} kills, at {len(self.fired)} points), {self.acknowledged:,} "
            f"events acknowledged, {self.compared} times all of {self.cells:,} cells compared, "
            f"{self.verified} times verified, 0 lost, 0 doubled, 0 wrong cells"
        )


def due(minute: int) -> list[str]:
    """What is done in a minute besides append and commit."""
    steps = {
        "batch": minute % HOUR == 0,
        "replay": minute % DAY_QUARTER == 0,
        "promote": minute % DAY_QUARTER == 0,
        "rollback": minute % DAY_QUARTER == DAY_QUARTER // 2,
        "long": minute % HOUR == 5,
        "retry": minute % HOUR == 10,
        # Last: a batch after it would mend what it broke before anybody compares.
        "maintain": minute % 15 == 0,
    }
    return [step for step, now in steps.items() if now]


class Run:
    """One home over its simulated time."""

    def __init__(self, folder: Path, seed: int, figures: Figures) -> None:
        self.chance = random.Random(f"longrun/{seed}")
        self.figures = figures
        self.settings = load(
            folder / f"home-{seed}", environ={}, threads=1, partitions=PARTITIONS,
            commit_events=40, replay_events=400, keep_snapshots=timedelta(0),
        )  # fmt: skip
        create(self.settings)
        self.model = Model(PARTITIONS)
        self.long: list[bytes] = []
        self.jump = timedelta(0)
        self.minute = 0
        self.switched = False
        self._seed = seed * 1_000_000
        self.worker = Worker(self.settings)
        self.reader = Reader("reader", self.settings.home, PARTITIONS)

    def close(self) -> None:
        """End its process and its reader."""
        self.worker.kill()
        self.reader.__exit__()

    @property
    def now(self) -> datetime:
        """The clock of the machine, which may be wrong by an hour."""
        return DAWN + timedelta(minutes=self.minute) + self.jump

    def live(self, minute: int) -> None:
        """One minute, with its fault."""
        self.minute = minute
        fault = self.chance.choices([*FAULTS], [*FAULTS.values()])[0]
        steps = ["append", "speed", *due(minute)]
        if minute % HOUR == HOUR - 1:
            steps.append("verify")
        victim = self._victim(steps) if fault == "kill" else None
        if fault == "clock":
            self.jump = timedelta(seconds=self.chance.randint(-3_600, 3_600))
        for step in steps:
            self._step(step, fault, killed=step == victim)
        self.figures.faults[fault] += 1
        self.figures.minutes += 1
        if minute % HOUR == HOUR - 1 or (victim not in {None, "append", "speed"}):
            self.compare()

    def compare(self) -> None:
        """Every cell that a reader is told equals the oracle at its position."""
        told = self.reader.understood(self.reader.ask())
        if told.totals != self.model.totals():
            raise FailedError("log", "totals", f"{told.totals}, acknowledged {self.model.totals()}")
        self.figures.cells += judge(told, self.model, "reader")
        self.figures.compared += 1

    def finish(self) -> None:
        """At the end: everything is caught up with, compared and verified."""
        self._step("speed", "", killed=False)
        self._step("verify", "", killed=False)
        self.compare()
        end = self.model.totals().end
        if self.reader.understood(self.reader.ask()).position != Position(end):
            raise FailedError("behind", "reader", f"not at the log's end {end}")

    def _victim(self, steps: list[str]) -> str:
        """The step to be killed in: what is rare comes first."""
        rare = [s for s in steps if s in POINTS and s not in {"append", "speed"}]
        if rare and self.chance.random() < 0.8:
            return self.chance.choice(rare)
        return self.chance.choice(["append", "speed"])

    def _step(self, step: str, fault: str, *, killed: bool) -> None:
        if step == "rollback" and not self.switched:
            return
        self.figures.steps[step] += 1
        if step in {"append", "long"}:
            self._append(step, fault, killed=killed)
        elif step == "retry":
            self._retry(killed=killed)
        else:
            self._work(step, killed=killed)

    def _work(self, step: str, *, killed: bool) -> None:
        """A step that changes nothing that was acknowledged; killed, it is done again."""
        arguments: dict[str, Any] = {}
        if step == "batch":
            arguments["incremental"] = self.chance.random() < 0.5
        if step == "replay":
            back = timedelta(hours=self.chance.randint(1, 8))
            arguments["since"] = self.chance.choice([None, self.now - back])
        before = self._live() if step in {"promote", "rollback"} else None
        reply = self._do(step, killed=killed, **arguments)
        if reply is None:
            self._restart()
            self._same(self.model.totals())
            if before is not None and self._live() != before:
                self.switched = True  # it died after its commit: done is done
                return
            reply = self._do(step, killed=False, **arguments)
        assert reply is not None
        if step == "promote":
            self.switched = True
        if step == "replay" and reply["wrong"]:
            raise FailedError("wrong", "replay", f"{reply['wrong']} cells differ")
        if step == "verify":
            if not reply["equal"]:
                raise FailedError("wrong", "verify", f"{reply['wrong']} cells")
            self.figures.verified += 1

    def _append(self, step: str, fault: str, *, killed: bool) -> None:
        kind = fault if fault in {"late", "duplicate", "reorder", "poison"} else "append"
        sent, limit = self._lines(kind), None
        if step == "long":
            sent, limit = self._too_long(), 1024
        before, after = self.model.totals(), self.model.after([sent])
        lines = [one.raw for one in sent]
        reply = self._do("append", killed=killed, lines=lines, limit=limit)
        if reply is None:
            self._restart()
            found = self._totals()
            if found == before:  # refused by death: whoever sent it sends it again
                reply = self._do("append", killed=False, lines=lines, limit=limit)
            elif found != after:
                raise FailedError("log", "append", f"{found}: neither {before} nor {after}")
            elif self.chance.random() < 0.5:  # it is in, but the sender was never told
                self._take(sent)
                self._do("append", killed=False, lines=lines, limit=limit)
        self._take(sent)
        self._same(self.model.totals())

    def _retry(self, *, killed: bool) -> None:
        sent = [Sent(raw) for raw in self.long]
        before, after = self.model.totals(), self.model.after([sent])
        if self._do("retry", killed=killed) is None:
            self._restart()
            if self._totals() == before:
                self._do("retry", killed=False)
        self._same(after)
        reply = self._do("since", killed=False, start=before.end)
        assert reply is not None
        if Counter(reply["lines"]) != Counter(self.long):
            raise FailedError("log", "retry", "other lines came in than were retried")
        self._take([Sent(line) for line in reply["lines"]])
        self.long = []

    def _do(self, step: str, *, killed: bool, **arguments: Any) -> Reply | None:
        """Do a step, or die in it: at a crash point, or at any time."""
        if not killed:
            reply = self.worker.do(step, self.now, **arguments)
            if reply is None:
                raise FailedError("exit", step, "it was killed by nobody here")
            return reply
        if self.chance.random() < 0.3:
            after = self.chance.uniform(0.0, 0.15)
            reply = self.worker.do(step, self.now, after=after, **arguments)
            name = f"{step} at a random time"
        else:
            name = self.chance.choice(POINTS[step])
            reply = self.worker.do(step, self.now, at=name, **arguments)
        if reply is None:
            self.figures.fired[name] += 1
            return None
        # It was over before, or did not pass that point: it is killed idle.
        self.figures.missed += 1
        self.figures.fired["idle"] += 1
        self.worker.kill()
        self._restart()
        return reply

    def _restart(self) -> None:
        self.worker = Worker(self.settings)

    def _live(self) -> int:
        found: int = self.reader.raw(
            "SELECT generation FROM sys.live ORDER BY switch_no DESC LIMIT 1"
        )[0][0]
        return found

    def _totals(self) -> Totals:
        reply = self.worker.do("totals", self.now)
        assert reply is not None
        found: Totals = reply["totals"]
        return found

    def _same(self, expected: Totals) -> None:
        found = self._totals()
        if found != expected:
            raise FailedError("log", "totals", f"{found}, acknowledged {expected}")

    def _take(self, sent: list[Sent]) -> None:
        self.model.take(sent)
        self.figures.acknowledged += sum(one.good for one in sent)

    def _lines(self, kind: str) -> list[Sent]:
        self._seed += 1
        found = lines_of(kind, self._seed, self.chance.randint(1, 4), self.model.history)
        found = found or lines_of("append", self._seed, 2, ())
        if kind in {"late", "duplicate"}:
            return found
        return happening(found, self.now + timedelta(minutes=self.chance.uniform(-10, 10)))

    def _too_long(self) -> list[Sent]:
        good = [one.raw for one in self._lines("append")][:3]
        raws = [raw[:-1] + b', "note": "' + b"x" * LONG + b'"}' for raw in good]
        self.long += raws
        return [Sent(raw, good=False) for raw in raws]


def happening(sent: list[Sent], now: datetime) -> list[Sent]:
    """The same events as they happen now, by a producer's clock: an hour of them is a minute."""
    events = [json.loads(one.raw) if one.good else None for one in sent]
    first: dict[str, datetime] = {}
    for event in events:
        if event is not None:
            at = datetime.fromisoformat(event["time"]).replace(tzinfo=None)
            first[event["subject"]] = min(at, first.get(event["subject"], at))
    moved = []
    for one, event in zip(sent, events, strict=True):
        if event is None:
            moved.append(one)
            continue
        at = datetime.fromisoformat(event["time"]).replace(tzinfo=None)
        event["time"] = (now + (at - first[event["subject"]]) / HOUR).isoformat() + "Z"
        moved.append(Sent(json.dumps(event, ensure_ascii=False).encode()))
    return moved


def longrun(
    folder: Path, minutes: range, seed: int, say: Callable[[str], None] = lambda _: None
) -> Figures:
    """Live through simulated minutes.

    Raises:
        FailedError: something was lost, doubled or wrong.
    """
    figures = Figures()
    run = Run(folder, seed, figures)
    try:
        for minute in minutes:
            try:
                run.live(minute)
            except FailedError as e:
                found = e.failure
                where = f"minute {minute}, seed {seed}"
                raise FailedError(found.kind, found.where, f"{found.text} ({where})") from e
            if minute % (4 * HOUR) == 4 * HOUR - 1:
                say(f"seed {seed}, hour {(minute + 1) // HOUR}: {figures}")
        run.finish()
    finally:
        run.close()
    return figures


def main() -> int:
    """Print the figures, or what failed and how to see it again."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--hours", type=float, default=24)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1, help="the first of the seeds")
    options = parser.parse_args()
    minutes = range(round(options.hours * HOUR))
    for seed in range(options.seed, options.seed + options.seeds):
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="headrace-longrun-") as folder:
            try:
                figures = longrun(Path(folder), minutes, seed, print)
            except FailedError as e:
                again = f"python -m tests.faults.longrun --hours {options.hours:g} --seeds 1"
                print(f"seed {seed}: FAILED: {e.failure}\nAgain: {again} --seed {seed}")
                return 1
        faults = ", ".join(f"{n} {name}" for name, n in sorted(figures.faults.items()))
        print(f"  faults: {faults}; {figures.missed} kills came after their step")
        print("  killed: " + ", ".join(f"{n} x {p}" for p, n in sorted(figures.fired.items())))
        print(f"seed {seed}: {figures}; {time.monotonic() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
