"""Opens a file that nobody has described: its encoding, delimiter, header, and the rows below."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from headrace.pipelines.errors import ContractError
from headrace.pipelines.ingest.delimited import Record, TextFile, shown
from headrace.pipelines.ingest.guess_words import known
from headrace.pipelines.ingest.inputs import read_all
from headrace.pipelines.ingest.table import is_blank
from headrace.pipelines.ingest.workbook import MAGIC, Workbook, sheets_of

_DELIMITERS: Final = (",", ";", "\t", "|")
_TITLES: Final = 100
"""Lines among which the header is looked for."""
_MARKED: Final = (
    (b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe\x00\x00", "utf-32"), (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"),
)  # fmt: skip
_FEW: Final = 2


@dataclass
class Sample:
    """A file, opened.

    Attributes:
        names: Of the columns.
        rows: Below the header, each as wide as it. Others are only counted.
        keys: What is known of the mapping.
        doubts: What is not: for a key, what it could be, and why.
        notes: What a person should know.
    """

    names: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
    keys: dict[str, object] = field(default_factory=dict)
    doubts: dict[str, tuple[str, str]] = field(default_factory=dict)
    notes: dict[str, list[str]] = field(default_factory=dict)

    def note(self, key: str, text: str) -> None:
        """Say something about a key."""
        self.notes.setdefault(key, []).append(text)

    def values(self, column: str) -> list[str]:
        """The fields of a column."""
        place = self.names.index(column)
        return [row[place] for row in self.rows]


def sample(path: Path) -> Sample:
    """Open a file.

    Raises:
        UsageError: it cannot be opened.
        ContractError: it is no text in columns and no workbook.
    """
    content = read_all(path, None, workbook=True)
    found = Sample()
    if content.startswith(MAGIC):
        records = _sheet(path, content, found)
        padded = True
    else:
        records, padded = _text(path, content, found), False
    at = _header(records, found)
    found.names = [name.strip() for name in records[at].fields]
    width = len(found.names)
    below = [record for record in records[at + 1 :] if not is_blank(record)]
    for record in below:
        fields = record.fields
        if padded and len(fields) < width:
            fields = fields + [""] * (width - len(fields))
        if len(fields) == width and record.problem is None:
            found.rows.append(fields)
    wrong = len(below) - len(found.rows)
    if wrong:
        found.note("", f"{wrong:,} rows have not as many fields as the header: they are rejected")
    again = [r.first + 1 for r in below if [name.strip() for name in r.fields] == found.names]
    if again:
        found.note("", f"line {again[0]} is the header again: it is rejected as a row")
    return found


def _sheet(path: Path, content: bytes, found: Sample) -> list[Record]:
    """The sheet that looks most like orders."""
    names = sheets_of(path, content)
    sheets = {name: list(Workbook(path, content, name).records()) for name in names}
    scores = {name: _score(records) for name, records in sheets.items()}
    best = max(names, key=scores.__getitem__)
    if len(names) > 1:
        listed = ", ".join(map(repr, names))
        if [score for score in scores.values() if score > _FEW] == [scores[best]]:
            found.keys["sheet"] = best
            found.note("sheet", f"of {listed} the only one with columns of orders")
        else:
            found.doubts["sheet"] = (f'"{best}"', f"one of {listed}; what follows is of {best!r}")
    if not any(not is_blank(record) for record in sheets[best]):
        raise ContractError(f"{path} is empty; there is nothing to guess from")
    return sheets[best]


def _text(path: Path, content: bytes, found: Sample) -> list[Record]:
    """The records by the delimiter that gives the most columns that are known."""
    encoding = _encoding(path, content, found)
    cut = {
        delimiter: list(TextFile(path, encoding, content, delimiter=delimiter).records())
        for delimiter in _DELIMITERS
    }
    if all(is_blank(record) for record in cut[","]):
        raise ContractError(f"{path} is empty; there is nothing to guess from")
    scores = {mark: (_score(records), _width(records)) for mark, records in cut.items()}
    best = max(_DELIMITERS, key=scores.__getitem__)
    if max(scores[best]) < _FEW:
        raise ContractError(
            f"no delimiter (comma, semicolon, tab or |) cuts the lines of {path} into columns; is "
            "it a file of orders?"
        )
    found.keys["delimiter"] = best
    if [score for score in scores.values() if score[0] == scores[best][0] > 0] != [scores[best]]:
        found.note("delimiter", "not sure: no column has a known name, or two delimiters give some")
    broken = sum(record.problem is not None for record in cut[best])
    if broken:
        found.note("delimiter", f'{broken:,} lines have a quote too many: is quote = "" right?')
    return cut[best]


def _encoding(path: Path, content: bytes, found: Sample) -> str:
    for mark, name in _MARKED:
        if content.startswith(mark):
            found.keys["encoding"] = name
            return "utf-8-sig" if name == "utf-8" else name
    head = content[:4096]
    if head.count(0) * 4 > len(head):
        halves = head[0::2].count(0), head[1::2].count(0)
        name = "utf-16-be" if halves[0] > halves[1] else "utf-16-le"
        if min(halves) * 10 > max(halves):
            raise ContractError(f"{path} is no text: many of its bytes are 0")
        found.keys["encoding"] = name
        found.note("encoding", "it has no mark at its beginning, but every second byte is 0")
        return name
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return _of_one_byte(content, found)
    found.keys["encoding"] = "utf-8"
    return "utf-8"


def _of_one_byte(content: bytes, found: Sample) -> str:
    """It is not UTF-8; which of the many others it is, no file says."""
    text = content.decode("utf-8", errors="surrogateescape")
    bad = sum("\udc80" <= letter <= "\udcff" for letter in text)
    good = sum(letter > "\x7f" for letter in text) - bad
    if good > bad:
        found.keys["encoding"] = "utf-8"
        found.note("encoding", f"{bad:,} bytes of it are not; a field with one is rejected")
        return "utf-8"
    try:
        read = content.decode("cp1252")
    except UnicodeDecodeError:
        found.doubts["encoding"] = ('"cp437"', "it is not UTF-8 and not cp1252")
        return "latin-1"
    found.keys["encoding"] = "cp1252"
    words = sorted({word for word in read.split() if not word.isascii()}, key=len)[:3]
    listed = ", ".join(map(shown, words))
    found.note("encoding", f"not sure: it is not UTF-8. Are these words right? {listed}")
    return "cp1252"


def _header(records: Sequence[Record], found: Sample) -> int:
    """Which record is the header."""
    scores = [known([str(name) for name in r.fields]) for r in records[:_TITLES]]
    top = max(scores)
    if top < _FEW:
        width = _width(records)
        at = next(i for i, r in enumerate(records) if len(r.fields) == width)
        found.note("header", "not sure: no line has names of columns that are known")
    else:
        at = scores.index(top)
    line = records[at].first + 1
    same = [i for i, score in enumerate(scores) if score == top >= _FEW]
    others = [i for i in same if records[i].fields != records[at].fields]
    if others:
        second = records[others[0]].first + 1
        found.doubts["header"] = (str(line), f"it could be line {line} or {second}")
    elif line > 1:
        found.keys["header"] = line
    return at


def _score(records: Sequence[Record]) -> int:
    """How many fields of an order the best line names."""
    return max((known([str(name) for name in r.fields]) for r in records[:_TITLES]), default=0)


def _width(records: Sequence[Record]) -> int:
    """How many fields most records have."""
    widths = Counter(len(record.fields) for record in records if not is_blank(record))
    return widths.most_common(1)[0][0] if widths else 0
