"""Vectorised checks of what Arrow read: typed columns, and which rows are proved good.

A row is proved good or left in doubt; nothing is rejected here. Doubt costs time only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from headrace.schemas.columns import (
    MONEY,
    SAFE_UNITS,
    decimals,
    money_units,
    nullable,
    rfc3339_microseconds,
    true_where,
)
from headrace.schemas.events import (
    ENVELOPE,
    MAX_LINES,
    MAX_QUANTITY,
    NEWEST,
    TYPES,
    Field,
    Kind,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]

_Number = TypeVar("_Number", np.int64, np.float64)
_CONTROL: Final = r"[\x00-\x1f\x7f]"
_SCALARS: Final = ("customer_id", "currency", "country", "channel")
_LINE: Final = pa.struct([("product_id", pa.string()), ("quantity", pa.int64()), ("amount", MONEY)])
_PLACED: Final = TYPES.index("OrderPlaced")
_RETURNED: Final = TYPES.index("ItemsReturned")


class Check:
    """The check of one block. `columns()` gives the typed columns, `doubt` the unproved rows.

    Values of rows in doubt mean nothing; the caller drops them.
    """

    def __init__(self, table: pa.Table, raw: Sequence[bytes], *, escapes: bool) -> None:
        self._raw = raw
        self._escapes = escapes
        self._rows = len(raw)
        self._envelope = {name: _one_array(table[name]) for name in table.column_names}
        data = self._envelope.pop("data")
        self._data = {field.name: pc.struct_field(data, field.name) for field in data.type}
        self.doubt: Mask = np.zeros(self._rows, dtype=np.bool_)
        found = pc.index_in(self._envelope["type"], pa.array(TYPES))
        self._type: NDArray[np.int64] = pc.fill_null(found, -1).to_numpy().astype(np.int64)

    def columns(self) -> dict[str, pa.Array]:
        """Check everything and return the columns of the events table but `digest` and `raw`."""
        self._check_envelope()
        self._check_data()
        columns = {name: self._envelope[name] for name in ("source", "id", "type")}
        newest = np.array([NEWEST[name].version for name in TYPES], dtype=np.int16)
        columns["version"] = pa.array(newest[self._type])
        moments, timely = rfc3339_microseconds(self._envelope["time"])
        self.doubt |= ~timely
        columns["time"] = pa.array(moments).view(pa.timestamp("us"))
        columns["order_id"] = self._envelope["subject"]
        columns["sequence"] = self._sequence()
        for name in _SCALARS:
            columns[name] = self._own(name)
        for name in ("amount", "shipping", "discount"):
            columns[name] = self._money(name)
        columns.update(self._lines())
        return columns

    def _check_envelope(self) -> None:
        self.doubt |= self._type < 0
        self.doubt |= ~true_where(pc.equal(self._envelope["specversion"], "1.0"))
        for field in ENVELOPE:
            column = self._envelope[field.name]
            if field.required:
                self.doubt |= column.is_null().to_numpy(zero_copy_only=False)
            if field.kind is Kind.TEXT:
                self.doubt |= self._text_doubt(column, field)
        schema = self._envelope["dataschema"]
        if schema.null_count < self._rows:
            newest = schema.is_null().to_numpy(zero_copy_only=False)
            for index, shape in enumerate(NEWEST.values()):
                ending = pc.ends_with(schema, f"/{shape.type}/{shape.version}")
                newest |= true_where(ending) & (self._type == index)
            self.doubt |= ~newest

    def _check_data(self) -> None:
        """Check texts and presence. A text no type may hold is in doubt whosever it is."""
        for index, shape in enumerate(NEWEST.values()):
            of_type = self._type == index
            for field in shape.fields:
                if field.kind is Kind.IDS:  # not read here: the reference validator decides
                    self.doubt |= of_type
                    continue
                column = self._data[field.name]
                if field.required:
                    absent = of_type & column.is_null().to_numpy(zero_copy_only=False)
                    self.doubt |= self._unsaid(field, absent) if field.nullable else absent
        for field in _distinct(field for shape in NEWEST.values() for field in shape.fields):
            if field.kind is Kind.TEXT:
                self.doubt |= self._text_doubt(self._data[field.name], field)

    def _unsaid(self, field: Field, absent: Mask) -> Mask:
        """Of the absent fields, those without an explicit null. Arrow shows both as null."""
        unsaid = np.zeros(self._rows, dtype=np.bool_)
        for row in np.flatnonzero(absent & ~self.doubt).tolist():
            data = orjson.loads(self._raw[row]).get("data")
            unsaid[row] = data is None or field.name not in data
        return unsaid

    def _text_doubt(self, column: pa.Array, field: Field) -> Mask:
        # Bytes are at least characters, so this doubts too much and never too little.
        lengths = pc.fill_null(pc.binary_length(column), max(field.min_length, 1)).to_numpy()
        doubt: Mask = (lengths < field.min_length) | (lengths > field.max_length)
        if self._escapes:
            doubt |= true_where(pc.match_substring_regex(column, _CONTROL))
        if field.pattern is not None:
            fits = pc.match_substring_regex(column, f"^(?:{field.pattern})$")
            doubt |= true_where(pc.invert(fits))
        return doubt

    def _belongs(self, name: str) -> Mask:
        owners = [
            index
            for index, shape in enumerate(NEWEST.values())
            if any(field.name == name for field in shape.fields)
        ]
        return np.isin(self._type, owners)

    def _own(self, name: str) -> pa.Array:
        """Return a field where it belongs to the event's type; elsewhere it is an unknown one."""
        column = self._data[name]
        belongs = self._belongs(name)
        if belongs.all():
            return column
        return pc.if_else(pa.array(belongs), column, pa.scalar(None, pa.string()))

    def _money(self, name: str) -> pa.Array:
        units, given, odd = money_units(self._own(name))
        self.doubt |= odd
        signed = [
            index
            for index, shape in enumerate(NEWEST.values())
            if any(field.name == name and field.minimum is None for field in shape.fields)
        ]
        self.doubt |= (units < 0) & ~np.isin(self._type, signed)
        return decimals(units, given)

    def _sequence(self) -> pa.Array:
        column = self._envelope["sequence"]
        if column.type == pa.string():
            digits = pc.match_substring_regex(column, "^[0-9]{1,18}$")
            self.doubt |= true_where(pc.invert(digits))
            column = pc.if_else(digits, column, None).cast(pa.int64())
        self.doubt |= true_where(pc.less(column, 0))
        return column

    def _lines(self) -> dict[str, pa.Array]:
        """Return `goods`, `units` and `lines`."""
        found = self._data["lines"]
        has_lines = (self._type == _PLACED) | (self._type == _RETURNED)
        counts = pc.fill_null(pc.list_value_length(found), 0).to_numpy().astype(np.int64)
        self.doubt |= has_lines & ((counts < 1) | (counts > MAX_LINES))
        self.doubt |= ~has_lines & found.is_valid().to_numpy(zero_copy_only=False)
        owner = np.repeat(np.arange(self._rows), counts)
        products, quantities, amounts = self._line_values(pc.list_flatten(found), owner)
        units = _sums(quantities, counts)
        goods = _sums(amounts, counts)
        self.doubt |= np.abs(_sums(amounts.astype(np.float64), counts)) > SAFE_UNITS
        lines = pa.StructArray.from_arrays(
            [products, pa.array(quantities), decimals(amounts, np.ones(len(amounts), np.bool_))],
            fields=list(_LINE),
        )
        offsets = np.concatenate(([0], np.cumsum(counts))).astype(np.int32)
        return {
            "goods": decimals(goods, has_lines),
            "units": nullable(units, has_lines),
            "lines": pa.ListArray.from_arrays(pa.array(offsets), lines, mask=pa.array(~has_lines)),
        }

    def _line_values(
        self, items: pa.StructArray, owner: NDArray[np.int64]
    ) -> tuple[pa.Array, NDArray[np.int64], NDArray[np.int64]]:
        """Return products, quantities and amounts (in 1/10,000) of all lines of the block."""
        texts = {field.name: field for field in _line_fields() if field.kind is Kind.TEXT}
        columns = {field.name: pc.struct_field(items, field.name) for field in items.type}
        returned = self._type[owner] == _RETURNED
        doubt = columns["product_id"].is_null().to_numpy(zero_copy_only=False)
        for name, field in texts.items():
            doubt |= self._text_doubt(columns[name], field)
        quantities = pc.fill_null(columns["quantity"], 0).to_numpy()
        doubt |= (quantities < 1) | (quantities > MAX_QUANTITY)
        prices, priced, odd_price = money_units(columns["unit_price"])
        refunds, refunded, odd_refund = money_units(columns["refund"])
        doubt |= odd_price | odd_refund | np.where(returned, ~refunded, ~priced)
        doubt |= (prices < 0) | (refunds < 0)
        # Floats only bound the product: what is near the limit is left to exact arithmetic.
        doubt |= quantities.astype(np.float64) * prices > SAFE_UNITS
        amounts = np.where(returned, refunds, quantities * prices)
        self.doubt[owner[doubt]] = True
        return columns["product_id"], quantities, amounts


def _line_fields() -> list[Field]:
    lines = [field for shape in NEWEST.values() for field in shape.fields if field.items]
    return _distinct(item for field in lines for item in field.items)


def _distinct(fields: Iterable[Field]) -> list[Field]:
    """One field a name, with the longest minimum: what is shorter is in doubt."""
    strictest: dict[str, Field] = {}
    for field in fields:
        known = strictest.get(field.name)
        if known is None or field.min_length > known.min_length:
            strictest[field.name] = field
    return list(strictest.values())


def _one_array(column: pa.ChunkedArray) -> pa.Array:
    combined = column.combine_chunks()
    return combined.chunk(0) if isinstance(combined, pa.ChunkedArray) else combined


def _sums(values: NDArray[_Number], counts: NDArray[np.int64]) -> NDArray[_Number]:
    """Add up runs of values; a run of no values is 0."""
    sums = np.zeros(len(counts), dtype=values.dtype)
    filled = counts > 0
    if filled.any():
        starts = np.cumsum(counts) - counts
        sums[filled] = np.add.reduceat(values, starts[filled])
    return sums
