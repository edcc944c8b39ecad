"""A file as records below a header: delimited text or a sheet, told by its first bytes.

Guarantees: each line above the header is counted; a header that is not the only one is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from headrace.pipelines.errors import ContractError, UsageError
from headrace.pipelines.ingest.csv_mapping import CsvMapping
from headrace.pipelines.ingest.delimited import Record, RejectedRow, TextFile, shown
from headrace.pipelines.ingest.inputs import read_all
from headrace.pipelines.ingest.workbook import MAGIC, Workbook

BLANK: Final = "blank lines"
TITLES: Final = "title lines"
_STDIN: Final = Path("stdin")


class Table(Protocol):
    """What gives records and can show one of them."""

    path: Path
    padded: bool
    """Whether a record ends at its last field that holds something."""

    def records(self) -> Iterator[Record]:
        """All records, in order."""

    def reject(self, record: Record, reason: str) -> RejectedRow:
        """Say that this record cannot be mapped, and why."""


def open_table(path: Path, mapping: CsvMapping) -> Table:
    """Open a file, or standard input for `-`.

    Raises:
        ContractError: it cannot be read, or is not what the mapping is for.
    """
    try:
        content = read_all(path, mapping.encoding, workbook=True)
    except UsageError as error:
        raise ContractError(
            f"cannot read {path}: {error}; give the path of a file in {mapping.encoding}"
        ) from error
    named = _STDIN if str(path) == "-" else path
    if content.startswith(MAGIC):
        return Workbook(named, content, mapping.sheet)
    if mapping.sheet is not None:
        raise ContractError(
            f"{named} is no workbook, and the mapping names the sheet {mapping.sheet!r}; take "
            "sheet out of the mapping"
        )
    return TextFile(
        named, mapping.encoding, content, delimiter=mapping.delimiter, quote=mapping.quote
    )


@dataclass(frozen=True)
class Below:
    """What a header has below it.

    Attributes:
        places: In which field of a record each mapped column is.
        width: How many fields the header has.
        records: Those below it.
        above: How many lines stand above it, by what they are.
    """

    places: dict[str, int]
    width: int
    records: Iterator[Record]
    above: dict[str, int] = field(default_factory=dict)


def below_header(table: Table, mapping: CsvMapping) -> Below:
    """Find the header where the mapping says it is.

    Raises:
        ContractError: there is none, or two lines could be it, or it lacks a mapped column.
    """
    coming = table.records()
    above: list[Record] = []
    if mapping.header == "find":
        every = list(coming)
        at = _found(table.path, every, mapping)
        above, header, coming = every[:at], every[at], iter(every[at + 1 :])
    else:
        header = _numbered(table.path, coming, mapping.header, above)
    names = [name.strip() for name in header.fields]
    blank = sum(is_blank(record) for record in above)
    counted = {TITLES: len(above) - blank, BLANK: blank} if above else {BLANK: 0}
    return Below(_places(table.path, names, mapping), len(names), coming, counted)


def is_blank(record: Record) -> bool:
    """Whether nothing stands in it, but delimiters perhaps."""
    return record.problem is None and not any(field.strip() for field in record.fields)


def _numbered(path: Path, coming: Iterator[Record], number: int, above: list[Record]) -> Record:
    """The header at a line; those above it are put into `above`."""
    for record in coming:
        if record.first + 1 == number:
            return record
        if record.end >= number:
            raise ContractError(
                f"line {number} of {path} belongs to a record that begins in line "
                f"{record.first + 1}; correct header in the mapping"
            )
        above.append(record)
    if not above:
        raise ContractError(f"{path} is empty; it has no header")
    raise ContractError(
        f"{path} has {above[-1].end} lines, and the mapping has the header in line {number}; "
        "correct header"
    )


def _found(path: Path, every: list[Record], mapping: CsvMapping) -> int:
    """Which record is the header: the only one that has every mapped column."""
    wanted = {column.strip() for column in mapping.columns.values()}
    could = [
        at for at, record in enumerate(every) if wanted <= {name.strip() for name in record.fields}
    ]
    if not could:
        raise ContractError(
            f"no line of {path} has the columns {shown(', '.join(sorted(wanted)))}, which the "
            "mapping names; correct the mapping, or its delimiter and encoding"
        )
    if len(could) > 1:
        first, second = (every[at].first + 1 for at in could[:2])
        raise ContractError(
            f"lines {first} and {second} of {path} could both be the header; name one in the "
            f"mapping, such as header = {first}"
        )
    return could[0]


def _places(path: Path, names: list[str], mapping: CsvMapping) -> dict[str, int]:
    places: dict[str, int] = {}
    for name, column in mapping.columns.items():
        found = names.count(column.strip())
        if found != 1:
            fact = "has more than once" if found else "lacks"
            raise ContractError(
                f"{path} {fact} the column {column!r} that the mapping names for "
                f"columns.{name}; its columns are {shown(', '.join(names))}; correct the "
                "mapping, or its header, delimiter and encoding"
            )
        places[name] = names.index(column.strip())
    return places
