"""What `--dry-run` prints: what an append or an import would do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from headrace.pipelines.cli import console

if TYPE_CHECKING:
    import click

    from headrace.pipelines.ingest.delimited import ImportedFile
    from headrace.pipelines.ingest.ndjson import Line
    from headrace.pipelines.ingest.scratch import Preview
    from headrace.pipelines.settings import Settings

_LONGEST = 160
"""Characters of a sample's line that a person is shown; `--json` has all of it."""


def lines(coming: Iterable[Line], settings: Settings) -> Preview:
    """Look at lines instead of appending them."""
    from headrace.pipelines.ingest.preview import preview_lines
    from headrace.pipelines.verbs.place import if_there

    with if_there(settings.home, **_given(settings)) as lake:
        return preview_lines(coming, settings, lake)


def files(
    coming: Iterable[ImportedFile], settings: Settings, replaces: str | None = None
) -> Preview:
    """Look at files instead of importing them."""
    from headrace.pipelines.ingest.preview import preview_files
    from headrace.pipelines.verbs.place import if_there

    with if_there(settings.home, **_given(settings)) as lake:
        return preview_files(coming, settings, lake, replaces=replaces)


def report(ctx: click.Context, found: Preview, as_json: bool, source: str) -> None:
    """Say what would become of it, and end with 1 if that is nothing."""
    console.emit(found.as_json(), "\n".join(_text(found, source)), as_json=as_json)
    ctx.exit(0 if found.clean else 1)


def _given(settings: Settings) -> dict[str, Any]:
    """What the call itself named: where the topic is now."""
    return {"log": settings.log}


def _text(found: Preview, source: str) -> Iterator[str]:
    yield f"{source}: a dry run, nothing was written"
    yield from (f"it would be refused: {why}" for why in found.refused)
    yield f"would be accepted     {found.accepted:,} events of {found.orders:,} orders"
    yield f"would be quarantined  {found.quarantined:,}"
    for what, count in found.skipped.items():
        yield f"would be skipped      {count:,} {what}"
    yield f"identical lines       {found.twins:,}"
    if found.identical_rows is not None:
        yield f"identical rows        {found.identical_rows:,}"
    yield from (f"warning: {each}" for each in found.warnings)
    yield f"ids that come again   {_again(found.repeats)}"
    if found.in_log is None:
        yield "in the log already    there is no home yet"
    else:
        yield f"in the log already    {_again(found.in_log)}"
    if found.types:
        yield "\n" + console.table(["type", "events"], list(found.types.items()))
    if found.months:
        names = ["month", "currency", "orders", "gross", "returns", "adjustments"]
        rows = [[getattr(month, name) for name in names] for month in found.months]
        yield "\n" + console.table(names, rows)
    if found.reasons:
        reasons = [(r.lines, r.first, r.reason) for r in found.reasons]
        yield "\n" + console.table(["lines", "first", "reason"], reasons)
    if found.samples:
        yield ""
    for sample in found.samples:
        raw = sample.raw if len(sample.raw) <= _LONGEST else f"{sample.raw[:_LONGEST]}…"
        yield f"{sample.origin}: {sample.type or f'refused, {sample.reason}'}\n  {raw}"


def _again(again: Any) -> str:
    other = f", {again.other_content:,} of them with other content" if again.other_content else ""
    return f"{again.events:,}{other}"
