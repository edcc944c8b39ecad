"""What the values of a file say of its marks and its dates, and where they leave two readings."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Final

from headrace.pipelines.ingest.delimited import money, shown
from headrace.pipelines.ingest.notation import Notation, Times

_LOOKED_AT: Final = 5_000
"""Different values, at most; each is tried with each of some hundred formats."""
_GROUPS: Final = ("", ".", ",", "'", "’", "\u00a0", "\u202f", " ")  # noqa: RUF001 - as it is typed
_MARKS: Final = (
    (None, ""), *((d, t) for d in (".", ",") for t in _GROUPS if t != d)
)  # fmt: skip
_NUMBER: Final = re.compile(r"-?[0-9][0-9.,'’\s]*", re.ASCII)  # noqa: RUF001 - as it is typed
_SPACES: Final = re.compile(r"-?[0-9.,'’\u00a0\u202f ]*[0-9]")  # noqa: RUF001 - as it is typed
_SIGN: Final = re.compile(r"^-?\s*([^\s\d.,'’()-]{1,4})\s*-?\d|\d\s*([^\s\d.,'’()-]{1,4})$")  # noqa: RUF001
_DAYS: Final = (
    "%d.%m.%Y", "%d.%m.%y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%d/%m/%y", "%m/%d/%y",
    "%d-%m-%y", "%m-%d-%y", "%y-%m-%d", "%y/%m/%d", "%y.%m.%d",
    "%Y/%m/%d", "%Y.%m.%d", "%d %b %Y", "%d %B %Y", "%b %d, %Y",
    "%B %d, %Y", "%d-%b-%Y", "%d-%b-%y",
)  # fmt: skip
_CLOCKS: Final = (
    "", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p", ", %H:%M", ", %H:%M:%S", " %H:%M:%S %z",
    " %H:%M %z", "T%H:%M:%S", " %H.%M",
)  # fmt: skip
_FORMATS: Final = ("iso", *(day + clock for day, clock in product(_DAYS, _CLOCKS)))


@dataclass(frozen=True)
class Reading:
    """What was found; `chosen` is None where it is not known, or where nothing needs to be said.

    Attributes:
        chosen: The only reading that fits.
        doubt: Why none could be chosen; empty: there is no doubt.
        notes: What a person should look at.
    """

    chosen: Any = None
    doubt: str = ""
    notes: list[str] = field(default_factory=list)


def signs_of(values: Collection[str]) -> list[str]:
    """The signs and codes of currencies that stand before or behind amounts."""
    found = (_SIGN.search(value) for value in values)
    signs = {match[1] or match[2] for match in found if match is not None}
    return sorted(sign for sign in signs if sign.isprintable())


def marks_of(values: Collection[str], sign: str) -> Reading:
    """The marks of the numbers: (decimal, thousands); (None, "") where the default is enough."""
    plain = {value: Notation(currency_sign=sign).without_sign(value) for value in values}
    numbers = [value for value, text in plain.items() if _SPACES.fullmatch(text)][:_LOOKED_AT]
    others = [value for value in values if value not in numbers and any(map(str.isdigit, value))]
    notes = [f"no amount, and will be rejected: {_some(others)}"] if others else []
    readings = {
        marks: found
        for marks in _MARKS
        if len(found := _read(numbers, Notation(*marks, sign).amount)) == len(numbers)
    }
    if not numbers:
        return Reading((None, ""), notes=notes)
    if not readings:
        return Reading(doubt=f"no marks read all of {_some(numbers)}", notes=notes)
    first, *rest = readings
    for other in rest:
        for value in numbers:
            one, two = readings[first][value], readings[other][value]
            if one != two:
                return Reading(doubt=f"{shown(value)} is {money(one)} or {money(two)}", notes=notes)
    return Reading(first, notes=notes)


def format_of(values: Collection[str]) -> Reading:
    """The format of the times, if only one reads them, or all that do read the same."""
    some = list(dict.fromkeys(values))[:_LOOKED_AT]
    if not some:
        return Reading(doubt="there is none in the file")
    fits = {form: found for form in _candidates(some) if (found := _read(some, Times(form).utc))}
    if not fits:
        return Reading(doubt=f"nothing known reads {_some(some)}")
    most = max(map(len, fits.values()))
    best = {form: found for form, found in fits.items() if len(found) == most}
    missed = [value for value in some if value not in next(iter(best.values()))]
    notes = [f"no time, and will be rejected: {_some(missed)}"] if missed else []
    if len(missed) > len(some) / 2:
        return Reading(doubt=f"nothing known reads most of {_some(some)}", notes=notes)
    first, *rest = best
    for other in rest:
        for value in best[first].keys() | best[other].keys():
            one, two = best[first].get(value), best[other].get(value)
            if one != two:
                told = " or ".join(
                    f"{time:%d %B %Y} by {form!r}"
                    for form, time in ((first, one), (other, two))
                    if time is not None
                )
                return Reading(doubt=f"{shown(value)} is {told}", notes=notes)
    return Reading(first, notes=notes)


def _candidates(values: list[str]) -> Iterator[str]:
    """The formats that read at least one of the first values."""
    whole = all("." not in value and "," not in value for value in values)
    for form in (*_FORMATS, "excel-date" if whole else "excel"):
        if _read(values[:50], Times(form).utc):
            yield form


def _read(values: list[str], read: Callable[[str], Any]) -> dict[str, Any]:
    """What a way to read makes of those values that it can read."""
    found = {}
    for value in values:
        try:
            found[value] = read(value)
        except (ValueError, OverflowError):
            continue
    return found


def _some(values: Collection[str]) -> str:
    """The first of some values, for a comment."""
    some = sorted(values, key=len)
    listed = ", ".join(map(shown, some[:3]))
    return f"{listed} and {len(some) - 3:,} more" if len(some) > 3 else listed  # noqa: PLR2004
