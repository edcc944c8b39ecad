"""Exact numbers in views: division, room for digits, and the casts that both engines agree on.

Guarantees: a digit is never lost silently; what does not fit is refused or an error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sqlglot import exp

from pipelines.view_types import decimal_size, family, is_decimal

DIGITS: Final = 38  # both engines hold 38 decimal digits
KEPT_SCALE: Final = 6  # Spark keeps this many fraction digits when a result needs more than 38
QUOTIENT_SCALE: Final = 4  # fraction digits of avg and `/`


@dataclass(frozen=True, slots=True)
class Typed:
    """A checked expression in both dialects, with DuckDB's type of it."""

    duckdb: exp.Expression
    spark: exp.Expression
    type: str

    @property
    def family(self) -> str:
        """What it can be compared with."""
        return family(self.type) or self.type


def exact_quotient(top: Typed, bottom: Typed) -> exp.Expression:
    """`top / bottom` to 4 digits, half away from zero, NULL over 0, in integers throughout.

    Both are scaled to integers n and d so that n/d is 10^4 times the quotient. Then
    (2|n| + |d|) // 2|d| is |n/d| rounded half up. HUGEINT has 38 digits: at most about
    10^29 divided by 10^29 goes, anything larger is an error in DuckDB, never a wrong digit.
    """
    s1 = decimal_size(top.type)[1]
    s2 = decimal_size(bottom.type)[1]
    shift = QUOTIENT_SCALE + s2 - s1
    n = _scaled(top, s1, max(shift, 0))
    d = _scaled(bottom, s2, max(-shift, 0))
    text = (
        f"CASE WHEN {d} = 0 THEN NULL ELSE "
        f"CAST((2 * abs({n}) + abs({d})) // (2 * abs({d})) AS DECIMAL(38, 0)) * 0.0001 "
        f"* CASE WHEN ({n} < 0) = ({d} < 0) THEN 1 ELSE -1 END END"
    )
    return exp.Paren(this=exp.maybe_parse(text, dialect="duckdb"))


def _scaled(part: Typed, scale: int, extra: int) -> str:
    text = part.duckdb.sql("duckdb", identify=True)
    if scale:
        text = f"({text}) * {10**scale}"
    text = f"CAST({text} AS HUGEINT)"
    return f"({text} * {10**extra})" if extra else text


def with_room(parts: list[Typed]) -> list[Typed]:
    """The operands, one of them over 18 digits wide.

    DuckDB keeps a result of two decimals of up to 18 digits at 18, and fails where it does not
    fit: amount * 1.25 would stop the stream at 10^12. Past 18 digits it widens instead.
    """
    if any(not is_decimal(part.type) or decimal_size(part.type)[0] > 18 for part in parts):
        return parts
    first = parts[0]
    kind = f"DECIMAL(19,{decimal_size(first.type)[1]})"
    return [
        Typed(
            exp.cast(first.duckdb, kind, dialect="duckdb"),
            exp.cast(first.spark, kind, dialect="duckdb"),
            kind,
        ),
        parts[1],
    ]


def cast_problem(kind: str, target: str, *, derived: bool) -> str | None:
    """Why a cast is refused, with the remedy; None if both engines agree on it."""
    source = family(kind)
    if target in {"DATE", "TIMESTAMP"} and source == "time":
        return None
    if target == "VARCHAR":
        if source == "text" or kind in {"INTEGER", "BIGINT", "DATE"}:
            return None
        return f"writes a {kind} as text, which DuckDB and Spark do differently; keep it as it is"
    if source != "number" or not (target == "BIGINT" or is_decimal(target)):
        return (
            f"casts {kind} to {target}; a view casts numbers to BIGINT or DECIMAL(p, s), times "
            "to DATE or TIMESTAMP, and integers and dates to VARCHAR"
        )
    if derived:
        return None
    digits, scale = decimal_size(kind)
    if target == "BIGINT":
        if scale == 0:
            return None
        return "rounds in DuckDB and truncates in Spark; write CAST(… AS DECIMAL(38, 0))"
    precision, kept = decimal_size(target)
    # One digit more where it rounds: 99.99 becomes 100.0.
    needed = digits - scale + (1 if kept < scale else 0)
    needed = min(19, needed) if kind == "BIGINT" else needed
    if precision - kept < needed and not (precision == DIGITS and needed >= DIGITS - kept):
        return (
            f"has room for {precision - kept} digits before the point, and {kind} has up to "
            f"{needed}; write DECIMAL({min(needed + kept, DIGITS)}, {kept})"
        )
    return None
