"""Reads the fields of a record as a row of an order, or says which rule they break."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, time
from functools import lru_cache, partial
from zoneinfo import ZoneInfo

from headrace.pipelines.ingest.cells import Cell, Moment, is_number, text_of
from headrace.pipelines.ingest.csv_mapping import AMOUNTS, CsvMapping
from headrace.pipelines.ingest.delimited import UNIT, money, shown, text_problem
from headrace.pipelines.ingest.notation import Notation

MONEY_LIMIT = 10**14 * UNIT
_TYPED = Notation(".")
"""How a workbook gives its numbers."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row, read. Amounts are in 1/10,000.

    Attributes:
        header: What the rows of an order share: customer, currency, country and channel.
        amounts: Shipping, discount and tax, where the row has them.
    """

    order_id: str
    time: datetime
    product_id: str
    category: str | None
    quantity: int
    unit_price: int
    header: tuple[str | None, str, str | None, str | None]
    amounts: Mapping[str, int] = field(default_factory=dict)


class RowReader:
    """Reads rows as one mapping says."""

    def __init__(self, mapping: CsvMapping, days: ZoneInfo) -> None:
        self._mapping = mapping
        self._days = days
        self._constants = {str(name): text for name, text in mapping.constants.items()}
        # Many rows have the same time; reading the text again would cost most.
        self._utc = lru_cache(maxsize=1 << 14)(partial(mapping.time.utc, days=days))
        self._notation = Notation(
            mapping.decimal_mark, mapping.thousands_mark, mapping.currency_sign
        )
        self._amounts = tuple(name for name in AMOUNTS if name in mapping.columns)

    def read(self, fields: Mapping[str, str]) -> Row:
        """Read the mapped fields.

        Raises:
            ValueError: they cannot be mapped, and why.
        """
        value = {**fields, **self._constants}
        # Event ids are made of the order id and must not outgrow the contract's 1,024 either.
        order_id = _text("order_id", value["order_id"], longest=960)
        product_id = _text("product_id", value["product_id"])
        currency = text_of("currency", value["currency"])
        if not (len(currency) == 3 and currency.isascii() and currency.isupper()):  # noqa: PLR2004 - ISO 4217
            raise ValueError(f"currency is {shown(currency)}; it must be a code such as EUR")
        header = (
            _optional("customer_id", value),
            currency,
            _optional("country", value, longest=64),
            _optional("channel", value),
        )
        category = _optional("category", value)
        time = self._halves(value) if "date" in value else self._time(value["time"])
        quantity, price = self._quantity(value["quantity"]), self._price(value["unit_price"])
        if abs(quantity) * price >= MONEY_LIMIT:
            raise ValueError(f"quantity {quantity} at unit_price {money(price)} is 10^14 or more")
        amounts = {
            name: self._amount(name, value[name]) for name in self._amounts if value[name].strip()
        }
        return Row(order_id, time, product_id, category, quantity, price, header, amounts)

    def _quantity(self, text: str) -> int:
        quantity = self._number("quantity", text, Notation.quantity)
        if quantity < 0 and self._mapping.negative_quantity == "reject":
            raise ValueError(f'quantity is {shown(text)}; use negative_quantity = "return"')
        return quantity

    def _price(self, text: str) -> int:
        price = self._number("unit_price", text, Notation.amount)
        if price < 0:
            raise ValueError(f"unit_price is {shown(text)}; it must be 0 or more")
        return price

    def _amount(self, name: str, text: str) -> int:
        """Shipping or tax as it is, a discount without the sign that the mapping says."""
        amount = self._number(name, text, Notation.amount)
        if name == "discount" and self._mapping.discount_sign == "-":
            amount = -amount
        if amount < 0 and name == "discount":
            other = "+" if self._mapping.discount_sign == "-" else "-"
            raise ValueError(
                f"discount is {shown(text)}, and discount_sign is {self._mapping.discount_sign!r}; "
                f"is it taken off, or added? Say discount_sign = {other!r} if all are so written"
            )
        if amount < 0 and name == "shipping":
            raise ValueError(f"shipping is {shown(text)}; it must be 0 or more")
        return amount

    def _number(self, name: str, field: str, read: Callable[[Notation, str], int]) -> int:
        text = text_of(name, field)
        try:
            return read(_TYPED if is_number(field) else self._notation, text)
        except ValueError as error:
            raise ValueError(f"{name} is {shown(text)}; {error}") from error

    def _time(self, field: str) -> datetime:
        value = field.value if isinstance(field, Cell) else None
        if isinstance(value, time):
            raise ValueError(  # noqa: TRY004 - of a row, not of a caller
                f"time is {field}, a time of no day; map columns.date as well"
            )
        try:
            if isinstance(value, Moment):
                return self._mapping.time.utc_of(value.local, value.has_time, self._days)
            return self._utc(text_of("time", field))
        except (ValueError, OverflowError) as error:
            raise ValueError(f"time is {shown(str(field))}; {error}") from error

    def _halves(self, value: Mapping[str, str]) -> datetime:
        """A date and a time of day, both text, or both typed."""
        day, clock = value["date"], value["time_of_day"]
        for name in ("date", "time_of_day"):
            if not value[name].strip():
                raise ValueError(f"{name} is empty")
        if not isinstance(day, Cell) and not isinstance(clock, Cell):
            return self._time(f"{day.strip()} {clock.strip()}")
        moment = day.value if isinstance(day, Cell) else None
        of_day = clock.value if isinstance(clock, Cell) else None
        if not isinstance(moment, Moment) or not isinstance(of_day, time):
            raise ValueError(  # noqa: TRY004 - of a row, not of a caller
                f"date is {shown(str(day))} and time_of_day {shown(str(clock))}; in a workbook, "
                "both are text, or one is a date and the other a time"
            )
        if moment.local.time() != time():
            raise ValueError(f"date is {day}, which has a time of its own; map it as columns.time")
        return self._time(
            Cell.of(f"{day} {clock}", Moment(datetime.combine(moment.local, of_day), has_time=True))
        )


def _text(name: str, field: str, *, longest: int = 1_024) -> str:
    text = text_of(name, field)
    problem = text_problem(text, longest)
    if problem is not None:
        raise ValueError(f"{name} {problem}")
    return text


def _optional(name: str, value: Mapping[str, str], *, longest: int = 1_024) -> str | None:
    """A text that need not be there."""
    field = value.get(name, "")
    return _text(name, field, longest=longest) if field.strip() else None
