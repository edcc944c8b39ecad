"""Where the commands can be killed, and how: a real process that ends itself with SIGKILL."""

from __future__ import annotations

import shutil
import signal
from dataclasses import dataclass
from pathlib import Path

from headrace.pipelines import bootstrap, settings
from headrace.pipelines.generations import registry
from headrace.pipelines.log import quarantine
from headrace.pipelines.log.embedded import Log
from tests.e2e import forked
from tests.e2e.command import Headrace, Outcome
from tests.e2e.orders import Truth, events, write

APPEND = (
    "append.begun", "append.written", "append.synced", "append.moved", "append.adopted",
    "append.written:2", "append.synced:2", "append.ready", "append.held", "append.committed",
    "append.done",
)  # fmt: skip
"""The second `written` and `synced` are the quarantine's."""
COMMIT = (
    "commit.begun", "commit.written", "commit.synced", "commit.written:4", "commit.ready",
    "commit.held", "commit.committed", "commit.done", "commit.ready:2",
)  # fmt: skip
BATCH = (
    "cut.begun", "cut.ready", "cut.done", "publish.begun", "publish.moved", "publish.adopted:3",
    "publish.dropped:5", "publish.written", "publish.synced", "publish.ready", "publish.held",
    "publish.committed", "publish.done",
)  # fmt: skip
BACKUP = ("backup.synced", "backup.done")
"""After a publish and at the end of maintenance."""
REPLAY = (
    "create.begun", "create.written", "create.synced", "create.ready", "create.done",
    "commit.ready", "publish.written", "publish.synced", "publish.dropped", "publish.ready",
    "publish.done", "diff.begun", "diff.ready", "diff.done",
)  # fmt: skip
SWITCH = ("switch.begun", "switch.ready", "switch.done")
RETRY = (
    "quarantine.begun", "append.written", "append.synced", "quarantine.moved",
    "quarantine.adopted", "quarantine.written", "quarantine.synced", "quarantine.ready",
    "quarantine.done",
)  # fmt: skip
CORRECT = (
    "quarantine.begun", "append.synced", "quarantine.adopted", "quarantine.written:2",
    "quarantine.ready", "quarantine.done",
)  # fmt: skip
DISCARD = ("quarantine.begun", "quarantine.written:2", "quarantine.ready", "quarantine.done")
"""The second `written` is that of who decided, and why."""
VERIFY = ("certificate.begun", "certificate.ready", "certificate.done")
MAINTAIN = (
    "maintenance.begun", "maintenance.merged", "maintenance.noted", "maintenance.ready",
    "maintenance.done", "maintenance.ready:4", "maintenance.expired", "maintenance.deleted",
    "maintenance.deleted:3", "maintenance.cleaned",
)  # fmt: skip
ERASE = (
    "erase.rewritten", "erase.written", "erase.synced", "erase.ready", "erase.held",
    "erase.committed", "erase.done", "erase.noted", "erase.swapped", "erase.deleted",
    "erase.emptied", *BACKUP, "erase.cleaned", "erase.finished",
)  # fmt: skip
INIT = ("init.begun", "init.ready", "init.done", "init.marked")


def kill_at(point: str, headrace: Headrace, *arguments: object, **settings: object) -> Outcome:
    """Run a command that dies at a crash point; it fails the test if it passes no such point."""
    outcome = forked.run(headrace, *arguments, crash_at=point, **settings)
    assert outcome.code == -signal.SIGKILL, f"{arguments} was not killed at {point}: {outcome}"
    return outcome


@dataclass(frozen=True)
class Counts:
    """What a home holds: events in the log and in the views, quarantine, live generation, base."""

    events: int
    served: int
    quarantined: int
    generation: int
    base: int


def counts(headrace: Headrace) -> Counts:
    """Look what a home holds."""
    with bootstrap.open_lake(
        settings.load(headrace.home, environ={}, threads=1), read_only=True
    ) as at:
        line = registry.read(at)
        return Counts(
            Log(at).end().total, line.position.total, quarantine.count(at), line.number, line.base
        )


class Story:
    """A home with a past, and all events that were ever acknowledged in it."""

    def __init__(self, headrace: Headrace, scratch: Path) -> None:
        self.headrace = headrace
        self.acknowledged: list[bytes] = []
        self._scratch = scratch
        self._seed = 0

    def copy(self, scratch: Path) -> Story:
        """The same story, to be gone on with in a folder of its own."""
        home = shutil.copytree(self.headrace.home, scratch / "home")
        story = Story(Headrace(home), scratch)
        story.acknowledged, story._seed = [*self.acknowledged], self._seed
        return story

    def more(self, orders: int = 15) -> tuple[Path, list[bytes]]:
        """Write a file of new events and of some that came before; nothing is appended."""
        self._seed += 1
        lines = events(orders, self._seed) + self.acknowledged[:3]
        return write(self._scratch / f"{self._seed}.ndjson", lines), lines

    def append(self, orders: int = 15) -> None:
        """Append new events; they are acknowledged."""
        path, lines = self.more(orders)
        assert self.headrace.json("append", path)["accepted"] == len(lines)
        self.acknowledged += lines

    def catch_up(self) -> None:
        """Bring the views to the log's end."""
        self.headrace.json("speed", "--once")

    def truth(self) -> Truth:
        """What all acknowledged events add up to."""
        return Truth.of(self.acknowledged)

    def check(self) -> None:
        """Nothing acknowledged is missing, nothing is counted twice, and `verify` agrees."""
        self.truth().check(self.headrace)
        assert self.headrace.json("verify")["equal"] is True
