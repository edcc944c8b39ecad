"""A dry run: what an input would become. Nothing is written into a home, and none is made.

Memory is bounded: lines are decoded a batch at a time, and what must be compared over the whole
input lies in a temporary file (pipelines/ingest/scratch.py).
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterable
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.pipelines.errors import ContractError, UsageError
from headrace.pipelines.ingest import import_runs
from headrace.pipelines.ingest.inputs import open_input
from headrace.pipelines.ingest.ndjson import Line, chunks
from headrace.pipelines.ingest.scratch import Preview, Scratch
from headrace.pipelines.ingest.screen import LOOKED_AT, file_problem, problem
from headrace.schemas.decode import Rejected, decode

if TYPE_CHECKING:
    from headrace.pipelines.ingest.delimited import ImportedFile
    from headrace.pipelines.lake.lake import Lake
    from headrace.pipelines.settings import Settings


def preview_lines(lines: Iterable[Line], settings: Settings, lake: Lake | None) -> Preview:
    """What an append of these lines would do.

    Args:
        lines: in their order.
        settings: the limits that would hold, and how much memory DuckDB may take.
        lake: whose log is looked into; None if there is none.

    Raises:
        ContractError: the input cannot be read on.
    """
    found = Preview()
    coming = iter(lines)
    first = list(islice(coming, LOOKED_AT))
    why = problem(first, settings)
    if why is not None:
        found.refused.append(why)
    with Scratch.opened(settings) as scratch:
        _read(scratch, found, chain(first, coming), settings)
        return scratch.finish(found, lake)


def preview_files(
    files: Iterable[ImportedFile],
    settings: Settings,
    lake: Lake | None,
    *,
    replaces: str | None = None,
) -> Preview:
    """What an import of these files would do; arguments as of `preview_lines`.

    With `replaces`, their events have the ids that they would get in the place of that import run;
    what is taken back of that one, `headrace log void --import RUN --dry-run` says.

    Raises:
        ContractError: a file cannot be read.
    """
    found = Preview()
    with Scratch.opened(settings) as scratch:
        for coming in files:
            file = import_runs.marked(coming, replaces)
            found.refused += filter(None, [file_problem(file, settings), _void(lake, file)])
            _count_rows(found, file)
            named = enumerate(file.lines, start=1)
            lines = (Line(raw, f"{file.path} event {number}") for number, raw in named)
            _read(scratch, found, lines, settings)
            origins = [f"{file.path}:{row.line_no}" for row in file.rejected]
            rows = [Rejected(i, row.raw, row.reason) for i, row in enumerate(file.rejected)]
            scratch.reject(found, rows, origins)
        return scratch.finish(found, lake)


def _void(lake: Lake | None, file: ImportedFile) -> str | None:
    """Why a file is not taken whose events were taken back; None if they were not."""
    if lake is None:
        return None
    try:
        import_runs.check_not_void(lake, file)
    except UsageError as e:
        return str(e)
    return None


def _read(scratch: Scratch, found: Preview, lines: Iterable[Line], settings: Settings) -> None:
    for batch in chunks(lines, settings.append_events):
        decoded = decode([line.raw for line in batch], max_event_bytes=settings.max_event_bytes)
        origins = [line.origin for line in batch]
        scratch.accept(found, decoded.events, [origins[int(i)] for i in decoded.indices])
        scratch.reject(found, decoded.rejected, origins)


def _count_rows(found: Preview, file: ImportedFile) -> None:
    """Add what a file has of rows that are no events, and of identical ones."""
    for what, count in file.skipped.items():
        found.skipped[what] = found.skipped.get(what, 0) + count
    found.warnings += file.warnings
    known = file.identical_rows
    twins = identical_lines(file.path) if known is None else sum(known.values())
    if twins is not None:
        found.identical_rows = (found.identical_rows or 0) + twins


def identical_lines(path: Path) -> int | None:
    """How many lines of a text file are identical to an earlier one, blank ones left out.

    None where it is no text, or cannot be read twice. Of each different line, 16 bytes are held.
    """
    if str(path) == "-":
        return None
    try:
        source = open_input(str(path), "utf-16")  # whichever: lines are compared as bytes
    except (ContractError, UsageError):
        return None
    seen: set[bytes] = set()
    number, held = 0, b""
    with contextlib.closing(source):
        while block := source.read(1 << 20):
            *lines, held = (held + block).split(b"\n")
            number += sum(map(_fresh(seen), lines))
    return number + _fresh(seen)(held)


def _fresh(seen: set[bytes]) -> Callable[[bytes], bool]:
    """Whether a line is identical to one before."""

    def known(line: bytes) -> bool:
        if not line.strip():
            return False
        digest = hashlib.blake2b(line.rstrip(b"\r"), digest_size=16).digest()
        if digest in seen:
            return True
        seen.add(digest)
        return False

    return known
