"""The imaginary shop behind generated events: what it sells, where, and when people buy.

Only +, -, *, / on floats and exact decimals: no call that could differ between machines.
"""

from __future__ import annotations

from bisect import bisect
from dataclasses import dataclass
from decimal import Decimal
from itertools import accumulate
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import date

PRODUCTS = 1_200
MS_PER_HOUR = 3_600_000
_CATEGORIES = (
    "mug", "lamp", "book", "game", "shirt", "shoe", "bag", "tool", "plant", "tea",
    "poster", "clock",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Currency:
    """A currency, the smallest step of its prices, and what a euro is worth in it."""

    code: str
    step: Decimal
    rate: Decimal


@dataclass(frozen=True, slots=True)
class Market:
    """A country the shop sells to, and the branch that writes its events."""

    country: str
    currency: Currency
    source: str
    shipping: Decimal
    carrier: str


@dataclass(frozen=True, slots=True)
class Product:
    """Something on sale. Its price in a currency never changes."""

    product_id: str
    category: str
    prices: Mapping[str, Decimal]


_CENT = Decimal("0.01")
_EUR = Currency("EUR", _CENT, Decimal(1))
_GBP = Currency("GBP", _CENT, Decimal("0.86"))
_USD = Currency("USD", _CENT, Decimal("1.09"))
_CHF = Currency("CHF", Decimal("0.05"), Decimal("0.95"))
_SEK = Currency("SEK", _CENT, Decimal("11.40"))
_PLN = Currency("PLN", _CENT, Decimal("4.31"))
_JPY = Currency("JPY", Decimal(1), Decimal(164))
CURRENCIES = (_EUR, _GBP, _USD, _CHF, _SEK, _PLN, _JPY)

# Markets and their share of the orders, in percent; the shares add up to 100.
_SHARES: tuple[tuple[int, Market], ...] = (
    (27, Market("DE", _EUR, "shop/eu", Decimal("4.90"), "dhl")),
    (11, Market("FR", _EUR, "shop/eu", Decimal("6.90"), "colissimo")),
    (7, Market("NL", _EUR, "shop/eu", Decimal("5.50"), "postnl")),
    (5, Market("ES", _EUR, "shop/eu", Decimal("7.90"), "correos")),
    (4, Market("AT", _EUR, "shop/eu", Decimal("5.90"), "dhl")),
    (18, Market("GB", _GBP, "shop/uk", Decimal("3.95"), "royal-mail")),
    (14, Market("US", _USD, "shop/us", Decimal("8.99"), "ups")),
    (4, Market("CH", _CHF, "shop/eu", Decimal("9.00"), "swiss-post")),
    (4, Market("SE", _SEK, "shop/eu", Decimal("59.00"), "postnord")),
    (4, Market("PL", _PLN, "shop/eu", Decimal("14.99"), "inpost")),
    (2, Market("JP", _JPY, "shop/jp", Decimal(880), "yamato")),
)
MARKETS = tuple(market for share, market in _SHARES for _ in range(share))
MARKET_OF: Mapping[str, Market] = {market.country: market for market in MARKETS}

# Orders by hour of the day (UTC) and day of the week, as weights: evenings and Sundays are busy.
_HOURS = (9, 5, 3, 2, 2, 4, 9, 18, 30, 40, 46, 50, 52, 48, 45, 46, 50, 58, 70, 82, 86, 70, 44, 21)
_WEEKDAYS = (104, 98, 95, 96, 90, 92, 125)


def chances(seed: int, part: int) -> Random:
    """The stream of chance of one of up to eight parts, so that no part disturbs another."""
    return Random(seed * 8 + part)  # noqa: S311 - nothing here is a secret


class Catalogue:
    """All products, and who buys which: a few of them a lot (Zipf: the n-th sells 1/n)."""

    def __init__(self, rng: Random) -> None:
        self._products = tuple(_product(rank, rng) for rank in range(PRODUCTS))
        self._reach = tuple(accumulate(1 / (rank + 1) for rank in range(PRODUCTS)))

    def pick(self, chance: float) -> Product:
        """The product that a number in [0, 1) stands for."""
        return self._products[bisect(self._reach, chance * self._reach[-1], 0, PRODUCTS - 1)]


def _product(rank: int, rng: Random) -> Product:
    category = _CATEGORIES[int(rng.random() * len(_CATEGORIES))]
    chance = rng.random()
    # From 1.99 to 251.99, most of them cheap: half cost less than 33 euros.
    euros = Decimal(199 + int(chance * chance * chance * 250) * 100) * _CENT
    return Product(f"{category}-{rank + 1:04d}", category, _prices(euros))


def _prices(euros: Decimal) -> dict[str, Decimal]:
    """The price in each currency, in whole steps of it: 12.50 francs, 2051 yen."""
    return {
        currency.code: (euros * currency.rate / currency.step).to_integral_value() * currency.step
        for currency in CURRENCIES
    }


def arrivals(rng: Random, orders: int, start: date, days: int) -> Iterator[int]:
    """When orders are placed: `orders` times in ms after `start`, ascending, in a shop's rhythm.

    Order i takes a random place in the i-th of `orders` equal shares of the rhythm's area, so
    the times ascend by themselves and nothing needs sorting or keeping.
    """
    reach = tuple(accumulate(_hourly_weights(start, days)))
    hour, below = 0, 0
    for number in range(orders):
        place = (number + rng.random()) / orders * reach[-1]
        while place >= reach[hour] and hour < len(reach) - 1:
            below = reach[hour]
            hour += 1
        share = min((place - below) / (reach[hour] - below), 0.999_999)
        yield hour * MS_PER_HOUR + int(share * MS_PER_HOUR)


def _hourly_weights(start: date, days: int) -> Sequence[int]:
    first = start.weekday()
    return [_WEEKDAYS[(first + day) % 7] * hour for day in range(days) for hour in _HOURS]
