"""Where a home stands: log, views, lag of each partition, what was counted, doubled or refused."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from headrace.pipelines.errors import HeadraceError, LockError
from headrace.pipelines.generations import registry
from headrace.pipelines.generations.generation import Generation
from headrace.pipelines.lake import checksums
from headrace.pipelines.lake.lake import Lake
from headrace.pipelines.lake.unwritable import writable
from headrace.pipelines.log import quarantine
from headrace.pipelines.log.embedded import Log
from headrace.pipelines.position import Position
from headrace.pipelines.settings import business_zone

_PATIENCE = 5.0
"""Seconds that a broker has to say where its topic ends."""


def status(lake: Lake) -> dict[str, Any]:
    """All that `headrace status` shows, as JSON can hold it.

    Times are UTC with a Z; lags are in events and seconds. A topic that cannot be reached is no
    error: the rest is shown, and why it could not be reached.

    Raises:
        SeamError: the live generation does not fit together.
        DamageError: the orders that are counted are not as they were written.
    """
    topic = _topic(lake)
    with lake.reading():
        log = Log(lake)
        end, line = log.end(), registry.read(lake)
        checksums.check(lake, line.stored("orders"))
        counted = lake.row(f"SELECT coalesce(sum(event_count), 0) FROM ({line.select('orders')})")
        engine = lake.row(
            f"SELECT engine FROM sys.bases WHERE generation = {line.number} AND base = {line.base}"
        )[0]
        newest = lake.row("SELECT max(time) FROM sys.events")[0]
        quarantined, oldest = quarantine.count(lake), quarantine.oldest(lake)
        events, read = log.events_below(end), log.events_below(line.position)
        certificate = _certificate(lake)
        ahead = _ahead(log)
        partitions = _partitions(lake, log, line, end)
        checks = _checks(lake)
    waiting = 0 if topic is None else _add_topic(topic, partitions, end)
    return {
        "home": str(lake.home.path),
        "log_id": lake.home.log_id,
        "end": end.as_dict(),
        "events": events,
        "repeats": read - int(counted[0]),
        "quarantined": quarantined,
        "quarantine_oldest": None if oldest is None else f"{oldest.isoformat()}Z",
        "quarantine_oldest_seconds": (
            None if oldest is None else max(0.0, (lake.clock() - oldest).total_seconds())
        ),
        "generation": line.number,
        "logic": line.logic,
        "business_zone": business_zone(lake.home.path),
        "zones": line.views.zones,
        "base": line.base,
        "engine": engine,
        "cut": line.cut.as_dict(),
        "position": line.position.as_dict(),
        "lag_events": events - read + waiting,
        "partitions": partitions,
        "topic": topic,
        "newest_event": None if newest is None else f"{newest.isoformat()}Z",
        "ahead": ahead,
        "speed": _speed_state(lake),
        "certificate": certificate,
        "checks": checks,
        "refused": _refused(lake),
        "reports": _reports(lake),
    }


def _partitions(lake: Lake, log: Log, line: Generation, end: Position) -> list[dict[str, Any]]:
    """Per partition: `end` of the log, `position` of the views, lag in events and in seconds.

    The seconds are the time since the first event that the views lack came into the log.
    """
    now, found = lake.clock(), []
    for p, (here, last) in enumerate(zip(line.position.offsets, end.offsets, strict=True)):
        before, after = list(line.position.offsets), list(line.position.offsets)
        after[p] = last
        lag = log.events_between(Position(tuple(before)), Position(tuple(after)))
        seconds = None
        if lag:
            (came,) = lake.row(
                f'SELECT min(appended_at) FROM sys.events WHERE "partition" = {p} '
                f'AND "offset" >= {here} AND "offset" < {last}'
            )
            seconds = max(0.0, (now - came).total_seconds())
        found.append(
            {
                "partition": p,
                "end": last,
                "position": here,
                "lag_events": lag,
                "lag_seconds": seconds if lag else 0.0,
            }
        )
    return found


def _topic(lake: Lake) -> dict[str, Any] | None:
    """Where the topic of a home ends, if it has one: `end`, or `error` if it could not be asked."""
    if lake.log_kind == "embedded":
        return None
    from headrace.pipelines.log.binding import open_topic

    address = lake.settings.log or lake.row("SELECT address FROM sys.kafka")[0]
    told: dict[str, Any] = {"address": address, "end": None, "lag_events": None, "error": None}
    waits = lake.settings.kafka_timeout.total_seconds()
    asked = lake.settings
    lake.settings = asked.model_copy(
        update={"kafka_timeout": type(asked.kafka_timeout)(seconds=min(waits, _PATIENCE))}
    )
    try:
        with open_topic(lake) as log:
            told["end"] = log.end().as_dict()
    except HeadraceError as e:
        told["error"] = str(e)
    finally:
        lake.settings = asked
    return told


def _add_topic(topic: dict[str, Any], partitions: list[dict[str, Any]], archived: Position) -> int:
    """Count what waits in the topic and is not archived yet; nobody knows when it came there."""
    if topic["end"] is None:
        return 0
    ends = Position.parse(json.dumps(topic["end"])).highest(archived)  # asked before the lake was
    total = ends.minus(archived)
    topic["lag_events"] = total
    for found, last in zip(partitions, ends.offsets, strict=True):
        waiting = last - found["end"]
        if waiting:
            found["lag_events"] += waiting
            found["lag_seconds"] = found["lag_seconds"] or None
        found["end"] = last
    return total


def _certificate(lake: Lake) -> dict[str, Any] | None:
    proofs = lake.rows(
        "SELECT recorded_at, position, wrong, generation FROM sys.certificates "
        "ORDER BY certificate_no DESC LIMIT 1"
    )
    if not proofs:
        return None
    at, position, wrong, generation = proofs[0]
    return {
        "recorded_at": f"{at.isoformat(timespec='seconds')}Z",
        "position": json.loads(position),
        "equal": wrong == 0,
        "generation": generation,
    }


def _checks(lake: Lake) -> list[dict[str, Any]]:
    """The last result of each suite."""
    found = lake.rows("""
        SELECT suite, recorded_at, passed, forced_reason, json_array_length(findings), cut
        FROM sys.audits QUALIFY row_number() OVER (PARTITION BY suite ORDER BY audit_no DESC) = 1
        ORDER BY suite""")
    return [
        {
            "suite": suite,
            "recorded_at": f"{at.isoformat(timespec='seconds')}Z",
            "passed": passed,
            "forced_reason": forced,
            "findings": int(findings),
            "position": json.loads(cut),
        }
        for suite, at, passed, forced, findings, cut in found
    ]


def _refused(lake: Lake) -> dict[str, Any] | None:
    """The base that was refused last, if it still waits."""
    try:
        told = json.loads((lake.home.refused / "stage.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return {"cut": told["cut"], "generation": told["generation"]}


def _reports(lake: Lake) -> str | None:
    """Where the Data Docs begin, if there are any."""
    page = lake.home.path / "docs" / "index.html"
    return str(page) if page.is_file() else None


def _ahead(log: Log) -> list[dict[str, Any]]:
    """Sources whose events came from beyond our clock, the furthest first."""
    found = sorted(log.ahead().items(), key=lambda item: -item[1][1])
    return [
        {
            "source": source,
            "newest_event": f"{newest.isoformat()}Z",
            "seconds": by.total_seconds(),
        }
        for source, (newest, by) in found
    ]


def _speed_state(lake: Lake) -> str:
    if not writable(lake.home.path):
        return "not known here: the home cannot be written"
    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(lake.home.lock("speed", wait=0))
    except LockError:
        return "running"
    return "not running"
