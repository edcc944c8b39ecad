"""Time zones: since when a zone's clocks differ from UTC by how much, as one table of numbers.

Guarantees: the rules are those of the package `tzdata`, never those of the machine, of DuckDB or of
Java, which each carry their own; the same package gives the same table everywhere. Columns are UTC
and lie in the years of the contract, and so does the table.
"""

from __future__ import annotations

import difflib
import hashlib
import io
import struct
from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property
from importlib import resources
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

from headrace.schemas.events import END_YEAR, FIRST_YEAR

if TYPE_CHECKING:
    from collections.abc import Iterator

DEFAULT: Final = "UTC"
_END: Final = int(datetime(END_YEAR, 1, 1, tzinfo=UTC).timestamp())
_START: Final = int(datetime(FIRST_YEAR, 1, 1, tzinfo=UTC).timestamp())
_STEP: Final = 7 * 86_400
"""Seconds from one look to the next where a zone goes on by a yearly rule: no summer is shorter."""


class UnknownZoneError(ValueError):
    """There is no zone of that name; the message names the nearest ones."""


@dataclass(frozen=True)
class ZoneRules:
    """How a zone's clocks differ from UTC.

    Attributes:
        name: of the zone, such as `Europe/Berlin`.
        starts: the moments at which that changes, in seconds since 1970, ascending.
        shifts: seconds to add to UTC: before the first of them, and from each on.
    """

    name: str
    starts: tuple[int, ...]
    shifts: tuple[int, ...]

    @cached_property
    def version(self) -> str:
        """8 hex digits that change when the rules do, and only then."""
        return hashlib.sha256(repr((self.starts, self.shifts)).encode()).hexdigest()[:8]

    def shift_at(self, moment: int) -> int:
        """Seconds to add to UTC at a moment, in seconds since 1970."""
        return self.shifts[bisect_right(self.starts, moment)]

    def as_json(self) -> dict[str, Any]:
        """As a generation keeps them."""
        return {"starts": list(self.starts), "shifts": list(self.shifts)}

    @classmethod
    def of_json(cls, name: str, told: dict[str, Any]) -> ZoneRules:
        """The same again."""
        return cls(name, tuple(told["starts"]), tuple(told["shifts"]))


@cache
def names() -> frozenset[str]:
    """All zones that the package has."""
    return frozenset(_package().joinpath("zones").read_text(encoding="utf-8").split())


def check(name: str) -> str:
    """The name, if there is such a zone.

    Raises:
        UnknownZoneError: there is none; names the nearest ones.
    """
    if name in names():
        return name
    by_lower = {known.lower(): known for known in sorted(names())}
    by_city = {known.rpartition("/")[2]: known for known in by_lower}
    wanted = name.strip().lower().replace(" ", "_")
    close = [by_lower[wanted]] if wanted in by_lower else []
    if not close and wanted in by_city:
        close = [by_lower[by_city[wanted]]]
    if not close:
        close = [by_lower[n] for n in difflib.get_close_matches(wanted, by_lower, n=3)]
    hint = f"; did you mean {' or '.join(close)}?" if close else ", such as Europe/Berlin"
    raise UnknownZoneError(f"is no time zone that tzdata knows{hint}")


@cache
def rules(name: str) -> ZoneRules:
    """The rules of a zone, from the package.

    Raises:
        UnknownZoneError: there is no such zone.
    """
    zone, data = clock(name), _data(name)
    starts: list[int] = []
    shifts = [_shift(zone, _START)]
    for moment in _moments(zone, data):
        shift = _shift(zone, moment)
        if _START < moment < _END and shift != shifts[-1]:
            starts.append(moment)
            shifts.append(shift)
    return ZoneRules(name, tuple(starts), tuple(shifts))


def clock(name: str) -> ZoneInfo:
    """Python's own reading of the package's file: what a table of rules can be held against.

    Raises:
        UnknownZoneError: there is no such zone.
    """
    return ZoneInfo.from_file(io.BytesIO(_data(check(name))), key=name)


def _package() -> Any:
    return resources.files("tzdata")


def _data(name: str) -> bytes:
    found: bytes = _package().joinpath("zoneinfo", *name.split("/")).read_bytes()
    return found


def _moments(zone: ZoneInfo, data: bytes) -> Iterator[int]:
    """All moments at which the zone may change: those that its file lists, then by its rule."""
    listed = _listed(data)
    yield from listed
    if b"," not in data.rpartition(b"\n")[0].rpartition(b"\n")[2]:
        return  # no rule that goes on for ever
    here = max(listed[-1] if listed else _START, _START)
    while here < _END:
        after = here + _STEP
        if _shift(zone, after) != _shift(zone, here):
            yield _change(zone, here, after)
        here = after


def _change(zone: ZoneInfo, low: int, high: int) -> int:
    """The first moment with another shift than `low` has; `high` has one."""
    before = _shift(zone, low)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _shift(zone, middle) == before else (low, middle)
    return high


def _shift(zone: ZoneInfo, moment: int) -> int:
    offset = datetime.fromtimestamp(moment, zone).utcoffset()
    return (offset or timedelta()) // timedelta(seconds=1)


_HEADER: Final = 44


def _listed(data: bytes) -> list[int]:
    """The transition times of a TZif file (RFC 9636), of its part with 64 bits a time."""
    is_ut, is_std, leaps, times, types, letters = struct.unpack(">6l", data[20:_HEADER])
    second = _HEADER + times * 5 + types * 6 + letters + leaps * 8 + is_std + is_ut
    count = struct.unpack(">6l", data[second + 20 : second + _HEADER])[3]
    begin = second + _HEADER
    return list(struct.unpack(f">{count}q", data[begin : begin + 8 * count]))
