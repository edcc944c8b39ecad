"""Seeded order events, and what must come of them, added up in plain Python.

There are no cancellations among them, so that the truth is a sum that anybody can check by eye:
what was sold, shipping, less discounts, less refunds, plus adjustments, each event once.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from tests.e2e.command import Headrace, money

FIRST_DAY = datetime(2026, 3, 1)  # noqa: DTZ001 - UTC, written with a Z below


@dataclass(frozen=True)
class Truth:
    """What events add up to, each counted once."""

    events: int
    distinct: int
    by_order: dict[str, int]
    net: dict[tuple[str, str], Decimal]

    @classmethod
    def of(cls, lines: Iterable[bytes]) -> Truth:
        """Add up events; lines that are not JSON objects are left out."""
        seen: set[tuple[str, str, str]] = set()
        by_order: Counter[str] = Counter()
        net: dict[tuple[str, str], Decimal] = {}
        events = 0
        for line in lines:
            event = json.loads(line)
            events += 1
            identity = (event["subject"], event["source"], event["id"])
            if identity in seen:
                continue
            seen.add(identity)
            by_order[event["subject"]] += 1
            if event["type"] == "PaymentCaptured":
                continue
            key = (event["time"][:10], event["data"]["currency"])
            net[key] = net.get(key, Decimal(0)) + amount(event)
        return cls(events, len(seen), dict(by_order), net)

    def check(self, headrace: Headrace) -> None:
        """Check that the served views say the same, in one query and so at one position."""
        found = headrace.rows(
            "SELECT order_id, NULL AS currency, event_count AS found FROM orders "
            "UNION ALL SELECT CAST(day AS VARCHAR), currency, net FROM revenue_by_day"
        )
        by_order = [(row[0], int(Decimal(row[2]))) for row in found if row[1] is None]
        assert len(by_order) == len(self.by_order)
        assert dict(by_order) == self.by_order
        assert money([row for row in found if row[1] is not None]) == self.net

    def holds(self, headrace: Headrace) -> bool:
        """Whether the served views say the same."""
        try:
            self.check(headrace)
        except AssertionError:
            return False
        return True


def amount(event: dict[str, Any]) -> Decimal:
    """What one event moves, by the event contract."""
    data = event["data"]
    if event["type"] == "OrderPlaced":
        lines = data["lines"]
        sold = sum((n["quantity"] * Decimal(n["unit_price"]) for n in lines), Decimal(0))
        return sold + Decimal(data.get("shipping", "0")) - Decimal(data.get("discount", "0"))
    if event["type"] == "ItemsReturned":
        return -sum((Decimal(line["refund"]) for line in data["lines"]), Decimal(0))
    return Decimal(data["amount"])


def events(orders: int, seed: int, *, again: float = 0.05) -> list[bytes]:
    """Events of so many orders, shuffled a little; a share `again` is delivered twice."""
    chance = random.Random(seed)
    made = [line for number in range(orders) for line in _order(f"o-{seed}-{number}", chance)]
    made += chance.sample(made, int(len(made) * again))
    placed = sorted(range(len(made)), key=lambda i: i + chance.uniform(0, 40))
    return [made[i] for i in placed]


def write(path: Path, lines: Iterable[bytes]) -> Path:
    """Write lines as NDJSON."""
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


def _order(order: str, chance: random.Random) -> Iterator[bytes]:
    currency = chance.choice(["EUR", "GBP"])
    time = FIRST_DAY + timedelta(seconds=chance.randrange(5 * 86_400))
    lines = [
        {
            "product_id": f"p-{chance.randrange(20)}",
            "quantity": chance.randint(1, 4),
            "unit_price": f"{chance.randrange(100, 9_999)}.{chance.randrange(100):02d}",
        }
        for _ in range(chance.randint(1, 3))
    ]
    data: dict[str, Any] = {"customer_id": f"c-{chance.randrange(30)}", "currency": currency}
    data |= {"country": chance.choice(["DE", "FR", "GB"]), "lines": lines}
    if chance.random() < 0.3:
        data["shipping"] = "4.9050"
    if chance.random() < 0.2:
        data["discount"] = "1.10"
    yield _event(order, 1, "OrderPlaced", time, data)
    yield _event(order, 2, "PaymentCaptured", time + timedelta(minutes=2), {"amount": "10.00"})
    if chance.random() < 0.25:
        back = [{"product_id": lines[0]["product_id"], "quantity": 1, "refund": "7.77"}]
        later = time + timedelta(days=1)
        yield _event(order, 3, "ItemsReturned", later, {"currency": currency, "lines": back})
    if chance.random() < 0.1:
        booked = {"currency": currency, "amount": "-3.3333", "reason": "goodwill"}
        yield _event(order, 4, "AdjustmentBooked", time + timedelta(days=2), booked)


def _event(order: str, number: int, kind: str, time: datetime, data: dict[str, Any]) -> bytes:
    return json.dumps(
        {
            "specversion": "1.0", "id": f"{order}-{number}", "source": "shop/test", "type": kind,
            "subject": order, "time": f"{time.isoformat()}Z", "data": data,
        }
    ).encode()  # fmt: skip
