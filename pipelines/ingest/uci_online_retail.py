"""Import of UCI Online Retail (id 352), daily files or the whole, as order events.

Exact: every row counts, repeats too; prices stay the decimals that stand in the file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING

from headrace.pipelines.errors import ContractError
from headrace.pipelines.ingest.delimited import (
    ImportedFile,
    Record,
    RejectedRow,
    TextFile,
    event_line,
    money,
    records,
    shown,
    ten_thousandths,
    text_problem,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

SOURCE = "uci/online-retail"
HEADER = [
    "InvoiceNo",
    "StockCode",
    "Description",
    "Quantity",
    "InvoiceDate",
    "UnitPrice",
    "CustomerID",
    "Country",
]
_WRITE_OFFS = "write-offs"
_DIGITS = 10  # a quantity of more is no quantity; the contract stops at 2,147,483,647
# The daily files write the first, other copies of the data set the second (month first).
_TIME_FORMATS = ("%Y-%m-%d %H:%M:%S", "%m/%d/%Y %H:%M")


@dataclass(slots=True)
class _Invoice:
    """What has been read of one invoice. `amount` is in 1/10,000 pounds, signed as in the file."""

    number: str
    customer_id: str | None
    country: str
    time: datetime
    amount: int = 0
    lines: list[dict[str, object]] = field(default_factory=list)


def uci_online_retail(paths: Sequence[Path]) -> Iterator[ImportedFile]:
    """Read the files one by one; see the README of the data set for what the columns mean.

    An invoice with sales or free items becomes one `OrderPlaced` with all its lines in file
    order and one `PaymentCaptured` over their total; a `C` invoice an `ItemsReturned`; an `A`
    invoice an `AdjustmentBooked`. Stock write-offs (quantity below 0, price 0) are no order
    events: they are counted in `skipped`. Event ids follow from the invoice, so importing a
    file twice changes nothing.

    Raises:
        ContractError: a file cannot be read or is not of this data set, or an invoice is in two
            files, which would give its events the same id. Files read before are fine.
    """
    owners: dict[str, Path] = {}
    for path in paths:
        yield _import(path, owners)


def _import(path: Path, owners: dict[str, Path]) -> ImportedFile:
    text = TextFile(path)
    rows = records(text.lines)
    header = next(rows, None)
    if header is None or header.fields != HEADER:
        found = "nothing" if header is None else shown(",".join(header.fields))
        raise ContractError(
            f"{path} is no file of UCI Online Retail: its first line should be "
            f"{','.join(HEADER)} but is {found}; use `import csv` with a mapping for other files"
        )
    invoices: dict[str, _Invoice] = {}
    skipped = {_WRITE_OFFS: 0}
    rejected: list[RejectedRow] = []
    count = twins = 0
    seen: set[tuple[str, ...]] = set()
    for record in rows:
        count += 1
        try:
            if not _take(record, invoices):
                skipped[_WRITE_OFFS] += 1
                continue
            row = tuple(record.fields)
            twins += row in seen
            seen.add(row)
        except ValueError as error:
            rejected.append(text.reject(record, str(error)))
    for number in invoices:
        owner = owners.setdefault(number, path)
        if owner != path:
            raise ContractError(
                f"invoice {number} is in {owner} and in {path}; import its rows from one file"
            )
    # The sort is stable: at the same time, the file's order stays.
    ordered = sorted(invoices.values(), key=lambda invoice: invoice.time)
    lines = [line for invoice in ordered for line in _events(invoice)]
    again = {"sum": twins} if twins else {}
    return ImportedFile(path, lines, skipped, rejected, count, identical_rows=again)


def _take(record: Record, invoices: dict[str, _Invoice]) -> bool:
    """Add a row to its invoice. False: it is a stock write-off. ValueError: it cannot be mapped."""
    if record.problem is not None:
        raise ValueError(record.problem)
    if len(record.fields) != len(HEADER):
        raise ValueError(f"it has {len(record.fields)} fields instead of {len(HEADER)}")
    number, stock, _, quantity_text, date, price_text, customer, country = record.fields
    quantity, price = _quantity(quantity_text), ten_thousandths(price_text)
    if price is None:
        raise ValueError(f"UnitPrice is {shown(price_text)}; it must be a decimal number")
    if quantity < 0 and price == 0:
        return False
    kind = number[:1]
    if kind != "A" and (price < 0 or quantity == 0 or (quantity < 0) != (kind == "C")):
        raise ValueError(
            f"Quantity {quantity} at UnitPrice {price_text} is neither a sale, nor the return of "
            f"a C invoice, nor the adjustment of an A invoice"
        )
    # All of the row is checked before its invoice is made: a bad one must leave no empty order.
    product = _known_text("StockCode", stock)
    invoice = _invoice(invoices, number, customer, country, _time(date))
    invoice.amount += quantity * price
    if kind == "C":
        refund = money(-quantity * price)
        invoice.lines.append({"product_id": product, "quantity": -quantity, "refund": refund})
    elif kind != "A":
        invoice.lines.append(
            {"product_id": product, "quantity": quantity, "unit_price": money(price)}
        )
    return True


def _invoice(
    invoices: dict[str, _Invoice], number: str, customer: str, country: str, time: datetime
) -> _Invoice:
    customer_id = customer.removesuffix(".0") or None
    invoice = invoices.get(number)
    if invoice is None:
        _known_text("InvoiceNo", number)
        _known_text("Country", country)
        if customer_id is not None:
            _known_text("CustomerID", customer_id)
        invoice = invoices[number] = _Invoice(number, customer_id, country, time)
    elif (customer_id, country) != (invoice.customer_id, invoice.country):
        raise ValueError(
            f"customer {customer_id} in {country} differs from {invoice.customer_id} in "
            f"{invoice.country} in earlier rows of invoice {number}"
        )
    elif time < invoice.time:
        invoice.time = time
    return invoice


def _events(invoice: _Invoice) -> list[bytes]:
    number = invoice.number
    data: dict[str, object] = {"currency": "GBP"}
    if number.startswith("A"):
        data |= {"amount": money(invoice.amount), "reason": "bad debt"}
        return [_line(invoice, "adjusted", "AdjustmentBooked", data)]
    if number.startswith("C"):
        if invoice.customer_id is not None:
            data["customer_id"] = invoice.customer_id
        data |= {"country": invoice.country, "lines": invoice.lines}
        return [_line(invoice, "returned", "ItemsReturned", data)]
    placed = {"customer_id": invoice.customer_id, **data}
    placed |= {"country": invoice.country, "lines": invoice.lines}
    return [
        _line(invoice, "placed", "OrderPlaced", placed),
        _line(invoice, "paid", "PaymentCaptured", {"amount": money(invoice.amount)}),
    ]


def _line(invoice: _Invoice, what: str, kind: str, data: dict[str, object]) -> bytes:
    event_id = f"uci-{invoice.number}-{what}"
    return event_line(event_id, SOURCE, kind, order_id=invoice.number, time=invoice.time, data=data)


@lru_cache(maxsize=1 << 16)
def _known_text(column: str, text: str) -> str:
    problem = text_problem(text)
    if problem is not None:
        raise ValueError(f"{column} {problem}")
    return text


@lru_cache(maxsize=1 << 12)
def _quantity(text: str) -> int:
    digits = text[1:] if text.startswith("-") else text
    if not (digits.isascii() and digits.isdigit() and len(digits) <= _DIGITS):
        raise ValueError(f"Quantity is {shown(text)}; it must be a whole number")
    return int(text)


@lru_cache(maxsize=1 << 12)
def _time(text: str) -> datetime:
    for form in _TIME_FORMATS:
        try:
            return datetime.strptime(text, form).replace(tzinfo=UTC)
        except ValueError:
            continue
    raise ValueError(f"InvoiceDate is {shown(text)}; it must be like 2010-12-01 08:26:00")
