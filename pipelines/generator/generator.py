"""Seeded, realistic order events as NDJSON. Same arguments, same bytes, on any machine.

Each order lives through the rules of `orders.order`, so what is emitted did happen. Only
orders in flight are kept in memory: 250,000 orders within a month took 45 MB.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_DOWN, Decimal
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias, TypeVar

from headrace.pipelines.errors import UsageError
from headrace.pipelines.generator.cloudevents import encode
from headrace.pipelines.generator.faults import Faults, Timed, deliver
from headrace.pipelines.generator.shop import (
    MARKET_OF,
    MARKETS,
    Catalogue,
    Market,
    arrivals,
    chances,
)
from headrace.pipelines.orders.events import (
    ZERO,
    ItemsReturned,
    OrderDelivered,
    OrderEvent,
    OrderPlaced,
    OrderShipped,
    PaymentCaptured,
    ReturnLine,
    SaleLine,
)
from headrace.pipelines.orders.order import Order

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

T = TypeVar("T")
Step: TypeAlias = Literal["pay", "ship", "deliver", "cancel", "return", "adjust"]

DEFAULT_START = date(2026, 3, 1)
DEFAULT_DAYS = 30
_FIRST_YEAR, _LAST_YEAR = 1970, 2200  # well inside what the contract takes as a time

_MINUTE = 60_000
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR


class Plan(NamedTuple):
    """What may come next: taken if a chance lies below `below` and no earlier plan took it."""

    below: float
    step: Step
    soonest: int  # ms to wait at least
    latest: int  # ms to wait at most


# The life of an order. 4 % end in a cancellation, before or after payment; 6 % see a return.
_PLANS: dict[type[OrderEvent], tuple[Plan, ...]] = {
    OrderPlaced: (
        Plan(0.015, "cancel", 5 * _MINUTE, 6 * _HOUR),
        Plan(0.140, "pay", 10 * _MINUTE, 2 * _DAY),  # by bank transfer, or after a reminder
        Plan(1.000, "pay", _MINUTE // 3, 10 * _MINUTE),
    ),
    PaymentCaptured: (
        Plan(0.027, "cancel", 10 * _MINUTE, _DAY),
        Plan(1.000, "ship", 2 * _HOUR, 3 * _DAY),
    ),
    OrderShipped: (Plan(0.996, "deliver", 14 * _HOUR, 6 * _DAY),),  # the others are lost
    OrderDelivered: (
        Plan(0.063, "return", 2 * _DAY, 21 * _DAY),
        Plan(0.067, "adjust", _DAY, 10 * _DAY),
    ),
    ItemsReturned: (Plan(0.100, "return", _DAY, 7 * _DAY),),
}

_GUESTS = 0.02
_WHOLE_RETURNS = 0.5
_NEW_CUSTOMERS = 0.38
_OLD_CLIENTS = 0.01

# Tables to draw from with one random number: each entry is equally likely.
_BASKET = (1,) * 38 + (2,) * 24 + (3,) * 14 + (4,) * 9 + (5,) * 6 + (6,) * 4 + (7,) * 3 + (8,) * 2
_QUANTITY = (1,) * 70 + (2,) * 17 + (3,) * 6 + (4,) * 4 + (6,) * 2 + (12,)
_DISCOUNT_PERCENT = (0,) * 88 + (5,) * 4 + (10,) * 5 + (15,) * 2 + (25,)
_CHANNELS = ("web",) * 52 + ("app",) * 33 + ("store",) * 9 + ("phone",) * 6
_METHODS = ("card",) * 55 + ("paypal",) * 25 + ("transfer",) * 12 + ("voucher",) * 8
_CANCEL_REASONS = ("changed mind", "out of stock", "payment failed", "ordered twice")
_RETURN_REASONS = ("wrong size", "damaged", "not as described", "arrived late", "changed mind")
_ADJUSTMENTS = (
    (Decimal("-5.00"), "goodwill"),
    (Decimal("-10.00"), "goodwill"),
    (Decimal("-2.50"), "price correction"),
    (Decimal("3.00"), "customs fee"),
)


def generate(
    orders: int,
    seed: int,
    *,
    duplicates: float = 0.0,
    disorder: float = 0.0,
    late: float = 0.0,
    poison: float = 0.0,
    start: date = DEFAULT_START,
    days: int = DEFAULT_DAYS,
) -> Iterator[bytes]:
    """CloudEvents of `orders` orders, one JSON line (without its newline) at a time.

    Orders are placed within `days` days from `start` (UTC); what happens to them later may lie
    after that. Without faults, lines come in the order of their time. The faults never change
    an event: they change when and how often it arrives.

    Args:
        orders: how many orders.
        seed: 0 or more. Order ids carry it, so streams of two seeds never share an order.
        duplicates: probability an event that a byte-identical copy arrives again later.
        disorder: probability an event that it arrives some places later.
        late: probability an event that it arrives hours to days after its time.
        poison: probability an event that an extra line that cannot be accepted comes before it.
        start: the first day.
        days: over how many days orders are placed, 1 or more.

    Raises:
        UsageError: an argument is out of its range. Raised at once, not at the first line.
    """
    for name, number, least in (("orders", orders, 0), ("seed", seed, 0), ("days", days, 1)):
        if number < least:
            raise UsageError(f"{name} is {number}; give {least} or more")
    if not _FIRST_YEAR <= start.year <= _LAST_YEAR:
        raise UsageError(f"start is {start}; give a day from {_FIRST_YEAR} to {_LAST_YEAR}")
    faults = Faults(duplicates=duplicates, disorder=disorder, late=late, poison=poison)
    # A stream of chance of its own for each part: a fault does not change the events.
    events = _Shop(seed, start).live(arrivals(chances(seed, 0), orders, start, days))
    return deliver(events, faults, seed)


class _Shop:
    """All orders in flight, and the chance that decides what happens to them next."""

    def __init__(self, seed: int, start: date) -> None:
        self._seed = seed
        self._midnight = datetime(start.year, start.month, start.day, tzinfo=UTC)
        self._draw = chances(seed, 1).random
        self._catalogue = Catalogue(chances(seed, 2))
        self._homes = bytearray()  # customer n lives in MARKETS[homes[n]], for ever
        # An order in flight has exactly one next step; its number breaks ties of time.
        self._waiting: list[tuple[int, int, Step, Order]] = []

    def live(self, arrivals: Iterator[int]) -> Iterator[Timed]:
        """Every event of every order, in the order of their time."""
        waiting = self._waiting
        for number, placed_at in enumerate(arrivals, start=1):
            while waiting and waiting[0][0] <= placed_at:
                yield self._step(*heappop(waiting))
            order = Order(f"order-{self._seed}-{number:07d}")
            yield self._record(placed_at, number, order, self._place(order, placed_at))
        while waiting:
            yield self._step(*heappop(waiting))

    def _step(self, at: int, number: int, step: Step, order: Order) -> Timed:
        return self._record(at, number, order, self._act(step, order, at))

    def _record(self, at: int, number: int, order: Order, event: OrderEvent) -> Timed:
        order = order.evolve(event)
        plan = self._next(event, order)
        if plan is not None:
            # A product of two chances: short waits are common and long ones rare.
            wait = plan.soonest + int((plan.latest - plan.soonest) * self._draw() * self._draw())
            heappush(self._waiting, (at + wait, number, plan.step, order))
        return at, encode(event, _market(order).source, old=self._is_old(event))

    def _next(self, event: OrderEvent, order: Order) -> Plan | None:
        """What happens to the order after this event, if anything."""
        chance = self._draw()
        for plan in _PLANS.get(type(event), ()):
            if chance < plan.below:
                # After a return of everything there is nothing left to return.
                return plan if plan.step != "return" or _products_kept(order) else None
        return None

    def _act(self, step: Step, order: Order, at: int) -> OrderEvent:
        event_id, time = self._event_id(), self._time(at)
        match step:
            case "pay":
                return order.capture_payment(
                    event_id, time, order.due, method=self._one_of(_METHODS)
                )
            case "ship":
                return order.ship(event_id, time, carrier=_market(order).carrier)
            case "deliver":
                return order.deliver(event_id, time)
            case "cancel":
                return order.cancel(event_id, time, reason=self._one_of(_CANCEL_REASONS))
            case "return":
                reason = self._one_of(_RETURN_REASONS)
                return order.return_items(event_id, time, self._returned(order), reason=reason)
            case "adjust":
                amount, reason = self._one_of(_ADJUSTMENTS)
                return order.adjust(event_id, time, amount, reason=reason)

    def _place(self, order: Order, at: int) -> OrderPlaced:
        customer_id, market = self._customer()
        currency = market.currency
        lines = [self._sale_line(currency.code) for _ in range(self._one_of(_BASKET))]
        goods = sum([line.amount for line in lines], ZERO)
        percent = self._one_of(_DISCOUNT_PERCENT)
        discount = (goods * percent / 100).quantize(currency.step, ROUND_DOWN) if percent else ZERO
        channel = self._one_of(_CHANNELS)
        free = channel == "store" or goods > 12 * market.shipping
        return order.place(
            self._event_id(),
            self._time(at),
            customer_id=customer_id,
            currency=currency.code,
            lines=lines,
            country=market.country,
            channel=channel,
            shipping=ZERO if free else market.shipping,
            discount=discount,
        )

    def _sale_line(self, currency: str) -> SaleLine:
        product = self._catalogue.pick(self._draw())
        quantity = self._one_of(_QUANTITY)
        return SaleLine(product.product_id, quantity, product.prices[currency], product.category)

    def _customer(self) -> tuple[str | None, Market]:
        """A guest, a new customer, or one who comes back; the early ones come back most."""
        chance, homes = self._draw(), self._homes
        if chance < _GUESTS:
            return None, self._one_of(MARKETS)
        if chance < _GUESTS + _NEW_CUSTOMERS or not homes:
            homes.append(int(self._draw() * len(MARKETS)))
            number = len(homes) - 1
        else:
            number = int(len(homes) * self._draw() * self._draw())
        return f"c-{number + 1}", MARKETS[homes[number]]

    def _returned(self, order: Order) -> list[ReturnLine]:
        """Half of the returns are of everything still there, the others of some of one product."""
        products = _products_kept(order)
        if self._draw() < _WHOLE_RETURNS:
            return [_return_line(order, name, order.kept[name].quantity) for name in products]
        name = self._one_of(products)
        return [_return_line(order, name, 1 + int(order.kept[name].quantity * self._draw()))]

    def _is_old(self, event: OrderEvent) -> bool:
        """Whether an old client wrote it, in version 1 of the contract, which had no discount."""
        if not isinstance(event, OrderPlaced):
            return False
        return self._draw() < _OLD_CLIENTS and event.discount == ZERO

    def _one_of(self, table: Sequence[T]) -> T:
        return table[int(len(table) * self._draw())]

    def _event_id(self) -> str:
        """In the form of a UUID, of 104 random bits: the last four digits repeat the first."""
        number = (int(self._draw() * 2**52) << 52) | int(self._draw() * 2**52)
        bits = number.to_bytes(13, "big").hex()
        return f"{bits[:8]}-{bits[8:12]}-4{bits[12:15]}-8{bits[15:18]}-{bits[18:]}{bits[:4]}"

    def _time(self, at: int) -> datetime:
        return self._midnight + timedelta(0, 0, 0, at)  # days, seconds, microseconds, ms


def _market(order: Order) -> Market:
    if order.placed is None or order.placed.country is None:
        raise ValueError(f"order {order.order_id} is in no market; place it with a country")
    return MARKET_OF[order.placed.country]


def _products_kept(order: Order) -> list[str]:
    return [name for name, held in order.kept.items() if held.quantity > 0]


def _return_line(order: Order, product_id: str, quantity: int) -> ReturnLine:
    """What was paid for these units comes back: their share of the discount does not."""
    held, placed = order.kept[product_id], order.placed
    if placed is None:
        raise ValueError(f"order {order.order_id} has nothing to return; place it first")
    share = held.amount * quantity * (placed.goods - placed.discount)
    refund = share / (held.quantity * placed.goods)
    step = MARKET_OF[str(placed.country)].currency.step
    return ReturnLine(product_id, quantity, refund.quantize(step, ROUND_DOWN))
