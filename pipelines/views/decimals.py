"""Exact numbers in views: division, room for digits, and the casts that both engines agree on.

Guarantees: no digit is lost silently, and decimals have room, so that no valid row fails.
"""

from __future__ import annotations

from typing import Final

from sqlglot import exp

from headrace.pipelines.views.expressions import DIGITS, Typed, cast_to
from headrace.pipelines.views.types import decimal_size, family, is_decimal

_QUOTIENT_SCALE: Final = 4
QUOTIENT_TYPE: Final = f"DECIMAL({DIGITS},{_QUOTIENT_SCALE})"
_CAPPED: Final = 18  # DuckDB keeps the result of two decimals of so many digits at so many
_BIGINT_DIGITS: Final = 19


def exact_quotient(top: Typed, bottom: Typed) -> exp.Expression:
    """`top / bottom` to 4 digits, half away from zero, NULL over 0, in integers throughout.

    Both are scaled to integers n and d so that n/d is 10^4 times the quotient. Then
    (2|n| + |d|) // 2|d| is |n/d| rounded half up. HUGEINT ends at 1.7 * 10^38, so sums up to
    about 10^29 can be divided by sums; past that DuckDB raises an error, never a wrong digit.
    """
    top_scale, bottom_scale = decimal_size(top.type)[1], decimal_size(bottom.type)[1]
    shift = _QUOTIENT_SCALE + bottom_scale - top_scale
    n = _scaled(top, top_scale, max(shift, 0))
    d = _scaled(bottom, bottom_scale, max(-shift, 0))
    text = (
        f"CASE WHEN {d} = 0 THEN NULL ELSE "
        f"CAST((2 * abs({n}) + abs({d})) // (2 * abs({d})) AS DECIMAL({DIGITS}, 0)) * 0.0001 "
        f"* CASE WHEN ({n} < 0) = ({d} < 0) THEN 1 ELSE -1 END END"
    )
    return exp.Paren(this=exp.maybe_parse(text, dialect="duckdb"))


def _scaled(part: Typed, scale: int, extra: int) -> str:
    text = part.duckdb.sql("duckdb", identify=True)
    if scale:
        text = f"CAST({text} AS DECIMAL({DIGITS}, {scale})) * {10**scale}"
    text = f"CAST({text} AS HUGEINT)"
    return f"({text} * {10**extra})" if extra else text


def result_size(node: exp.Expression, left: str, right: str) -> tuple[int, int]:
    """Digits and scale that Spark wants for a product, sum or difference."""
    (p1, s1), (p2, s2) = decimal_size(left), decimal_size(right)
    if isinstance(node, exp.Mul):
        return p1 + p2 + 1, s1 + s2
    scale = max(s1, s2)
    return max(p1 - s1, p2 - s2) + scale + 1, scale


def negated_size(kind: str) -> tuple[int, int]:
    """Digits and scale that Spark wants for 0 - x, which is how a row is taken back."""
    return result_size(exp.Sub(), "DECIMAL(1,0)", kind)


def with_room(parts: list[Typed]) -> list[Typed]:
    """The two operands, one of them over 18 digits wide.

    DuckDB keeps a result of two numbers of up to 18 digits at 18 digits, and fails where it
    does not fit: amount * 1.25 would stop the stream at 10^12. Past 18 digits it widens.
    """
    if any(decimal_size(part.type)[0] > _CAPPED for part in parts):
        return parts
    first = parts[0]
    kind = f"DECIMAL({_CAPPED + 1},{decimal_size(first.type)[1]})"
    wide = Typed(
        cast_to(first.duckdb.copy(), kind),
        cast_to(first.spark.copy(), kind),
        kind,
    )
    return [wide, parts[1]]


def cast_problem(kind: str, target: str, *, derived: bool) -> str | None:
    """Why a cast is refused, with the remedy; None if both engines agree on it."""
    source = family(kind)
    if target in {"DATE", "TIMESTAMP"} and source in {"time", "null"}:
        return None
    if target == "VARCHAR":
        if source in {"text", "null"} or kind in {"INTEGER", "BIGINT", "DATE"}:
            return None
        return f"writes a {kind} as text, and engines differ in how; keep it as it is"
    if source in {"number", "null"} and (target == "BIGINT" or is_decimal(target)):
        return None if derived or source == "null" else _number_problem(kind, target)
    return (
        f"casts {kind} to {target}; a view casts numbers to BIGINT or DECIMAL(p, s), times "
        "to DATE or TIMESTAMP, and integers and dates to VARCHAR"
    )


def _number_problem(kind: str, target: str) -> str | None:
    """Why a cast between numbers could round differently, or fail on a valid row."""
    digits, scale = decimal_size(kind)
    if target == "BIGINT":
        if scale == 0 and not is_decimal(kind):
            return None
        return "rounds in DuckDB and truncates in Spark; write CAST(… AS DECIMAL(38, 0))"
    precision, kept = decimal_size(target)
    # One digit more where it rounds: 99.99 becomes 100.0.
    needed = _BIGINT_DIGITS if kind == "BIGINT" else digits - scale + (kept < scale)
    room = min(needed + kept, DIGITS)
    if precision >= room:
        return None
    return (
        f"has room for {precision - kept} digits before the point, and {kind} has up to "
        f"{needed}; write DECIMAL({room}, {kept})"
    )
