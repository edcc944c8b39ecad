"""Alerts: tells a command or a webhook that something needs a person. It never fails the work.

What goes out is one JSON document. Addresses and arguments may hold secrets; none is ever logged.
"""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from headrace.pipelines.lake.connect import literal
from headrace.pipelines.lake.lake import Lake
from headrace.pipelines.logs import logger
from headrace.pipelines.settings import Settings

KINDS = ("audit", "verify", "lag", "quarantine")
"""A base was refused, a proof failed, views are behind, much is quarantined."""

_PATIENCE = 10.0
"""Seconds that a command or a server has to take an alert."""
_WINDOW = timedelta(hours=1)
"""In which newly quarantined events are counted."""


@dataclass(frozen=True)
class Alert:
    """What needs a person: a kind (one of `KINDS`), one line of text, and figures."""

    kind: str
    text: str
    details: Mapping[str, Any]


def send(
    settings: Settings, kind: str, text: str, details: Mapping[str, Any] | None = None
) -> bool:
    """Tell whom the settings name; says whether all of them took it (True if there is nobody).

    Nothing that goes wrong here is raised: it is logged, and the work goes on.
    """
    document = {
        "kind": kind,
        "text": text,
        "details": dict(details or {}),
        "home": str(settings.home),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    body = json.dumps(document, default=str).encode()
    taken = True
    for way, deliver in _ways(settings):
        try:
            deliver(body)
        except Exception as e:  # noqa: BLE001 - whatever a command or a server does
            # Not the error's own text: it may hold the address, and the address a secret.
            logger("alerts").warning("not delivered", kind=kind, way=way, error=type(e).__name__)
            taken = False
    return taken


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


def _ways(settings: Settings) -> list[tuple[str, Callable[[bytes], None]]]:
    ways: list[tuple[str, Callable[[bytes], None]]] = []
    if settings.alert_command:
        command = settings.alert_command
        ways.append(("command", lambda body: _run(command, body)))
    if settings.alert_webhook is not None:
        address = settings.alert_webhook.get_secret_value()
        ways.append(("webhook", lambda body: _post(address, body)))
    return ways


def _run(command: tuple[str, ...], body: bytes) -> None:
    subprocess.run(  # noqa: S603 - the command of this home's own settings
        command,
        input=body,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=_PATIENCE,
        check=True,
    )


def _post(address: str, body: bytes) -> None:
    if urlsplit(address).scheme not in {"http", "https"}:
        raise ValueError  # settings check it; a file:// would be read, not told
    request = urllib.request.Request(  # noqa: S310 - http or https, checked above
        address, data=body, headers={"Content-Type": "application/json"}, method="POST"
    )
    with urllib.request.urlopen(request, timeout=_PATIENCE):  # noqa: S310 - as above
        pass
