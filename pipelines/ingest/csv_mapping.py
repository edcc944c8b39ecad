"""How the columns of somebody's CSV files become order events: a TOML file, checked in full.

A mapping that loads has every key it needs, of the right type, and none that means nothing.
"""

from __future__ import annotations

import codecs
import re
import tomllib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import TYPE_CHECKING, Literal, NoReturn, TypeAlias
from zoneinfo import ZoneInfo

from headrace.pipelines.errors import ContractError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

NegativeQuantity: TypeAlias = Literal["return", "reject"]

REQUIRED_COLUMNS = ("order_id", "time", "product_id", "quantity", "unit_price")
OPTIONAL_COLUMNS = ("customer_id", "currency", "country", "channel")
CONSTANTS = ("currency", "country", "channel")
_TOP = (
    "source", "encoding", "delimiter", "quote", "decimal_mark", "thousands_mark",
    "negative_quantity", "paid", "columns", "constants", "time",
)  # fmt: skip
_FIRST_YEAR, _END_YEAR = 1970, 2262
_CURRENCY = re.compile(r"[A-Z]{3}")


@dataclass(frozen=True, slots=True, kw_only=True)
class CsvMapping:
    """What stands where in the files, and how it is written.

    Attributes:
        columns: For each event field its column's name in the header.
        constants: Fields that are the same in every row.
        source: The CloudEvents `source` of the events.
        time_format: `iso`, or a format of Python's `strptime`.
        zone: The zone of times that do not say theirs.
        encoding: A codec of Python's; `utf-8-sig` is UTF-8 with or without a mark.
        delimiter: Between fields, one character.
        quote: Around fields, one character; empty: nothing is quoted.
        decimal_mark: `.` or `,`.
        thousands_mark: Is taken out of numbers; may be empty.
        negative_quantity: `return`: goods that came back; `reject`: a row that is wrong.
        paid: Whether an order is booked as paid in full when it is placed.
    """

    columns: Mapping[str, str]
    constants: Mapping[str, str] = field(default_factory=dict)
    source: str = "csv/import"
    time_format: str = "iso"
    zone: ZoneInfo = field(default_factory=lambda: ZoneInfo("UTC"))
    encoding: str = "utf-8-sig"
    delimiter: str = ","
    quote: str = '"'
    decimal_mark: str = "."
    thousands_mark: str = ""
    negative_quantity: NegativeQuantity = "return"
    paid: bool = False

    @classmethod
    def load(cls, toml_path: Path) -> CsvMapping:
        """Read a mapping file, see `docs/guides/csv-import.md`.

        Raises:
            ContractError: the file cannot be read, or a key is missing, unknown or wrong. The
                message names file, key and remedy.
        """
        try:
            document = tomllib.loads(toml_path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ContractError(
                f"cannot read the mapping {toml_path}: {error}; "
                "docs/guides/csv-import.md has one to start from"
            ) from error
        return _Reader(toml_path, document).mapping()

    def utc(self, text: str) -> datetime:
        """A time of the file in UTC. A local time that came twice is taken as the first.

        Raises:
            ValueError: it does not fit the format, never was on a clock in the zone, or lies
                outside the years that the contract takes.
        """
        if self.time_format == "iso":
            parsed = datetime.fromisoformat(text)
        else:
            # Without a zone in the text, the mapping's is set right below.
            parsed = datetime.strptime(text, self.time_format)  # noqa: DTZ007
        result = parsed.replace(tzinfo=parsed.tzinfo or self.zone).astimezone(UTC)
        if parsed.tzinfo is None and result.astimezone(self.zone).replace(tzinfo=None) != parsed:
            raise ValueError(f"no clock in {self.zone.key} ever showed it (summer time began)")
        if not _FIRST_YEAR <= result.year < _END_YEAR:
            raise ValueError(f"it must lie from {_FIRST_YEAR} to before {_END_YEAR}")
        return result


class _Reader:
    """Takes a mapping document apart, and knows its file for the messages."""

    def __init__(self, path: Path, document: dict[str, object]) -> None:
        self._path = path
        self._document = document

    def mapping(self) -> CsvMapping:
        document = self._document
        self._known("", document, _TOP)
        columns = self._table("columns", (*REQUIRED_COLUMNS, *OPTIONAL_COLUMNS))
        constants = self._table("constants", CONSTANTS)
        time = self._table("time", ("format", "zone"))
        self._check_fields(columns, constants)
        delimiter, quote = self._separators()
        decimal_mark, thousands_mark = self._marks()
        return CsvMapping(
            columns=columns,
            constants=constants,
            source=self._text("source", f"csv/{self._path.stem}", longest=1_024),
            time_format=time.get("format", "iso"),
            zone=self._zone(time.get("zone", "UTC")),
            encoding=self._encoding(),
            delimiter=delimiter,
            quote=quote,
            decimal_mark=decimal_mark,
            thousands_mark=thousands_mark,
            negative_quantity=self._negative_quantity(),
            paid=self._paid(),
        )

    def _check_fields(self, columns: Mapping[str, str], constants: Mapping[str, str]) -> None:
        for name in REQUIRED_COLUMNS:
            if name not in columns:
                self._wrong(f"columns.{name}", "is missing", f'add {name} = "COLUMN" to [columns]')
        for name in constants:
            if name in columns:
                self._wrong(f"constants.{name}", "is also a column", "remove one of the two")
        if "currency" not in columns and _CURRENCY.fullmatch(constants.get("currency", "")) is None:
            self._wrong(
                "constants.currency",
                f"is {constants.get('currency', 'missing')!r}, and there is no currency column",
                'give a code such as "EUR" in [constants], or columns.currency',
            )

    def _table(self, name: str, allowed: tuple[str, ...]) -> dict[str, str]:
        table = self._document.get(name, {})
        if not isinstance(table, dict):
            self._wrong(name, f"is {table!r}", f"write it as a table: [{name}]")
        self._known(f"{name}.", table, allowed)
        for key, value in table.items():
            if not isinstance(value, str) or not value:
                self._wrong(f"{name}.{key}", f"is {value!r}", "give a text that is not empty")
        return dict(table)

    def _known(self, prefix: str, table: dict[str, object], allowed: tuple[str, ...]) -> None:
        for key in table:
            if key not in allowed:
                close = get_close_matches(key, allowed, n=1)
                remedy = f"did you mean {close[0]}?" if close else f"known are {', '.join(allowed)}"
                self._wrong(f"{prefix}{key}", "is not a key of a mapping", remedy)

    def _text(self, key: str, default: str, *, shortest: int = 1, longest: int) -> str:
        value = self._document.get(key, default)
        if not isinstance(value, str) or not shortest <= len(value) <= longest:
            length = f"{shortest} to {longest}" if shortest < longest else f"{longest}"
            self._wrong(key, f"is {value!r}", f"give a text of {length} character(s)")
        return value

    def _separators(self) -> tuple[str, str]:
        delimiter = self._text("delimiter", ",", longest=1)
        quote = self._text("quote", '"', shortest=0, longest=1)
        for key, mark in (("delimiter", delimiter), ("quote", quote)):
            if mark in {"\r", "\n", " "}:
                self._wrong(key, f"is {mark!r}", "give a character that is no space or line end")
        if delimiter == quote:
            self._wrong("quote", "is the delimiter too", "change one of the two")
        return delimiter, quote

    def _marks(self) -> tuple[str, str]:
        decimal = self._text("decimal_mark", ".", longest=1)
        thousands = self._text("thousands_mark", "", shortest=0, longest=1)
        if decimal not in {".", ","}:
            self._wrong("decimal_mark", f"is {decimal!r}", 'give "." or ","')
        if thousands == decimal:
            self._wrong("thousands_mark", "is the decimal mark too", "change one of the two")
        return decimal, thousands

    def _zone(self, name: str) -> ZoneInfo:
        try:
            return ZoneInfo(name)
        except (OSError, ValueError, KeyError):
            self._wrong("time.zone", f"is {name!r}", 'give a zone such as "Europe/Berlin" or "UTC"')

    def _encoding(self) -> str:
        name = self._text("encoding", "utf-8", longest=64)
        try:
            known = codecs.lookup(name).name
        except LookupError:
            self._wrong("encoding", f"is {name!r}", 'give one such as "utf-8" or "cp1252"')
        return "utf-8-sig" if known == "utf-8" else known

    def _negative_quantity(self) -> NegativeQuantity:
        value = self._document.get("negative_quantity", "return")
        if value not in ("return", "reject"):
            self._wrong("negative_quantity", f"is {value!r}", 'give "return" or "reject"')
        return "return" if value == "return" else "reject"

    def _paid(self) -> bool:
        value = self._document.get("paid", False)
        if not isinstance(value, bool):
            self._wrong("paid", f"is {value!r}", "give true or false")
        return value

    def _wrong(self, key: str, fact: str, remedy: str) -> NoReturn:
        raise ContractError(f"mapping {self._path}: {key} {fact}; {remedy}")
