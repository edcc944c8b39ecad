"""The write side: what may happen to an order, and what may not. Pure and event-sourced.

A command checks the business rules and returns the new event, or raises and changes nothing.
An order is never stored: it is what its events, evolved one after the other, say it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NoReturn, TypeAlias

from headrace.pipelines.orders.events import (
    ZERO,
    AdjustmentBooked,
    EventsVoided,
    ItemsReturned,
    OrderCancelled,
    OrderDelivered,
    OrderEvent,
    OrderPlaced,
    OrderShipped,
    PaymentCaptured,
    ReturnLine,
    SaleLine,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime
    from decimal import Decimal


Stage: TypeAlias = Literal["new", "placed", "shipped", "delivered", "cancelled"]


class BusinessRuleError(ValueError):
    """A command would break a rule. No event is made; the order stays as it was."""


@dataclass(frozen=True, slots=True)
class Holding:
    """Of one product, what the customer still has: units, and the money not yet refunded."""

    quantity: int
    amount: Decimal


@dataclass(frozen=True, slots=True)
class Order:
    """One order, as its events made it. Commands return events; `evolve` takes them in."""

    order_id: str
    placed: OrderPlaced | None = None
    stage: Stage = "new"
    paid: Decimal = ZERO
    returns: tuple[ReturnLine, ...] = ()
    last_time: datetime | None = None

    @classmethod
    def hydrate(cls, events: Iterable[OrderEvent]) -> Order:
        """Rebuild an order from its history, in the order in which it happened.

        Events that were taken back leave no trace but the time of their void.

        Raises:
            BusinessRuleError: there is no event, or one belongs to another order.
        """
        order: Order | None = None
        history = list(events)
        void = {name for e in history if isinstance(e, EventsVoided) for name in e.events}
        for event in history:
            if event.id in void and not isinstance(event, EventsVoided):
                continue
            order = (cls(event.order_id) if order is None else order).evolve(event)
        if order is None:
            raise BusinessRuleError("no events to rebuild an order from; use Order(order_id)")
        return order

    def evolve(self, event: OrderEvent) -> Order:
        """Take in one event that happened. History is trusted: no rule is checked again.

        A void says nothing about what was evolved before it: hydrate the order from its history.

        Raises:
            BusinessRuleError: the event belongs to another order.
        """
        if event.order_id != self.order_id:
            self._refuse(f"event {event.id} belongs to order {event.order_id}", "evolve that one")
        placed, stage, paid, returns = self.placed, self.stage, self.paid, self.returns
        match event:
            case OrderPlaced():
                placed, stage = event, "placed"
            case PaymentCaptured():
                paid += event.amount
            case OrderShipped():
                stage = "shipped"
            case OrderDelivered():
                stage = "delivered"
            case OrderCancelled():
                stage = "cancelled"
            case ItemsReturned():
                returns += event.lines
            case AdjustmentBooked() | EventsVoided():
                pass
        return Order(self.order_id, placed, stage, paid, returns, event.time)

    @property
    def due(self) -> Decimal:
        """What is still to be paid of goods, shipping and discount."""
        if self.placed is None:
            return ZERO
        return self.placed.goods + self.placed.shipping - self.placed.discount - self.paid

    @property
    def kept(self) -> dict[str, Holding]:
        """What the customer still has of each product. Worked out when asked: few returns are."""
        return {} if self.placed is None else _without(_held(self.placed), self.returns)

    def place(
        self,
        event_id: str,
        time: datetime,
        *,
        customer_id: str | None,
        currency: str,
        lines: Sequence[SaleLine],
        country: str | None = None,
        channel: str | None = None,
        shipping: Decimal = ZERO,
        discount: Decimal = ZERO,
    ) -> OrderPlaced:
        """Place the order: once, with at least one line, and never for less than nothing."""
        if self.placed is not None:
            self._refuse("it has been placed already", "use a new order id")
        if not lines:
            self._refuse("it has no lines", "order at least one product")
        for line in lines:
            if line.quantity < 1 or line.unit_price < 0:
                self._refuse(
                    f"{line.quantity} x {line.product_id} at {line.unit_price} is no sale",
                    "the quantity starts at 1, the price at 0",
                )
        event = OrderPlaced(
            event_id,
            self.order_id,
            time,
            customer_id,
            currency,
            tuple(lines),
            country,
            channel,
            shipping,
            discount,
        )
        goods = event.goods
        if shipping < 0 or not 0 <= discount <= goods + shipping:
            self._refuse(
                f"shipping {shipping} and discount {discount} do not fit goods of {goods}",
                "shipping starts at 0, the discount lies between 0 and goods plus shipping",
            )
        return event

    def capture_payment(
        self, event_id: str, time: datetime, amount: Decimal, *, method: str | None = None
    ) -> PaymentCaptured:
        """Take money for it: not after a cancellation, and never more than is still due."""
        self._require_open("pay", time)
        if not 0 <= amount <= self.due:
            self._refuse(
                f"a payment of {amount} does not fit the {self.due} still due",
                "capture between 0 and that",
            )
        return PaymentCaptured(event_id, self.order_id, time, amount, method)

    def ship(self, event_id: str, time: datetime, *, carrier: str | None = None) -> OrderShipped:
        """Send the goods: once, and not after a cancellation."""
        self._require_open("ship", time)
        if self.stage != "placed":
            self._refuse("it has been shipped already", "place a new order for more goods")
        return OrderShipped(event_id, self.order_id, time, carrier)

    def deliver(self, event_id: str, time: datetime) -> OrderDelivered:
        """Hand over the goods: once, and only goods that were shipped."""
        self._require_open("deliver", time)
        if self.stage == "placed":
            self._refuse("it has not been shipped", "ship it first")
        if self.stage == "delivered":
            self._refuse("it has been delivered already", "deliver only once")
        return OrderDelivered(event_id, self.order_id, time)

    def cancel(self, event_id: str, time: datetime, *, reason: str | None = None) -> OrderCancelled:
        """Call it off: once, and only until it is delivered."""
        self._require_open("cancel", time)
        if self.stage == "delivered":
            self._refuse("it has been delivered", "return the items instead of cancelling")
        return OrderCancelled(event_id, self.order_id, time, reason)

    def return_items(
        self,
        event_id: str,
        time: datetime,
        lines: Sequence[ReturnLine],
        *,
        reason: str | None = None,
    ) -> ItemsReturned:
        """Take goods back: only delivered ones, never more than was sold and not yet returned."""
        placed = self._require_open("return", time)
        if self.stage != "delivered":
            self._refuse("it has not been delivered", "cancel it instead of returning items")
        if not lines:
            self._refuse("the return has no lines", "return at least one product")
        kept = self.kept
        for line in lines:
            held = kept.get(line.product_id, Holding(0, ZERO))
            if not 1 <= line.quantity <= held.quantity:
                self._refuse(
                    f"{line.quantity} x {line.product_id} cannot come back, "
                    f"{held.quantity} were sold and not yet returned",
                    "return between 1 and that",
                )
            if not 0 <= line.refund <= held.amount:
                self._refuse(
                    f"{line.refund} for {line.product_id} cannot be refunded, "
                    f"{held.amount} were charged and not yet refunded",
                    "refund between 0 and that, and book an adjustment for more",
                )
            kept = _without(kept, (line,))
        return ItemsReturned(
            event_id,
            self.order_id,
            time,
            placed.currency,
            tuple(lines),
            placed.customer_id,
            placed.country,
            reason,
        )

    def adjust(
        self, event_id: str, time: datetime, amount: Decimal, *, reason: str
    ) -> AdjustmentBooked:
        """Correct the books by a signed amount, with a reason. Cancelled orders too."""
        placed = self._require_placed("adjust", time)
        if amount == 0:
            self._refuse("an adjustment of 0 changes nothing", "book another amount, or nothing")
        if not reason:
            self._refuse("the adjustment has no reason", "say why the books are corrected")
        return AdjustmentBooked(event_id, self.order_id, time, placed.currency, amount, reason)

    def _require_placed(self, command: str, time: datetime) -> OrderPlaced:
        if self.placed is None:
            self._refuse(f"cannot {command} it, it has not been placed", "place it first")
        if self.last_time is not None and time < self.last_time:
            self._refuse(
                f"cannot {command} it at {time.isoformat()}, "
                f"its last event was at {self.last_time.isoformat()}",
                "use a time at or after that",
            )
        return self.placed

    def _require_open(self, command: str, time: datetime) -> OrderPlaced:
        placed = self._require_placed(command, time)
        if self.stage == "cancelled":
            self._refuse(f"cannot {command} it, it was cancelled", "place a new order")
        return placed

    def _refuse(self, fact: str, remedy: str) -> NoReturn:
        raise BusinessRuleError(f"order {self.order_id}: {fact}; {remedy}")


def _held(event: OrderPlaced) -> dict[str, Holding]:
    """A product may stand on several lines of a basket; what is kept counts them together."""
    kept: dict[str, Holding] = {}
    for line in event.lines:
        held = kept.get(line.product_id)
        quantity, amount = (0, ZERO) if held is None else (held.quantity, held.amount)
        kept[line.product_id] = Holding(quantity + line.quantity, amount + line.amount)
    return kept


def _without(kept: Mapping[str, Holding], lines: Iterable[ReturnLine]) -> dict[str, Holding]:
    rest = dict(kept)
    for line in lines:
        held = rest.get(line.product_id, Holding(0, ZERO))
        rest[line.product_id] = Holding(held.quantity - line.quantity, held.amount - line.refund)
    return rest
