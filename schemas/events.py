"""The event contract: every type and version of an order event, declared once.

The validator, the fast decoder and the JSON Schemas are all read off these declarations,
so that they cannot disagree about a field.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from datetime import datetime
    from decimal import Decimal

MAX_EVENT_BYTES: Final = 1 << 20
MAX_NESTING: Final = 64
MAX_TEXT: Final = 1_024
MAX_LINES: Final = 10_000
MAX_VOIDED: Final = 1_000
MAX_QUANTITY: Final = 2**31 - 1
MAX_SEQUENCE: Final = 2**63 - 1
MONEY_PATTERN: Final = r"-?[0-9]{1,14}(\.[0-9]{1,4})?"
MONEY_LIMIT: Final = 10**14
FIRST_YEAR: Final = 1970
END_YEAR: Final = 2262


class Kind(Enum):
    """What a field holds."""

    TEXT = "text"
    MONEY = "money"
    WHOLE = "whole number"
    SEQUENCE = "sequence"
    TIME = "time"
    LINES = "lines"
    IDS = "event ids"


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field of an event.

    Attributes:
        name: Its key in the JSON object.
        kind: What it holds.
        about: One phrase for people.
        required: Whether the key has to be there. Null counts as absent.
        nullable: The key has to be there, but null is an answer (a guest has no customer id).
        min_length: Fewest characters of a text.
        max_length: Most characters of a text.
        pattern: What the whole text has to match.
        choices: The only texts allowed.
        minimum: Lowest value of a whole number or of money; None means no bound of its own.
        maximum: Highest value of a whole number.
        items: The fields of one line.
    """

    name: str
    kind: Kind
    about: str
    required: bool = True
    nullable: bool = False
    min_length: int = 0
    max_length: int = MAX_TEXT
    pattern: str | None = None
    choices: tuple[str, ...] = ()
    minimum: int | None = None
    maximum: int | None = None
    items: tuple[Field, ...] = ()

    def rule(self) -> str:
        """Say what the field must be, as the end of a sentence."""
        if self.choices:
            return "it must be " + " or ".join(f'"{choice}"' for choice in self.choices)
        if self.pattern is not None:
            return f"it must be a text that matches {self.pattern}"
        sign = "of at least 0, " if self.minimum == 0 else ""
        return {
            Kind.TEXT: f"it must be a text of {self.min_length} to {self.max_length} characters "
            "without control characters",
            Kind.MONEY: f"it must be a decimal amount {sign}with 1 to 14 digits before the point "
            "and at most 4 after it, and no exponent",
            Kind.WHOLE: f"it must be a whole number from {self.minimum} to {self.maximum}",
            Kind.SEQUENCE: f"it must be a whole number from 0 to {MAX_SEQUENCE}, "
            "as a number or as digits",
            Kind.TIME: "it must be an RFC 3339 time with an offset, such as 2026-03-01T09:30:00Z, "
            f"from {FIRST_YEAR} and before {END_YEAR}",
            Kind.LINES: f"it must be a list of 1 to {MAX_LINES} lines",
            Kind.IDS: f"it must be a list of 1 to {MAX_VOIDED} event ids, each a text of 1 to "
            f"{MAX_TEXT} characters without control characters, and each once",
        }[self.kind]


@dataclass(frozen=True, slots=True)
class Shape:
    """The data of one version of one event type."""

    type: str
    version: int
    about: str
    fields: tuple[Field, ...]

    @property
    def needs_data(self) -> bool:
        """Whether an event of this shape must bring a `data` object."""
        return any(field.required for field in self.fields)


@dataclass(frozen=True, slots=True)
class Line:
    """One product of an order or of a return. `amount` is the money of the whole line.

    Of an `EventsVoided`, one event that is taken back: its id stands as `product_id`, with a
    quantity and an amount of 0. So the columns of the log are the same as before there were voids,
    and no stored file has to be written again.
    """

    product_id: str
    quantity: int
    amount: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One accepted event, in the newest shape of its type.

    `version` is the version it arrived in. `time` is UTC without a zone. Money is exact.
    `goods` and `units` add up the lines. Fields the type does not have are None.
    `raw` is the JSON as it arrived, unknown fields included; `digest` its fingerprint.
    """

    source: str
    id: str
    type: str
    version: int
    time: datetime
    order_id: str
    sequence: int | None = None
    customer_id: str | None = None
    currency: str | None = None
    country: str | None = None
    channel: str | None = None
    amount: Decimal | None = None
    shipping: Decimal | None = None
    discount: Decimal | None = None
    goods: Decimal | None = None
    units: int | None = None
    lines: tuple[Line, ...] | None = None
    digest: int
    raw: str


def _text(name: str, about: str, *, required: bool = True, min_length: int | None = None) -> Field:
    shortest = min_length if min_length is not None else int(required)
    return Field(name=name, kind=Kind.TEXT, about=about, required=required, min_length=shortest)


def _money(name: str, about: str, *, required: bool = True, minimum: int | None = 0) -> Field:
    return Field(name=name, kind=Kind.MONEY, about=about, required=required, minimum=minimum)


def _quantity(name: str) -> Field:
    return Field(
        name=name, kind=Kind.WHOLE, about="how many pieces", minimum=1, maximum=MAX_QUANTITY
    )


def _guest(name: str) -> Field:
    return Field(
        name=name,
        kind=Kind.TEXT,
        about="who ordered; null for a guest",
        nullable=True,
        min_length=1,
    )


def _lines(*items: Field) -> Field:
    return Field(name="lines", kind=Kind.LINES, about="the products", items=items)


_CURRENCY = Field(
    name="currency",
    kind=Kind.TEXT,
    about="ISO 4217 code",
    pattern="[A-Z]{3}",
    min_length=3,
    max_length=3,
)
_COUNTRY = Field(
    name="country",
    kind=Kind.TEXT,
    about="where the order comes from, free text",
    required=False,
    min_length=1,
    max_length=64,
)
_CHANNEL = _text("channel", "where it was ordered: web, app, shop", required=False)
_PRODUCT = _text("product_id", "the product")
_CATEGORY = _text("category", "the product's category", required=False)
_SHIPPING = _money("shipping", "what the customer pays for delivery", required=False)
_DISCOUNT = _money("discount", "what is taken off the order, as a positive amount", required=False)

SHAPES: Final[tuple[Shape, ...]] = (
    Shape(
        "OrderPlaced",
        1,
        "A customer ordered. The first shape: short names, no discount.",
        (
            _guest("customer"),
            _CURRENCY,
            _lines(
                _text("sku", "the product"),
                _quantity("qty"),
                _money("price", "price of one piece"),
                _CATEGORY,
            ),
            _COUNTRY,
            _CHANNEL,
            _SHIPPING,
        ),
    ),
    Shape(
        "OrderPlaced",
        2,
        "A customer ordered.",
        (
            _guest("customer_id"),
            _CURRENCY,
            _lines(
                _PRODUCT,
                _quantity("quantity"),
                _money("unit_price", "price of one piece"),
                _CATEGORY,
            ),
            _COUNTRY,
            _CHANNEL,
            _SHIPPING,
            _DISCOUNT,
        ),
    ),
    Shape(
        "PaymentCaptured",
        1,
        "Money for the order arrived.",
        (
            _money("amount", "what was paid"),
            _text("method", "how it was paid", required=False),
            _text("transaction_id", "the payment provider's reference", required=False),
        ),
    ),
    Shape(
        "OrderShipped",
        1,
        "The order left the warehouse.",
        (
            _text("carrier", "who carries it", required=False),
            _text("tracking", "the carrier's reference", required=False),
        ),
    ),
    Shape("OrderDelivered", 1, "The order reached the customer.", ()),
    Shape(
        "OrderCancelled",
        1,
        "The order was called off.",
        (_text("reason", "why", required=False),),
    ),
    Shape(
        "ItemsReturned",
        1,
        "Products came back.",
        (
            _CURRENCY,
            _lines(
                _PRODUCT,
                _quantity("quantity"),
                _money("refund", "money given back for the whole line"),
            ),
            _text("customer_id", "who returned it", required=False, min_length=1),
            _COUNTRY,
            _text("reason", "why", required=False),
        ),
    ),
    Shape(
        "AdjustmentBooked",
        1,
        "Money was booked by hand, in either direction.",
        (
            _CURRENCY,
            _money("amount", "signed: positive raises revenue", minimum=None),
            _text("reason", "why"),
        ),
    ),
    Shape(
        "EventsVoided",
        1,
        "Events of this order and this source were wrong and count no longer.",
        (
            Field(name="events", kind=Kind.IDS, about="ids of the events that are taken back"),
            _text("reason", "why"),
            _text("import", "the import run whose events they are", required=False),
        ),
    ),
)

TYPES: Final[tuple[str, ...]] = tuple(dict.fromkeys(shape.type for shape in SHAPES))
NEWEST: Final[dict[str, Shape]] = {shape.type: shape for shape in SHAPES}
"""The newest shape of each type: declarations go from old to new, so the last one stays."""

_BY_VERSION: Final = {(shape.type, shape.version): shape for shape in SHAPES}

ENVELOPE: Final[tuple[Field, ...]] = (
    Field(name="specversion", kind=Kind.TEXT, about="CloudEvents version", choices=("1.0",)),
    _text("id", "with `source`, identifies the event"),
    _text("source", "who produced the event"),
    Field(name="type", kind=Kind.TEXT, about="what happened", choices=TYPES),
    _text("subject", "the order's id"),
    Field(name="time", kind=Kind.TIME, about="when it happened"),
    _text("datacontenttype", "media type of `data`", required=False),
    _text("dataschema", "ends in /TYPE/VERSION; absent means newest", required=False),
    Field(
        name="sequence", kind=Kind.SEQUENCE, about="order within one order's events", required=False
    ),
)


def shape_of(event_type: str, version: int) -> Shape | None:
    """Return the shape of a type at a version, or None if there is no such version."""
    return _BY_VERSION.get((event_type, version))


def versions_of(event_type: str) -> tuple[int, ...]:
    """Return all versions of a type, oldest first."""
    return tuple(shape.version for shape in SHAPES if shape.type == event_type)
