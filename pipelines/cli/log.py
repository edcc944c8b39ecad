"""`headrace log`: a look at the log."""

from __future__ import annotations

from typing import Any

import click

from headrace.pipelines.cli import console
from headrace.pipelines.cli.app import open_lake
from headrace.pipelines.cli.options import json_option
from headrace.pipelines.errors import UsageError


@click.group("log")
def log_command() -> None:
    """Look at the log."""


@log_command.command("imports")
@json_option
@click.pass_context
def imports_command(ctx: click.Context, as_json: bool) -> None:
    """The import runs, newest first: what each brought, and what of it was taken back."""
    from headrace.pipelines.lake.guarded_sql import plain
    from headrace.pipelines.verbs.void import imports

    with open_lake(ctx, read_only=True) as lake:
        found = imports(lake)
    names = ["import_id", "source", "recorded_at", "orders", "events", "known", "voided"]
    rows = [tuple(getattr(run, name) for name in names) for run in found]
    result = [dict(zip(names, map(plain, row), strict=True)) for row in rows]
    text = console.table(names, rows) if rows else "no events in the log came with an import"
    console.emit({"imports": result}, text, as_json=as_json)


@log_command.command("void")
@click.option("--import", "import_id", help="Of an import run (`headrace log imports`).")
@click.option("--order", "order_id", help="With --source: of one order.")
@click.option("--source", help="With --order: only what this source said of it.")
@click.option("--reason", required=True, help="Why: it stands in the log for good.")
@click.option("--dry-run", is_flag=True, help="Only say how many events it would be.")
@json_option
@click.pass_context
def void_command(
    ctx: click.Context,
    import_id: str | None,
    order_id: str | None,
    source: str | None,
    reason: str,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Take back what is in the log by mistake.

    Nothing leaves the log: an EventsVoided for each order names the events that count no longer.
    The views follow with the speed layer; `query --at` still shows what was served before.
    """
    from headrace.pipelines.verbs.void import void

    with open_lake(ctx, read_only=dry_run) as lake:
        done = void(
            lake, import_id=import_id, order_id=order_id, source=source, reason=reason,
            dry_run=dry_run,
        )  # fmt: skip
    would = "would be taken back" if dry_run else "taken back"
    text = f"{done.events:,} events of {done.orders:,} orders {would}"
    if done.known:
        text += f"; {done.known:,} had been there before this import and stay"
    if done.gone:
        text += f"; {done.gone:,} had been taken back before"
    if done.events and not dry_run:
        text += "; `headrace speed --once` brings the views there"
    console.emit(done.as_json(), text, as_json=as_json)


@log_command.command("tail")
@click.option("-n", "count", type=click.IntRange(1), default=10, show_default=True)
@json_option
@click.pass_context
def tail_command(ctx: click.Context, count: int, as_json: bool) -> None:
    """The newest events, in the order in which they came."""
    from headrace.pipelines.lake import checksums

    with open_lake(ctx, read_only=True) as lake:
        checksums.check(lake, {("sys", "events")})
        rows = lake.rows(
            'SELECT "partition", "offset", time, type, order_id, source, id, version, raw '
            f'FROM sys.events ORDER BY appended_at DESC, "offset" DESC LIMIT {count}'
        )[::-1]
    _print_events(rows, as_json)


@log_command.command("show")
@click.option("--order", "order_id", help="All events of one order.")
@click.option("--partition", type=click.IntRange(0), help="With --offset: one event.")
@click.option("--offset", type=click.IntRange(0), help="With --partition: one event.")
@json_option
@click.pass_context
def show_log_command(
    ctx: click.Context,
    order_id: str | None,
    partition: int | None,
    offset: int | None,
    as_json: bool,
) -> None:
    """The events of an order, or the one at a place, with their original JSON."""
    from headrace.pipelines.lake import checksums
    from headrace.pipelines.lake.connect import literal

    if (order_id is None) == (partition is None or offset is None):
        raise UsageError("name either --order, or --partition and --offset")
    condition = f"order_id = {literal(order_id)}"
    if order_id is None:
        condition = f'"partition" = {partition} AND "offset" = {offset}'
    with open_lake(ctx, read_only=True) as lake:
        checksums.check(lake, {("sys", "events")})
        rows = lake.rows(
            'SELECT "partition", "offset", time, type, order_id, source, id, version, raw '
            f'FROM sys.events WHERE {condition} ORDER BY "partition", "offset"'
        )
    if not rows:
        raise UsageError("there is no such event in the log")
    _print_events(rows, as_json, full=True)


@log_command.command("erasures")
@json_option
@click.pass_context
def erasures_command(ctx: click.Context, as_json: bool) -> None:
    """That and when customers were erased, and why; not who they were."""
    from dataclasses import asdict

    from headrace.pipelines.lake.guarded_sql import plain
    from headrace.pipelines.log.erased import erasures

    with open_lake(ctx, read_only=True) as lake:
        found = [asdict(each) for each in erasures(lake)]
    result = [{name: plain(value) for name, value in each.items()} for each in found]
    text = "nobody was erased"
    if found:
        text = console.table(list(found[0]), [tuple(each.values()) for each in found])
    console.emit({"erasures": result}, text, as_json=as_json)


def _print_events(rows: list[tuple[Any, ...]], as_json: bool, *, full: bool = False) -> None:
    from headrace.pipelines.lake.guarded_sql import plain

    names = ["partition", "offset", "time", "type", "order_id", "source", "id", "version", "raw"]
    found = [{n: plain(v) for n, v in zip(names, row, strict=True)} for row in rows]
    text = console.table(names[:7], [row[:7] for row in rows])
    if full:
        text += "\n\n" + "\n".join(str(row[-1]) for row in rows)
    console.emit({"events": found}, text, as_json=as_json)
