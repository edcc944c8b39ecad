"""How a file writes its numbers. What could be read in two ways is refused, never guessed.

`1.249` is a price of 1.249 or of 1249; `2.000` pieces are 2 or 2000. A mark that a mapping names
has one meaning; a number that breaks it says which rule it breaks.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

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
    """

    decimal_mark: str | None = None
    thousands_mark: str = ""

    @property
    def mark(self) -> str:
        """The decimal mark, assumed or named."""
        return self.decimal_mark or "."

    def price(self, text: str) -> int:
        """A price in 1/10,000.

        Raises:
            ValueError: it is none, or could be read in two ways; says which rule it breaks.
        """
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
        amount = ten_thousandths(f"{sign}{whole}{'.' if mark else ''}{fraction}")
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
