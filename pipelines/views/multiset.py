"""Aggregates that do not add up: from stored values, each with how often, and from plain rows.

A reduction sees the values of a group in the columns `_x1`, `_x2` and so on; `_rows` says how many
source rows hold them. NULL is no value. Ties are broken by the values themselves, so an answer
depends on the set of rows alone, never on their order.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Kind = Literal["distinct", "min", "max", "disc", "cont", "mode", "arg_min", "arg_max"]
RANKED: Final = frozenset({"disc", "cont"})
SCALE: Final = 4
"""Fraction digits of what is between two values (median, quantile_cont)."""
MOST_DIGITS: Final = 6
"""Fraction digits that a quantile's fraction may have."""


@dataclass(frozen=True, slots=True)
class Reduction:
    """What is computed from the values of a group.

    Attributes:
        kind: `distinct` counts; `disc` and `cont` are quantiles; `arg_min` and `arg_max` give
            `other` where `value` is smallest or largest, and of several the smallest or largest.
        value: place of the values among the view's kept ones, from 1.
        other: place of the values that are given.
        share: a quantile's fraction, in units of `10 ** -digits`.
        digits: its fraction digits.
        scale: fraction digits of the values.
    """

    kind: Kind
    value: int
    other: int = 0
    share: int = 0
    digits: int = 0
    scale: int = 0

    @property
    def whole(self) -> int:
        """What `share` is a part of."""
        return int(10**self.digits)


def with_ranks(merged: str, keys: Sequence[str], reductions: Iterable[Reduction | None]) -> str:
    """Merged partial rows with what quantiles and modes need to know of each value.

    `_upto1` is how many rows of the group hold a value up to this one, `_all1` how many hold any,
    and `_same1` how many hold this one.
    """
    wanted = [each for each in reductions if each is not None]
    group = ", ".join(keys)
    added = []
    for nth in sorted({each.value for each in wanted if each.kind in RANKED}):
        held = f"CASE WHEN _x{nth} IS NOT NULL THEN _rows END"
        added += [
            f"sum(_rows) OVER (PARTITION BY {group} ORDER BY _x{nth} NULLS LAST) AS _upto{nth}",
            f"sum({held}) OVER (PARTITION BY {group}) AS _all{nth}",
        ]
    for nth in sorted({each.value for each in wanted if each.kind == "mode"}):
        added.append(f"sum(_rows) OVER (PARTITION BY {group}, _x{nth}) AS _same{nth}")
    return f"SELECT *, {', '.join(added)} FROM (\n{merged}\n)" if added else merged


def reduced(to: Reduction) -> str:
    """SQL of the aggregate over the rows of `with_ranks`."""
    x = f"_x{to.value}"
    held = f"{x} IS NOT NULL"
    match to.kind:
        case "distinct":
            return f"count(DISTINCT {x})"
        case "min" | "max":
            return f"{to.kind}({x})"
        case "disc":
            upto = f"_upto{to.value} * {to.whole} >= {to.share} * _all{to.value}"
            return f"min({x}) FILTER (WHERE {held} AND {upto})"
        case "cont":
            held_all = f"_all{to.value}"
            low, high = (
                f"min({x}) FILTER (WHERE {held} AND _upto{to.value} > {place})"
                for place in _places(to, held_all)
            )
            return _between(to, low, high, f"any_value({_steps(to, held_all)} % {to.whole})")
        case "mode":
            ranked = f"struct_pack(n := -_same{to.value}, x := {x})"
            return f"(min({ranked}) FILTER (WHERE {held})).x"
        case "arg_min" | "arg_max":
            pair = f"struct_pack(x := {x}, a := _x{to.other})"
            both = f"{held} AND _x{to.other} IS NOT NULL"
            return f"({to.kind[-3:]}({pair}) FILTER (WHERE {both})).a"


def over_rows(to: Reduction, values: Sequence[str]) -> str:
    """SQL of the aggregate over source rows; `values` are the expressions kept."""
    x = values[to.value - 1]
    match to.kind:
        case "distinct":
            return f"count(DISTINCT {x})"
        case "min" | "max":
            return f"{to.kind}({x})"
        case "disc":
            return f"quantile_disc({x}, {_units(to.share, to.digits)})"
        case "cont":
            steps = _steps(to, "len(v)")
            low, high = (f"v[{place} + 1]" for place in _places(to, "len(v)"))
            value = _between(to, low, high, f"({steps} % {to.whole})")
            return (
                f"list_transform([list({x} ORDER BY {x}) FILTER (WHERE ({x}) IS NOT NULL)], "
                f"lambda v: {value})[1]"
            )
        case "mode":
            return f"mode({x} ORDER BY {x})"
        case "arg_min" | "arg_max":
            order = "" if to.kind == "arg_min" else " DESC"
            other = values[to.other - 1]
            return f"{to.kind}({other}, {x} ORDER BY {other}{order})"


def _steps(to: Reduction, count: str) -> str:
    """Where the quantile lies among `count` sorted values, from 0, in units of the fraction."""
    return f"{to.share} * ({count} - 1)"


def _places(to: Reduction, count: str) -> tuple[str, str]:
    """The places of the two values around it, from 0; the same one where it lies on a value."""
    steps = _steps(to, count)
    return f"(({steps}) // {to.whole})", f"(({steps} + {to.whole - 1}) // {to.whole})"


def _between(to: Reduction, low: str, high: str, rest: str) -> str:
    """The value that far between two, to 4 digits, half away from zero, in integers throughout."""
    weighted = f"{_unscaled(to, low)} * ({to.whole} - {rest}) + {_unscaled(to, high)} * {rest}"
    unit = _units(1, to.digits + to.scale)
    return f"CAST(CAST({weighted} AS DECIMAL(38, 0)) * {unit} AS DECIMAL(38, {SCALE}))"


def _units(number: int, digits: int) -> str:
    """`number * 10 ** -digits`, written out."""
    return f"{Decimal(number).scaleb(-digits):f}"


def _unscaled(to: Reduction, value: str) -> str:
    if not to.scale:
        return f"CAST({value} AS HUGEINT)"
    return f"CAST(CAST({value} AS DECIMAL(38, {to.scale})) * {10**to.scale} AS HUGEINT)"
