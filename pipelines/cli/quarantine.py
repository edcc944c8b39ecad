"""`headrace quarantine`: what could not be accepted, and what is done about it."""

from __future__ import annotations

import getpass
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headrace.pipelines.cli import console
from headrace.pipelines.cli.app import open_lake
from headrace.pipelines.cli.options import json_option
from headrace.pipelines.errors import UsageError

if TYPE_CHECKING:
    from headrace.pipelines.log.quarantine import Entry

_SHOWN = 20
"""Refused entries that a person is shown; `--json` has all of them."""


def _selecting(command: Callable[..., None]) -> Callable[..., None]:
    """The ways to say which entries are meant."""
    for add in (
        click.option("--origin", help="A whole origin, or a file or topic without the line."),
        click.option(
            "--reason-like", help="A reason, with % or … for anything, as `summary` has it."
        ),
        click.argument("entry_ids", nargs=-1),
    ):
        command = add(command)
    return command


@click.group("quarantine")
def quarantine_command() -> None:
    """What could not be accepted: the original bytes, where they came from, why."""


@quarantine_command.command("ls")
@click.option("-n", "count", type=click.IntRange(1), default=50, show_default=True)
@click.option("--all", "closed", is_flag=True, help="The closed entries as well.")
@json_option
@click.pass_context
def ls_command(ctx: click.Context, count: int, closed: bool, as_json: bool) -> None:
    """List the open entries, oldest first."""
    from headrace.pipelines.log import quarantine

    with open_lake(ctx, read_only=True) as lake:
        found = quarantine.entries(lake, limit=count, closed=closed)
        total = quarantine.count(lake, closed=closed)
    names = ["id", "recorded_at", "origin", "reason", "seen"]
    told = ["outcome", "who", "why"] if closed else []
    result = {
        "total": total,
        "entries": [
            {
                **{name: console.cell(getattr(e, name)) for name in names[:-1]},
                "seen": e.seen,
                **{name: getattr(e, name) for name in told},
            }
            for e in found
        ],
    }
    rows = [[getattr(e, name) for name in (*names, *told)] for e in found]
    text = console.table([*names, *told], rows) if rows else "the quarantine is empty"
    if total > len(found):
        text += f"\n… {total - len(found):,} more; -n shows more"
    console.emit(result, text, as_json=as_json)


@quarantine_command.command("summary")
@json_option
@click.pass_context
def summary_command(ctx: click.Context, as_json: bool) -> None:
    """Open entries by reason and origin; reasons that differ only in a value are one."""
    from headrace.pipelines.verbs import quarantine

    with open_lake(ctx, read_only=True) as lake:
        groups = quarantine.summary(lake)
    total = sum(group.entries for group in groups)
    names = ["entries", "seen", "first_seen", "last_seen", "example", "origin", "reason"]
    rows = [[getattr(group, name) for name in names] for group in groups]
    text = console.table(names, rows) if rows else "the quarantine is empty"
    result = {"total": total, "groups": [group.as_json() for group in groups]}
    console.emit(result, text, as_json=as_json)


@quarantine_command.command("show")
@click.argument("entry_id")
@json_option
@click.pass_context
def show_command(ctx: click.Context, entry_id: str, as_json: bool) -> None:
    """One entry, with its original bytes; ENTRY_ID may be shortened."""
    from headrace.pipelines.log import quarantine

    with open_lake(ctx, read_only=True) as lake:
        e = quarantine.find(lake, entry_id)
    raw = e.raw.decode("utf-8", "backslashreplace")
    result = {
        "id": e.id,
        "recorded_at": str(e.recorded_at),
        "origin": e.origin,
        "reason": e.reason,
        "seen": e.seen,
        "last_seen": str(e.last_seen),
        "outcome": e.outcome,
        "closed_at": None if e.closed_at is None else str(e.closed_at),
        "who": e.who,
        "why": e.why,
        "raw": raw,
    }
    console.emit(result, f"{_told(e)}\n\n{raw}", as_json=as_json)


def _told(e: Entry) -> str:
    lines = [e.id, f"from    {e.origin}", f"at      {e.recorded_at} UTC"]
    if e.seen > 1:
        lines.append(f"seen    {e.seen:,} times, last at {e.last_seen} UTC")
    lines.append(f"reason  {e.reason}")
    if e.outcome is not None:
        by = f" by {e.who}: {e.why}" if e.who is not None else ""
        lines.append(f"closed  {e.outcome} at {e.closed_at} UTC{by}")
    return "\n".join(lines)


@quarantine_command.command("discard")
@_selecting
@click.option("--reason", required=True, help="Why; it is recorded.")
@click.option("--by", help="Who decides.  [default: who is logged in]")
@json_option
@click.pass_context
def discard_command(
    ctx: click.Context,
    entry_ids: tuple[str, ...],
    reason_like: str | None,
    origin: str | None,
    reason: str,
    by: str | None,
    as_json: bool,
) -> None:
    """Close entries that need nothing more. They are kept, and `ls --all` lists them."""
    from headrace.pipelines.log.quarantine import Selection
    from headrace.pipelines.verbs import quarantine

    chosen = Selection(entry_ids, reason_like, origin)
    who = _who(by)
    with open_lake(ctx) as lake:
        closed = quarantine.discard(lake, chosen, by=who, reason=reason)
    result = {"discarded": closed, "by": who, "reason": reason}
    console.emit(result, f"{closed:,} discarded by {who}: {reason}", as_json=as_json)


@quarantine_command.command("export")
@click.argument("file", type=click.Path(path_type=Path))
@_selecting
@json_option
@click.pass_context
def export_command(
    ctx: click.Context,
    file: Path,
    entry_ids: tuple[str, ...],
    reason_like: str | None,
    origin: str | None,
    as_json: bool,
) -> None:
    """Write open entries, all by default, into a new FILE that a person can edit."""
    from headrace.pipelines.log.quarantine import Selection
    from headrace.pipelines.verbs import quarantine

    with open_lake(ctx, read_only=True) as lake:
        number = quarantine.export(lake, file, Selection(entry_ids, reason_like, origin))
    text = f"{number:,} entries in {file}; edit `raw`, then: headrace quarantine retry --file"
    console.emit({"file": str(file), "entries": number}, text, as_json=as_json)


@quarantine_command.command("retry")
@click.argument("entry_ids", nargs=-1)
@click.option("--file", type=click.Path(path_type=Path), help="An export, edited: try its lines.")
@click.option("--by", help="With --file: who corrected them.  [default: who is logged in]")
@json_option
@click.pass_context
def retry_command(
    ctx: click.Context,
    entry_ids: tuple[str, ...],
    file: Path | None,
    by: str | None,
    as_json: bool,
) -> None:
    """Try entries again, all by default: for after the rules or the program changed.

    With --file, its lines are tried in the place of the entries. Exit code 1 if one of them is
    refused; its entry stays open.
    """
    from headrace.pipelines.verbs import quarantine

    if file is not None and entry_ids:
        raise UsageError("name either entries or --file; the file says which entries it is about")
    if file is None and by is not None:
        raise UsageError("--by goes with --file")
    with open_lake(ctx) as lake:
        done = (
            quarantine.retry(lake, list(entry_ids))
            if file is None
            else quarantine.correct(lake, file, by=_who(by))
        )
    result: dict[str, Any] = {"accepted": done.accepted, "still_quarantined": done.quarantined}
    text = f"{done.accepted:,} accepted, {done.quarantined:,} still quarantined"
    if file is None:
        console.emit(result, text, as_json=as_json)
        return
    result |= {"corrected": done.corrected, "closed_before": done.closed}
    result |= {"conflicts": done.conflicts}
    result["refused"] = [{"id": entry, "reason": why} for entry, why in done.refused]
    text += f"; {done.corrected:,} corrected, {done.closed:,} closed before"
    if done.conflicts:
        text += f", {done.conflicts:,} conflicts left alone"
    shown = [f"{entry}: {why}" for entry, why in done.refused[:_SHOWN]]
    if len(done.refused) > _SHOWN:
        shown.append(f"… {len(done.refused) - _SHOWN:,} more; --json lists all of them")
    console.emit(result, "\n".join([text, *shown]), as_json=as_json)
    ctx.exit(1 if done.refused else 0)


def _who(by: str | None) -> str:
    if by is not None and by.strip():
        return by
    try:
        return getpass.getuser()
    except (KeyError, OSError) as e:
        raise UsageError("nobody is logged in here; say who decides, with --by") from e
