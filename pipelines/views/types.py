"""Types of view expressions, as DuckDB itself infers them. Nothing is executed, only bound.

The scratch database is in memory, holds no data and cannot reach files or the network.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    import duckdb

_FAMILIES: Final = {
    "VARCHAR": "text",
    "BOOLEAN": "condition",
    "DATE": "time",
    "TIMESTAMP": "time",
    "INTEGER": "number",
    "BIGINT": "number",
    "NULL": "null",
}
_DECIMAL: Final = re.compile(r"DECIMAL\((\d+),(\d+)\)")


class BindError(ValueError):
    """DuckDB cannot give the expression a type; the message is the first line of DuckDB's."""


@cache
def scratch() -> duckdb.DuckDBPyConnection:
    """A database in memory, without data, that reaches no files: take a cursor of it."""
    import duckdb

    config = {"threads": "1", "enable_external_access": "false"}
    return duckdb.connect(":memory:", config=config)


@lru_cache(maxsize=4096)
def _described(text: str, columns: tuple[tuple[str, str], ...]) -> str:
    import duckdb

    stub = ", ".join(f'CAST(NULL AS {kind}) AS "{name}"' for name, kind in columns)
    try:
        answer = scratch().cursor().execute(f"DESCRIBE SELECT {text} FROM (SELECT {stub})")
        row = answer.fetchone()
    except duckdb.Error as error:
        raise BindError(str(error).splitlines()[0]) from error
    if row is None:
        raise BindError(f"{text} has no type")
    return str(row[1])


def type_of(text: str, columns: Mapping[str, str]) -> str:
    """DuckDB's type of a scalar expression over columns of the given types.

    Raises:
        BindError: DuckDB does not accept the expression.
    """
    return _described(text, tuple(columns.items()))


def reserved_word(name: str) -> bool:
    """Whether a table of that plain name would have to be quoted in every query."""
    # The name stands in the text: DuckDB imports pandas to bind a parameter, which takes a second.
    answer = (
        scratch()
        .cursor()
        .execute(
            "SELECT count(*) FROM duckdb_keywords() "
            f"WHERE keyword_category = 'reserved' AND keyword_name = '{name}'"
        )
    )
    return bool(answer.fetchone() != (0,))


def family(kind: str) -> str | None:
    """What a type can be compared with: number, text, time, condition, null; else None."""
    return "number" if _DECIMAL.fullmatch(kind) else _FAMILIES.get(kind)


def decimal_size(kind: str) -> tuple[int, int]:
    """Precision and scale of a number as Spark sees it (BIGINT is 20 digits there)."""
    found = _DECIMAL.fullmatch(kind)
    if found is not None:
        return int(found[1]), int(found[2])
    return (10, 0) if kind == "INTEGER" else (20, 0)


def is_decimal(kind: str) -> bool:
    """Whether the type is DECIMAL(p,s)."""
    return _DECIMAL.fullmatch(kind) is not None
