"""Import of order lines from any CSV files, by a mapping: one row is one product of an order.

Every row ends up in an event or in `rejected`; blank lines are counted in `skipped`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from headrace.pipelines.errors import ContractError
from headrace.pipelines.ingest.csv_mapping import CsvMapping
from headrace.pipelines.ingest.delimited import (
    UNIT,
    ImportedFile,
    Record,
    RejectedRow,
    TextFile,
    event_line,
    money,
    records,
    shown,
    text_problem,
)
from headrace.pipelines.ingest.notation import Notation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime
    from pathlib import Path

__all__ = ["CsvMapping", "csv_orders"]

_MONEY_LIMIT = 10**14 * UNIT
_BLANK = "blank lines"


@dataclass(frozen=True, slots=True)
class _Row:
    """One row, read. Amounts are in 1/10,000; `header` is what the rows of an order share."""

    order_id: str
    time: datetime
    product_id: str
    quantity: int
    unit_price: int
    header: tuple[str | None, str, str | None, str | None]


@dataclass(slots=True)
class _Happening:
    """Rows that make one event: an order placed, or goods returned at one time."""

    event_id: str
    order_id: str
    header: tuple[str | None, str, str | None, str | None]
    line_no: int
    time: datetime
    returned: bool
    amount: int = 0
    lines: list[dict[str, object]] = field(default_factory=list)


def csv_orders(paths: Sequence[Path], mapping: CsvMapping) -> Iterator[ImportedFile]:
    """Read the files one by one.

    Rows of one order id make one `OrderPlaced`, at the earliest of their times, with the lines
    in file order (and one `PaymentCaptured` if the mapping says `paid`). Rows of a negative
    quantity make an `ItemsReturned` for each order and time. Event ids follow from these, so
    importing a file twice changes nothing. An order's sale has to stand in one file: rows of it
    in a later file are rejected. Its returns may come in later files.

    Raises:
        ContractError: a file cannot be read or lacks a mapped column. Files read before are fine.
    """
    owners: dict[str, Path] = {}
    for path in paths:
        yield _CsvFile(path, mapping, owners).read()


class _CsvFile:
    """One file on its way into events."""

    def __init__(self, path: Path, mapping: CsvMapping, owners: dict[str, Path]) -> None:
        self._mapping = mapping
        self._constants = {str(name): text for name, text in mapping.constants.items()}
        self._owners = owners
        self._text = TextFile(path, mapping.encoding)
        # Many rows have the same time and price; reading the text again would cost most.
        self._time = lru_cache(maxsize=1 << 14)(mapping.time.utc)
        self._notation = Notation(mapping.decimal_mark, mapping.thousands_mark)
        self._happenings: dict[str, _Happening] = {}

    def read(self) -> ImportedFile:
        path, text, mapping = self._text.path, self._text, self._mapping
        rows = records(text.lines, delimiter=mapping.delimiter, quote=mapping.quote)
        header = next(rows, None)
        places = self._places([] if header is None else header.fields)
        width = 0 if header is None else len(header.fields)
        rejected: list[RejectedRow] = []
        skipped = {_BLANK: 0}
        count = 0
        for record in rows:
            count += 1
            if not record.fields and record.problem is None:
                skipped[_BLANK] += 1
                continue
            try:
                self._take(self._row(record, places, width), record.first + 1)
            except ValueError as error:
                rejected.append(text.reject(record, str(error)))
        happenings = sorted(self._happenings.values(), key=lambda one: (one.time, one.returned))
        lines = [line for one in happenings for line in self._events(one)]
        return ImportedFile(path, lines, skipped, rejected, count)

    def _places(self, header: list[str]) -> dict[str, int]:
        """In which field of a record each mapped column is."""
        places: dict[str, int] = {}
        for name, column in self._mapping.columns.items():
            if header.count(column) != 1:
                fact = "lacks" if column not in header else "has more than once"
                raise ContractError(
                    f"{self._text.path} {fact} the column {column!r} that the mapping names for "
                    f"columns.{name}; its columns are {shown(', '.join(header))}; correct the "
                    "mapping, or its delimiter and encoding"
                )
            places[name] = header.index(column)
        return places

    def _row(self, record: Record, places: dict[str, int], width: int) -> _Row:
        """Read a record. ValueError: it cannot be mapped, and why."""
        if record.problem is not None:
            raise ValueError(record.problem)
        if len(record.fields) != width:
            raise ValueError(f"it has {len(record.fields)} fields, the header has {width}")
        value = {name: record.fields[place].strip() for name, place in places.items()}
        value |= self._constants
        # Event ids are made of the order id and must not outgrow the contract's 1,024 either.
        _check("order_id", value["order_id"], longest=960)
        _check("product_id", value["product_id"])
        for name in ("customer_id", "channel", "country"):
            if value.get(name):
                _check(name, value[name], longest=64 if name == "country" else 1_024)
        currency = value["currency"]
        if not (len(currency) == 3 and currency.isascii() and currency.isupper()):  # noqa: PLR2004 - ISO 4217
            raise ValueError(f"currency is {shown(currency)}; it must be a code such as EUR")
        header = (
            value.get("customer_id") or None,
            currency,
            value.get("country") or None,
            value.get("channel") or None,
        )
        try:
            time = self._time(value["time"])
        except (ValueError, OverflowError) as error:
            raise ValueError(f"time is {shown(value['time'])}; {error}") from error
        quantity, price = self._quantity(value["quantity"]), self._price(value["unit_price"])
        if abs(quantity) * price >= _MONEY_LIMIT:
            raise ValueError(f"quantity {quantity} at unit_price {money(price)} is 10^14 or more")
        return _Row(value["order_id"], time, value["product_id"], quantity, price, header)

    def _quantity(self, text: str) -> int:
        quantity = _read("quantity", text, self._notation.quantity)
        if quantity < 0 and self._mapping.negative_quantity == "reject":
            raise ValueError(f'quantity is {shown(text)}; use negative_quantity = "return"')
        return quantity

    def _price(self, text: str) -> int:
        price = _read("unit_price", text, self._notation.price)
        if price < 0:
            raise ValueError(f"unit_price is {shown(text)}; it must be 0 or more")
        return price

    def _take(self, row: _Row, line_no: int) -> None:
        """Add a row to the event it belongs to. ValueError: it contradicts what came before."""
        returned = row.quantity < 0
        what = f"returned-{row.time.replace(tzinfo=None).isoformat()}" if returned else "placed"
        event_id = f"{row.order_id}-{what}"
        owner = self._owners.setdefault(event_id, self._text.path)
        if owner != self._text.path:
            kind = "returns at this time" if returned else "sales"
            raise ValueError(
                f"order {row.order_id} has {kind} in {owner} already; put them into one file"
            )
        one = self._happenings.get(event_id)
        if one is None:
            one = _Happening(event_id, row.order_id, row.header, line_no, row.time, returned)
            self._happenings[event_id] = one
        elif one.header != row.header:
            raise ValueError(
                f"customer, currency, country, channel {row.header} differ from {one.header} of "
                f"line {one.line_no}, which is the same order"
            )
        amount = abs(row.quantity) * row.unit_price
        if one.amount + amount >= _MONEY_LIMIT:
            raise ValueError(f"with it, order {row.order_id} comes to 10^14 or more")
        one.amount += amount
        one.time = min(one.time, row.time)
        line: dict[str, object] = {"product_id": row.product_id, "quantity": abs(row.quantity)}
        price = ("refund", amount) if returned else ("unit_price", row.unit_price)
        line[price[0]] = money(price[1])
        one.lines.append(line)

    def _events(self, one: _Happening) -> list[bytes]:
        customer_id, currency, country, channel = one.header
        data: dict[str, object] = {"customer_id": customer_id, "currency": currency}
        if country is not None:
            data["country"] = country
        if channel is not None and not one.returned:
            data["channel"] = channel
        data["lines"] = one.lines
        if one.returned:
            if customer_id is None:
                del data["customer_id"]
            return [self._line(one, one.event_id, "ItemsReturned", data)]
        events = [self._line(one, one.event_id, "OrderPlaced", data)]
        if self._mapping.paid:
            paid = {"amount": money(one.amount)}
            events.append(self._line(one, f"{one.order_id}-paid", "PaymentCaptured", dict(paid)))
        return events

    def _line(self, one: _Happening, event_id: str, kind: str, data: dict[str, object]) -> bytes:
        return event_line(
            event_id, self._mapping.source, kind, order_id=one.order_id, time=one.time, data=data
        )


def _read(name: str, text: str, read: Callable[[str], int]) -> int:
    try:
        return read(text)
    except ValueError as error:
        raise ValueError(f"{name} is {shown(text)}; {error}") from error


def _check(name: str, text: str, *, longest: int = 1_024) -> None:
    problem = text_problem(text, longest)
    if problem is not None:
        raise ValueError(f"{name} {problem}")
