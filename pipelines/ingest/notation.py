"""How a file writes numbers and times. What could be read in two ways is refused, never guessed.

`1.249` is a price of 1.249 or of 1249; `2.000` pieces are 2 or 2000. A mark that a mapping names
has one meaning; a number that breaks it says which rule it breaks.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Final, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass as pydantic_dataclass

from headrace.pipelines.ingest.delimited import ten_thousandths

LARGEST_QUANTITY: Final = 2_147_483_647
_GROUP: Final = 3  # digits between two thousands marks, and what a price may not have after a guess
_DIGITS: Final = re.compile(r"[0-9]+", re.ASCII)
_WHOLE: Final = re.compile(r"(-?)([0-9]{1,10})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Notation:
    """The marks of a file's numbers.

    Attributes:
        decimal_mark: `.` or `,`; None: `.` is assumed, and what could also be a thousands mark
            is refused.
        thousands_mark: between groups of three digits; empty: there is none.
        currency_sign: what may stand before or behind an amount; empty: nothing may.
    """

    decimal_mark: str | None = None
    thousands_mark: str = ""
    currency_sign: str = ""

    @property
    def mark(self) -> str:
        """The decimal mark, assumed or named."""
        return self.decimal_mark or "."

    def amount(self, text: str) -> int:
        """An amount of money in 1/10,000.

        Raises:
            ValueError: it is none, or could be read in two ways; says which rule it breaks.
        """
        text = self.without_sign(text) if self.currency_sign else text
        sign = "-" if text.startswith("-") else ""
        whole, mark, fraction = text.removeprefix("-").partition(self.mark)
        if mark and not _DIGITS.fullmatch(fraction):
            raise ValueError(f"after {self.mark!r} only digits may stand")
        if self.thousands_mark and self.thousands_mark in whole:
            whole = self._grouped(whole)
        if self.decimal_mark is None and len(fraction) == _GROUP:
            raise ValueError(
                f"{text} can be {whole}.{fraction} or {whole}{fraction}; say decimal_mark or "
                "thousands_mark in the mapping"
            )
        # A mark that the mapping does not name is no digit: `7.50` is no price of decimal commas.
        sound = _DIGITS.fullmatch(whole)
        amount = sound and ten_thousandths(f"{sign}{whole}{'.' if mark else ''}{fraction}")
        if amount is None:
            raise ValueError(
                f"it must be a decimal with at most 14 digits before {self.mark!r} and 4 after it"
            )
        return amount

    def quantity(self, text: str) -> int:
        """A number of pieces. No mark may stand in it, but for `.0` or `.00` behind it.

        Raises:
            ValueError: it is none, or could be read in two ways; says which rule it breaks.
        """
        plain = re.sub(rf"{re.escape(self.mark)}0{{1,2}}$", "", text)
        found = _WHOLE.fullmatch(plain)
        if found is None or not 0 < int(found[2]) <= LARGEST_QUANTITY:
            raise ValueError(
                f"it must be a whole number, not 0, up to {LARGEST_QUANTITY}, without any mark"
            )
        return int(plain)

    def without_sign(self, text: str) -> str:
        """The amount without a sign at its beginning or end."""
        minus, rest = ("-", text[1:].lstrip()) if text.startswith("-") else ("", text)
        if rest.startswith(self.currency_sign):
            return minus + rest.removeprefix(self.currency_sign).lstrip()
        return minus + rest.removesuffix(self.currency_sign).rstrip()

    def _grouped(self, whole: str) -> str:
        """The digits of groups of three. `0.500` is half of something in most files, not 500."""
        first, *others = whole.split(self.thousands_mark)
        sound = all(_DIGITS.fullmatch(each) and len(each) == _GROUP for each in others)
        if not sound or not _DIGITS.fullmatch(first) or len(first) > _GROUP or first[0] == "0":
            raise ValueError(
                f"the thousands mark {self.thousands_mark!r} must stand between groups of three "
                f"digits, such as 1{self.thousands_mark}249"
            )
        return whole.replace(self.thousands_mark, "")


_FIRST_YEAR: Final = 1970
_END_YEAR: Final = 2262
_SURE: Final = 2000
"""From here on, a year of two digits is the only one that the contract would take."""
_NOON: Final = time(12)
_UTC: Final = ZoneInfo("UTC")
_NAMED: Final = ("iso", "excel", "excel-date")
_SERIAL: Final = re.compile(r"[0-9]{1,6}([.,][0-9]{1,20})?", re.ASCII)
_EXCEL_ZERO: Final = datetime(1899, 12, 30)  # noqa: DTZ001 - on the clocks of the mapping's zone
_MILLISECONDS: Final = 86_400_000
_DIRECTIVE: Final = re.compile(r"%[A-Za-z%]")
_OF_DAY: Final = frozenset({"%H", "%I", "%M", "%S", "%f", "%p", "%c", "%X", "%s"})
_TOUCHING: Final = re.compile(r"%[dmyYHIMSjf]%[dmyYHIMSjf]")


def checked_format(text: str) -> str:
    """A format of times, if what it reads has one meaning.

    Raises:
        ValueError: it has not: twelve hours without am or pm, or a zone by its name.
    """
    used = set(_DIRECTIVE.findall(text))
    if text not in _NAMED and (not used or "%Z" in used or ("%I" in used and "%p" not in used)):
        raise ValueError(text)
    return text


@pydantic_dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid"))
class Times:
    """How a file writes its times.

    Attributes:
        format: `iso`, or letters of Python's `strptime`; `excel`: days since 1899-12-30 with a
            fraction for the time of day; `excel-date`: such days, whole.
        zone: of times that do not say theirs.
        twice: which one a local time means that came twice; `reject`: nobody knows.
    """

    format: Annotated[str, Field(min_length=1), AfterValidator(checked_format)] = "iso"
    zone: ZoneInfo = field(default_factory=lambda: _UTC)
    twice: Literal["reject", "first", "second"] = "reject"

    def utc(self, text: str, days: ZoneInfo = _UTC) -> datetime:
        """A time of the file in UTC. A date without a time is that day in UTC and in `days`.

        It is noon in UTC. Where that is another day already, as in Auckland, it is noon in `days`.

        Raises:
            ValueError: it does not fit the format, can be read in two ways, never was on a clock in
                the zone, or lies outside the years that the contract takes.
        """
        return self.utc_of(*self.read(text), days)

    def utc_of(
        self,
        local: datetime,
        has_time: bool,  # noqa: FBT001 - what is parsed
        days: ZoneInfo = _UTC,
    ) -> datetime:
        """The same of a time that is read already, and whether it is more than a date.

        Raises:
            ValueError: as for `utc`.
        """
        if not has_time:
            result = datetime.combine(local.date(), _NOON, UTC)
            if result.astimezone(days).date() != local.date():
                result = datetime.combine(local.date(), _NOON, days).astimezone(UTC)
        elif local.tzinfo is not None:
            result = local.astimezone(UTC)
        else:
            result = self._in_zone(local)
        if not _FIRST_YEAR <= result.year < _END_YEAR:
            raise ValueError(f"it must lie from {_FIRST_YEAR} to before {_END_YEAR}")
        return result

    def read(self, text: str) -> tuple[datetime, bool]:
        """What is written, and whether that is more than a date."""
        if self.format == "iso":
            try:
                return datetime.combine(date.fromisoformat(text), time()), False
            except ValueError:
                return datetime.fromisoformat(text), True
        if self.format in _NAMED:
            return self._serial(text)
        # Without a zone in the text, the mapping's is set later.
        parsed = datetime.strptime(text, self.format)  # noqa: DTZ007
        if _TOUCHING.search(self.format) and parsed.strftime(self.format) != text:
            raise ValueError(
                "digits of two parts touch, so each part must have all its digits, such as 01"
            )
        if "%y" in self.format and parsed.year < _SURE:
            raise ValueError(
                f"its year can be {parsed.year} or {parsed.year + 100}; write all four"
            )
        return parsed, not _OF_DAY.isdisjoint(_DIRECTIVE.findall(self.format))

    def _serial(self, text: str) -> tuple[datetime, bool]:
        """A serial number of Excel, which keeps times to the millisecond."""
        if not _SERIAL.fullmatch(text):
            raise ValueError("it is no serial number of Excel, such as 46082.5")
        days = Decimal(text.replace(",", "."))
        if self.format == "excel-date":
            if days != int(days):
                raise ValueError('it is no whole day; say format = "excel" if times are meant')
            return _EXCEL_ZERO + timedelta(days=int(days)), False
        return _EXCEL_ZERO + timedelta(milliseconds=round(days * _MILLISECONDS)), True

    def _in_zone(self, local: datetime) -> datetime:
        first, second = (local.replace(tzinfo=self.zone, fold=f).astimezone(UTC) for f in (0, 1))
        if first.astimezone(self.zone).replace(tzinfo=None) != local:
            raise ValueError(f"no clock in {self.zone.key} ever showed it (summer time began)")
        if first != second and self.twice == "reject":
            raise ValueError(
                f"clocks in {self.zone.key} showed it twice (summer time ended); say which one is "
                'meant: twice = "first" or "second" in [time]'
            )
        return second if self.twice == "second" else first
