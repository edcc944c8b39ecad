"""Which flows there are, and when they run. Imports nothing of Prefect, which takes seconds."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta

from headrace.pipelines.errors import UsageError
from headrace.pipelines.settings import Settings

FLOWS = {
    "batch": "recompute, audit, publish, verify",
    "replay": "build a generation from a time on, compare it, promote it if asked",
    "quality": "check what arrived and what is served; lag and quarantine",
    "maintenance": "merge small files, forget old snapshots, clean up",
    "ingest": "land new files of a folder, each once",
}
_FIELDS = re.compile(r"\S+( \S+){4}")


@dataclass(frozen=True)
class Schedule:
    """When a flow runs: by cron, in UTC, or every so often. Neither: only when it is asked to."""

    cron: str | None = None
    interval: timedelta | None = None

    def __str__(self) -> str:
        if self.interval is not None:
            return f"every {self.interval}"
        return "on request" if self.cron is None else f"cron {self.cron}"


def schedule(settings: Settings, name: str) -> Schedule:
    """The schedule of a flow, from the settings.

    Raises:
        UsageError: it is neither cron nor a number of seconds.
    """
    text = str(getattr(settings, f"schedule_{name}", "")).strip()
    if not text or (name == "ingest" and settings.ingest_folder is None):
        return Schedule()
    if _FIELDS.fullmatch(text):
        return Schedule(cron=text)
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds <= timedelta(days=366).total_seconds():
        raise UsageError(
            f"schedule_{name} is {text!r}; give five fields of cron such as '0 * * * *', or "
            "seconds, or nothing for no schedule"
        )
    return Schedule(interval=timedelta(seconds=seconds))
