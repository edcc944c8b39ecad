"""What the command prints: tables, progress bars, JSON. Results on stdout, the rest on stderr."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from headrace.pipelines.progress import Progress, silent


def emit(result: object, text: str, *, as_json: bool) -> None:
    """Print a result for a program or for a person."""
    out = json.dumps(result, ensure_ascii=False, default=str) if as_json else text
    sys.stdout.write(out + "\n")


def note(text: str) -> None:
    """Say something that is no result."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Rows as aligned text; numbers to the right, NULL as `-`."""
    cells = [[cell(value) for value in row] for row in rows]
    right = [
        bool(rows) and all(_is_number(row[i]) or row[i] is None for row in rows)
        for i in range(len(columns))
    ]
    widths = [max([len(name), *(len(row[i]) for row in cells)]) for i, name in enumerate(columns)]
    lines = [list(columns), ["─" * width for width in widths], *cells]
    return "\n".join(
        "  ".join(
            text.rjust(width) if is_right else text.ljust(width)
            for text, width, is_right in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in lines
    )


def cell(value: object) -> str:
    """One value as a person reads it."""
    from headrace.pipelines.lake.guarded_sql import plain

    if value is None:
        return "-"
    found = plain(value)
    return found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)


def _is_number(value: object) -> bool:
    from decimal import Decimal

    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


@contextlib.contextmanager
def bar(title: str, unit: str = "events") -> Iterator[Progress]:
    """A progress bar on stderr, if that is a terminal. Gives `update(done, of)`."""
    if not sys.stderr.isatty():
        yield silent
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(title, total=None)
        yield lambda done, of: progress.update(task, completed=done, total=of)


def steps(title: str) -> Callable[[str], None]:
    """A reporter of steps: one short line each on stderr."""
    return lambda text: note(f"{title}: {text}")
