"""Kills the real command again and again, and checks after each kill what is left.

    python -m tests.faults.kills --kills 500 --seed 1

A kill is a SIGKILL at a named crash point, or after a random time. Whatever was acknowledged must
be there, whole and once; whatever is served must equal the oracle at its position. The oracle
knows only the lines that were sent. A failure prints a command that repeats it.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

from headrace.pipelines.batch import run as batch
from headrace.pipelines.bootstrap import create, open_lake
from headrace.pipelines.lake.lake import Lake
from headrace.pipelines.log.embedded import Log
from headrace.pipelines.quality import verify
from headrace.pipelines.replay import build, promote
from headrace.pipelines.settings import load
from headrace.pipelines.speed.layer import Speed
from tests.e2e.command import Headrace
from tests.faults import crashing
from tests.fuzz.model import Model, Totals
from tests.fuzz.readers import FailedError, Reader, judge
from tests.fuzz.traffic import TRAFFIC, Sent, lines_of

PARTITIONS = 2
HOME_KILLS = 40
"""Kills in one home, then a new one: the oracle's work grows with the log."""
PROOF_EVERY = 20
"""Kills between two times that everything is caught up with and verified."""
LONG = 1_500
"""Bytes of an event that is too long at first, and accepted on a retry."""

Kill = tuple[str, str | None]
"""A command, and the crash point it is to die at; None for a random time."""


@dataclass
class Figures:
    """What a run did and found."""

    kills: int = 0
    fired: Counter[str] = field(default_factory=Counter)
    survived: int = 0
    acknowledged: int = 0
    cells: int = 0
    proofs: int = 0

    def __str__(self) -> str:
        return (
            f"{self.kills} kills tried, {self.fired.total()} faults fired at {len(self.fired)} "
            f"points ({self.survived} came too late or met no such point), {self.acknowledged:,} "
            f"events acknowledged, {self.cells:,} cells compared, "
            f"{self.proofs} times verified, 0 lost, 0 doubled, 0 wrong cells"
        )


def plan() -> list[Kill]:
    """Every crash point of every command, and as many random times."""
    points = [("append", p) for p in crashing.APPEND]
    points += [("speed", p) for p in crashing.COMMIT]
    points += [("batch", p) for p in (*crashing.BATCH, *crashing.BACKUP)]
    points += [("replay", p) for p in crashing.REPLAY]
    points += [(c, p) for c in ("promote", "rollback") for p in crashing.SWITCH]
    points += [("retry", p) for p in crashing.RETRY]
    points += [("verify", p) for p in crashing.VERIFY]
    points += [("maintain", p) for p in crashing.MAINTAIN]
    commands = ("append", "speed", "batch", "replay", "maintain", "follow", "both")
    share = len(points) // len(commands)
    return [*points, *((command, None) for command in commands for _ in range(share))]


class Run:
    """One home, what was acknowledged in it, and the kills that it goes through."""

    def __init__(self, folder: Path, seed: int, figures: Figures) -> None:
        self.chance = random.Random(seed)
        self.figures = figures
        self.home = folder / f"home-{seed}"
        self.headrace = Headrace(self.home)
        self.settings = load(self.home, environ={}, threads=1, partitions=PARTITIONS)
        create(self.settings)
        self.model = Model(PARTITIONS)
        self.long: list[bytes] = []
        self._seed = seed * 1_000
        self._folder = folder

    def kill(self, command: str, point: str | None) -> None:
        """Prepare, kill, and check what is left."""
        steps: dict[str, Callable[[str | None], None]] = {
            "append": self._append,
            "retry": self._retry,
            "follow": self._follow,
            "both": self._both,
        }
        steps.get(command, lambda at: self._work(command, at))(point)
        self.figures.kills += 1
        self.check()

    def check(self) -> None:
        """What is served equals the oracle at its position; the log is what was acknowledged."""
        with Reader("reader", self.home, PARTITIONS) as reader:
            told = reader.understood(reader.ask())
        if told.totals.end != self.model.totals().end:
            raise FailedError(
                "log", "end", f"{told.totals.end}, acknowledged {self.model.totals().end}"
            )
        self.figures.cells += judge(told, self.model, "reader")

    def prove(self) -> None:
        """Catch up, compare with the oracle and with a recompute."""
        with open_lake(self.settings) as lake:
            with Speed.open(lake) as speed:
                speed.run()
            proof = verify.verify(lake)
        if not proof.equal or proof.events != len(self.model.history):
            raise FailedError("proof", "verify", f"{proof.comparison.wrong} cells, {proof.events}")
        self.figures.proofs += 1
        self.check()

    def _append(self, point: str | None) -> None:
        sent = self._lines()
        before, after = self.model.totals(), self.model.after([sent])
        self._run(point, "append", self._write([line.raw for line in sent]))
        self._settle(sent, before, after)

    def _both(self, point: str | None) -> None:
        """An append and a speed layer beside it, killed at one random time."""
        del point
        with open_lake(self.settings) as lake:
            self._feed(lake)
        sent = self._lines()
        before, after = self.model.totals(), self.model.after([sent])
        path = self._write([line.raw for line in sent])
        running = {
            "append": self.headrace.start("append", path),
            "speed": self.headrace.start("speed", "--once", commit_events=4),
        }
        time.sleep(self.chance.uniform(0.1, 1.2))
        for process in running.values():
            process.kill()
        for name, process in running.items():
            _, said = process.communicate()
            self._ended(None, f"{name} beside another", process.returncode, said)
        self._settle(sent, before, after)

    def _settle(self, sent: list[Sent], before: Totals, after: Totals) -> None:
        """Lines whose sender may have died: in the log whole, or not at all."""
        found = self._log_end()
        if found == after.end and after.end != before.end:
            self._take(sent)
        elif found != before.end:
            raise FailedError("log", "append", f"{found}: neither {before.end} nor {after.end}")

    def _retry(self, point: str | None) -> None:
        """Quarantined for their length only, then retried: in the log whole or not at all."""
        if not self.long:
            good = [s.raw for s in self._lines("append") if s.raw.endswith(b"}")][:3]
            self.long = [raw[:-1] + b', "note": "' + b"x" * LONG + b'"}' for raw in good]
            with open_lake(self.settings.model_copy(update={"max_event_bytes": 1024})) as lake:
                Log(lake).append(self.long, ["test"] * len(self.long))
        sent = [Sent(raw) for raw in self.long]
        before, after = self.model.totals(), self.model.after([sent])
        self._run(point, "quarantine", "retry")
        found = self._log_end()
        if found == after.end:
            # The order of a retry is the quarantine's; a place is checked by its content below.
            self._take(self._in_log_order(sent, before.end))
            self.long = []
        elif found != before.end:
            raise FailedError("log", "retry", f"{found}: neither {before.end} nor {after.end}")

    def _work(self, command: str, point: str | None) -> None:
        """A command that changes nothing that was acknowledged."""
        with open_lake(self.settings) as lake:
            self._feed(lake)
            if command in {"promote", "rollback"}:
                self._second_generation(lake, command)
        arguments: dict[str, tuple[object, ...]] = {
            "speed": ("speed", "--once"),
            "batch": ("batch", "--engine", "duckdb", *self._maybe("--incremental")),
            "replay": ("replay", "--from", self.chance.choice(["beginning", "2026-03-02"])),
        }
        settings: dict[str, object] = {"keep_snapshots": 0} if command == "maintain" else {}
        if command in {"speed", "replay"}:
            settings |= {"commit_events": 12, "replay_events": 25}
        self._run(point, *arguments.get(command, (command,)), **settings)

    def _follow(self, point: str | None) -> None:
        """Killed at a random time while events come in."""
        del point
        running = self.headrace.start("speed", "--follow", commit_events=10, poll=0.01)
        end = time.monotonic() + self.chance.uniform(0.6, 1.6)
        try:
            with open_lake(self.settings) as lake:
                while time.monotonic() < end:
                    self._feed(lake)
        finally:
            running.kill()
            running.communicate()
        self._fired(None, "follow", running.returncode)

    def _run(self, point: str | None, *arguments: object, **settings: object) -> None:
        name = " ".join(map(str, arguments[:1]))
        if point is not None:
            outcome = self.headrace.process(*arguments, crash_at=point, **settings)
            code, said = outcome.code, outcome.out + outcome.err
        else:
            running = self.headrace.start(*arguments, **settings)
            time.sleep(self.chance.uniform(0.1, 1.2))
            running.kill()
            said = "".join(running.communicate())
            code = running.returncode
        self._ended(point, name, code, said)

    def _ended(self, point: str | None, name: str, code: int, said: str) -> None:
        # Nothing here may be refused: an error is something that a kill left behind.
        if code not in {0, -signal.SIGKILL}:
            raise FailedError("exit", name, f"code {code}: {said}")
        self._fired(point, name, code)

    def _fired(self, point: str | None, name: str, code: int) -> None:
        if code == -signal.SIGKILL:
            self.figures.fired[point or f"{name} at a random time"] += 1
        else:
            self.figures.survived += 1

    def _second_generation(self, lake: Lake, command: str) -> None:
        """So that there is something to switch to."""
        made = build.replay(lake, None)
        if command == "rollback":
            promote.promote(lake, made.generation)

    def _feed(self, lake: Lake) -> None:
        sent = self._lines()
        Log(lake).append([s.raw for s in sent], ["test"] * len(sent))
        self._take(sent)
        if self.chance.random() < 0.2:
            batch.run(lake, engine="duckdb")

    def _lines(self, kind: str | None = None) -> list[Sent]:
        self._seed += 1
        kind = kind or self.chance.choice(TRAFFIC)
        found = lines_of(kind, self._seed, self.chance.randint(2, 5), self.model.history)
        return found or lines_of("append", self._seed, 3, ())

    def _take(self, sent: list[Sent]) -> None:
        self.model.take(sent)
        self.figures.acknowledged += sum(s.good for s in sent)

    def _in_log_order(self, sent: list[Sent], start: tuple[int, ...]) -> list[Sent]:
        known = {s.raw: s for s in sent}
        with open_lake(self.settings, read_only=True) as lake:
            below = " OR ".join(
                f'("partition" = {p} AND "offset" >= {o})' for p, o in enumerate(start)
            )
            rows = lake.rows(
                f'SELECT raw FROM sys.events WHERE {below} ORDER BY "partition", "offset"'
            )
        return [known[raw.encode()] for (raw,) in rows]

    def _log_end(self) -> tuple[int, ...]:
        with open_lake(self.settings, read_only=True) as lake:
            return Log(lake).end().offsets

    def _maybe(self, option: str) -> tuple[str, ...]:
        return (option,) if self.chance.random() < 0.5 else ()

    def _write(self, lines: list[bytes]) -> Path:
        path = self._folder / "lines.ndjson"
        path.write_bytes(b"".join(line + b"\n" for line in lines))
        return path


def kills(count: int, seed: int, folder: Path, say: Callable[[str], None]) -> Figures:
    """Kill so many times, home after home.

    Raises:
        FailedError: something was lost, doubled or wrong; the home is left in the folder.
    """
    figures = Figures()
    chance = random.Random(seed)
    order = plan()
    chance.shuffle(order)
    chosen: Iterator[Kill] = cycle(order)
    run = Run(folder, seed, figures)
    for number in range(1, count + 1):
        if number % HOME_KILLS == 0:
            run.prove()
            run = Run(folder, seed + 100_000 * number, figures)
        command, point = next(chosen)
        try:
            run.kill(command, point)
            if number % PROOF_EVERY == 0:
                run.prove()
                say(f"{number}: {figures}")
        except FailedError as e:
            raise FailedError(
                e.failure.kind,
                e.failure.where,
                f"{e.failure.text}; kill {number} ({command} at {point or 'a random time'}), home "
                f"{run.home}. Again: python -m tests.faults.kills --kills {number} --seed {seed}",
            ) from e
    run.prove()
    return figures


def main() -> int:
    """Print the figures, or what failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="headrace-kills-"))
    try:
        figures = kills(options.kills, options.seed, folder, print)
    except FailedError as e:
        print(f"seed {options.seed}: FAILED: {e.failure}")
        return 1  # the home stays, to be looked at
    shutil.rmtree(folder)
    for point, times in sorted(figures.fired.items()):
        print(f"  {times:4} x {point}")
    never = {p for _, p in plan() if p is not None} - set(figures.fired)
    if options.kills >= len(plan()) and never:
        print(f"never fired: {', '.join(sorted(never))}")
        return 1
    print(f"seed {options.seed}: {figures}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
