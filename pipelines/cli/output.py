"""An answer to take away: a table, CSV, Markdown, JSON, Parquet or Arrow, on screen or in a file.

Guarantees: money stays decimal in each of them, and a file is whole or not there.
"""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from headrace.pipelines.cli import console
from headrace.pipelines.errors import UsageError

if TYPE_CHECKING:
    from headrace.pipelines.serving.query import Answer

FORMATS: Final = ("table", "csv", "markdown", "json", "parquet", "arrow")
BINARY: Final = ("parquet", "arrow")
ENDS: Final = {".csv": "csv", ".md": "markdown", ".json": "json", ".parquet": "parquet"}
"""What the end of a file's name says."""
ON_SCREEN: Final = 1_000
"""Rows that a person is shown; a file, and every other format, gets all of them."""


def form_of(given: str | None, file: Path | None, *, as_json: bool) -> str:
    """The format: as said, or by the end of the file's name, or a table.

    Raises:
        UsageError: two are said, or a binary one would go to a terminal.
    """
    if as_json and given not in {None, "json"}:
        raise UsageError(f"--json and --format {given} exclude each other")
    by_name = None if file is None else ENDS.get(file.suffix.lower())
    form = "json" if as_json else given or by_name or "table"
    if form in BINARY and file is None and sys.stdout.isatty():
        raise UsageError(f"{form} is not for a screen; name a file with --output")
    return form


def put(answer: Answer, form: str, file: Path | None) -> None:
    """Print the answer, or write it into a file, whole or not at all.

    Raises:
        UsageError: the file cannot be written.
    """
    content = _content(answer, form, everything=file is not None)
    if file is None:
        if form in BINARY:
            sys.stdout.buffer.write(content)
        else:
            sys.stdout.write(content.decode())
        return
    fresh = file.with_name(f".{file.name}.part")
    try:
        fresh.write_bytes(content)
        fresh.replace(file)
    except OSError as e:
        fresh.unlink(missing_ok=True)
        raise UsageError(f"{file} cannot be written: {e.strerror}; name another file") from e
    console.note(f"{len(answer.rows):,} rows in {file}")


def _content(answer: Answer, form: str, *, everything: bool) -> bytes:
    match form:
        case "json":
            text = json.dumps(answer.as_json(), ensure_ascii=False, default=str) + "\n"
        case "csv":
            text = _csv(answer)
        case "markdown":
            text = _markdown(answer)
        case "table":
            text = _table(answer, everything=everything)
        case _:
            return _arrow(answer, form)
    return text.encode()


def _table(answer: Answer, *, everything: bool) -> str:
    rows, more = answer.rows, len(answer.rows) - ON_SCREEN
    shown = rows if everything else rows[:ON_SCREEN]
    text = console.table(answer.columns, shown)
    if answer.truncated:
        text += f"\n… only the first {len(rows):,} rows"
    elif more > 0 and not everything:
        text += (
            f"\n… {ON_SCREEN:,} of {len(rows):,} rows; `--output FILE.csv` (or .parquet, .md) "
            "takes all of them"
        )
    return text + "\n"


def _csv(answer: Answer) -> str:
    """NULL is an empty field."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(answer.columns)
    writer.writerows([_cell(value) for value in row] for row in answer.rows)
    return out.getvalue()


def _markdown(answer: Answer) -> str:
    rows = [answer.columns, ["---"] * len(answer.columns)]
    rows += [[_cell(value) for value in row] for row in answer.rows]
    escaped = [[text.replace("|", r"\|").replace("\n", " ") for text in row] for row in rows]
    return "".join(f"| {' | '.join(row)} |\n" for row in escaped)


def _cell(value: object) -> str:
    return "" if value is None else console.cell(value)


def _arrow(answer: Answer, form: str) -> bytes:
    """With the position at which it is true in the schema's metadata, under `headrace`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    worth = {"position": answer.position.as_dict(), "cut": answer.cut.as_dict()}
    told = json.dumps({**worth, "logic": answer.logic, "generation": answer.generation})
    table = answer.arrow().replace_schema_metadata({"headrace": told})
    out = io.BytesIO()
    if form == "parquet":
        pq.write_table(table, out, compression="zstd")
    else:
        with pa.ipc.new_file(out, table.schema) as writer:
            writer.write_table(table)
    return out.getvalue()
