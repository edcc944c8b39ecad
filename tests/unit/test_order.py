"""The order aggregate: what may happen, what may not, and that history rebuilds it."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from headrace.pipelines.orders.events import (
    AdjustmentBooked,
    ItemsReturned,
    OrderEvent,
    OrderPlaced,
    PaymentCaptured,
    ReturnLine,
    SaleLine,
)
from headrace.pipelines.orders.order import BusinessRuleError, Holding, Order

if TYPE_CHECKING:
    from collections.abc import Callable

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MUGS = SaleLine("mug", 3, Decimal("7.50"))
LAMP = SaleLine("lamp", 1, Decimal("30.00"))
DUE = Decimal("55.40")  # 3 * 7.50 + 30.00 + 4.90 - 2.00


def placed() -> Order:
    order = Order("o-1")
    return order.evolve(
        order.place(
            "e-1",
            NOON,
            customer_id="c-7",
            currency="EUR",
            lines=[MUGS, LAMP],
            country="DE",
            shipping=Decimal("4.90"),
            discount=Decimal("2.00"),
        )
    )


def shipped() -> Order:
    order = placed()
    return order.evolve(order.ship("e-3", NOON))


def delivered() -> Order:
    order = shipped()
    return order.evolve(order.deliver("e-4", NOON))


def cancelled() -> Order:
    order = placed()
    return order.evolve(order.cancel("e-5", NOON))


def mugs_back(quantity: int, refund: str = "7.50") -> list[ReturnLine]:
    return [ReturnLine("mug", quantity, Decimal(refund))]


def test_a_placed_order_owes_goods_and_shipping_without_the_discount() -> None:
    assert placed().due == DUE


def test_a_payment_lowers_what_is_due_exactly() -> None:
    order = placed()
    order = order.evolve(order.capture_payment("e-2", NOON, Decimal("55.39")))
    assert order.due == Decimal("0.01")


def test_hydrating_from_the_events_gives_the_order_that_made_them() -> None:
    order, history = Order("o-1"), list[OrderEvent]()

    def happen(event: OrderEvent) -> None:
        nonlocal order
        history.append(event)
        order = order.evolve(event)

    happen(order.place("e-1", NOON, customer_id=None, currency="EUR", lines=[MUGS]))
    happen(order.capture_payment("e-2", NOON, Decimal("22.50")))
    happen(order.ship("e-3", NOON + timedelta(hours=1)))
    happen(order.deliver("e-4", NOON + timedelta(days=1)))
    happen(order.return_items("e-5", NOON + timedelta(days=2), mugs_back(2, "15.00")))
    happen(order.adjust("e-6", NOON + timedelta(days=3), Decimal("-1"), reason="goodwill"))

    assert Order.hydrate(history) == order
    assert order.stage == "delivered"
    assert order.kept == {"mug": Holding(1, Decimal("7.50"))}


def test_a_return_carries_customer_currency_and_country_of_the_order() -> None:
    event = delivered().return_items("e-9", NOON, mugs_back(1))
    assert event == ItemsReturned(
        "e-9", "o-1", NOON, "EUR", tuple(mugs_back(1)), customer_id="c-7", country="DE"
    )


def test_a_cancelled_order_can_still_be_adjusted() -> None:
    event = cancelled().adjust("e-9", NOON, Decimal("-3.10"), reason="bank fee")
    assert event == AdjustmentBooked("e-9", "o-1", NOON, "EUR", Decimal("-3.10"), "bank fee")


def test_a_product_on_two_lines_can_come_back_as_one() -> None:
    order = Order("o-1")
    lines = [MUGS, MUGS]
    order = order.evolve(order.place("e-1", NOON, customer_id=None, currency="EUR", lines=lines))
    order = order.evolve(order.ship("e-2", NOON))
    order = order.evolve(order.deliver("e-3", NOON))
    order = order.evolve(order.return_items("e-4", NOON, mugs_back(6, "45.00")))
    assert order.kept == {"mug": Holding(0, Decimal("0.00"))}


def test_a_command_changes_nothing_by_itself() -> None:
    order = placed()
    order.ship("e-3", NOON)
    assert order == placed()


def test_events_cannot_be_changed() -> None:
    event = placed().ship("e-3", NOON)
    with pytest.raises(FrozenInstanceError):
        event.order_id = "o-2"  # type: ignore[misc]


def test_an_event_of_another_order_is_not_taken_in() -> None:
    with pytest.raises(BusinessRuleError, match=r"order o-1: event e-9 belongs to order o-2"):
        placed().evolve(PaymentCaptured("e-9", "o-2", NOON, Decimal(1)))


def test_no_events_make_no_order() -> None:
    with pytest.raises(BusinessRuleError, match="no events"):
        Order.hydrate([])


def test_a_refusal_says_the_order_the_fact_and_the_remedy() -> None:
    with pytest.raises(BusinessRuleError) as refusal:
        cancelled().ship("e-9", NOON)
    assert str(refusal.value) == "order o-1: cannot ship it, it was cancelled; place a new order"


def place(order: Order, lines: list[SaleLine], discount: str = "0") -> OrderPlaced:
    return order.place(
        "e", NOON, customer_id=None, currency="EUR", lines=lines, discount=Decimal(discount)
    )


BROKEN_RULES: dict[str, tuple[Callable[[], object], str]] = {
    "placed twice": (lambda: place(placed(), [MUGS]), "placed already"),
    "placed without lines": (lambda: place(Order("o"), []), "no lines"),
    "no units sold": (lambda: place(Order("o"), [SaleLine("mug", 0, Decimal(1))]), "0 x mug"),
    "sold below nothing": (lambda: place(Order("o"), [SaleLine("m", 1, Decimal(-1))]), "at -1"),
    "discount above the goods": (lambda: place(Order("o"), [MUGS], "22.51"), "discount 22.51"),
    "discount below nothing": (lambda: place(Order("o"), [MUGS], "-0.01"), "discount -0.01"),
    "paid before placed": (
        lambda: Order("o").capture_payment("e", NOON, Decimal(1)),
        "not been placed",
    ),
    "paid too much": (
        lambda: placed().capture_payment("e", NOON, Decimal("55.41")),
        "55.41 does not fit the 55.40",
    ),
    "paid below nothing": (
        lambda: placed().capture_payment("e", NOON, Decimal("-0.01")),
        "does not fit",
    ),
    "paid after cancelled": (
        lambda: cancelled().capture_payment("e", NOON, Decimal(1)),
        "cannot pay it, it was cancelled",
    ),
    "shipped before placed": (lambda: Order("o").ship("e", NOON), "not been placed"),
    "shipped twice": (lambda: shipped().ship("e", NOON), "shipped already"),
    "shipped after delivered": (lambda: delivered().ship("e", NOON), "shipped already"),
    "delivered before shipped": (lambda: placed().deliver("e", NOON), "not been shipped"),
    "delivered twice": (lambda: delivered().deliver("e", NOON), "delivered already"),
    "cancelled before placed": (lambda: Order("o").cancel("e", NOON), "not been placed"),
    "cancelled twice": (lambda: cancelled().cancel("e", NOON), "was cancelled"),
    "cancelled after delivered": (lambda: delivered().cancel("e", NOON), "been delivered"),
    "returned before delivered": (
        lambda: shipped().return_items("e", NOON, mugs_back(1)),
        "not been delivered",
    ),
    "returned after cancelled": (
        lambda: cancelled().return_items("e", NOON, mugs_back(1)),
        "was cancelled",
    ),
    "returned nothing": (lambda: delivered().return_items("e", NOON, []), "no lines"),
    "returned more than sold": (
        lambda: delivered().return_items("e", NOON, mugs_back(4)),
        "3 were sold and not yet returned",
    ),
    "returned more on two lines": (
        lambda: delivered().return_items("e", NOON, mugs_back(2) + mugs_back(2)),
        "1 were sold and not yet returned",
    ),
    "returned what was not sold": (
        lambda: delivered().return_items("e", NOON, [ReturnLine("tea", 1, Decimal(0))]),
        "1 x tea cannot come back",
    ),
    "refunded more than charged": (
        lambda: delivered().return_items("e", NOON, mugs_back(3, "22.51")),
        "22.51 for mug",
    ),
    "adjusted before placed": (
        lambda: Order("o").adjust("e", NOON, Decimal(1), reason="x"),
        "not been placed",
    ),
    "adjusted by nothing": (
        lambda: placed().adjust("e", NOON, Decimal(0), reason="x"),
        "adjustment of 0",
    ),
    "adjusted without a reason": (
        lambda: placed().adjust("e", NOON, Decimal(1), reason=""),
        "no reason",
    ),
    "before the last event": (
        lambda: placed().ship("e", NOON - timedelta(microseconds=1)),
        "last event was at 2026-03-01T12:00:00",
    ),
}


@pytest.mark.parametrize("rule", BROKEN_RULES)
def test_a_command_that_breaks_a_rule_is_refused(rule: str) -> None:
    command, message = BROKEN_RULES[rule]
    with pytest.raises(BusinessRuleError) as refusal:
        command()
    assert message in str(refusal.value)
    assert "; " in str(refusal.value)  # a remedy follows
