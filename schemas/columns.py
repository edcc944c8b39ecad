"""Exact columns: money, times and optional numbers between NumPy and Arrow.

Money is a whole number of 1/10,000 in 64 bits; no float ever holds an amount.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headrace.schemas.events import END_YEAR, FIRST_YEAR, MONEY_PATTERN

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]

MONEY: Final = pa.decimal128(18, 4)
SAFE_UNITS: Final = 0.99e18
"""Amounts below 10^14 are below 10^18 units. A float sum is off by far less than one percent."""

_MONEY_TEXT: Final = f"^(?:{MONEY_PATTERN})$"
# Where a time ends and how many fraction digits it has, by its length.
_TIME_FORMS: Final = {20: (0, 1), 24: (3, 1), 27: (6, 1), 25: (0, 6), 29: (3, 6), 32: (6, 6)}
_SEPARATORS: Final = {4: b"-", 7: b"-", 10: b"T", 13: b":", 16: b":"}
_EARLIEST: Final = np.datetime64(f"{FIRST_YEAR}-01-01", "us").astype(np.int64)
_END: Final = np.datetime64(f"{END_YEAR}-01-01", "us").astype(np.int64)


def true_where(condition: pa.Array) -> Mask:
    """Return a mask that is true where the condition is; null is not true."""
    mask: Mask = pc.fill_null(condition, pa.scalar(value=False)).to_numpy(zero_copy_only=False)
    return mask


def nullable(values: NDArray[np.int64], given: Mask) -> pa.Array:
    """Return an Arrow array with nulls where nothing is given."""
    return pa.array(values, mask=~given)


def money_units(texts: pa.Array) -> tuple[NDArray[np.int64], Mask, Mask]:
    """Read decimal texts exactly.

    Returns:
        The amounts in 1/10,000 (0 where there is none), where there is one, and where a
        text is not in the plain form.
    """
    plain = pc.match_substring_regex(texts, _MONEY_TEXT)
    given = true_where(plain)
    odd = true_where(pc.invert(plain))
    if not given.any():
        return np.zeros(len(texts), dtype=np.int64), given, odd
    if odd.any():
        texts = pc.if_else(plain, texts, None)
    amounts = texts.cast(MONEY)
    # |amount| < 10^18 units, so the low of the two 64-bit words is the number itself.
    words = np.frombuffer(amounts.buffers()[1], dtype=np.int64)
    words = words[2 * amounts.offset : 2 * (amounts.offset + len(amounts)) : 2]
    return np.where(given, words, 0), given, odd


def decimals(units: NDArray[np.int64], given: Mask) -> pa.Array:
    """Return DECIMAL(18,4) from amounts in 1/10,000, null where nothing is given."""
    words = np.empty((len(units), 2), dtype=np.int64)
    words[:, 0] = units
    words[:, 1] = units >> 63
    validity = None if given.all() else pa.py_buffer(np.packbits(given, bitorder="little"))
    return pa.Array.from_buffers(MONEY, len(units), [validity, pa.py_buffer(words)])


def rfc3339_microseconds(texts: pa.Array) -> tuple[NDArray[np.int64], Mask]:
    """Read times such as 2026-03-01T09:30:00Z as microseconds of UTC since 1970.

    Returns:
        The microseconds, and where they are proved right. Rarer forms are left unproved.
    """
    moments = np.zeros(len(texts), dtype=np.int64)
    proved = np.zeros(len(texts), dtype=np.bool_)
    lengths = pc.fill_null(pc.binary_length(texts), 0).to_numpy()
    for length, (fraction, tail) in _TIME_FORMS.items():
        rows = np.flatnonzero(lengths == length)
        if len(rows):
            characters = _characters(texts, rows, length)
            moments[rows], proved[rows] = _one_form(characters, fraction, tail)
    return moments, proved


def _characters(texts: pa.Array, rows: NDArray[np.intp], length: int) -> NDArray[np.uint8]:
    same = texts if len(rows) == len(texts) else texts.take(pa.array(rows))
    _, offsets, content = same.buffers()
    start = np.frombuffer(offsets, dtype=np.int32)[same.offset]
    flat = np.frombuffer(content, dtype=np.uint8)[start : start + len(rows) * length]
    return flat.reshape(len(rows), length)


def _one_form(
    characters: NDArray[np.uint8], fraction: int, tail: int
) -> tuple[NDArray[np.int64], Mask]:
    """Read texts of one length: date, time, `fraction` digits, and Z or an offset."""
    digits = characters.astype(np.int64) - ord("0")
    is_digit = (digits >= 0) & (digits <= 9)  # noqa: PLR2004 - decimal digits
    end = characters.shape[1] - tail
    separators = dict(_SEPARATORS) | ({19: b"."} if fraction else {})
    proved = np.ones(len(characters), dtype=np.bool_)
    for place in range(end):
        expected = separators.get(place)
        proved &= is_digit[:, place] if expected is None else characters[:, place] == expected[0]

    def number(start: int, stop: int) -> NDArray[np.int64]:
        value = np.zeros(len(digits), dtype=np.int64)
        for place in range(start, stop):
            value = value * 10 + digits[:, place]
        return value

    days, real = _days(number(0, 4), number(5, 7), number(8, 10))
    hour, minute, second = number(11, 13), number(14, 16), number(17, 19)
    proved &= real & (hour < 24) & (minute < 60) & (second < 60)  # noqa: PLR2004 - a clock
    micros = number(20, end) * 10 ** (6 - fraction) if fraction else 0
    if tail == 1:
        proved &= characters[:, end] == ord("Z")
        offset: NDArray[np.int64] | int = 0
    else:
        sign = characters[:, end]
        proved &= ((sign == ord("+")) | (sign == ord("-"))) & (characters[:, end + 3] == ord(":"))
        for place in (end + 1, end + 2, end + 4, end + 5):
            proved &= is_digit[:, place]
        off_hour, off_minute = number(end + 1, end + 3), number(end + 4, end + 6)
        proved &= (off_hour < 24) & (off_minute < 60)  # noqa: PLR2004 - a clock
        offset = np.where(sign == ord("-"), -1, 1) * (off_hour * 60 + off_minute)
    minutes = (days * 24 + hour) * 60 + minute - offset
    moments = (minutes * 60 + second) * 1_000_000 + micros
    return moments, proved & (moments >= _EARLIEST) & (moments < _END)


def _days(
    year: NDArray[np.int64], month: NDArray[np.int64], day: NDArray[np.int64]
) -> tuple[NDArray[np.int64], Mask]:
    """Return days since 1970 and whether the calendar has that day."""
    months = (year - 1970) * 12 + month - 1
    first = months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    following = (months + 1).astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    real = (month >= 1) & (month <= 12) & (day >= 1) & (day <= following - first)  # noqa: PLR2004
    return first + day - 1, real
