"""The process in which the fuzzer's steps happen, so that a real SIGKILL can meet them.

    python -m tests.fuzz.worker

Commands come as JSON lines on standard input. Each is answered by `{"appended": …}` for every
append as soon as it is acknowledged, and in the end by one of `{"done": …}`,
`{"refused": [class, text]}`, `{"broke": traceback}`.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any

from headrace.pipelines import settings as all_settings
from headrace.pipelines.batch import run as batch
from headrace.pipelines.bootstrap import open_lake
from headrace.pipelines.errors import HeadraceError, JobError
from headrace.pipelines.generations import registry
from headrace.pipelines.lake import failpoints
from headrace.pipelines.lake.lake import Lake
from headrace.pipelines.log.embedded import Log
from headrace.pipelines.operations import maintenance
from headrace.pipelines.processes import run_without_pandas
from headrace.pipelines.quality import verify
from headrace.pipelines.replay import build, promote
from headrace.pipelines.speed.layer import Speed
from tests.oracle.fold import USER_VIEWS

PLANT = "HEADRACE_FUZZ_PLANT"
"""Environment: a module to import first. Tests plant a bug with it, to see that it is found."""

ABANDONED = "the fuzzer abandoned this batch after its cut"

Tell = Callable[[dict[str, Any]], None]


class Worker:
    """Does steps on one home at a time."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._stack = ExitStack()
        self._lake: Lake | None = None
        self._pilot: Speed | None = None

    def run(self, command: dict[str, Any]) -> dict[str, Any]:
        """Do one command; gives the answer that ends it."""
        try:
            if command["do"] == "open":
                return {"done": self._open(command)}
            if command["do"] == "close":
                self._stack.close()
                return {"done": {}}
            failpoints.arm(command.get("crash"))
            return {"done": self._do(command, self.lake)}
        except HeadraceError as e:
            return {"refused": [type(e).__name__, _told(e)]}
        except Exception:  # noqa: BLE001 - whatever it is, it is what the fuzzer looks for
            return {"broke": traceback.format_exc()}
        finally:
            failpoints.arm(None)

    @property
    def lake(self) -> Lake:
        """The lake of the open home."""
        if self._lake is None:
            raise RuntimeError("no home is open")
        return self._lake

    def _open(self, command: dict[str, Any]) -> dict[str, Any]:
        """Turn to a home. A pilot keeps one speed layer open over all steps, as a service would."""
        self._stack.close()
        chosen = all_settings.load(Path(command["home"]), environ={}, **command["settings"])
        self._lake = self._stack.enter_context(open_lake(chosen))
        self._pilot = None
        if command["pilot"]:
            beside = self._stack.enter_context(open_lake(chosen))
            self._pilot = self._stack.enter_context(Speed.open(beside))
        return {}

    def _do(self, step: dict[str, Any], lake: Lake) -> dict[str, Any]:
        steps: dict[str, Callable[[dict[str, Any], Lake], dict[str, Any]]] = {
            "append": self._append,
            "speed": self._speed,
            "batch": self._batch,
            "abandon": _abandon,
            "replay": self._replay,
            "promote": _promote,
            "rollback": _rollback,
            "maintain": _maintain,
            "view": _view,
            "verify": _verify,
        }
        return steps[step["do"]](step, lake)

    def _append(self, step: dict[str, Any], lake: Lake) -> dict[str, Any]:
        lines = [line.encode("latin-1") for line in step["lines"]]
        done = Log(lake).append(lines, [f"fuzz:{n}" for n in range(len(lines))])
        end = list(done.position.offsets)
        self._tell({"appended": [end, done.accepted, done.quarantined]})
        return {}

    def _speed(self, step: dict[str, Any], lake: Lake) -> dict[str, Any]:
        if step.get("adopt"):
            _adopt_views(lake)
        if self._pilot is not None and not step.get("fresh"):
            return {"commits": _advance(self._pilot, lake, step["commits"])}
        with Speed.open(lake) as speed:
            return {"commits": _advance(speed, lake, step["commits"])}

    def _batch(self, step: dict[str, Any], lake: Lake) -> dict[str, Any]:
        def report(text: str) -> None:
            if text.startswith("audited"):
                self._midway(step, lake)

        done = batch.run(lake, engine="duckdb", incremental=step["incremental"], report=report)
        return {} if done is None else {"cut": list(done.cut.offsets), "live": done.live}

    def _replay(self, step: dict[str, Any], lake: Lake) -> dict[str, Any]:
        left = [step]

        def progress(done: int, of: int) -> None:
            del done, of
            if left:
                self._midway(left.pop(), lake)

        since = None if step["since"] is None else datetime.fromisoformat(step["since"])
        diff = build.replay(lake, since, progress=progress).diff
        return {"wrong": diff.comparison.wrong, "promotable": diff.promotable}

    def _midway(self, step: dict[str, Any], lake: Lake) -> None:
        """Do other steps while one is half way, over a connection of their own."""
        if not step.get("midway"):
            return
        with open_lake(lake.settings) as beside:
            for inner in step["midway"]:
                try:
                    self._do(inner, beside)
                except HeadraceError as e:
                    self._tell({"inner": [inner["do"], type(e).__name__, _told(e)]})


def _told(e: HeadraceError) -> str:
    """What an error says, and in full what it came from."""
    return str(e) if e.__cause__ is None else f"{e}\n{e.__cause__}"


def _advance(speed: Speed, lake: Lake, commits: int | None) -> int:
    if commits is None:
        return len(speed.run())
    number, goal = registry.live_number(lake), Log(lake).end()
    made = (speed.step(number, goal) for _ in range(commits))
    return sum(commit is not None for commit in islice(made, commits))


def _adopt_views(lake: Lake) -> None:
    """Before the first event, views that changed become the live ones, as the command does it."""
    wanted, live = registry.current_views(lake.home), registry.read(lake)
    if registry.logic_of(wanted) != live.logic and live.position.total == 0:
        with lake.writing("switch") as tx:
            registry.replace_views(tx, live.number, wanted)


def _abandon(step: dict[str, Any], lake: Lake) -> dict[str, Any]:
    """Ask for a cut, and give up before anything is made of it."""
    del step

    def report(text: str) -> None:
        if text.startswith("cut at"):
            raise JobError(ABANDONED)

    batch.run(lake, engine="duckdb", report=report)
    return {}


def _promote(step: dict[str, Any], lake: Lake) -> dict[str, Any]:
    return {"generation": promote.promote(lake, step["generation"]).number}


def _rollback(step: dict[str, Any], lake: Lake) -> dict[str, Any]:
    del step
    return {"generation": promote.rollback(lake).number}


def _maintain(step: dict[str, Any], lake: Lake) -> dict[str, Any]:
    keep = {"keep_snapshots": timedelta(seconds=step["keep"])}
    with open_lake(lake.settings.model_copy(update=keep)) as beside:
        maintenance.maintain(beside)
    return {}


def _view(step: dict[str, Any], lake: Lake) -> dict[str, Any]:
    file = lake.home.views / f"{step['name']}.sql"
    file.write_text(USER_VIEWS[step["name"]], encoding="utf-8")
    return {}


def _verify(step: dict[str, Any], lake: Lake) -> dict[str, Any]:
    del step
    proof = verify.verify(lake)
    cells = [f"{c.view} {dict(c.key)} {c.column}" for c in proof.comparison.shown[:3]]
    return {"wrong": proof.comparison.wrong, "events": proof.events, "first": cells}


@contextmanager
def _answers() -> Iterator[Tell]:
    """The way back. Nothing else that prints can get into it."""
    with os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8") as out:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

        def tell(message: dict[str, Any]) -> None:
            out.write(json.dumps(message) + "\n")
            out.flush()

        yield tell


def main() -> None:
    """Do what comes in until it ends."""
    if plant := os.environ.get(PLANT):
        import_module(plant)
    with _answers() as tell:
        worker = Worker(tell)
        for line in sys.stdin:
            tell(worker.run(json.loads(line)))


if __name__ == "__main__":
    run_without_pandas()
    main()
