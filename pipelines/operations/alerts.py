"""What somebody should look at now: views that are behind, a quarantine that fills or ages."""

from __future__ import annotations

from datetime import timedelta

from headrace.pipelines.lake.connect import literal
from headrace.pipelines.lake.lake import Lake
from headrace.pipelines.log import quarantine
from headrace.pipelines.notify import Alert, send

_WINDOW = timedelta(hours=1)
"""In which newly quarantined events are counted."""


def check(lake: Lake) -> list[Alert]:
    """Send an alert for each limit that is passed: lag, newly quarantined events, old open ones.

    Gives those that were sent. Limits that are not set are not looked at.
    """
    found = [*_lag(lake), *_quarantine(lake), *_age(lake)]
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


def _age(lake: Lake) -> list[Alert]:
    limit = lake.settings.quarantine_age
    if limit is None:
        return []
    now = lake.clock()
    with lake.reading():
        oldest = quarantine.oldest(lake)
        if oldest is None or now - oldest <= limit:
            return []
        waiting = quarantine.older(lake, now - limit)
    seconds = (now - oldest).total_seconds()
    text = (
        f"{waiting:,} quarantined events are open for longer than {limit}, the oldest for "
        f"{timedelta(seconds=round(seconds))}; see headrace quarantine summary"
    )
    figures = {"open": waiting, "oldest_seconds": seconds, "limit_seconds": limit.total_seconds()}
    return [Alert("quarantine", text, figures)]
