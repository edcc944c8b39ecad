"""The seam fuzzer: random episodes, each answer held against the oracle, failures made short.

It attacks the promise itself: whatever is appended, committed, published, replayed, promoted or
killed in whatever order, a reader is told what is true at the position that it is told.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

from headrace.pipelines.progress import Report, quiet
from tests.fuzz.episode import Episode, Figures, Templates
from tests.fuzz.processes import Crew
from tests.fuzz.readers import Failure
from tests.fuzz.script import KINDS, Script, drawn
from tests.fuzz.shrink import shrink

_TRIES = 3
"""Runs of a script that was shrunk by one step: a failure may depend on when a kill comes."""


@dataclass
class Outcome:
    """What a run of the fuzzer did, and what it found, if anything."""

    figures: Figures = field(default_factory=Figures)
    failure: Failure | None = None
    script: Script | None = None
    file: Path | None = None
    home: Path | None = None
    tries: int = 0

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        f = self.figures
        counts = {name: value for name, value in vars(f).items() if name != "steps"}
        steps = {kind: f.steps[kind] for kind in KINDS if f.steps[kind]}
        found: dict[str, Any] = {"failure": None}
        if self.failure is not None and self.script is not None:
            found = {"failure": vars(self.failure), "seed": self.script.seed}
            found |= {"episode": self.script.episode, "steps_to_repeat": list(self.script.steps)}
            found |= {
                "script": str(self.file),
                "home": None if self.home is None else str(self.home),
            }
        return {**counts, "steps": steps, **found}


class Fuzzer:
    """Runs episodes in a temporary folder."""

    def __init__(self, folder: Path, crew: Crew) -> None:
        self._templates = Templates(folder)
        self._crew = crew

    @classmethod
    @contextmanager
    def open(cls) -> Iterator[Self]:
        """Get ready; everything is gone in the end."""
        with ExitStack() as stack:
            # Not removed by force: a process that is just dying may still write into it.
            folder = Path(tempfile.mkdtemp(prefix="headrace-fuzz-"))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            yield cls(folder, stack.enter_context(Crew(folder)))

    def episode(
        self, script: Script, kept: Path | None = None
    ) -> tuple[Figures, Failure | None, int]:
        """Run one script in a fresh home; its figures, the failure, and the steps it took.

        Args:
            script: what to do.
            kept: where the home goes if it fails; by default it is removed.
        """
        home = self._templates.fresh(script.partitions)
        episode = Episode(script, home, self._crew)
        found = episode.run()
        if found is not None:
            self._crew.dismiss()
            if kept is not None:
                shutil.copytree(home, kept)
        shutil.rmtree(home, ignore_errors=True)
        return episode.figures, *(found or (None, len(script.steps)))

    def fails(self, script: Script, like: Failure, tries: int) -> bool:
        """Whether a script fails in the same way, in so many tries."""
        return any(like.same(self.episode(script)[1]) for _ in range(tries))


def run(
    seed: int,
    duration: timedelta,
    *,
    folder: Path,
    keep: bool = False,
    shrinking: timedelta = timedelta(minutes=5),
    report: Report = quiet,
) -> Outcome:
    """Run episodes for a time, or until one fails.

    Args:
        seed: of all episodes.
        duration: no episode begins after it.
        folder: where a script that fails is written.
        keep: keep the home that failed, in `folder` as well.
        shrinking: how long a failure may be made shorter.
        report: told about each episode.
    """
    end = time.monotonic() + duration.total_seconds()
    outcome = Outcome()
    with Fuzzer.open() as fuzzer:
        number = 0
        while number == 0 or time.monotonic() < end:
            number += 1
            script, started = drawn(seed, number), time.monotonic()
            kept = folder / f"headrace-fuzz-{seed}-{number}-home" if keep else None
            figures, failure, steps = fuzzer.episode(script, kept)
            outcome.figures.add(figures)
            report(
                f"episode {number}: {steps} steps, {figures.events} events, {figures.fired} killed,"
                f" {figures.answers} answers, {figures.cells:,} cells,"
                f" {time.monotonic() - started:.1f} s{'' if failure is None else '; FAILED'}"
            )
            if failure is not None:
                report(f"{failure}; looking for a shorter script")
                outcome.home = kept
                short = script.with_steps(script.steps[:steps])
                _found(fuzzer, outcome, short, failure, folder, shrinking)
                break
    return outcome


def repeat(script: Script, *, folder: Path, keep: bool = False) -> Outcome:
    """Run one script; it is not made shorter."""
    kept = folder / f"headrace-fuzz-{script.seed}-{script.episode}-home" if keep else None
    with Fuzzer.open() as fuzzer:
        figures, failure, _ = fuzzer.episode(script, kept)
    return Outcome(figures, failure, script, None, None if failure is None else kept, 1)


def _found(
    fuzzer: Fuzzer,
    outcome: Outcome,
    script: Script,
    failure: Failure,
    folder: Path,
    shrinking: timedelta,
) -> None:
    """Make a failing script short, and write it down."""

    def fails(candidate: Script) -> bool:
        outcome.tries += 1
        return fuzzer.fails(candidate, failure, tries)

    sure = fuzzer.fails(script, failure, 1)
    tries = 1 if sure else _TRIES
    if sure or fuzzer.fails(script, failure, _TRIES):
        script = shrink(script, fails, shrinking)
    outcome.failure, outcome.script = failure, script
    outcome.file = folder / f"headrace-fuzz-{script.seed}-{script.episode}.json"
    script.write(outcome.file, str(failure))
