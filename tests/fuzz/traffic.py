"""The traffic of the fuzzer: seeded event lines that collide in every way a stream can.

A line's fate is known before it is sent: `good` lines are accepted, the others are quarantined.
Same step and same history, same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Any

from headrace.pipelines.generator.faults import POISON, poison_line

TRAFFIC = ("append", "reorder", "late", "duplicate", "poison")
"""Steps that bring lines: new orders, backwards, long after, again, and bad ones among good."""

_NOON = datetime(2026, 3, 1, 12)  # noqa: DTZ001 - written out as UTC
_PRODUCTS = ("mug", "tea", "lamp", "Säge")
_PRICES: tuple[str | float, ...] = ("0", "7.50", "0.3333", "19.9999", "1234567.89", 3, 2.5)
_CURRENCIES = ("EUR", "EUR", "EUR", "USD")
_COUNTRIES = (None, "DE", "FR", "Île")
_CUSTOMERS = (None, "c1", "c2", "c3")
_MONEY = ("0", "7.50", "10.0001", "2469135.78")
_AFTER = ("OrderShipped", "OrderDelivered", "OrderCancelled")


@dataclass(frozen=True)
class Sent:
    """One line on its way into the log, and whether it has to be accepted."""

    raw: bytes
    good: bool = True


def chances(*seed: object) -> Random:
    """The source of all chance for one purpose: same seed, same draws, on any machine."""
    return Random("/".join(map(str, seed)))


def lines_of(kind: str, seed: int, size: int, history: Sequence[bytes]) -> list[Sent]:
    """The lines of one step of traffic.

    Args:
        kind: one of `TRAFFIC`.
        seed: of this step.
        size: orders to live through; for `late` and `duplicate`, events.
        history: everything that was accepted so far, in order of arrival.
    """
    rng = chances(kind, seed)
    if kind == "duplicate":
        return [Sent(_again(rng, rng.choice(history))) for _ in range(size if history else 0)]
    if kind == "late":
        return [Sent(_late(rng, f"l{seed}-{n}", history)) for n in range(size)]
    lives = [_life(rng, f"{seed}-{n}") for n in range(size)]
    if kind == "reorder":
        lines = [line for life in lives for line in life]
        rng.shuffle(lines)
        return [Sent(line) for line in lines]
    sent = [Sent(line) for line in _interleaved(rng, lives)]
    if kind == "poison":
        for n in range(rng.randint(1, 2 * size)):
            bad = poison_line(rng.choice(sorted(POISON)), 1_000 * seed + n)
            sent.insert(rng.randint(0, len(sent)), Sent(bad, good=False))
    return sent


def _event(
    rng: Random, kind: str, order: str, identity: str, at: datetime, data: dict[str, Any] | None
) -> bytes:
    version = None
    if kind == "OrderPlaced":
        version = 1 if data is not None and "customer" in data else rng.choice((None, 2))
    line: dict[str, Any] = {"specversion": "1.0", "id": identity, "source": "shop/eu"}
    line |= {"type": kind, "subject": order, "time": at.isoformat() + "Z"}
    if version is not None:
        line["dataschema"] = f"https://example.org/schemas/{kind}/{version}"
    sequence = rng.choice((None, None, None, 1, 2, "3"))
    if sequence is not None:
        line["sequence"] = sequence
    if data is not None:
        line["data"] = data
    return json.dumps(line, ensure_ascii=False).encode()


def _placed(rng: Random) -> dict[str, Any]:
    old = rng.random() < 0.2
    names = ("sku", "qty", "price") if old else ("product_id", "quantity", "unit_price")
    lines = [
        dict(
            zip(
                names,
                (rng.choice(_PRODUCTS), rng.randint(1, 3), rng.choice(_PRICES)),
                strict=True,
            )
        )
        for _ in range(rng.randint(1, 3))
    ]
    return {
        "customer" if old else "customer_id": rng.choice(_CUSTOMERS),
        "currency": rng.choice(_CURRENCIES),
        "lines": lines,
        "country": rng.choice(_COUNTRIES),
        "channel": rng.choice((None, "web", "app")),
        "shipping": rng.choice(("0", "4.90", "0.0001")),
        "discount": rng.choice(("0", "2.00", "100")),
    }


def _returned(rng: Random) -> dict[str, Any]:
    lines = [
        {
            "product_id": rng.choice(_PRODUCTS),
            "quantity": rng.randint(1, 4),
            "refund": rng.choice(_MONEY),
        }
        for _ in range(rng.randint(1, 2))
    ]
    return {"currency": rng.choice(_CURRENCIES), "lines": lines}


def _adjusted(rng: Random) -> dict[str, Any]:
    amount = rng.choice(("-5.00", "3.3333", "-0.0001"))
    return {"currency": rng.choice(_CURRENCIES), "amount": amount, "reason": "by hand"}


def _data(rng: Random, kind: str) -> dict[str, Any] | None:
    if kind == "OrderPlaced":
        return _placed(rng)
    if kind == "PaymentCaptured":
        return {"amount": rng.choice(_MONEY)}
    if kind == "ItemsReturned":
        return _returned(rng)
    if kind == "AdjustmentBooked":
        return _adjusted(rng)
    if kind == "EventsVoided":
        named = rng.sample([f"e{n}" for n in range(6)], rng.randint(1, 3))
        return {"events": named, "reason": "by mistake"}
    return rng.choice((None, {}))


def _life(rng: Random, name: str) -> list[bytes]:
    """The events of one order, as they would happen."""
    kinds = ["OrderPlaced"]
    for kind, chance in (
        ("PaymentCaptured", 0.7),
        ("OrderShipped", 0.5),
        ("OrderDelivered", 0.4),
        ("OrderCancelled", 0.2),
        ("ItemsReturned", 0.3),
        ("AdjustmentBooked", 0.1),
        ("EventsVoided", 0.1),
    ):
        if rng.random() < chance:
            kinds.append(kind)
    at = _NOON + timedelta(minutes=rng.randint(0, 3 * 24 * 60))
    order = f"o{name}"
    lines = []
    for n, kind in enumerate(kinds):
        lines.append(_event(rng, kind, order, f"e{n}", at, _data(rng, kind)))
        at += timedelta(minutes=rng.choice((0, 1, 60, 24 * 60)))
    return lines


def _interleaved(rng: Random, lives: Sequence[Sequence[bytes]]) -> list[bytes]:
    """All lives mixed; the order within each is kept."""
    turns = [n for n, life in enumerate(lives) for _ in life]
    rng.shuffle(turns)
    upcoming = [iter(life) for life in lives]
    return [next(upcoming[n]) for n in turns]


def _late(rng: Random, identity: str, history: Sequence[bytes]) -> bytes:
    """An event of long ago, of an order that may be finished or that nobody ever placed."""
    order = f"unseen-{identity}"
    if history and rng.random() < 0.8:
        order = json.loads(rng.choice(history))["subject"]
    kinds = ("ItemsReturned", "AdjustmentBooked", "PaymentCaptured", "OrderPlaced", *_AFTER)
    kind = rng.choice(kinds)
    at = _NOON - timedelta(days=rng.randint(0, 30), seconds=rng.randint(0, 86_400))
    return _event(rng, kind, order, identity, at, _data(rng, kind))


def _again(rng: Random, line: bytes) -> bytes:
    """The same event once more: the same bytes, written otherwise, or with other content."""
    chance = rng.random()
    if chance < 0.5:
        return line
    content = json.loads(line)
    if chance < 0.7:
        return json.dumps(dict(reversed(content.items())), indent=None).encode()
    if chance < 0.85 and content["type"] == "OrderPlaced":
        content["data"] = _placed(rng)
        content.pop("dataschema", None)
        if "customer" in content["data"]:
            content["dataschema"] = "https://example.org/schemas/OrderPlaced/1"
    else:
        content["data"] = {**(content.get("data") or {}), "note": f"again {rng.randint(0, 9)}"}
    return json.dumps(content, ensure_ascii=False).encode()
