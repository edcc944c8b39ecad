"""`headrace status`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from headrace.pipelines.cli import console
from headrace.pipelines.cli.app import open_lake
from headrace.pipelines.cli.options import json_option


@click.command("status")
@json_option
@click.pass_context
def status_command(ctx: click.Context, as_json: bool) -> None:
    """Where the log ends, where the views stand, and what was counted, doubled or refused."""
    from headrace.pipelines.operations.status import status

    # Many small reads: a second thread would only wait for the first.
    with open_lake(ctx, read_only=True, threads=1) as lake:
        result = status(lake)
    proof = result["certificate"]
    lines = [
        ("home", result["home"]),
        ("log", f"{result['events']:,} events, end {_position(result['end'])}"),
        *(("topic", text) for text in _topic(result["topic"])),
        ("redelivered", f"{result['repeats']:,} (counted once)"),
        ("quarantined", _quarantined(result)),
        ("live", f"generation {result['generation']}, logic {result['logic']}"),
        ("zone", _zone(result)),
        ("base", f"{result['base']} ({result['engine']}), cut {_position(result['cut'])}"),
        ("position", f"{_position(result['position'])}, {_lag(result['lag_events'])}"),
        *_partitions(result["partitions"]),
        ("newest event", f"{result['newest_event'] or '-'} (event time)"),
        ("clocks", _clocks(result["ahead"])),
        ("speed layer", result["speed"]),
        (
            "last proof",
            "none; `headrace verify` makes one"
            if proof is None
            else f"{'equal' if proof['equal'] else 'NOT EQUAL'} at {_position(proof['position'])}, "
            f"{proof['recorded_at']}",
        ),
        *_checks(result),
    ]
    text = "\n".join(f"{name:<13} {value}" for name, value in lines)
    console.emit(result, text, as_json=as_json)


def _zone(result: dict[str, Any]) -> str:
    """In which zones days are counted, and whether the home wants another one."""
    wanted, zones = result["business_zone"], result["zones"]
    told = ", ".join(f"{name} ({', '.join(each['views'])})" for name, each in zones.items())
    if wanted in zones or (wanted == "UTC" and not zones):
        return told or wanted
    return (
        f"{told or 'UTC'}; the home's is {wanted}: `headrace views` says whether views wait for it"
    )


def _checks(result: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What the last checks found, the base that was refused, and where the Data Docs are."""
    for found in result["checks"]:
        said = "passed" if found["passed"] else "FAILED"
        if found["forced_reason"] is not None:
            said += f", published all the same: {found['forced_reason']}"
        if found["findings"]:
            said += f", {found['findings']} findings"
        yield f"check {found['suite']}"[:13], f"{said}, {found['recorded_at']}"
    if result["refused"] is not None:
        cut = _position(result["refused"]["cut"])
        yield "refused", f"a base at {cut} waits: `headrace query --staged`, `headrace publish`"
    if result["reports"] is not None:
        yield "reports", result["reports"]


def _quarantined(result: dict[str, Any]) -> str:
    """How many entries are open, and how old the oldest of them is."""
    from datetime import timedelta

    text = f"{result['quarantined']:,} open"
    if result["quarantine_oldest_seconds"] is not None:
        age = timedelta(seconds=round(result["quarantine_oldest_seconds"]))
        text += f", the oldest for {age}; see `headrace quarantine summary`"
    return text


def _lag(events: int) -> str:
    return "up to date" if not events else f"{events:,} events behind"


def _topic(topic: dict[str, Any] | None) -> Iterator[str]:
    """The topic's own end, or why it is not known."""
    if topic is None:
        return
    if topic["error"] is not None:
        yield f"{topic['address']}: {topic['error']}"
    else:
        yield f"{topic['address']}, end {_position(topic['end'])}, {_lag(topic['lag_events'])}"


def _partitions(partitions: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """Those that are behind, each with how many events, and since when the first of them waits."""
    from datetime import timedelta

    for found in partitions:
        if found["lag_events"]:
            seconds = found["lag_seconds"]
            waits = "" if seconds is None else f", for {timedelta(seconds=round(seconds))}"
            place = f"  partition {found['partition']}"
            yield (
                place,
                f"{found['position']} of {found['end']}, {_lag(found['lag_events'])}{waits}",
            )


def _clocks(ahead: list[dict[str, Any]]) -> str:
    """Who sends events that have not happened yet, by this machine's clock."""
    from datetime import timedelta

    if not ahead:
        return "no source is ahead of ours"
    first = ahead[0]
    by = timedelta(seconds=round(first["seconds"]))
    more = f", and {len(ahead) - 1} more" if len(ahead) > 1 else ""
    return f"{first['source']} was ahead by {by}, newest event {first['newest_event']}{more}"


def _position(offsets: dict[str, int]) -> str:
    return "{" + ", ".join(f"{p}: {o}" for p, o in offsets.items()) + "}"
