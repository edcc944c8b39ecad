"""Tells a command or a webhook what somebody should look at. A failure to tell stops nothing."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from headrace.pipelines.logs import logger
from headrace.pipelines.settings import Settings

KINDS = ("audit", "verify", "lag", "quarantine")
"""A base was refused, a proof failed, views are behind, much is quarantined or old there."""


_PATIENCE = 10.0
"""Seconds that a command or a server has to take an alert."""


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
