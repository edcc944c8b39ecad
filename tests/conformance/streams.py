"""Event lines for tests: a builder for single events, and seeded streams in which everything
that can collide does.

Every source of chance is a `Random` that the caller hands in.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Any

NOON = datetime(2026, 3, 1, 12)  # noqa: DTZ001 - written out as UTC
PRODUCTS = ("mug", "tea", "lamp", "Säge")
PRICES: tuple[str | float, ...] = ("0", "7.50", "0.3333", "1.125", "19.9999", "1234567.89", 3, 2.5)
REFUNDS: tuple[str, ...] = ("0", "0.3333", "7.50", "15.00", "2", "2469135.78")
CURRENCIES = ("EUR", "EUR", "EUR", "EUR", "USD")
COUNTRIES = (None, "DE", "DE", "FR", "Île")
CUSTOMERS = (None, "c1", "c2", "c3")
CHANNELS = (None, "", "web", "app")
TIMES = ("00:00:00Z", "23:59:59.999999Z", "09:30:00.5Z", "12:00:00Z", "00:30:00+01:00")


def event(
    kind: str,
    order: str,
    identity: str,
    at: datetime | str = NOON,
    *,
    source: str = "shop/eu",
    version: int | None = None,
    sequence: int | str | None = None,
    data: dict[str, Any] | None = None,
) -> bytes:
    """One CloudEvents line."""
    time = at if isinstance(at, str) else at.isoformat() + "Z"
    envelope: dict[str, Any] = {"specversion": "1.0", "id": identity, "source": source}
    envelope |= {"type": kind, "subject": order, "time": time}
    if version is not None:
        envelope["dataschema"] = f"https://example.org/schemas/{kind}/{version}"
    if sequence is not None:
        envelope["sequence"] = sequence
    if data is not None:
        envelope["data"] = data
    return json.dumps(envelope, ensure_ascii=False).encode()


def placed(
    order: str,
    *lines: tuple[str, int, str],
    identity: str = "placed",
    at: datetime | str = NOON,
    currency: str = "EUR",
    customer: str | None = "c1",
    source: str = "shop/eu",
    sequence: int | str | None = None,
    **more: Any,
) -> bytes:
    """An `OrderPlaced` of lines (product, quantity, unit price); one mug at 7.50 by default."""
    listed = [
        {"product_id": product, "quantity": pieces, "unit_price": price}
        for product, pieces, price in lines or (("mug", 1, "7.50"),)
    ]
    data = {"customer_id": customer, "currency": currency, "lines": listed, **more}
    return event("OrderPlaced", order, identity, at, source=source, sequence=sequence, data=data)


def returned(
    order: str,
    *lines: tuple[str, int, str],
    identity: str = "returned",
    at: datetime | str = NOON + timedelta(days=2),
    currency: str = "EUR",
    **more: Any,
) -> bytes:
    """An `ItemsReturned` of lines (product, quantity, refund); one mug for 7.50 by default."""
    listed = [
        {"product_id": product, "quantity": pieces, "refund": refund}
        for product, pieces, refund in lines or (("mug", 1, "7.50"),)
    ]
    data = {"currency": currency, "lines": listed, **more}
    return event("ItemsReturned", order, identity, at, data=data)


def paid(order: str, amount: str, *, identity: str = "paid", at: datetime | str = NOON) -> bytes:
    return event("PaymentCaptured", order, identity, at, data={"amount": amount})


def shipped(order: str, *, identity: str = "shipped", at: datetime | str = NOON) -> bytes:
    return event("OrderShipped", order, identity, at)


def delivered(order: str, *, identity: str = "delivered", at: datetime | str = NOON) -> bytes:
    return event("OrderDelivered", order, identity, at, data={})


def cancelled(
    order: str, *, identity: str = "cancelled", at: datetime | str = NOON + timedelta(days=1)
) -> bytes:
    return event("OrderCancelled", order, identity, at, data={"reason": "changed my mind"})


def adjusted(
    order: str,
    amount: str,
    *,
    identity: str = "adjusted",
    at: datetime | str = NOON,
    currency: str = "EUR",
) -> bytes:
    data = {"currency": currency, "amount": amount, "reason": "goodwill"}
    return event("AdjustmentBooked", order, identity, at, data=data)


def voided(
    order: str,
    *events: str,
    identity: str = "void",
    at: datetime | str = NOON + timedelta(days=3),
    source: str = "shop/eu",
) -> bytes:
    """An `EventsVoided` that takes back these ids of its source."""
    data = {"events": list(events), "reason": "wrong file"}
    return event("EventsVoided", order, identity, at, source=source, data=data)


def _order_placed(rng: Random) -> tuple[dict[str, Any], int | None]:
    """Data of an order, in version 1 now and then, and the version to name."""
    old = rng.random() < 0.2
    names = ("sku", "qty", "price") if old else ("product_id", "quantity", "unit_price")
    lines = [
        dict(
            zip(
                names,
                (rng.choice(PRODUCTS), rng.randint(1, 3), rng.choice(PRICES)),
                strict=True,
            )
        )
        for _ in range(rng.randint(1, 3))
    ]
    data: dict[str, Any] = {
        "customer" if old else "customer_id": rng.choice(CUSTOMERS),
        "currency": rng.choice(CURRENCIES),
        "lines": lines,
        "country": rng.choice(COUNTRIES),
        "channel": rng.choice(CHANNELS),
    }
    if rng.random() < 0.5:
        data["shipping"] = rng.choice(("0", "4.90", "0.0001"))
    if rng.random() < 0.4:
        data["discount"] = rng.choice(("0.0000", "2.00", "100"))
    return data, 1 if old else rng.choice((None, 2))


def _items_returned(rng: Random) -> tuple[dict[str, Any], int | None]:
    lines = [
        {
            "product_id": rng.choice(PRODUCTS),
            "quantity": rng.randint(1, 4),
            "refund": rng.choice(REFUNDS),
        }
        for _ in range(rng.randint(1, 3))
    ]
    data: dict[str, Any] = {"currency": rng.choice(CURRENCIES), "lines": lines}
    customer, country = rng.choice(CUSTOMERS), rng.choice(COUNTRIES)
    if customer is not None:
        data["customer_id"] = customer
    if country is not None:
        data["country"] = country
    return data, None


def _payment(rng: Random) -> tuple[dict[str, Any], int | None]:
    return {"amount": rng.choice(("0", "7.50", "10.0001", 20))}, None


def _adjustment(rng: Random) -> tuple[dict[str, Any], int | None]:
    amount = rng.choice(("-5.00", "0", "3.3333", "-0.0001"))
    return {"currency": rng.choice(CURRENCIES), "amount": amount, "reason": "by hand"}, 1


def _voids(rng: Random) -> tuple[dict[str, Any], int | None]:
    named = rng.sample([f"e{n}" for n in range(1, 7)], rng.randint(1, 2))
    return {"events": named, "reason": "by mistake", "import": rng.choice((None, "a1"))}, None


def _nothing(rng: Random) -> tuple[dict[str, Any] | None, int | None]:
    return rng.choice((None, {})), None


KINDS: dict[str, tuple[int, Callable[[Random], tuple[dict[str, Any] | None, int | None]]]] = {
    "OrderPlaced": (8, _order_placed),
    "ItemsReturned": (5, _items_returned),
    "PaymentCaptured": (3, _payment),
    "OrderCancelled": (2, _nothing),
    "AdjustmentBooked": (2, _adjustment),
    "EventsVoided": (1, _voids),
    "OrderShipped": (2, _nothing),
    "OrderDelivered": (2, _nothing),
}
"""Type to its weight and what makes its data. None leaves `data` out."""


@dataclass
class Shop:
    """Draws events over a few orders, ids and days, so that they meet.

    Attributes:
        rng: the source of all chance.
        orders: how many orders there are.
        conflicts: whether a redelivered id may bring other content.
        prefix: of the order ids.
    """

    rng: Random
    orders: int = 8
    conflicts: bool = True
    prefix: str = "o"
    _sent: dict[tuple[str, str, str], bytes] = field(default_factory=dict)

    def event(self) -> bytes:
        """The next event: now and then an old one again, or an old id with new content."""
        rng = self.rng
        order = f"{self.prefix}{rng.randint(1, self.orders)}"
        key = (order, rng.choice(("shop/eu", "shop/us")), f"e{rng.randint(1, 6)}")
        known = self._sent.get(key)
        if known is not None and (not self.conflicts or rng.random() < 0.5):
            return known
        names = list(KINDS)
        kind = rng.choices(names, [KINDS[name][0] for name in names])[0]
        data, version = KINDS[kind][1](rng)
        at = f"{(NOON + timedelta(days=rng.randint(0, 2))).date()}T{rng.choice(TIMES)}"
        sequence = rng.choice((None, None, 1, 2, "3"))
        made = event(
            kind, order, key[2], at, source=key[1], version=version, sequence=sequence, data=data
        )
        self._sent.setdefault(key, made)
        return made

    def events(self, count: int) -> list[bytes]:
        return [self.event() for _ in range(count)]


MOST = "99999999999999.9999"
"""The largest amount that an event may carry."""

SITUATIONS: dict[str, list[bytes]] = {
    "plain": [placed("plain"), paid("plain", "7.50"), shipped("plain"), delivered("plain")],
    "twice": [placed("twice"), placed("twice"), paid("twice", "7.50"), paid("twice", "7.50")],
    "conflict": [placed("conflict"), placed("conflict", ("lamp", 9, "99.00"))],
    "conflicting type": [paid("conflicting type", "1", identity="x"),
                         cancelled("conflicting type", identity="x"), placed("conflicting type")],
    "same id, other source": [
        placed("same id, other source", identity="x"),
        event("OrderShipped", "same id, other source", "x", source="shop/us"),
    ],
    "two placements": [
        placed("two placements", ("tea", 2, "3.00"), identity="late", at=NOON + timedelta(1)),
        placed("two placements", ("mug", 1, "7.50"), identity="early"),
    ],
    "placements by sequence": [
        placed("placements by sequence", ("tea", 1, "1"), identity="a"),
        placed("placements by sequence", ("tea", 1, "2"), identity="b", sequence=7),
        placed("placements by sequence", ("tea", 1, "3"), identity="c", sequence="6"),
    ],
    "last sequence of all": [
        placed("last sequence of all", ("tea", 1, "1"), identity="a"),
        placed("last sequence of all", ("tea", 1, "2"), identity="b", sequence=2**63 - 1),
    ],
    "placements by source": [
        placed("placements by source", ("tea", 1, "2"), identity="a", source="shop/us"),
        placed("placements by source", ("tea", 1, "3"), identity="b", source="shop/eu"),
        placed("placements by source", ("tea", 1, "4"), identity="a", source="shop/eu"),
    ],
    "placed last": [
        cancelled("placed last"), paid("placed last", "7.50"), returned("placed last"),
        placed("placed last", shipping="4.90"),
    ],
    "never placed": [paid("never placed", "3"), shipped("never placed")],
    "cancelled, never placed": [cancelled("cancelled, never placed")],
    "unplaced return": [
        returned("unplaced return", currency="USD", customer_id="c2", country="FR"),
        returned("unplaced return", identity="r2", currency="EUR", country="DE"),
        cancelled("unplaced return"),
    ],
    "unplaced adjustment": [
        adjusted("unplaced adjustment", "-3.3333", currency="USD"),
        adjusted("unplaced adjustment", "1", identity="a2", currency="CHF"),
        delivered("unplaced adjustment"),
    ],
    "unplaced in two currencies": [
        adjusted("unplaced in two currencies", "1", currency="CHF"),
        returned("unplaced in two currencies", currency="EUR"),
    ],
    "partial return": [placed("partial return", ("mug", 3, "7.50"), ("tea", 1, "3.3333")),
                       returned("partial return", ("mug", 1, "7.50")), delivered("partial return")],
    "all came back": [
        placed("all came back", ("mug", 2, "7.50"), ("tea", 1, "3.00"), ("mug", 1, "7.00")),
        returned("all came back", ("mug", 2, "15.00")),
        returned("all came back", ("mug", 1, "7.00"), ("tea", 1, "3.00"), identity="r2"),
        cancelled("all came back"),
    ],
    "more came back": [placed("more came back"), returned("more came back", ("mug", 5, "99.00")),
                       cancelled("more came back")],
    "money back, goods kept": [
        placed("money back, goods kept", ("mug", 3, "7.50")),
        returned("money back, goods kept", ("mug", 1, "22.50")),
        cancelled("money back, goods kept"),
    ],
    "goods back, money kept": [
        placed("goods back, money kept", ("mug", 3, "7.50")),
        returned("goods back, money kept", ("mug", 3, "0")),
        cancelled("goods back, money kept"),
    ],
    "too many back, money kept": [
        placed("too many back, money kept", ("mug", 3, "7.50")),
        returned("too many back, money kept", ("mug", 5, "1.00")),
        cancelled("too many back, money kept"),
    ],
    "too much money back, goods kept": [
        placed("too much money back, goods kept", ("mug", 3, "7.50")),
        returned("too much money back, goods kept", ("mug", 1, "30.00")),
        cancelled("too much money back, goods kept"),
    ],
    "came back in other money": [
        placed("came back in other money", ("mug", 1, "7.50"), shipping="4.90", discount="1.00"),
        returned("came back in other money", ("mug", 1, "8.00"), currency="USD"),
        cancelled("came back in other money"),
    ],
    "returned what was not sold": [
        placed("returned what was not sold"),
        returned("returned what was not sold", ("lamp", 1, "30.00")),
        cancelled("returned what was not sold"),
    ],
    "returned after cancellation": [
        placed("returned after cancellation", ("mug", 2, "7.50"), shipping="4.90"),
        cancelled("returned after cancellation", at=NOON + timedelta(hours=1)),
        returned("returned after cancellation", ("mug", 1, "7.50")),
    ],
    "cancelled twice": [
        placed("cancelled twice", discount="0.5000"),
        cancelled("cancelled twice", at=NOON + timedelta(days=3)),
        cancelled("cancelled twice", identity="c2", at=NOON + timedelta(days=1)),
    ],
    "free": [placed("free", ("mug", 2, "0"), ("tea", 1, "0.0000")), cancelled("free")],
    "guest": [placed("guest", customer=None), returned("guest", country="FR", customer_id="c9")],
    "guest for good": [placed("guest for good", customer=None, channel="web")],
    "four digits": [
        placed("four digits", ("mug", 3, "0.3333"), ("mug", 7, "0.0001"), shipping="0.0001",
               discount="0.0003"),
        adjusted("four digits", "-0.0005"),
    ],
    "large": [placed("large", ("mug", 1000, "99999999.9999")), paid("large", "99999999999999.9999"),
              paid("large", "99999999999999.9999", identity="p2")],
    "largest of all": [
        placed("largest of all", ("mug", 1, MOST), shipping=MOST, discount=MOST),
        paid("largest of all", MOST), paid("largest of all", MOST, identity="p2"),
        adjusted("largest of all", f"-{MOST}"), adjusted("largest of all", MOST, identity="a2"),
        returned("largest of all", ("tea", 1, MOST)),
        cancelled("largest of all"),
    ],
    "many hands": [adjusted("many hands", str(n - 3), identity=f"a{n}") for n in range(6)]
    + [placed("many hands", currency="USD")],
    "old shape": [
        event("OrderPlaced", "old shape", "placed", version=1, data={
            "customer": "c1", "currency": "EUR", "country": "DE", "shipping": "4.90",
            "discount": "9.99", "lines": [{"sku": "mug", "qty": 2, "price": "7.50"}]}),
    ],
    "void": [placed("void"), paid("void", "7.50"), shipped("void"), voided("void", "paid")],
    "all void": [placed("all void", shipping="4.90"), paid("all void", "7.50"),
                 voided("all void", "placed", "paid"), placed("all void", shipping="4.90")],
    "void before": [voided("void before", "placed"), placed("void before"),
                    returned("void before")],
    "void of nothing": [voided("void of nothing", "never", "heard", "of")],
    "void, then right": [
        placed("void, then right", ("mug", 1, "750")), voided("void, then right", "placed"),
        placed("void, then right", ("mug", 1, "7.50"), identity="placed~2"),
    ],
    "void of the earlier placement": [
        placed("void of the earlier placement", ("tea", 1, "1"), identity="a"),
        placed("void of the earlier placement", ("tea", 1, "2"), identity="b",
               at=NOON + timedelta(1)),
        voided("void of the earlier placement", "a"),
    ],
    "void of a return": [
        placed("void of a return", ("mug", 2, "7.50")), returned("void of a return"),
        cancelled("void of a return"), voided("void of a return", "returned"),
    ],
    "void of another source": [
        placed("void of another source"),
        voided("void of another source", "placed", source="shop/us"),
    ],
    "void of a void": [
        placed("void of a void"), voided("void of a void", "placed"),
        voided("void of a void", "void", identity="v2"),
    ],
    "void of itself": [placed("void of itself"), voided("void of itself", "void", "placed")],
    "void twice, otherwise": [
        placed("void twice, otherwise"), paid("void twice, otherwise", "1"),
        voided("void twice, otherwise", "paid"), voided("void twice, otherwise", "placed"),
    ],
    "void with the id of another event": [
        placed("void with the id of another event", identity="x"),
        voided("void with the id of another event", "x", identity="x"),
    ],
    "only a payment left": [placed("only a payment left"), paid("only a payment left", "1"),
                            voided("only a payment left", "placed")],
    "other midnight": [placed("other midnight", at="2026-03-01T00:15:00.1234567+01:00"),
                       paid("other midnight", "7.50", at="2026-02-28 23:59:59z")],
}  # fmt: skip
"""Each fine point of the fold as one order, named after it, events in order of arrival."""


def combined(seed: int, *, shops: int = 4, events: int = 60) -> list[bytes]:
    """All situations and some shops, interleaved at random; the order within each is kept."""
    rng = Random(seed)
    streams = [list(lines) for lines in SITUATIONS.values()]
    streams += [
        Shop(rng, orders=rng.randint(2, 9), prefix=f"s{n}-").events(events) for n in range(shops)
    ]
    places = [n for n, stream in enumerate(streams) for _ in stream]
    rng.shuffle(places)
    upcoming = [iter(stream) for stream in streams]
    return [next(upcoming[n]) for n in places]
