"""Walks a scalar expression of a view, checks it and builds it anew for DuckDB and Spark.

Guarantees: what comes out has the same value and type in both, or ViewError is raised. Which
kinds of expression there are is a table, given from outside: see `scalars`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final, NoReturn, TypeAlias

from sqlglot import exp

from headrace.pipelines.views.rules import refuse, refuse_node
from headrace.pipelines.views.types import BindError, decimal_size, family, type_of
from headrace.schemas.zones import UnknownZoneError, ZoneRules, rules

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d")
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d:\d\d(\.\d{1,6})?)?")
DIGITS: Final = 38  # both engines hold 38 decimal digits
ROUNDED: Final = "numbers of different scales were compared or chosen from, and rounded"
KEPT_SCALE: Final = 6  # Spark keeps this many fraction digits when a result needs more than 38


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


def cast_to(expression: exp.Expression, kind: str) -> exp.Cast:
    """A cast to a DuckDB type, in any case.

    sqlglot's own leaves the expression as it is where it is a cast to a type of that name already,
    and looks at no digits: DECIMAL(20, 2) of DECIMAL(20, 4) kept four.
    """
    return exp.Cast(this=expression, to=exp.DataType.build(kind, dialect="duckdb"))


class Expressions:
    """Checks expressions over columns of known types.

    Args:
        where: file or place, for messages.
        columns: name to DuckDB type.
        kinds: what is allowed, by kind of expression.
        derived: whether the expressions are over aggregates. Then they run in DuckDB only.
        native: whether they run in DuckDB only although they are over rows: those of other views.
        stored: whether a lake holds the view already; then what was once accepted is noted in
            `misread` instead of refused.
        zones: the rules of zones that it was made with; of all others, those of today.
    """

    def __init__(
        self,
        where: str,
        columns: Mapping[str, str],
        kinds: Mapping[type[exp.Expression], Rule],
        *,
        derived: bool,
        native: bool = False,
        stored: bool = False,
        zones: Mapping[str, ZoneRules] | None = None,
    ) -> None:
        self.where = where
        self.columns = columns
        self.derived = derived
        self.native = native or derived
        self.stored = stored
        self.misread: set[str] = set()
        self.zones: dict[str, ZoneRules] = {}
        self._known = zones or {}
        self._kinds = kinds

    def check(self, node: exp.Expression) -> Typed:
        """The expression, checked and rewritten.

        Raises:
            ViewError: it is not allowed in a view, with what to write instead.
        """
        rule = self._kinds.get(type(node))
        if rule is None:
            refuse_node(self.where, node)
        return rule(self, node)

    def condition(self, node: exp.Expression) -> Typed:
        """An expression that must be true or false."""
        typed = self.check(node)
        if typed.family not in {"condition", "null"}:
            self.refuse(node, f"is {typed.type}, and here a condition is needed")
        return typed

    def number(self, node: exp.Expression) -> Typed:
        """An expression that must be an integer or a decimal."""
        typed = self.check(node)
        if typed.family != "number":
            self.refuse(
                node, f"is {typed.type}, and here a number is needed: an integer or DECIMAL"
            )
        return typed

    def time(self, node: exp.Expression) -> Typed:
        """An expression that must be a DATE or TIMESTAMP."""
        typed = self.check(node)
        if typed.family != "time":
            self.refuse(node, f"is {typed.type}, and here a DATE or TIMESTAMP is needed")
        return typed

    def build(
        self,
        node: exp.Expression,
        parts: Sequence[Typed],
        assemble: Callable[..., exp.Expression],
    ) -> Typed:
        """Assemble `node` anew from checked parts; DuckDB types it and Spark is held to that."""
        native = assemble(*(_grouped(part.duckdb) for part in parts))
        kind = self.type_of(native, node)
        spark = assemble(*(_grouped(part.spark) for part in parts))
        if kind != "BOOLEAN":
            spark = cast_to(spark, kind)
        return Typed(native, spark, kind)

    def type_of(self, native: exp.Expression, node: exp.Expression) -> str:
        """DuckDB's type of a rewritten expression; `node` is how the user wrote it."""
        text = native.sql("duckdb", identify=True, comments=False)
        try:
            kind = type_of(text, self.columns)
        except BindError as error:
            self.refuse(node, f"is not valid in DuckDB: {error}")
        if kind in {"DOUBLE", "FLOAT"}:
            self.refuse(node, f"is {kind}, which is not exact; use a DECIMAL")
        if family(kind) is None:
            self.refuse(node, f"is {kind}, a type that views do not have; add a CAST")
        return kind

    def alike(self, node: exp.Expression, parts: list[Typed]) -> list[Typed]:
        """The parts, which must be of one kind; text that is a date becomes one."""
        families = {part.family for part in parts} - {"null"}
        texts = [part.duckdb for part in parts if part.family == "text"]
        if families == {"time", "text"} and all(isinstance(x, exp.Literal) for x in texts):
            time = next(part.type for part in parts if part.family == "time")
            return [self.as_time(part, time) for part in parts]
        if len(families) > 1:
            kinds = " and ".join(sorted({part.type for part in parts}))
            self.refuse(node, f"mixes {kinds}; add a CAST so that all are alike")
        if families == {"number"}:
            sizes = [decimal_size(part.type) for part in parts if part.family == "number"]
            scale = max(s for _, s in sizes)
            digits = max(p - s for p, s in sizes) + scale
            self.fits(node, digits, scale)
            if digits > DIGITS and len({s for _, s in sizes}) > 1:
                self._would_round(node, parts, scale)
        return parts

    def as_time(self, part: Typed, kind: str) -> Typed:
        """Quoted text as DATE or TIMESTAMP, if it is written like one; a time as it is."""
        literal = part.duckdb
        if part.family != "text":
            return part
        pattern = _DATE if kind == "DATE" else _TIME
        if (
            not isinstance(literal, exp.Literal)
            or not pattern.fullmatch(str(literal.this))
            or not _exists(str(literal.this))
        ):
            example = "2026-01-31" if kind == "DATE" else "2026-01-31 09:30:00"
            self.refuse(literal, f"is not a fixed {kind}; write {kind} '{example}'")
        cast = cast_to(literal.copy(), kind)
        return Typed(cast, cast.copy(), kind)

    def fits(self, node: exp.Expression, digits: int, scale: int) -> None:
        """Refuse a number of which Spark would round fraction digits away."""
        if not self.native and digits > DIGITS and scale > KEPT_SCALE:
            self.refuse(
                node,
                f"needs up to {digits} digits and both engines hold {DIGITS}; first CAST to a "
                "smaller DECIMAL, such as CAST(x AS DECIMAL(18, 2))",
            )

    def _would_round(self, node: exp.Expression, parts: list[Typed], scale: int) -> None:
        """Refuse numbers whose common type has no room for the fraction digits of all of them."""
        if self.stored:
            self.misread.add(ROUNDED)
            return
        kinds = " and ".join(sorted({part.type for part in parts if part.family == "number"}))
        self.refuse(
            node,
            f"mixes {kinds}, which have more than {DIGITS} digits in common, so fraction digits "
            f"would be rounded away; CAST each of them AS DECIMAL({DIGITS}, {scale})",
        )

    def rules_of(self, node: exp.Expression, zone: str) -> ZoneRules:
        """The rules of a zone that `node` names; the view is noted to use them."""
        try:
            found = self._known[zone] if zone in self._known else rules(zone)
        except UnknownZoneError as error:
            self.refuse(node, f"names {zone!r}, which {error}")
        self.zones[zone] = found
        return found

    def refuse(self, node: exp.Expression, problem: str) -> NoReturn:
        """Raise ViewError about an expression of this file."""
        refuse(self.where, node, problem)


def _exists(text: str) -> bool:
    """Whether the calendar has that time: 31 February would fail when the view is computed."""
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _grouped(node: exp.Expression) -> exp.Expression:
    """The node, in parentheses where another dialect might bind its operator differently."""
    operators = (exp.Binary, exp.Unary, exp.Between, exp.In)
    bare = isinstance(node, operators) and not isinstance(node, exp.Paren)
    return exp.Paren(this=node.copy()) if bare else node.copy()


Rule: TypeAlias = "Callable[[Expressions, exp.Expression], Typed]"
