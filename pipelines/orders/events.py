"""What can happen to an order, as values: frozen, past tense, UTC, money as Decimal.

This is how the write side sees the events; how they look in the log is the contract's business.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from datetime import datetime

ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class SaleLine:
    """One line of a basket. `unit_price` is in the order's currency."""

    product_id: str
    quantity: int
    unit_price: Decimal
    category: str | None = None

    @property
    def amount(self) -> Decimal:
        """What the whole line costs."""
        return self.quantity * self.unit_price


@dataclass(frozen=True, slots=True)
class ReturnLine:
    """Goods that came back. `refund` is the money given back for the whole line."""

    product_id: str
    quantity: int
    refund: Decimal


@dataclass(frozen=True, slots=True)
class OrderPlaced:
    """A customer (or a guest: None) ordered these lines."""

    id: str
    order_id: str
    time: datetime
    customer_id: str | None
    currency: str
    lines: tuple[SaleLine, ...]
    country: str | None = None
    channel: str | None = None
    shipping: Decimal = ZERO
    discount: Decimal = ZERO

    @property
    def goods(self) -> Decimal:
        """What all lines cost together, before shipping and discount."""
        return sum([line.quantity * line.unit_price for line in self.lines], ZERO)


@dataclass(frozen=True, slots=True)
class PaymentCaptured:
    """Money came in."""

    id: str
    order_id: str
    time: datetime
    amount: Decimal
    method: str | None = None


@dataclass(frozen=True, slots=True)
class OrderShipped:
    """The goods left."""

    id: str
    order_id: str
    time: datetime
    carrier: str | None = None


@dataclass(frozen=True, slots=True)
class OrderDelivered:
    """The goods arrived."""

    id: str
    order_id: str
    time: datetime


@dataclass(frozen=True, slots=True)
class OrderCancelled:
    """The order was called off."""

    id: str
    order_id: str
    time: datetime
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class ItemsReturned:
    """Some or all of the goods came back, for a refund."""

    id: str
    order_id: str
    time: datetime
    currency: str
    lines: tuple[ReturnLine, ...]
    customer_id: str | None = None
    country: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class AdjustmentBooked:
    """The books were corrected: a signed amount in the order's currency."""

    id: str
    order_id: str
    time: datetime
    currency: str
    amount: Decimal
    reason: str


@dataclass(frozen=True, slots=True)
class EventsVoided:
    """Events of this order were wrong: they count no longer. `events` are their ids."""

    id: str
    order_id: str
    time: datetime
    events: tuple[str, ...]
    reason: str


OrderEvent: TypeAlias = (
    OrderPlaced
    | PaymentCaptured
    | OrderShipped
    | OrderDelivered
    | OrderCancelled
    | ItemsReturned
    | AdjustmentBooked
    | EventsVoided
)
