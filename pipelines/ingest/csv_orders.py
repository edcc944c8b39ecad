"""Import of order lines from CSV files and workbooks, by a mapping: a row is a product of an order.

Every row ends up in an event or in `rejected`; blank lines, lines above the header, and identical
rows that count once are counted in `skipped`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from headrace.pipelines.ingest.csv_mapping import AMOUNTS, CsvMapping
from headrace.pipelines.ingest.delimited import (
    ImportedFile,
    Record,
    RejectedRow,
    event_line,
    money,
)
from headrace.pipelines.ingest.order_rows import MONEY_LIMIT, Row, RowReader
from headrace.pipelines.ingest.table import BLANK, Below, below_header, is_blank, open_table

__all__ = ["CsvMapping", "csv_orders"]

_IDENTICAL: Final = "identical rows"


@dataclass(slots=True)
class _Happening:
    """Rows that make one event: an order placed, or goods returned at one time."""

    event_id: str
    order_id: str
    header: tuple[str | None, str, str | None, str | None]
    line_no: int
    time: datetime
    returned: bool
    goods: int = 0
    amounts: dict[str, int] = field(default_factory=dict)
    lines: list[dict[str, object]] = field(default_factory=list)

    @property
    def total(self) -> int:
        """What the customer pays, without a tax that comes on top."""
        return self.goods + self.amounts.get("shipping", 0) - self.amounts.get("discount", 0)


def csv_orders(
    paths: Sequence[Path], mapping: CsvMapping, days: str = "UTC"
) -> Iterator[ImportedFile]:
    """Read the files one by one; `-` is standard input. A date without a time is in zone `days`.

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
        yield _CsvFile(path, mapping, ZoneInfo(days), owners).read()


class _CsvFile:
    """One file on its way into events."""

    def __init__(
        self, path: Path, mapping: CsvMapping, days: ZoneInfo, owners: dict[str, Path]
    ) -> None:
        self._mapping = mapping
        self._owners = owners
        self._table = open_table(path, mapping)
        self._reader = RowReader(mapping, days)
        self._happenings: dict[str, _Happening] = {}
        self._rejected: list[RejectedRow] = []
        self._skipped: dict[str, int] = {}
        self._seen: dict[bytes, int] = {}
        self._twins = 0

    def read(self) -> ImportedFile:
        below = below_header(self._table, self._mapping)
        self._skipped = dict(below.above)
        count = sum(below.above.values())
        returns: list[tuple[Row, Record]] = []
        for record in below.records:
            count += 1
            if is_blank(record):
                self._skipped[BLANK] += 1
                continue
            try:
                row = self._reader.read(self._fields(record, below))
            except ValueError as error:
                self._rejected.append(self._table.reject(record, str(error)))
                continue
            if row.quantity < 0:  # they are judged by their sales, which may stand below them
                returns.append((row, record))
            else:
                self._accept(row, record)
        for row, record in returns:
            self._accept(row, record)
        happenings = sorted(self._happenings.values(), key=lambda one: (one.time, one.returned))
        lines = [line for one in happenings for line in self._events(one)]
        rejected = sorted(self._rejected, key=lambda row: row.line_no)
        done: str = self._mapping.identical_rows or "sum"
        twins = {done: self._twins} if self._twins else {}
        return ImportedFile(
            self._table.path, lines, self._skipped, rejected, count,
            identical_rows=twins, warnings=self._warnings(),
        )  # fmt: skip

    def _warnings(self) -> list[str]:
        if self._mapping.identical_rows is not None or not self._twins:
            return []
        found = f"{self._table.path}: {self._twins:,} rows are identical to an earlier one"
        remedy = 'Say identical_rows = "sum", "once" or "reject" in the mapping'
        return [f"{found}; they count again. {remedy}"]

    def _fields(self, record: Record, below: Below) -> dict[str, str]:
        """The mapped fields of a record. ValueError: it is not as wide as the header."""
        if record.problem is not None:
            raise ValueError(record.problem)
        fields = record.fields
        if self._table.padded and len(fields) < below.width:
            fields = fields + [""] * (below.width - len(fields))
        if len(fields) != below.width:
            raise ValueError(f"it has {len(fields)} fields, the header has {below.width}")
        return {name: fields[place] for name, place in below.places.items()}

    def _accept(self, row: Row, record: Record) -> None:
        """Add a row to its event, or reject it; a twin of an earlier one as the mapping says."""
        line_no = record.first + 1
        # 16 bytes a row, instead of the row: two different ones never have the same.
        digest = hashlib.blake2b(
            repr(record.fields).encode("utf-8", "surrogatepass"), digest_size=16
        ).digest()
        twin = self._seen.get(digest)
        try:
            if twin is not None and self._mapping.identical_rows == "reject":
                raise ValueError(  # noqa: TRY301 - as every row that is rejected
                    f'it is identical to line {twin}, and identical_rows is "reject"'
                )
            if twin is not None and self._mapping.identical_rows == "once":
                self._skipped[_IDENTICAL] = self._skipped.get(_IDENTICAL, 0) + 1
            else:
                self._take(row, line_no)
        except ValueError as error:
            self._rejected.append(self._table.reject(record, str(error)))
            if twin is None:
                return
        self._seen.setdefault(digest, line_no)
        self._twins += twin is not None

    def _take(self, row: Row, line_no: int) -> None:
        """Add a row to the event it belongs to. ValueError: it contradicts what came before."""
        returned = row.quantity < 0
        what = f"returned-{row.time.replace(tzinfo=None).isoformat()}" if returned else "placed"
        event_id = f"{row.order_id}-{what}"
        owner = self._owners.setdefault(event_id, self._table.path)
        if owner != self._table.path:
            kind = "returns at this time" if returned else "sales"
            raise ValueError(
                f"order {row.order_id} has {kind} in {owner} already; put them into one file"
            )
        one = self._happenings.get(event_id)
        fresh = one is None
        if one is None:
            one = _Happening(event_id, row.order_id, row.header, line_no, row.time, returned)
        elif one.header != row.header:
            raise ValueError(
                f"customer, currency, country, channel {row.header} differ from {one.header} of "
                f"line {one.line_no}, which is the same order"
            )
        amounts = self._returned(one, row) if returned else self._shared(one, row, fresh=fresh)
        goods = abs(row.quantity) * row.unit_price
        if one.goods + goods + sum(abs(each) for each in amounts.values()) >= MONEY_LIMIT:
            raise ValueError(f"with it, order {row.order_id} comes to 10^14 or more")
        self._happenings[event_id] = one
        one.goods += goods
        one.amounts = amounts
        one.time = min(one.time, row.time)
        line: dict[str, object] = {"product_id": row.product_id, "quantity": abs(row.quantity)}
        price = ("refund", goods) if returned else ("unit_price", row.unit_price)
        line[price[0]] = money(price[1])
        if row.category is not None:
            line["category"] = row.category
        one.lines.append(line)

    def _shared(self, one: _Happening, row: Row, *, fresh: bool) -> dict[str, int]:
        """The order's shipping, discount and tax with this row. ValueError: it says another."""
        amounts = dict(one.amounts)
        for name, per in self._mapping.per.items():
            here, before = row.amounts.get(name), amounts.get(name)
            if per == "order" and not fresh and (here or 0) != (before or 0):
                raise ValueError(
                    f"{name} {money(here or 0)} differs from {money(before or 0)} of line "
                    f'{one.line_no}, which is the same order; say {name} = "row" in [per] if each '
                    "row has its own"
                )
            if here is not None:
                amounts[name] = here if per == "order" else (before or 0) + here
        return amounts

    def _returned(self, one: _Happening, row: Row) -> dict[str, int]:
        """The tax of a return with this row. ValueError: it claims what only a sale has."""
        sale = self._happenings.get(f"{row.order_id}-placed")
        amounts = dict(one.amounts)
        for name, per in self._mapping.per.items():
            here = row.amounts.get(name, 0)
            if name == "tax" and per == "row":
                if name in row.amounts:
                    amounts[name] = amounts.get(name, 0) + here
            elif here and (per == "row" or sale is None or here != sale.amounts.get(name)):
                raise ValueError(
                    f"a return has no {name}, and {money(here)} is not what a sale of the order in "
                    "this file repeats; empty it"
                )
        return amounts

    def _events(self, one: _Happening) -> list[bytes]:
        customer_id, currency, country, channel = one.header
        data: dict[str, object] = {"customer_id": customer_id, "currency": currency}
        if country is not None:
            data["country"] = country
        if channel is not None and not one.returned:
            data["channel"] = channel
        data |= {name: money(one.amounts[name]) for name in AMOUNTS if name in one.amounts}
        if self._mapping.prices_include_tax is not None:
            data["prices_include_tax"] = self._mapping.prices_include_tax
        data["lines"] = one.lines
        if one.returned:
            if customer_id is None:
                del data["customer_id"]
            return [self._line(one, one.event_id, "ItemsReturned", data)]
        events = [self._line(one, one.event_id, "OrderPlaced", data)]
        if self._mapping.paid:
            paid = {"amount": money(one.total)}
            events.append(self._line(one, f"{one.order_id}-paid", "PaymentCaptured", dict(paid)))
        return events

    def _line(self, one: _Happening, event_id: str, kind: str, data: dict[str, object]) -> bytes:
        return event_line(
            event_id, self._mapping.source, kind, order_id=one.order_id, time=one.time, data=data
        )
