"""Commands that bring events in and look at them: init to import, log, quarantine."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

from headrace.pipelines.cli import console
from headrace.pipelines.cli.app import open_lake, settings_of
from headrace.pipelines.errors import UsageError

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
_SHARE = click.FloatRange(0, 1)


@click.command("init")
@click.option("--partitions", type=click.IntRange(1, 1024), help="Of the log; fixed from then on.")
@json_option
@click.pass_context
def init_command(ctx: click.Context, partitions: int | None, as_json: bool) -> None:
    """Create the home: an empty log and an empty lake."""
    from headrace.pipelines.lake import home, tables

    settings = settings_of(ctx, partitions=partitions)
    made = not home.exists(settings.home) and tables.create(settings)
    found = home.open_home(settings.home)
    if partitions is not None and found.partitions != partitions:
        raise UsageError(
            f"{found.path} exists with {found.partitions} partitions; their number is fixed. Name "
            "another home with --home"
        )
    result = {"home": str(found.path), "created": made, "partitions": found.partitions}
    what = "created" if made else "exists already"
    text = f"{found.path} {what}, {found.partitions} partitions"
    console.emit(result, text, as_json=as_json)


@click.command("generate")
@click.option("--orders", type=click.IntRange(0), required=True, help="How many orders.")
@click.option("--seed", type=click.IntRange(0), required=True, help="Same seed, same bytes.")
@click.option("--duplicates", type=_SHARE, default=0.0, help="Share of events that come again.")
@click.option("--disorder", type=_SHARE, default=0.0, help="Share of events out of place.")
@click.option("--late", type=_SHARE, default=0.0, help="Share of events hours to days late.")
@click.option("--poison", type=_SHARE, default=0.0, help="Bad lines an event, of many kinds.")
def generate_command(
    orders: int, seed: int, duplicates: float, disorder: float, late: float, poison: float
) -> None:
    """Print realistic order events as NDJSON on standard output.

    Each order lives: placed, paid, shipped, delivered, sometimes cancelled or returned.
    """
    from headrace.pipelines.generator.generator import generate

    lines = generate(
        orders, seed, duplicates=duplicates, disorder=disorder, late=late, poison=poison
    )
    out = sys.stdout.buffer
    for line in lines:
        out.write(line + b"\n")
    out.flush()


@click.command("append")
@click.argument("files", nargs=-1, required=True, metavar="FILE… | -")
@json_option
@click.pass_context
def append_command(ctx: click.Context, files: tuple[str, ...], as_json: bool) -> None:
    """Append CloudEvents NDJSON, one event a line; `-` reads standard input.

    Good events are in the log, durably, when this returns. Others are in quarantine with the
    reason: see `headrace quarantine ls`.
    """
    from headrace.pipelines.ingest.append import append_lines
    from headrace.pipelines.ingest.ndjson import open_input, read_lines

    for name in files:  # so that a wrong name is found before anything is appended
        if name != "-":
            open_input(name).close()
    sizes = [Path(name).stat().st_size for name in files if name != "-"]
    with open_lake(ctx) as lake, console.bar("append", "bytes") as progress:
        read = 0

        def count(size: int) -> None:
            nonlocal read
            read += size
            progress(read, sum(sizes))

        total = append_lines(lake, read_lines(files, count))
    _report(total, as_json, ", ".join(files))


@click.group("import")
def import_command() -> None:
    """Bring in real data sets as order events."""


@import_command.command("uci-online-retail")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@json_option
@click.pass_context
def uci_command(ctx: click.Context, paths: tuple[Path, ...], as_json: bool) -> None:
    """Import UCI Online Retail: its CSV files, or folders of them."""
    from headrace.pipelines.ingest.uci_online_retail import uci_online_retail

    _import(ctx, paths, uci_online_retail, as_json=as_json)


@import_command.command("csv")
@click.option(
    "--mapping", required=True, type=click.Path(path_type=Path), help="TOML: columns to fields."
)
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@json_option
@click.pass_context
def csv_command(ctx: click.Context, mapping: Path, paths: tuple[Path, ...], as_json: bool) -> None:
    """Import CSV files whose columns a mapping explains (docs/guides/csv-import.md)."""
    from headrace.pipelines.ingest.csv_mapping import CsvMapping
    from headrace.pipelines.ingest.csv_orders import csv_orders

    chosen = CsvMapping.load(mapping)
    _import(ctx, paths, lambda files: csv_orders(files, chosen), as_json=as_json)


def _import(
    ctx: click.Context,
    paths: Iterable[Path],
    read: Callable[[list[Path]], Iterable[Any]],
    *,
    as_json: bool,
) -> None:
    from headrace.pipelines.ingest.append import import_files

    files: list[Path] = []
    for path in paths:
        found = sorted(path.glob("*.csv")) if path.is_dir() else [path]
        if not path.exists():
            raise UsageError(f"{path} does not exist; name CSV files or a folder of them")
        if not found:
            raise UsageError(f"{path} holds no .csv file; name CSV files or a folder of them")
        files += found
    with open_lake(ctx) as lake, console.bar("import", "files") as progress:
        done = 0

        def told() -> Iterable[Any]:
            nonlocal done
            for file in read(files):
                done += 1
                progress(done, len(files))
                yield file

        total = import_files(lake, told())
    _report(total, as_json, f"{len(files)} files")


def _report(total: Any, as_json: bool, source: str) -> None:
    text = f"{source}: {total.accepted:,} accepted, {total.quarantined:,} quarantined"
    for what, count in total.skipped.items():
        text += f", {count:,} {what} skipped"
    if not total.accepted and not total.quarantined:
        text += " (there was no event in it)"
    if total.quarantined:
        text += "; `headrace quarantine ls` says why"
    console.emit(total.as_json(), text, as_json=as_json)


@click.group("log")
def log_command() -> None:
    """Look at the log."""


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


def _print_events(rows: list[tuple[Any, ...]], as_json: bool, *, full: bool = False) -> None:
    from headrace.pipelines.lake.guarded_sql import plain

    names = ["partition", "offset", "time", "type", "order_id", "source", "id", "version", "raw"]
    found = [{n: plain(v) for n, v in zip(names, row, strict=True)} for row in rows]
    text = console.table(names[:7], [row[:7] for row in rows])
    if full:
        text += "\n\n" + "\n".join(str(row[-1]) for row in rows)
    console.emit({"events": found}, text, as_json=as_json)


@click.group("quarantine")
def quarantine_command() -> None:
    """What could not be accepted: the original bytes, where they came from, why."""


@quarantine_command.command("ls")
@click.option("-n", "count", type=click.IntRange(1), default=50, show_default=True)
@json_option
@click.pass_context
def ls_command(ctx: click.Context, count: int, as_json: bool) -> None:
    """List the open entries, oldest first."""
    from headrace.pipelines.log import quarantine

    with open_lake(ctx, read_only=True) as lake:
        found, total = quarantine.entries(lake, limit=count), quarantine.count(lake)
    rows = [(e.id, e.recorded_at, e.origin, e.reason) for e in found]
    names = ["id", "recorded_at", "origin", "reason"]
    result = {
        "total": total,
        "entries": [dict(zip(names, map(console.cell, row), strict=True)) for row in rows],
    }
    text = console.table(names, rows) if rows else "the quarantine is empty"
    if total > len(found):
        text += f"\n… {total - len(found):,} more; -n shows more"
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
        "raw": raw,
    }
    text = f"{e.id}\nfrom    {e.origin}\nat      {e.recorded_at} UTC\nreason  {e.reason}\n\n{raw}"
    console.emit(result, text, as_json=as_json)


@quarantine_command.command("retry")
@click.argument("entry_ids", nargs=-1)
@json_option
@click.pass_context
def retry_command(ctx: click.Context, entry_ids: tuple[str, ...], as_json: bool) -> None:
    """Try entries again, all by default: for after the rules or the program changed."""
    from headrace.pipelines.log import quarantine

    with open_lake(ctx) as lake:
        done = quarantine.retry(lake, list(entry_ids) or None)
    result = {"accepted": done.accepted, "still_quarantined": done.quarantined}
    text = f"{done.accepted:,} accepted, {done.quarantined:,} still quarantined"
    console.emit(result, text, as_json=as_json)
