"""The process that does the work of the long run, forked from a warm one, and how it is driven.

It keeps a lake and a speed layer open as a service would, tells the time that it is told, and dies
by a real SIGKILL: nothing is rolled back, closed or unlocked for it.
"""

from __future__ import annotations

import multiprocessing
import signal
import traceback
from datetime import datetime
from multiprocessing.connection import Connection
from typing import Any

from headrace.pipelines.batch import run as batch
from headrace.pipelines.bootstrap import open_lake
from headrace.pipelines.lake import failpoints
from headrace.pipelines.lake.lake import Lake
from headrace.pipelines.log import quarantine
from headrace.pipelines.log.embedded import Log
from headrace.pipelines.operations import maintenance
from headrace.pipelines.quality import verify
from headrace.pipelines.replay import build, promote
from headrace.pipelines.settings import Settings
from headrace.pipelines.speed.layer import Speed
from tests.fuzz.model import Totals
from tests.fuzz.readers import FailedError

LONGEST = 300.0
"""Seconds that a step may take: a hang is a bug as well."""

Reply = dict[str, Any]


class Worker:
    """The process that does the work; whoever kills it starts another."""

    def __init__(self, settings: Settings) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__])
        ours, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, settings), daemon=True)
        self._process.start()
        theirs.close()
        self._pipe = ours

    def do(
        self, step: str, now: datetime, *, at: str | None = None, after: float | None = None,
        **arguments: Any,
    ) -> Reply | None:  # fmt: skip
        """Do a step; None if the process died of it.

        Args:
            step: what to do.
            now: the clock's time.
            at: the crash point to die at.
            after: seconds after which it is killed from outside.
            arguments: of the step.
        """
        try:
            self._pipe.send({"step": step, "now": now, "crash": at, **arguments})
            if not self._pipe.poll(LONGEST if after is None else after):
                if after is None:
                    raise FailedError("hang", step, f"no answer in {LONGEST:.0f} s")
                self.kill()
            reply: Reply = self._pipe.recv()
        except (EOFError, ConnectionError):
            self._process.join()
            if self._process.exitcode != -signal.SIGKILL:
                raise FailedError("exit", step, f"code {self._process.exitcode}") from None
            return None
        if "broke" in reply:
            raise FailedError("broke", step, reply["broke"])
        return reply

    def kill(self) -> None:
        """End the process as `kill -9` does."""
        self._process.kill()
        self._process.join()


def _serve(pipe: Connection, settings: Settings) -> None:
    """Do what comes in, on a lake and a speed layer that stay open."""
    now = datetime(2026, 3, 10)  # noqa: DTZ001 - until it is told
    with open_lake(settings) as lake, Speed.open(lake) as speed:
        lake.clock = lambda: now
        while True:
            try:
                asked = pipe.recv()
            except EOFError:
                return
            now = asked["now"]
            try:
                failpoints.arm(asked["crash"])
                pipe.send(_done(lake, speed, asked))
            except Exception:  # noqa: BLE001 - whatever it is, the run ends with it
                pipe.send({"broke": traceback.format_exc()})
            finally:
                failpoints.arm(None)


def _totals(lake: Lake) -> Reply:
    accepted, rejected = lake.row(
        "SELECT coalesce(sum(accepted), 0)::BIGINT, coalesce(sum(quarantined), 0)::BIGINT "
        "FROM sys.appends"
    )
    return {"totals": Totals(Log(lake).end().offsets, accepted, rejected)}


def _append(lake: Lake, asked: Reply) -> Reply:
    lines = asked["lines"]
    if limit := asked.get("limit"):
        chosen = lake.settings.model_copy(update={"max_event_bytes": limit})
        with open_lake(chosen) as other:
            other.clock = lake.clock
            done = Log(other).append(lines, ["run"] * len(lines))
    else:
        done = Log(lake).append(lines, ["run"] * len(lines))
    return {"end": done.position.offsets}


def _since(lake: Lake, asked: Reply) -> Reply:
    above = (f'("partition" = {p} AND "offset" >= {o})' for p, o in enumerate(asked["start"]))
    rows = lake.rows(
        f'SELECT raw FROM sys.events WHERE {" OR ".join(above)} ORDER BY "partition", "offset"'
    )
    return {"lines": [raw.encode() for (raw,) in rows]}


def _verify(lake: Lake) -> Reply:
    proof = verify.verify(lake)
    return {"equal": proof.equal, "events": proof.events, "wrong": proof.comparison.wrong}


def _replay(lake: Lake, asked: Reply) -> Reply:
    diff = build.replay(lake, asked["since"]).diff
    return {"generation": diff.generation, "wrong": diff.comparison.wrong}


def _done(lake: Lake, speed: Speed, asked: Reply) -> Reply:  # noqa: PLR0911 - one a step
    """Do one step."""
    match asked["step"]:
        case "append":
            return _append(lake, asked)
        case "speed":
            return {"commits": len(speed.run())}
        case "batch":
            made = batch.run(lake, engine="duckdb", incremental=asked["incremental"])
            return {"made": made is not None}
        case "maintain":
            return {"merged": maintenance.maintain(lake).files_merged}
        case "retry":
            return {"accepted": quarantine.retry(lake).accepted}
        case "replay":
            return _replay(lake, asked)
        case "promote":
            return {"live": promote.promote(lake).number}
        case "rollback":
            return {"live": promote.rollback(lake).number}
        case "verify":
            return _verify(lake)
        case "since":
            return _since(lake, asked)
    return _totals(lake)
