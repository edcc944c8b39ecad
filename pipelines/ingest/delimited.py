"""What all importers share: reading delimited text without losing a row, and exact money.

Every record of a file ends up in an event, in a counted `skipped`, or in `rejected` with its
line number, its bytes and a reason. Nothing is dropped in silence.

Python's own `csv` reads it, not Polars: Polars gives neither the line on which a record begins,
once a quoted field holds a line end, nor its bytes; and a record of another length it fills up, or
refuses the file.
"""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import orjson

from headrace.pipelines.errors import ContractError, UsageError
from headrace.pipelines.ingest.inputs import read_all

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime
    from pathlib import Path

# Money is counted in ten-thousandths of the currency's unit while it is added up.
UNIT = 10_000
_MONEY = re.compile(r"(-?)([0-9]{1,14})(?:\.([0-9]{1,4})0*)?", re.ASCII)
_BIG_ENDIAN = (b"\xfe\xff", b"\x00\x00\xfe\xff")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NOT_UTF8 = re.compile(r"[\ud800-\udfff]")


class RejectedRow(NamedTuple):
    """A row that cannot be mapped: where it is (from 1), its bytes as they are, and why."""

    line_no: int
    raw: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class ImportedFile:
    """The events of one file, in the order of their time, and the rows that became none.

    Attributes:
        path: The file.
        lines: One CloudEvents JSON document each, without a newline.
        skipped: How many rows are no order events by their nature, by what they are.
        rejected: Rows that cannot be mapped.
        rows: How many records the file has, its header not counted. Each is in an event,
            in `skipped` or in `rejected`.
        import_id: The import run that its events are marked with; None before they are.
        identical_rows: How many rows are identical to an earlier one, by what was done with them;
            None: nobody looked.
        warnings: What a person should decide.
    """

    path: Path
    lines: list[bytes]
    skipped: dict[str, int] = field(default_factory=dict)
    rejected: list[RejectedRow] = field(default_factory=list)
    rows: int = 0
    import_id: str | None = None
    identical_rows: dict[str, int] | None = None
    warnings: list[str] = field(default_factory=list)


class Record(NamedTuple):
    """One record: physical lines `first` to `end` (from 0, half-open), fields, what is wrong."""

    first: int
    end: int
    fields: list[str]
    problem: str | None


class TextFile:
    """A delimited text file in memory, by physical line, so that a bad row can be shown."""

    padded = False

    def __init__(
        self,
        path: Path,
        encoding: str = "utf-8-sig",
        content: bytes | None = None,
        *,
        delimiter: str = ",",
        quote: str = '"',
    ) -> None:
        """Read the file, unless its content is given.

        Bytes that are not text in `encoding` are kept as surrogates: they spoil the field
        they are in and no other.

        Raises:
            ContractError: the file cannot be read.
        """
        self.path = path
        self._delimiter, self._quote = delimiter, quote
        try:
            raw = read_all(path, encoding) if content is None else content
            text = raw.decode(encoding, errors="surrogateescape")
        except (UnicodeError, UsageError) as error:
            raise ContractError(
                f"cannot read {path}: {error}; give the path of a file in {encoding}"
            ) from error
        # newline="" leaves line ends alone: a quoted field may hold them.
        self.lines = list(io.StringIO(text.removeprefix("\ufeff"), newline=""))
        self._encoding = _without_mark(encoding, raw)

    def records(self) -> Iterator[Record]:
        """All records, in order."""
        return records(self.lines, delimiter=self._delimiter, quote=self._quote)

    def raw(self, record: Record) -> bytes:
        """The bytes of a record as they stand in the file, without the line end."""
        text = "".join(self.lines[record.first : record.end]).rstrip("\r\n")
        return text.encode(self._encoding, errors="surrogateescape")

    def reject(self, record: Record, reason: str) -> RejectedRow:
        """Say that this record cannot be mapped, and why."""
        return RejectedRow(record.first + 1, self.raw(record), reason)


def _without_mark(encoding: str, content: bytes) -> str:
    """The codec that writes a part of the text as it stands in the file, without a mark before."""
    if encoding in {"utf-16", "utf-32"}:
        return encoding + ("-be" if content.startswith(_BIG_ENDIAN) else "-le")
    return "utf-8" if encoding == "utf-8-sig" else encoding


def records(lines: Sequence[str], *, delimiter: str = ",", quote: str = '"') -> Iterator[Record]:
    """All records, in order. A line that no record can begin with is one of its own.

    After such a line (an unclosed quote, say) reading goes on at the next one, so that one bad
    line does not swallow the rest of the file.
    """
    start = 0
    while start < len(lines):
        first = start
        reader = csv.reader(
            map(lines.__getitem__, range(start, len(lines))),
            delimiter=delimiter,
            quotechar=quote or None,
            quoting=csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE,
            strict=True,
        )
        try:
            for fields in reader:
                end = start + reader.line_num
                yield Record(first, end, fields, None)
                first = end
        except csv.Error as error:
            yield Record(first, first + 1, [], f"it is not delimited text: {error}")
            start = first + 1
        else:
            return


@lru_cache(maxsize=1 << 16)
def ten_thousandths(text: str) -> int | None:
    """Exact money from decimal text, in 1/10,000 of a unit; None if it is not such text."""
    match = _MONEY.fullmatch(text)
    if match is None:
        return None
    sign, whole, fraction = match.groups(default="")
    amount = int(whole) * UNIT + int(fraction.ljust(4, "0"))
    return -amount if sign else amount


def money(amount: int) -> str:
    """Decimal text of an amount in 1/10,000, with at least two places: `-12.50`, `0.0012`."""
    whole, fraction = divmod(abs(amount), UNIT)
    places = f"{fraction:04d}"
    shown = places[:2] if places.endswith("00") else places.rstrip("0")
    return f"{'-' if amount < 0 else ''}{whole}.{shown}"


def text_problem(text: str, longest: int = 1_024) -> str | None:
    """Why the contract would not take this as a text, or None if it would."""
    if not text:
        return "is empty"
    if len(text) > longest:
        return f"has {len(text)} characters, more than {longest}"
    if _CONTROL.search(text) is not None:
        return f"is {shown(text)} and holds a control character"
    if _NOT_UTF8.search(text) is not None:
        return f"is {shown(text)} and holds bytes that are not text in the file's encoding"
    return None


def shown(text: str) -> str:
    """A value as a message shows it: escaped, and cut at 80 characters."""
    escaped = repr(text)
    return escaped if len(escaped) <= 80 else f"{escaped[:76]}...'"  # noqa: PLR2004 - the cut


def event_line(
    event_id: str,
    source: str,
    kind: str,
    *,
    order_id: str,
    time: datetime,
    data: dict[str, object],
) -> bytes:
    """One event as a CloudEvents JSON line. `time` is UTC; keys of `data` keep their order."""
    stamp = time.replace(tzinfo=None).isoformat()
    return orjson.dumps(
        {
            "specversion": "1.0",
            "id": event_id,
            "source": source,
            "type": kind,
            "subject": order_id,
            "time": f"{stamp}Z",
            "data": data,
        }
    )
