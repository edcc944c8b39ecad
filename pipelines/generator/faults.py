"""What goes wrong between an event and the log: late, twice, out of order, or not an event.

No fault changes or loses an event: the good lines that come out are the ones that came in,
each once or more.
"""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heappop, heappush
from typing import TYPE_CHECKING, TypeAlias

from headrace.pipelines.errors import UsageError
from headrace.pipelines.generator.shop import chances

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# When an event happened, in ms after the stream's start, and its line.
Timed: TypeAlias = tuple[int, bytes]

_HOUR = 3_600_000
_DAY = 24 * _HOUR
_FARTHEST = 50  # places an event may be moved back by disorder


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """Probabilities an event, each between 0 and 1."""

    duplicates: float = 0.0
    disorder: float = 0.0
    late: float = 0.0
    poison: float = 0.0

    def __post_init__(self) -> None:
        for name in ("duplicates", "disorder", "late", "poison"):
            chance = getattr(self, name)
            if not 0 <= chance <= 1:
                raise UsageError(f"{name} is {chance}; a probability lies between 0 and 1")


def deliver(events: Iterator[Timed], faults: Faults, seed: int) -> Iterator[bytes]:
    """Lines in the order in which they arrive; without faults, in the order of their time."""
    if faults.late or faults.duplicates:
        lines = _redeliver(events, faults, chances(seed, 3).random)
    else:
        lines = (line for _, line in events)
    if faults.disorder:
        lines = _shuffle(lines, faults.disorder, chances(seed, 4).random)
    if faults.poison:
        lines = _poison(lines, faults.poison, chances(seed, 5).random)
    return lines


def _redeliver(
    events: Iterator[Timed], faults: Faults, draw: Callable[[], float]
) -> Iterator[bytes]:
    """Late events wait for hours to days; a copy comes seconds to days after its original."""
    waiting: list[tuple[int, int, bytes]] = []
    for number, (time, line) in enumerate(events):
        while waiting and waiting[0][0] <= time:
            yield heappop(waiting)[2]
        arrival = time
        if draw() < faults.late:
            arrival += _HOUR + int(4 * _DAY * draw() * draw())
            heappush(waiting, (arrival, number, line))
        else:
            yield line
        if draw() < faults.duplicates:
            chance = draw()
            heappush(waiting, (arrival + 1_000 + int(2 * _DAY * chance**4), number, line))
    while waiting:
        yield heappop(waiting)[2]


def _shuffle(lines: Iterator[bytes], disorder: float, draw: Callable[[], float]) -> Iterator[bytes]:
    """A line that is moved lets up to 50 lines that came after it pass."""
    held: list[tuple[int, int, bytes]] = []
    for number, line in enumerate(lines):
        if draw() < disorder:
            heappush(held, (number + 1 + int(_FARTHEST * draw()), number, line))
        else:
            yield line
        while held and held[0][0] <= number:
            yield heappop(held)[2]
    while held:
        yield heappop(held)[2]


def _poison(lines: Iterator[bytes], poison: float, draw: Callable[[], float]) -> Iterator[bytes]:
    kinds = tuple(POISON)
    for number, line in enumerate(lines):
        if draw() < poison:
            yield poison_line(kinds[int(len(kinds) * draw())], number)
        yield line


_MODEL = (
    b'{"specversion":"1.0","id":"bad-NUMBER","source":"shop/bad","type":"OrderPlaced",'
    b'"subject":"bad-order-NUMBER","time":"2026-03-01T09:30:00Z","data":{"customer_id":"c-7",'
    b'"currency":"EUR","lines":[{"product_id":"mug","quantity":2,"unit_price":"7.50"}]}}'
)

# Each class of bad line: what is replaced in a good one, and by what. Every one breaks the
# contract by itself, so none is ever accepted.
POISON: dict[str, tuple[bytes, bytes]] = {
    "bad json": (b'"mug"', b"mug"),
    "truncated": (b'"lines":[{"product_id":"mug","quantity":2,"unit_price":"7.50"}]}}', b'"lin'),
    "unclosed": (b'"7.50"}]}}', b'"7.50"}]}'),
    "two objects on a line": (b'"7.50"}]}}', b'"7.50"}]}} {}'),
    "not an object": (_MODEL, b'["bad-NUMBER",1,2,3]'),
    "not json": (_MODEL, b"<event>bad-NUMBER</event>"),
    "invalid utf-8": (b'"c-7"', b'"c-\xff\xfe"'),
    "control character": (b'"c-7"', rb'"c-\u0000"'),
    "duplicate key": (b'"currency":"EUR",', b'"currency":"EUR","currency":"USD",'),
    "nan": (b'"7.50"', b"NaN"),
    "infinity": (b'"7.50"', b"-Infinity"),
    "money with an exponent": (b'"7.50"', b"1e3"),
    "money as text with an exponent": (b'"7.50"', b'"1e3"'),
    "money too fine": (b'"7.50"', b'"7.50001"'),
    "money too large": (b'"7.50"', b'"999999999999999.00"'),
    "money negative": (b'"7.50"', b'"-7.50"'),
    "money is text": (b'"7.50"', b'"seven"'),
    "money missing": (b',"unit_price":"7.50"', b""),
    "quantity negative": (b'"quantity":2', b'"quantity":-2'),
    "quantity zero": (b'"quantity":2', b'"quantity":0'),
    "quantity is a fraction": (b'"quantity":2', b'"quantity":2.5'),
    "quantity is text": (b'"quantity":2', b'"quantity":"2"'),
    "quantity is a boolean": (b'"quantity":2', b'"quantity":true'),
    "quantity too large": (b'"quantity":2', b'"quantity":4294967296'),
    "product empty": (b'"mug"', b'""'),
    "product is a number": (b'"mug"', b"17"),
    "lines empty": (b'[{"product_id":"mug","quantity":2,"unit_price":"7.50"}]', b"[]"),
    "lines is text": (b'[{"product_id":"mug","quantity":2,"unit_price":"7.50"}]', b'"none"'),
    "line is null": (b'{"product_id":"mug","quantity":2,"unit_price":"7.50"}', b"null"),
    "customer missing": (b'"customer_id":"c-7",', b""),
    "currency in words": (b'"EUR"', b'"euro"'),
    "id missing": (b'"id":"bad-NUMBER",', b""),
    "order id empty": (b'"bad-order-NUMBER"', b'""'),
    "data missing": (_MODEL[_MODEL.index(b',"data"') :], b"}"),
    "type unknown": (b'"OrderPlaced"', b'"OrderTeleported"'),
    "version unknown": (
        b'"time"',
        b'"dataschema":"https://headrace.example/OrderPlaced/99","time"',
    ),
    "specversion old": (b'"1.0"', b'"0.3"'),
    "time impossible": (b"2026-03-01T", b"2026-02-30T"),
    "time without a zone": (b"09:30:00Z", b"09:30:00"),
    "time is a number": (b'"2026-03-01T09:30:00Z"', b"1772357400"),
    "time missing": (b',"time":"2026-03-01T09:30:00Z"', b""),
    "time is a date only": (b"2026-03-01T09:30:00Z", b"2026-03-01"),
    "time in the year 0": (b"2026-03-01T", b"0000-03-01T"),
    "time in the year 10000": (b"2026-03-01T", b"10000-03-01T"),
    "time with a leap second": (b"09:30:00Z", b"23:59:60Z"),
    "time with an hour 25": (b"09:30:00Z", b"25:30:00Z"),
    "time with an offset of days": (b"09:30:00Z", b"09:30:00+48:00"),
    "nul byte": (b'"c-7"', b'"c-\x00"'),
    "lone surrogate": (b'"c-7"', rb'"c-\ud800"'),
    "half an escape": (b'"c-7"', rb'"c-\u12"'),
    "escape of nothing": (b'"c-7"', rb'"c-\q"'),
    "depth 10,000": (b'"c-7"', b'"c-7","deep":' + b"[" * 10_000 + b"]" * 10_000),
    "duplicate key in a line": (b'"quantity":2', b'"quantity":2,"quantity":3'),
    "single quotes": (b'"mug"', b"'mug'"),
    "trailing comma": (b'"7.50"}]}}', b'"7.50"},]}}'),
    "comment": (b'"mug"', b'/* a mug */ "mug"'),
    "number with a leading zero": (b'"quantity":2', b'"quantity":02'),
    "quantity of 2^63": (b'"quantity":2', b'"quantity":9223372036854775808'),
    "quantity null": (b'"quantity":2', b'"quantity":null'),
    "money beyond any number": (b'"7.50"', b"1e400"),
    "money with a plus": (b'"7.50"', b'"+7.50"'),
    "money with spaces": (b'"7.50"', b'" 7.50 "'),
    "money with a comma": (b'"7.50"', b'"7,50"'),
    "money in hexadecimal": (b'"7.50"', b'"0x7"'),
    "money empty": (b'"7.50"', b'""'),
    "money null": (b'"7.50"', b"null"),
    "money in a list": (b'"7.50"', b'["7.50"]'),
    "currency in small letters": (b'"EUR"', b'"eur"'),
    "currency missing": (b'"currency":"EUR",', b""),
    "id empty": (b'"id":"bad-NUMBER"', b'"id":""'),
    "id is a number": (b'"id":"bad-NUMBER"', b'"id":17'),
    "source missing": (b'"source":"shop/bad",', b""),
    "order id missing": (b'"subject":"bad-order-NUMBER",', b""),
    "type missing": (b'"type":"OrderPlaced",', b""),
    "specversion missing": (b'"specversion":"1.0",', b""),
    "data is a list": (_MODEL[_MODEL.index(b'"data"') :], b'"data":[1,2]}'),
    "data null": (_MODEL[_MODEL.index(b'"data"') :], b'"data":null}'),
}


def poison_line(kind: str, number: int) -> bytes:
    """A line of this class of `POISON`; `number` makes its ids its own."""
    good, bad = POISON[kind]
    return _MODEL.replace(good, bad, 1).replace(b"NUMBER", b"%d" % number)
