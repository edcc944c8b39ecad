"""Finds the lines that are safe to hand to Arrow's JSON reader, without parsing them.

What is kept starts and ends with a brace, is valid UTF-8 on one line, is not nested deep,
and has no NaN. Lines left out are not bad: they are only not for the fast path.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from headrace.schemas.events import MAX_NESTING
from headrace.schemas.strict_json import too_deep

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]

# Arrow reads these as numbers; JSON has no such numbers. A line break would shift all rows.
_REFUSED: Final = (b"NaN", b"Inf", b"\n")


def screen(lines: Sequence[bytes], longest: int) -> Mask:
    """Mark the lines that Arrow may read.

    Args:
        lines: Lines without whitespace around them.
        longest: The most bytes a line may have.
    """
    lengths = np.fromiter(map(len, lines), dtype=np.int64, count=len(lines))
    ends = np.cumsum(lengths)
    starts = ends - lengths
    joined = b"".join(lines)
    content = np.frombuffer(joined, dtype=np.uint8)
    kept: Mask = (lengths > 1) & (lengths <= longest)
    kept[kept] &= (content[starts[kept]] == ord("{")) & (content[ends[kept] - 1] == ord("}"))
    for token in _REFUSED:
        kept[np.searchsorted(ends, _places(content, token), side="right")] = False
    openers = np.flatnonzero((content & 0xDF) == ord("["))  # 0xDF folds { into [
    counts = np.diff(np.searchsorted(openers, np.append(starts, len(content))))
    for row in np.flatnonzero(counts > MAX_NESTING).tolist():
        kept[row] &= not too_deep(lines[row])
    # A line between braces starts and ends at a character's edge, so one test does for all.
    if not _is_utf8(joined):
        kept &= np.fromiter(map(_is_utf8, lines), dtype=np.bool_, count=len(lines))
    return kept


def _places(content: NDArray[np.uint8], token: bytes) -> NDArray[np.intp]:
    """Find a token; one pass over the bytes is three times as fast as `bytes.find`."""
    places = np.flatnonzero(content[: max(len(content) - len(token) + 1, 0)] == token[0])
    for distance, byte in enumerate(token[1:], start=1):
        places = places[content[places + distance] == byte]
    return places


def _is_utf8(text: bytes) -> bool:
    if text.isascii():
        return True
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
