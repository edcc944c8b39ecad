"""`headrace init`, `generate`, `append`, `import` and `ingest`: what brings events in."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headrace.pipelines.cli import console, preview
from headrace.pipelines.cli.app import open_lake, settings_of
from headrace.pipelines.cli.options import json_option
from headrace.pipelines.errors import UsageError

if TYPE_CHECKING:
    from headrace.pipelines.ingest.landing_zone import Landed


_SHARE = click.FloatRange(0, 1)


@click.command("init")
@click.option("--partitions", type=click.IntRange(1, 1024), help="Of the log; fixed from then on.")
@click.option("--zone", metavar="ZONE", help="In which built-in views count days.  [default: UTC]")
@json_option
@click.pass_context
def init_command(
    ctx: click.Context, partitions: int | None, zone: str | None, as_json: bool
) -> None:
    """Create the home: an empty log and an empty lake."""
    from headrace.pipelines import bootstrap
    from headrace.pipelines.lake import home

    settings = settings_of(ctx, partitions=partitions, business_zone=zone)
    made = not home.exists(settings.home) and bootstrap.create(settings)
    found = home.open_home(settings.home)
    if partitions is not None and found.partitions != partitions:
        raise UsageError(
            f"{found.path} exists with {found.partitions} partitions; their number is fixed. Name "
            "another home with --home"
        )
    result = {
        "home": str(found.path),
        "created": made,
        "partitions": found.partitions,
        "business_zone": settings.business_zone,
    }
    what = "created" if made else "exists already"
    text = f"{found.path} {what}, {found.partitions} partitions, days in {settings.business_zone}"
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


_dry_option = click.option(
    "--dry-run", "dry", is_flag=True, help="Say what it would do; write nothing, make no home."
)


@click.command("append")
@click.argument("files", nargs=-1, required=True, metavar="FILE… | -")
@_dry_option
@json_option
@click.pass_context
def append_command(ctx: click.Context, files: tuple[str, ...], dry: bool, as_json: bool) -> None:
    """Append CloudEvents NDJSON, one event a line; `-` reads standard input.

    Good events are in the log, durably, when this returns. Others are in quarantine with the
    reason: see `headrace quarantine ls`.
    """
    from headrace.pipelines.ingest.append import append_lines
    from headrace.pipelines.ingest.inputs import open_input
    from headrace.pipelines.ingest.ndjson import read_lines
    from headrace.pipelines.ingest.screen import screened

    for name in files:  # so that a wrong name is found before anything is appended
        if name != "-":
            open_input(name).close()
    sizes = [Path(name).stat().st_size for name in files if name != "-"]
    with console.bar("append", "bytes") as progress:
        read = 0

        def count(size: int) -> None:
            nonlocal read
            read += size
            progress(min(read, sum(sizes)), sum(sizes))  # what is unpacked is more than the file

        settings = settings_of(ctx)
        coming = read_lines(files, count)
        if dry:
            would = preview.lines(coming, settings)
        else:
            lines = screened(coming, settings)
            with open_lake(ctx, make=True) as lake:
                total = append_lines(lake, lines)
    if dry:
        preview.report(ctx, would, as_json, ", ".join(files))
    else:
        _report(ctx, total, as_json, ", ".join(files))


@click.group("import")
def import_command() -> None:
    """Bring in real data sets as order events."""


_replace_option = click.option(
    "--replace", "replaces", metavar="IMPORT", help="Take back this import run in the same step."
)
_reason_option = click.option(
    "--reason", default="replaced by another import", show_default=True, help="With --replace: why."
)


@import_command.command("uci-online-retail")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@_replace_option
@_reason_option
@_dry_option
@json_option
@click.pass_context
def uci_command(ctx: click.Context, /, paths: tuple[Path, ...], as_json: bool, **how: Any) -> None:
    """Import UCI Online Retail: its CSV files, or folders of them."""
    from headrace.pipelines.ingest.uci_online_retail import uci_online_retail

    _import(ctx, paths, uci_online_retail, as_json=as_json, **how)


@import_command.command("csv")
@click.option("--mapping", type=click.Path(path_type=Path), help="TOML: columns to fields.")
@click.option("--guess", is_flag=True, help="Print a mapping to start from; import nothing.")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@_replace_option
@_reason_option
@_dry_option
@json_option
@click.pass_context
def csv_command(
    ctx: click.Context,
    /,
    mapping: Path | None,
    guess: bool,
    paths: tuple[Path, ...],
    as_json: bool,
    **how: Any,
) -> None:
    """Import CSV files and Excel workbooks whose columns a mapping explains.

    `-` is standard input. See docs/guides/csv-import.md.
    """
    from headrace.pipelines.ingest.csv_mapping import CsvMapping
    from headrace.pipelines.ingest.csv_orders import csv_orders

    if guess:
        if how["replaces"] is not None or how["dry"]:
            raise UsageError("--guess imports nothing, so it takes neither --replace nor --dry-run")
        _guess(mapping, paths, as_json=as_json)
        return
    if mapping is None:
        raise UsageError(
            "--mapping is missing; `headrace import csv --guess FILE` prints one to start from"
        )
    chosen = CsvMapping.load(mapping)
    days = settings_of(ctx).business_zone
    _import(ctx, paths, lambda files: csv_orders(files, chosen, days), as_json=as_json, **how)


def _guess(mapping: Path | None, paths: tuple[Path, ...], *, as_json: bool) -> None:
    from headrace.pipelines.ingest.guess import guess

    if mapping is not None or len(paths) != 1:
        raise UsageError("--guess takes one file and no --mapping; it prints the mapping")
    found = guess(paths[0])
    console.emit(found.as_json(), found.toml().rstrip("\n"), as_json=as_json)


def _import(
    ctx: click.Context,
    paths: Iterable[Path],
    read: Callable[[list[Path]], Iterable[Any]],
    *,
    replaces: str | None,
    reason: str,
    dry: bool,
    as_json: bool,
) -> None:
    from headrace.pipelines.ingest.append import import_files
    from headrace.pipelines.ingest.screen import screened_file

    files: list[Path] = []
    for path in paths:
        found = _files_in(path) if path.is_dir() else [path]
        if not path.exists() and str(path) != "-":
            raise UsageError(f"{path} does not exist; name CSV files or a folder of them")
        if not found:
            raise UsageError(f"{path} holds no .csv or .xlsx file; name files or a folder of them")
        files += found
    with console.bar("import", "files") as progress:
        settings = settings_of(ctx)
        done = 0

        def told() -> Iterator[Any]:
            nonlocal done
            for file in read(files):
                done += 1
                progress(done, len(files))
                yield file if dry else screened_file(file, settings)

        coming = told()
        if dry:
            would = preview.files(coming, settings, replaces)
        else:
            first = next(coming)  # a wrong one leaves no home behind
            with open_lake(ctx, make=True) as lake:
                total = import_files(lake, chain([first], coming), replaces=replaces, reason=reason)
    source = f"{len(files)} files"
    if dry:
        preview.report(ctx, would, as_json, source)
    else:
        _report(ctx, total, as_json, source)


def _files_in(folder: Path) -> list[Path]:
    """The CSV files of a folder, compressed or not, and its workbooks."""
    endings = ("csv", "csv.gz", "csv.zst", "xlsx")
    return sorted(path for end in endings for path in folder.glob(f"*.{end}"))


def _report(ctx: click.Context, total: Any, as_json: bool, source: str) -> None:
    text = f"{source}: {total.accepted:,} accepted, {_quarantined(total)}"
    for what, count in total.skipped.items():
        text += f", {count:,} {what} skipped"
    text += _twins_text(total.identical_rows or {})
    runs = list(total.imports.values())
    if len(runs) == 1:
        text += f"; import {runs[0]}"
    elif runs:
        text += f"; imports {runs[0]} to {runs[-1]}, `headrace log imports` lists them"
    if not total.accepted and not total.quarantined:
        text += " (there was no event in it)"
    if total.quarantined:
        text += "; `headrace quarantine ls` says why"
    text = "\n".join([text, *(f"warning: {each}" for each in total.warnings)])
    console.emit(total.as_json(), text, as_json=as_json)
    ctx.exit(1 if total.quarantined and not total.accepted else 0)


def _twins_text(twins: dict[str, int]) -> str:
    """How many identical rows there were, and what was done with them, if that is not said yet."""
    done = {"sum": "counted again", "reject": "rejected"}
    return "".join(f", {n:,} identical rows {done[how]}" for how, n in twins.items() if how in done)


def _quarantined(total: Any) -> str:
    """How many were quarantined, and how many of these are no news."""
    known = f" ({total.quarantined_known:,} of them known)" if total.quarantined_known else ""
    return f"{total.quarantined:,} quarantined{known}"


_FORMATS = ("cloudevents", "uci-online-retail", "csv")


@click.command("ingest")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--format", "form", type=click.Choice(_FORMATS), default="cloudevents", show_default=True
)
@click.option("--mapping", type=click.Path(path_type=Path), help="With csv: columns to fields.")
@click.option("--limit", type=click.IntRange(1), help="New files at most.")
@json_option
@click.pass_context
def ingest_command(
    ctx: click.Context,
    folder: Path,
    form: str,
    mapping: Path | None,
    limit: int | None,
    as_json: bool,
) -> None:
    """Land the new files of FOLDER in the log, each once, whatever dies meanwhile.

    Names that end in .tmp or .part, or begin with a dot, are left alone, and files that still
    grow. A file that is not what landed under its name is reported and not read: exit code 1.
    """
    from headrace.pipelines.ingest.landing import land

    with open_lake(ctx, make=True) as lake, console.bar("ingest", "files") as progress:
        found = land(lake, folder, form=form, mapping=mapping, limit=limit, progress=progress)
    console.emit(found.as_json(), landed_text(found), as_json=as_json)
    ctx.exit(0 if found.clean else 1)


def landed_text(found: Landed) -> str:
    """What landed, for a person; then each file that needs one."""
    text = (
        f"{found.files:,} files landed: {found.accepted:,} accepted, "
        f"{_quarantined(found)}; {found.known:,} files landed before"
    )
    if found.copies:
        text += f", {found.copies:,} have the content of one that did"
    for what, count in found.skipped.items():
        text += f", {count:,} {what} skipped"
    text += _twins_text(found.identical_rows)
    lines = [f"warning: {each}" for each in found.warnings]
    lines += [f"{path}: still written, left alone" for path in found.unfinished]
    lines += [
        f"{path}: changed after it landed, not read again; give what is new another name"
        for path in found.changed
    ]
    lines += [f"{path}: {why}" for path, why in found.failed.items()]
    return "\n".join([text, *lines])
