"""Reads one sheet of an Excel workbook (.xlsx), row by row, without a guess at what a cell holds.

Numbers, dates and times are typed there; `cells` says what is taken from them.
"""

from __future__ import annotations

import io
import re
import warnings
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any, Final

import orjson

from headrace.pipelines.errors import ContractError
from headrace.pipelines.ingest.cells import Cell, Moment
from headrace.pipelines.ingest.delimited import Record, RejectedRow

MAGIC: Final = b"PK\x03\x04"
"""How a workbook begins; so does any ZIP archive."""
_NO_LETTERS: Final = re.compile(r'"[^"]*"|\[[^\]]*\]|\\.')
"""Parts of a number format that are shown as they are, colours and languages."""
_LARGEST: Final = 4 << 30
"""Bytes of an unpacked workbook: a full sheet of a million rows has about one tenth of them."""
_FORMULA: Final = "is a formula whose value is not stored; open the workbook in Excel and save it"


class Workbook:
    """A sheet as records. The line of a record is its row in Excel."""

    padded = True
    """A row ends at its last cell that holds something."""

    def __init__(self, path: Path, content: bytes, sheet: str | None) -> None:
        """Open the workbook and choose the sheet.

        Raises:
            ContractError: it is no workbook, or it is not clear which sheet is meant.
        """
        self.path = path
        with _foreseen(path):
            # Values and formulas are two ways to open it: a formula without a value is not empty.
            self._books = [_open(path, content, values=values) for values in (True, False)]
        sheets = [each.title for each in self._books[0].worksheets]
        listed = ", ".join(map(repr, sheets))
        if sheet is None and len(sheets) != 1:
            raise ContractError(
                f'{path} has the sheets {listed}; name one in the mapping: sheet = "NAME"'
            )
        if sheet is not None and sheet not in sheets:
            raise ContractError(
                f"{path} has no sheet {sheet!r}; it has {listed}; correct sheet in the mapping"
            )
        self._sheet = sheets[0] if sheet is None else sheet

    def records(self) -> Iterator[Record]:
        """All rows down to the last one that the sheet has."""
        with _foreseen(self.path):
            both = [self._rows(book) for book in self._books]
            for number, (values, formulas) in enumerate(zip(*both, strict=True)):
                fields = [_field(v, f) for v, f in zip(values, formulas, strict=True)]
                while fields and not fields[-1]:
                    fields.pop()
                yield Record(number, number + 1, fields, None)

    def reject(self, record: Record, reason: str) -> RejectedRow:
        """Say that a row cannot be mapped. It has no bytes of its own: its cells, as JSON."""
        raw = orjson.dumps([str(field) for field in record.fields])
        return RejectedRow(record.first + 1, raw, reason)

    def _rows(self, book: Any) -> Iterable[tuple[Any, ...]]:
        sheet = book[self._sheet]
        sheet.reset_dimensions()  # what it says of its size is wrong in files of some programs
        return sheet.iter_rows()  # type: ignore[no-any-return]


def sheets_of(path: Path, content: bytes) -> list[str]:
    """The names of a workbook's sheets.

    Raises:
        ContractError: it is no workbook.
    """
    with _foreseen(path):
        return [sheet.title for sheet in _open(path, content, values=True).worksheets]


def _open(path: Path, content: bytes, *, values: bool) -> Any:
    import openpyxl

    with zipfile.ZipFile(io.BytesIO(content)) as parts:
        size = sum(part.file_size for part in parts.infolist())
    if size > _LARGEST:
        raise ContractError(
            f"{path} would unpack to {size:,} bytes; at most {_LARGEST:,} are read. Save the sheet "
            "as CSV, which is read line by line. Nothing of it was recorded"
        )
    return openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=values)


@contextmanager
def _foreseen(path: Path) -> Iterator[None]:
    """A file that is damaged, or another kind of ZIP archive, is refused in one line."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of styles and extensions
            yield
    except ContractError:
        raise
    except Exception as e:  # openpyxl raises what zipfile, XML and its own parts raise
        raise ContractError(
            f"{path} is a ZIP archive or an Excel workbook; unpack it, or save it as .xlsx or CSV: "
            f"it cannot be read as a workbook ({type(e).__name__}: {e}). Nothing of it was recorded"
        ) from e


def _field(cell: Any, formula: Any) -> str:  # noqa: PLR0911 - one for each kind of cell
    value = cell.value
    if value is None:
        return Cell.of("formula", None, _FORMULA) if formula.data_type == "f" else ""
    if cell.data_type == "e":
        return Cell.of(str(value), None, f"is the error {value}; correct the workbook")
    if isinstance(value, bool):
        shown = str(value).upper()
        return Cell.of(shown, None, f"is {shown}; map another column, or make it text")
    if isinstance(value, int | float):
        return Cell.number(value)
    if isinstance(value, datetime):
        has_time = value.time() != time() or _shows_time(cell.number_format)
        return Cell.of(value.isoformat(), Moment(value, has_time))
    if isinstance(value, date):
        return Cell.of(value.isoformat(), Moment(datetime.combine(value, time()), has_time=False))
    if isinstance(value, timedelta):
        if not timedelta() <= value < timedelta(days=1):
            return Cell.of(str(value), None, f"is {value}, which is no time of a day")
        value = (datetime.min + value).time()  # noqa: DTZ901 - only its time is taken
    if isinstance(value, time):
        return Cell.of(value.isoformat(), value)
    return str(value)


def _shows_time(number_format: str) -> bool:
    """Whether Excel shows a time of day by this format: it has hours or seconds."""
    letters = _NO_LETTERS.sub("", number_format).lower()
    return "h" in letters or "s" in letters
