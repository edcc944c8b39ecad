"""One episode of the fuzzer: a fresh home, a script of steps, and after each the readers' answers.

A step may be done, refused for a reason that it allows, or die because it was killed. Anything
else, and any answer that differs from the oracle, is a failure.
"""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headrace.pipelines import bootstrap
from headrace.pipelines import settings as all_settings
from tests.fuzz.model import Model
from tests.fuzz.processes import Crew, DiedError, Process
from tests.fuzz.readers import AT_ONCE, FailedError, Failure, Reader, Told, Watcher, judge
from tests.fuzz.script import Script, Step, parts_of
from tests.fuzz.traffic import TRAFFIC, Sent, lines_of
from tests.fuzz.worker import ABANDONED

_MISSED = ("No such file", "Could not find", "Cannot open file", "IO Error")
"""What a query says whose files maintenance without any mercy has deleted under it."""


@dataclass
class Figures:
    """What one or many episodes did."""

    episodes: int = 0
    steps: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    kills: int = 0
    fired: int = 0
    events: int = 0
    quarantined: int = 0
    answers: int = 0
    cells: int = 0
    missed: int = 0

    def add(self, other: Figures) -> None:
        """Add those of another episode."""
        self.steps += other.steps
        for name in vars(self):
            if name != "steps":
                setattr(self, name, getattr(self, name) + getattr(other, name))


class Templates:
    """Empty homes, made once for each number of partitions and copied from then on."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._copies = 0

    def fresh(self, partitions: int) -> Path:
        """A home of its own."""
        made = self._folder / f"template-{partitions}"
        if not made.exists():
            chosen = all_settings.load(made, environ={}, threads=1, partitions=partitions)
            bootstrap.open_lake(chosen).close()
        self._copies += 1
        return Path(shutil.copytree(made, self._folder / f"home-{self._copies}"))


@dataclass
class Task:
    """A step given to a worker: what it is to append, and what became of it so far."""

    step: Step
    process: Process
    appends: list[list[Sent]]
    acknowledged: int = 0
    deadline: float | None = None
    ended: bool = False


class Episode:
    """Runs one script in one home."""

    def __init__(self, script: Script, home: Path, crew: Crew) -> None:
        self.figures = Figures(episodes=1)
        self._script = script
        self._home = home
        self._crew = crew
        self._model = Model(script.partitions)
        settings = {
            "threads": 1,
            "commit_events": script.commit_events,
            "replay_events": script.replay_events,
            "keep_generations": 2,
        }
        crew.turn_to(home, settings, pilot=script.pilot)

    def run(self) -> tuple[Failure, int] | None:
        """Run it; the failure and how many steps it took, if there was one."""
        n = 0
        try:
            with ExitStack() as stack:
                oldest = stack.enter_context(self._reader("the oldest reader"))
                beside = stack.enter_context(self._reader("the reader beside"))
                for n, step in enumerate(self._script.steps, start=1):  # noqa: B007
                    self._step(step, oldest, beside)
                self._end(oldest, beside)
            self._crew.leave()
        except FailedError as e:
            return e.failure, n
        except DiedError as e:
            return Failure("died", "worker", str(e)), n
        except Exception as e:  # noqa: BLE001 - a reader that breaks is a find as well
            return Failure("broke", type(e).__name__, str(e)), n
        return None

    def _reader(self, name: str) -> Reader:
        return Reader(name, self._home, self._script.partitions)

    def _step(self, step: Step, oldest: Reader, beside: Reader) -> None:
        self.figures.steps.update(part["do"] for part in parts_of(step))
        with Watcher(beside) as watcher:
            tasks = self._perform(step)
        done = self.figures.steps.total()
        # To ask for all takes as long as everything else here: not after each step.
        answer = oldest.ask() if done % 3 == 0 else oldest.ask(AT_ONCE * done, AT_ONCE)
        self._settle(oldest.understood(answer), tasks)
        for seen in watcher.answers:
            self._judge(beside, seen)
        self._excuse(step, watcher.refusals)
        self._judge(oldest, answer)
        if any(task.step["do"] == "kill" for task in tasks):
            with self._reader("a new reader") as newest:
                self._judge(newest, newest.ask())

    def _judge(self, reader: Reader, answer: Any) -> None:
        told = reader.understood(answer)
        self.figures.cells += judge(told, self._model, reader.name)
        self.figures.answers += 1
        if told.totals != self._model.totals() and reader.name != "the reader beside":
            raise FailedError("lost", "log", f"{told.totals}, not {self._model.totals()}")

    def _excuse(self, step: Step, refusals: Iterable[Exception]) -> None:
        """A reader is never refused, unless files are deleted at once that it may still read."""
        merciless = any(s["do"] == "maintain" and s["keep"] == 0 for s in parts_of(step))
        for e in refusals:
            if not (merciless and any(text in str(e) for text in _MISSED)):
                raise FailedError("no answer", type(e).__name__, str(e))
            self.figures.missed += 1

    # What happens in the workers.

    def _perform(self, step: Step) -> list[Task]:
        if step["do"] == "together":
            tasks = [self._start(s, n) for n, s in enumerate(step["steps"])]
        else:
            tasks = [self._start(step, 0)]
        for task in tasks:
            while not task.ended:
                self._pump(task, alone=len(tasks) == 1)
        return tasks

    def _start(self, step: Step, number: int) -> Task:
        """Give a step to a worker."""
        real = step["step"] if step["do"] == "kill" else step
        appends: list[list[Sent]] = []
        command = self._command(real, appends)
        if "at" in step:
            command["crash"] = step["at"]
        command["adopt"] = number == 0
        process = self._crew.worker(number)
        task = Task(step, process, appends)
        if step["do"] == "kill":
            self.figures.kills += 1
        if "after" in step:
            task.deadline = time.monotonic() + step["after"]
        process.send(command)
        return task

    def _command(self, step: Step, appends: list[list[Sent]]) -> dict[str, Any]:
        """A step as the worker takes it; what it appends is added to `appends`."""
        kind = step["do"]
        if kind in TRAFFIC:
            history = self._model.history + [s.raw for a in appends for s in a if s.good]
            lines = lines_of(kind, step["seed"], step["size"], history)
            appends.append(lines)
            return {"do": "append", "lines": [s.raw.decode("latin-1") for s in lines]}
        command = {**step, "midway": [self._command(s, appends) for s in step.get("midway", ())]}
        if kind == "replay" and step["since"] is not None:
            command["since"] = self._time(step["since"])
        return command

    def _time(self, share: float) -> str | None:
        """An event time that this share of all events lies before; None where there are none."""
        times = sorted(json.loads(line)["time"] for line in self._model.history)
        if not times:
            return None
        return str(times[int(share * (len(times) - 1))]).removesuffix("Z")

    def _pump(self, task: Task, *, alone: bool) -> None:
        """Take one message of a worker."""
        try:
            message = task.process.receive(task.deadline)
        except DiedError as e:
            if task.step["do"] != "kill" or not task.process.killed:
                raise FailedError("died", _name(task.step), str(e)) from e
            self.figures.fired += 1
            self._bury(task)
            return
        if message is None:
            self.figures.fired += 1
            task.process.kill()
            self._drain(task)
            self._bury(task)
        else:
            self._hear(task, message, alone=alone)

    def _drain(self, task: Task) -> None:
        """Take what a process had said before it was killed."""
        while not task.ended:
            try:
                message = task.process.receive()
            except DiedError:
                return
            if message is not None:
                self._hear(task, message, alone=True)

    def _bury(self, task: Task) -> None:
        self._crew.bury(task.process)
        task.ended = True

    def _hear(self, task: Task, message: dict[str, Any], *, alone: bool) -> None:
        where = _name(task.step)
        ((kind, content),) = message.items()
        if kind == "appended":
            self._acknowledged(task, content)
            return
        if kind == "inner":
            self._refused(content, where, alone=alone)
            return
        task.ended = True
        if kind == "broke":
            raise FailedError("broke", where, content)
        if kind == "refused":
            self._refused([where, *content], where, alone=alone and "midway" not in task.step)
        elif content.get("promotable") is False:
            text = f"{content['wrong']} cells differ from the live generation, with its logic"
            raise FailedError("replay differs", where, text)

    def _acknowledged(self, task: Task, content: list[Any]) -> None:
        """An append was acknowledged: with the counts and the end that it had to have?"""
        number = task.acknowledged + 1
        expected = self._model.after(task.appends[:number])
        before = self._model.after(task.appends[: number - 1])
        counts = (expected.accepted - before.accepted, expected.quarantined - before.quarantined)
        if content != [list(expected.end), *counts]:
            raise FailedError(
                "acknowledged", "append", f"{content}, not {[list(expected.end), *counts]}"
            )
        task.acknowledged = number

    def _refused(self, content: list[str], where: str, *, alone: bool) -> None:
        """A step was refused: was that right?"""
        kind, error, text = content
        self.figures.refused += 1
        fine = (
            (error == "PromotionError" and "differs" not in text)
            or (error == "UsageError" and kind == "promote")
            or (error == "JobError" and text == ABANDONED)
            or (error == "LockError" and not alone)
            or (error == "SeamError" and "is no longer live" in text and not alone)
        )
        if not fine:
            raise FailedError("refused", f"{where}: {error}", text)

    def _settle(self, told: Told, tasks: list[Task]) -> None:
        """Take acknowledged lines into the model, and those of a killed append if they are in.

        What was not acknowledged may be in as a whole, or not at all.
        """
        for task in tasks:
            low, high = task.acknowledged, len(task.appends)
            if task.step["do"] != "kill":
                high = low
            possible = [self._model.after(task.appends[:n]) for n in range(low, high + 1)]
            if task.appends and told.totals not in possible:
                text = f"the log is {told.totals}, possible are {possible}"
                raise FailedError("lost", "log", text)
            done = low + possible.index(told.totals) if task.appends else 0
            for lines in task.appends[:done]:
                self.figures.events += sum(s.good for s in lines)
                self.figures.quarantined += sum(not s.good for s in lines)
                self._model.take(lines)

    # The end.

    def _end(self, oldest: Reader, beside: Reader) -> None:
        """Catch up; everything that came in is there, once; `verify` agrees."""
        self._step({"do": "speed", "commits": None, "fresh": True}, oldest, beside)
        end = self._model.totals().end
        self._judge(oldest, oldest.ask())
        told = oldest.understood(oldest.ask())
        if told.position.offsets != end:
            raise FailedError("behind", "speed", f"at {told.position}, the log ends at {end}")
        if told.conflicts != self._model.conflicts(end):
            raise FailedError("wrong", "quarantine", "conflicts differ at the end")
        log = oldest.raw('SELECT "partition", "offset", raw FROM sys.events ORDER BY ALL')
        if log != self._model.below(end):
            raise FailedError("lost", "log", "its lines are not those that were acknowledged")
        rejected: Counter[bytes] = Counter()
        for raw, times in oldest.raw(_REJECTED):
            rejected[raw] += times
        if rejected != self._model.rejected:
            raise FailedError("lost", "quarantine", "it does not hold exactly what was rejected")
        proof = self._crew.worker().ask({"do": "verify"})
        if proof != {"done": {"wrong": 0, "events": sum(end), "first": []}}:
            raise FailedError("wrong", "verify", str(proof))


_REJECTED = """
    SELECT q.raw, (1 + coalesce(s.times, 0))::BIGINT FROM sys.quarantine AS q LEFT JOIN (
      SELECT id, sum(times) AS times FROM sys.quarantine_sightings GROUP BY id
    ) AS s ON s.id = q.id WHERE NOT q.reason LIKE 'conflict: %'"""
"""The rejected lines, and how often each came: one that is known is not listed again."""


def _name(step: Step) -> str:
    return str(step["step"]["do"] if step["do"] == "kill" else step["do"])
