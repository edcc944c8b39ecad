"""What somebody should look at now: views that are behind, and a quarantine that fills."""

from __future__ import annotations

from datetime import timedelta

from headrace.pipelines.lake.connect import literal
from headrace.pipelines.lake.lake import Lake
from headrace.pipelines.notify import Alert, send

_WINDOW = timedelta(hours=1)
"""In which newly quarantined events are counted."""


def check(lake: Lake) -> list[Alert]:
    """Send an alert for each limit that is passed: lag, and newly quarantined events.

    Gives those that were sent. Limits that are not set are not looked at.
    """
    found = [*_lag(lake), *_quarantine(lake)]
    for alert in found:
        send(lake.settings, alert.kind, alert.text, alert.details)
    return found


def _lag(lake: Lake) -> list[Alert]:
    limit = lake.settings.lag_limit
    if limit is None:
        return []
    from headrace.pipelines.operations.status import status

    now = status(lake)
    waits = [p["lag_seconds"] for p in now["partitions"] if p["lag_seconds"] is not None]
    longest = max(waits, default=0.0)
    if longest <= limit.total_seconds():
        return []
    behind = now["lag_events"]
    text = f"{behind:,} events wait, the first of them for {timedelta(seconds=round(longest))}"
    return [Alert("lag", text, {"lag_events": behind, "lag_seconds": longest})]


def _quarantine(lake: Lake) -> list[Alert]:
    limit = lake.settings.quarantine_limit
    if limit is None:
        return []
    since = lake.clock() - _WINDOW
    with lake.reading():
        (fresh,) = lake.row(
            f"SELECT count(*) FROM sys.quarantine WHERE recorded_at > {literal(since)}"
        )
    if fresh <= limit:
        return []
    text = f"{fresh:,} events were quarantined within the last hour; see headrace quarantine"
    return [Alert("quarantine", text, {"quarantined": fresh, "limit": limit})]
