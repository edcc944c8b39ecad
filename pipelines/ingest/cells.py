"""Cells of a workbook that hold something else than text, and what a field takes from them.

A number is its shortest exact decimal text. What has no exact text says why, to the field that
asks; in a column that nobody maps it spoils nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time
from decimal import Decimal
from typing import Final

_KEPT: Final = 10**15
"""Of a number with more digits, a workbook keeps the first 15 and makes the others 0."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A date, or a date and a time of day, on the clocks of a place that the cell does not say."""

    local: datetime
    has_time: bool


class Cell(str):
    """A cell that is no text; as a text it is what a message shows.

    Attributes:
        value: A decimal, a moment, a time of day; None: it has no value that could be used.
        problem: Then, why not.
    """

    __slots__ = ("problem", "value")
    value: Decimal | Moment | time | None
    problem: str

    @classmethod
    def of(cls, text: str, value: Decimal | Moment | time | None, problem: str = "") -> Cell:
        """A cell."""
        cell = cls(text)
        cell.value, cell.problem = value, problem
        return cell

    @classmethod
    def number(cls, number: float) -> Cell:
        """A number, by the shortest decimal text that is this float and no other."""
        exact = Decimal(repr(number))
        if not exact.is_finite() or abs(exact) >= _KEPT:
            shown = repr(number)
            return cls.of(
                shown, None, f"is {shown}, a number of more than 15 digits; keep it as text"
            )
        whole = exact == exact.to_integral_value()
        return cls.of(format(exact.to_integral_value() if whole else exact, "f"), exact)


def text_of(name: str, field: str) -> str:
    """What a field of text holds.

    Raises:
        ValueError: the cell is no text and no number.
    """
    if not isinstance(field, Cell):
        return field.strip()
    if isinstance(field.value, Decimal):
        return str(field)
    if field.value is not None:
        raise ValueError(f"{name} is a time in the workbook; make the column text, or map another")
    raise ValueError(f"{name} {field.problem}")


def is_number(field: str) -> bool:
    """Whether it is a typed number, which has a point and no other mark."""
    return isinstance(field, Cell) and isinstance(field.value, Decimal)
