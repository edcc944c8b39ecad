"""Rows of an answer as columns, in the types that DuckDB gave them: money stays decimal."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import pyarrow as pa

_DECIMAL: Final = re.compile(r"DECIMAL\((\d+),\s*(\d+)\)")
_LARGEST: Final = 10**38


def arrow_table(
    columns: Sequence[str], types: Sequence[str], rows: Sequence[Sequence[Any]]
) -> pa.Table:
    """The rows as an Arrow table.

    Args:
        columns: their names; may come twice, as SQL allows.
        types: DuckDB's names of their types. A HUGEINT is decimal(38, 0), or text past that.
        rows: Python values as DuckDB gave them.
    """
    import pyarrow as pa

    values = list(zip(*rows, strict=True)) if rows else [()] * len(columns)
    arrays = [_array(kind, list(column)) for kind, column in zip(types, values, strict=True)]
    return pa.Table.from_arrays(arrays, names=list(columns))


def _array(kind: str, values: list[Any]) -> pa.Array:
    import pyarrow as pa

    decimal = _DECIMAL.fullmatch(kind)
    if decimal is not None:
        return pa.array(values, pa.decimal128(int(decimal[1]), int(decimal[2])))
    if kind in {"HUGEINT", "UHUGEINT"}:
        if any(value is not None and abs(value) >= _LARGEST for value in values):
            return pa.array([None if v is None else str(v) for v in values], pa.string())
        return pa.array(values, pa.decimal128(38, 0))
    known = {
        "VARCHAR": pa.string(),
        "BLOB": pa.binary(),
        "BOOLEAN": pa.bool_(),
        "TINYINT": pa.int8(),
        "SMALLINT": pa.int16(),
        "INTEGER": pa.int32(),
        "BIGINT": pa.int64(),
        "UTINYINT": pa.uint8(),
        "USMALLINT": pa.uint16(),
        "UINTEGER": pa.uint32(),
        "UBIGINT": pa.uint64(),
        "FLOAT": pa.float32(),
        "DOUBLE": pa.float64(),
        "DATE": pa.date32(),
        "TIME": pa.time64("us"),
        "TIMESTAMP": pa.timestamp("us"),
        "TIMESTAMP WITH TIME ZONE": pa.timestamp("us", "UTC"),
        "INTERVAL": pa.duration("us"),
    }.get(kind)
    return pa.array(values) if known is None else pa.array(values, known)
