"""Strict JSON of one event: numbers keep their own text, repeated keys are noticed.

No input makes it crash: nesting is measured before anything recursive runs.
"""

from __future__ import annotations

import re
from collections import Counter
from hashlib import blake2b
from json import JSONDecodeError, JSONDecoder
from typing import NoReturn

from headrace.schemas.events import MAX_NESTING

WHITESPACE = b" \t\r\n"
"""What JSON calls whitespace; bytes.strip() would also take form feeds."""

# Matches an unterminated string to its end too: restarting at each escaped quote of one
# would take quadratic time.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_NUMBER = re.compile(r"(-?)([0-9]+)(?:\.([0-9]+))?(?:[eE]([+-]?)([0-9]+))?")


class NotJsonError(ValueError):
    """The bytes are not one strict JSON value. The message says why."""


class Number(str):
    """A JSON number, as the text it was written in."""

    __slots__ = ()


class JsonObject(dict[str, object]):
    """A JSON object that remembers which of its keys were given more than once."""

    __slots__ = ("repeated",)

    def __init__(self, pairs: list[tuple[str, object]]) -> None:
        super().__init__(pairs)
        self.repeated: frozenset[str] = frozenset()
        if len(self) != len(pairs):
            counted = Counter(key for key, _ in pairs)
            self.repeated = frozenset(key for key, times in counted.items() if times > 1)


def too_deep(line: bytes) -> bool:
    """Whether the line nests objects and arrays more than 64 levels deep."""
    if line.count(b"{") + line.count(b"[") <= MAX_NESTING:
        return False
    depth = 0
    for bracket in _STRING.sub(b"", line).translate(None, delete=_NOT_BRACKETS):
        depth += 1 if bracket in b"[{" else -1
        if depth > MAX_NESTING:
            return True
    return False


def parse(line: bytes) -> object:
    """Parse one line.

    Returns:
        None, bool, str, `Number`, list or `JsonObject`.

    Raises:
        NotJsonError: Not UTF-8, not JSON, NaN or infinity, or nested too deep.
    """
    return _decode(line, _STRICT)


def canonical(raw: str) -> object:
    """Return the content of a JSON text for comparison.

    Equal results mean equal content: key order, whitespace and the way a number is
    written (1.50 or 15e-1) do not matter; numbers are compared exactly.

    Raises:
        NotJsonError: It is not JSON.
    """
    return _decode(raw.encode(errors="surrogatepass"), _CANONICAL)


def same_content(raw_a: str, raw_b: str) -> bool:
    """Whether two JSON texts mean the same, whichever import run brought them."""
    return raw_a == raw_b or _content(raw_a) == _content(raw_b)


def _content(raw: str) -> object:
    found = canonical(raw)
    if isinstance(found, tuple) and found[0] == "object":
        return [pair for pair in found[1] if pair[0] != "importid"]
    return found


IMPORT_MARK = b'{"importid":"'
"""How an event line begins that an import run made. The run's id of 12 characters follows."""
_MARKED = len(IMPORT_MARK) + len('123456789abc",')


def hashed(line: bytes) -> bytes:
    """Return the 8 bytes of BLAKE2b that identify a line, without the mark of its import run."""
    return blake2b(unmarked(line), digest_size=8).digest()


def unmarked(line: bytes) -> bytes:
    """Return a line without the mark of its import run."""
    if line.startswith(IMPORT_MARK) and line[_MARKED - 2 : _MARKED] == b'",':
        return b"{" + line[_MARKED:]
    return line


def fingerprint(line: bytes) -> int:
    """Return 64 bits of BLAKE2b of the bytes, signed; the same on every machine, for ever."""
    return int.from_bytes(hashed(line), "big", signed=True)


def _decode(line: bytes, decoder: JSONDecoder) -> object:
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise NotJsonError(f"byte {error.start} is not UTF-8") from None
    if too_deep(line):
        raise NotJsonError(f"it is nested more than {MAX_NESTING} levels deep")
    try:
        return decoder.decode(text)
    except JSONDecodeError as error:
        raise NotJsonError(f"it is not JSON: {error.msg} at character {error.pos}") from None


def _no_constant(name: str) -> NoReturn:
    raise NotJsonError(f"it is not JSON: {name} is not a JSON number")


def _canonical_object(pairs: list[tuple[str, object]]) -> object:
    return ("object", sorted(pairs, key=lambda pair: pair[0]))


def _canonical_number(text: str) -> object:
    """Return sign, digits and power of ten without arithmetic on a huge exponent."""
    match = _NUMBER.fullmatch(text)
    if match is None:  # the decoder hands over JSON numbers only
        raise NotJsonError(f"{text} is not a JSON number")
    sign, whole, fraction, exponent_sign, exponent = match.groups(default="")
    digits = (whole + fraction).lstrip("0")
    if not digits:
        return ("number", "", "", 0)
    kept = digits.rstrip("0")
    exponent, exponent_sign = exponent.lstrip("0"), exponent_sign.replace("+", "")
    if len(exponent) > 18:  # noqa: PLR2004 - beyond any line's length: compare it as text
        return ("number", sign, kept, f"{exponent_sign}{exponent}")
    power = int(f"{exponent_sign}{exponent or 0}")
    return ("number", sign, kept, power - len(fraction) + len(digits) - len(kept))


_STRICT = JSONDecoder(
    object_pairs_hook=JsonObject,
    parse_float=Number,
    parse_int=Number,
    parse_constant=_no_constant,
)
_CANONICAL = JSONDecoder(
    object_pairs_hook=_canonical_object,
    parse_float=_canonical_number,
    parse_int=_canonical_number,
    parse_constant=_no_constant,
)
