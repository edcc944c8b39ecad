"""Scripts of the fuzzer: plain lists of steps, drawn from a seed, written to and read from JSON.

Each step carries all of its own parameters, so any part of a script is a script.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

from headrace.pipelines.errors import UsageError
from tests.fuzz.traffic import TRAFFIC, chances

Step = dict[str, Any]

FORMAT = 1

_POINTS = {
    "append": ("append", ("begun", "written", "synced", "moved", "adopted", "ready", "done"), 2),
    "speed": ("commit", ("begun", "written", "synced", "ready", "done"), 3),
    "batch": ("publish", ("begun", "moved", "adopted", "dropped", "ready", "done"), 5),
    "abandon": ("cut", ("begun", "ready", "done"), 1),
    "replay": ("create commit publish diff", ("begun", "written", "ready", "done"), 2),
    "promote": ("switch", ("begun", "ready", "done"), 1),
    "rollback": ("switch", ("begun", "ready", "done"), 1),
    "maintain": ("maintenance", ("begun", "ready", "done"), 6),
}
"""Step to the units of work it passes, their crash points, and the most passes of one."""

_WEIGHTS = {
    "append": 5,
    "reorder": 3,
    "late": 3,
    "duplicate": 3,
    "poison": 2,
    "speed": 8,
    "batch": 4,
    "abandon": 2,
    "replay": 4,
    "promote": 3,
    "rollback": 2,
    "maintain": 2,
    "kill": 6,
    "together": 4,
}
KINDS = (*_WEIGHTS, "view")
"""All steps that there are."""

_WRITERS = ("append", "duplicate", "speed")
_MOVERS = ("batch", "replay", "promote", "rollback", "maintain", "speed")
_SHORT, _LONG = 15, 40
_VIEWS = ("doors", "shelf", "sizes", "tiers")


@dataclass(frozen=True)
class Script:
    """One episode: what its home is like, and what happens in it."""

    seed: int
    episode: int
    partitions: int
    commit_events: int
    replay_events: int
    pilot: bool
    steps: tuple[Step, ...]

    def with_steps(self, steps: tuple[Step, ...] | list[Step]) -> Script:
        """The same home, other steps."""
        return replace(self, steps=tuple(steps))

    def write(self, path: Path, failure: str) -> None:
        """Write it to a file that `python -m tests.fuzz --script` takes."""
        content = {"headrace_fuzz": FORMAT, **asdict(self), "failure": failure}
        path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Script:
        """Read what `write` wrote.

        Raises:
            UsageError: the file is no script.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            _check(content.pop("headrace_fuzz"), content["steps"])
            content.pop("failure", None)
            script = cls(**{**content, "steps": tuple(content["steps"])})
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as e:
            raise UsageError(
                f"{path} is no script of `python -m tests.fuzz` ({type(e).__name__}: {e}); name a "
                "file that it wrote"
            ) from e
        return script


def drawn(seed: int, episode: int) -> Script:
    """The script of one episode."""
    rng = chances(seed, episode)
    steps = [_traffic(rng, "append")]
    if rng.random() < 0.3:
        steps.insert(0, {"do": "view", "name": rng.choice(_VIEWS)})
    steps += [_step(rng) for _ in range(rng.randint(_SHORT, _LONG) - len(steps))]
    return Script(
        seed,
        episode,
        partitions=rng.randint(2, 4),
        commit_events=rng.choice((4, 9, 20, 60)),
        replay_events=rng.choice((40, 200, 1_000)),
        pilot=rng.random() < 0.5,
        steps=tuple(steps),
    )


def parts_of(step: Step) -> Iterator[Step]:
    """A step and all steps inside it."""
    yield step
    for inner in _inner(step):
        yield from parts_of(inner)


def simpler(step: Step) -> Iterator[Step]:
    """Steps that do a little less than this one, boldest first; nothing once it is simple."""
    if step["do"] == "kill":
        yield step["step"]
    yield from step.get("steps", ())
    midway = step.get("midway", [])
    if midway:
        yield {**step, "midway": []}
        yield from ({**step, "midway": midway[:n] + midway[n + 1 :]} for n in range(len(midway)))
    for name in ("size", "commits"):
        if (step.get(name) or 0) > 1:
            yield {**step, name: step[name] // 2}
            yield {**step, name: step[name] - 1}
    for n, inner in enumerate(_inner(step)):
        for less in simpler(inner):
            yield _with_inner(step, n, less)


def _inner(step: Step) -> list[Step]:
    if step["do"] == "kill":
        return [step["step"]]
    return [*step.get("steps", ()), *step.get("midway", ())]


def _with_inner(step: Step, number: int, inner: Step) -> Step:
    if step["do"] == "kill":
        return {**step, "step": inner}
    name = "steps" if "steps" in step else "midway"
    return {**step, name: [inner if n == number else s for n, s in enumerate(step[name])]}


def _check(number: int, steps: list[Step]) -> None:
    if number != FORMAT:
        raise ValueError(f"its format is {number}, not {FORMAT}")
    for step in (inner for outer in steps for inner in parts_of(outer)):
        if step["do"] not in KINDS:
            raise ValueError(f"no step does {step['do']!r}")
        kinds = [{s["do"] for s in parts_of(inner)} for inner in step.get("steps", ())]
        if len([each for each in kinds if each & set(TRAFFIC)]) > 1:
            raise ValueError("two appends at once have no order that anybody knows")


def _step(rng: Random) -> Step:
    kind = rng.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]
    if kind == "kill":
        return _kill(rng)
    if kind == "together":
        writer = _plain(rng, rng.choice(_WRITERS))
        mover = _plain(rng, rng.choice(_MOVERS))
        return {"do": "together", "steps": [writer, mover]}
    step = _plain(rng, kind)
    if kind in {"batch", "replay"} and rng.random() < 0.6:
        kinds = ("append", "late", "speed", "speed", "speed", "promote", "rollback")
        step["midway"] = [_plain(rng, rng.choice(kinds)) for _ in range(rng.randint(1, 3))]
    if kind == "maintain":
        step["keep"] = rng.choice((0, 3600))
    return step


def _plain(rng: Random, kind: str) -> Step:
    """A step that has no steps inside."""
    if kind in TRAFFIC:
        return _traffic(rng, kind)
    make: dict[str, Callable[[], Step]] = {
        "speed": lambda: {"commits": rng.choice((None, 1, 1, 2, 4)), "fresh": rng.random() < 0.5},
        "batch": lambda: {"incremental": rng.random() < 0.5},
        "replay": lambda: {"since": rng.choice((None, round(rng.random(), 3)))},
        "promote": lambda: {"generation": rng.choice((None, None, rng.randint(1, 4)))},
        "maintain": lambda: {"keep": 3600},
    }
    return {"do": kind, **make.get(kind, dict)()}


def _traffic(rng: Random, kind: str) -> Step:
    return {"do": kind, "seed": rng.randint(0, 999_999), "size": rng.randint(2, 12)}


def _kill(rng: Random) -> Step:
    """A step in a process that dies: at a crash point, or after a random time."""
    kind = rng.choice((*TRAFFIC, *_POINTS, "speed", "batch", "replay"))
    step = _plain(rng, kind)
    if rng.random() < 0.3:
        return {"do": "kill", "step": step, "after": round(rng.random() * 0.5, 3)}
    works, points, passes = _POINTS["append" if kind in TRAFFIC else kind]
    nth = rng.choice((1, 1, rng.randint(1, passes)))
    at = f"{rng.choice(works.split())}.{rng.choice(points)}"
    return {"do": "kill", "step": step, "at": at if nth == 1 else f"{at}:{nth}"}
