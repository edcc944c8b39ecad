"""Reads many JSON lines with Arrow. What Arrow cannot read is handed back, never dropped.

Arrow fails a whole block for one bad line, so a failed block is narrowed down.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.json as pj

from headrace.schemas.events import ENVELOPE, NEWEST, Field, Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_FIRST_CHUNK = 2_048
# Reading is ten times as fast as looking at each line, so looking starts at small chunks.
_SCREENED_CHUNK = 256
_SMALLEST_CHUNK = 16
# Arrow names the first row it cannot read; after this many, a chunk is split instead.
_MOST_NAMED = 4
_NAMED_ROW = re.compile(r"in row ([0-9]+)$")
_PARTS = 8
# One megabyte keeps two threads busy at 50,000 lines: 58 ms against 122 ms in one block.
_BLOCK_BYTES = 1 << 20
_SEQUENCE_AS_NUMBER = re.compile(rb'"sequence"\s*:\s*(["0-9])')


@dataclass(frozen=True, slots=True)
class Block:
    """What Arrow read.

    Attributes:
        table: One row a readable line, in the order of the lines; the text fields as they are.
        rows: For each row, its place among the lines given.
        unread: Places of the lines Arrow could not read, ascending.
    """

    table: pa.Table
    rows: NDArray[np.int64]
    unread: NDArray[np.int64]


def read_block(lines: Sequence[bytes], blob: bytes) -> Block:
    """Read lines, each one of which starts with a brace, ends with one, and has no line break.

    Args:
        lines: The lines.
        blob: The same lines joined with line breaks.
    """
    reader = _Reader(lines, _sequence_type(blob))
    everything = np.arange(len(lines), dtype=np.int64)
    table = reader.attempt(blob, len(lines))
    if table is not None:
        return Block(table, everything, np.empty(0, dtype=np.int64))
    for chunk in _chunks(everything, _FIRST_CHUNK):
        reader.narrow(chunk, screened=False)
    rows = np.concatenate(reader.rows) if reader.rows else everything[:0]
    tables = reader.tables or [reader.schema.empty_table()]
    return Block(pa.concat_tables(tables), rows, np.setdiff1d(everything, rows))


class _Reader:
    """Collects the tables of the readable chunks and which lines they hold."""

    def __init__(self, lines: Sequence[bytes], sequence_type: type) -> None:
        self.lines = lines
        self.expected = _expected(sequence_type)
        self.schema = pa.schema([(name, _arrow(kind)) for name, kind in self.expected.items()])
        self.tables: list[pa.Table] = []
        self.rows: list[NDArray[np.int64]] = []
        self.named: int | None = None

    def narrow(self, rows: NDArray[np.int64], *, screened: bool) -> None:
        """Read these lines; on failure leave out what cannot be read and try the rest."""
        for _ in range(_MOST_NAMED):
            if not len(rows):
                return
            table = self.attempt(b"\n".join([self.lines[row] for row in rows]), len(rows))
            if table is not None:
                self.tables.append(table)
                self.rows.append(rows)
                return
            if self.named is None or self.named >= len(rows):
                break
            # Should Arrow ever name a wrong row, that line is only read the slow way.
            rows = np.delete(rows, self.named)
        if not screened and len(rows) <= _SCREENED_CHUNK:
            fitting = [row for row in rows if self._readable(self.lines[row])]
            self.narrow(np.array(fitting, dtype=np.int64), screened=True)
        elif len(rows) > _SMALLEST_CHUNK:
            for part in _chunks(rows, -(-len(rows) // _PARTS)):
                self.narrow(part, screened=screened)

    def attempt(self, blob: bytes, count: int) -> pa.Table | None:
        """Read all lines, or none if Arrow refuses one or sees another number of objects.

        After a failure `named` is the row Arrow complains about, if it says one.
        """
        self.named = None
        try:
            table = pj.read_json(
                pa.BufferReader(blob),
                read_options=pj.ReadOptions(
                    block_size=_BLOCK_BYTES, use_threads=len(blob) > _BLOCK_BYTES
                ),
                parse_options=pj.ParseOptions(
                    explicit_schema=self.schema, unexpected_field_behavior="ignore"
                ),
            )
        except pa.ArrowInvalid as error:
            named = _NAMED_ROW.search(str(error))
            self.named = None if named is None else int(named[1])
            return None
        return table if table.num_rows == count else None

    def _readable(self, line: bytes) -> bool:
        try:
            return _fits(orjson.loads(line), self.expected)
        except orjson.JSONDecodeError:
            return False


def _fits(value: Any, expected: Any) -> bool:
    if value is None:
        return True
    if isinstance(expected, dict):
        return type(value) is dict and all(
            _fits(value.get(name), kind) for name, kind in expected.items()
        )
    if isinstance(expected, list):
        return type(value) is list and all(_fits(item, expected[0]) for item in value)
    return type(value) is expected


def _sequence_type(blob: bytes) -> type:
    """Guess from the first event that has one; producers write all as numbers or all as text."""
    if b'"sequence"' not in blob:
        return str
    first = _SEQUENCE_AS_NUMBER.search(blob)
    return int if first is not None and first[1] != b'"' else str


def _expected(sequence_type: type) -> dict[str, Any]:
    """Return the fields to read as nested name -> str, int, dict, or list of one dict."""
    envelope = {
        field.name: sequence_type if field.kind is Kind.SEQUENCE else str for field in ENVELOPE
    }
    fields = [field for shape in NEWEST.values() for field in shape.fields]
    return {**envelope, "data": _merged(fields)}


def _merged(fields: Sequence[Field]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for field in fields:
        if field.kind is Kind.IDS:  # rare, and read by the reference validator alone
            continue
        if field.kind is Kind.LINES:
            known = merged.setdefault(field.name, [{}])
            known[0].update(_merged(field.items))
        else:
            merged[field.name] = int if field.kind is Kind.WHOLE else str
    return merged


def _arrow(expected: Any) -> pa.DataType:
    if isinstance(expected, dict):
        return pa.struct([(name, _arrow(kind)) for name, kind in expected.items()])
    if isinstance(expected, list):
        return pa.list_(_arrow(expected[0]))
    return pa.int64() if expected is int else pa.string()


def _chunks(rows: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]
