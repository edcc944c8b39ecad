"""Checks a scalar expression of a view and rewrites it so that DuckDB and Spark agree on it.

Guarantees: the same value and the same type in both, or a ViewError. An expression over rows
that passes cannot fail on a valid row: sums of digits get room, lossy casts are refused.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, TypeAlias

from sqlglot import exp

from pipelines.view_numbers import (
    DIGITS,
    KEPT_SCALE,
    QUOTIENT_SCALE,
    Typed,
    cast_problem,
    exact_quotient,
    with_room,
)
from pipelines.view_rules import EXTRACT_UNITS, TRUNC_UNITS, refuse, refuse_node
from pipelines.view_types import BindError, decimal_size, family, is_decimal, type_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d")
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d:\d\d(\.\d{1,6})?)?")


class Expressions:
    """Checks expressions over columns of known types.

    Args:
        where: file or place, for messages.
        columns: name to DuckDB type.
        derived: whether the expression is over aggregates. Then it runs in DuckDB only, and
            `/` and round are allowed.
    """

    def __init__(self, where: str, columns: Mapping[str, str], *, derived: bool) -> None:
        self._where = where
        self._columns = columns
        self._derived = derived

    def check(self, node: exp.Expression) -> Typed:
        """The expression, checked and rewritten.

        Raises:
            ViewError: it is not allowed in a view, with what to write instead.
        """
        rule = _RULES.get(type(node))
        if rule is None or (not self._derived and type(node) in _DERIVED_ONLY):
            refuse_node(self._where, node)
        return rule(self, node)

    def condition(self, node: exp.Expression) -> Typed:
        """An expression that must be true or false."""
        typed = self.check(node)
        if typed.family not in {"condition", "null"}:
            refuse(self._where, node, f"is {typed.type}, and here a condition is needed")
        return typed

    def number(self, node: exp.Expression) -> Typed:
        """An expression that must be an integer or a decimal."""
        typed = self.check(node)
        if typed.family != "number":
            refuse(
                self._where,
                node,
                f"is {typed.type}, and here a number is needed: an integer or DECIMAL",
            )
        return typed

    def _typed(
        self, node: exp.Expression, parts: Sequence[Typed], build: Callable[..., exp.Expression]
    ) -> Typed:
        """Build a node from checked parts; let DuckDB type it and hold Spark to that type."""
        native = build(*(_grouped(part.duckdb) for part in parts))
        kind = self._type(native, node)
        spark = build(*(_grouped(part.spark) for part in parts))
        if kind != "BOOLEAN":
            spark = exp.cast(spark, kind, dialect="duckdb")
        return Typed(native, spark, kind)

    def _type(self, native: exp.Expression, node: exp.Expression) -> str:
        text = native.sql("duckdb", identify=True, comments=False)
        try:
            kind = type_of(text, self._columns)
        except BindError as error:
            refuse(self._where, node, f"is not valid in DuckDB: {error}")
        if kind in {"DOUBLE", "FLOAT"}:
            refuse(self._where, node, f"is {kind}, which is not exact; use a DECIMAL")
        if family(kind) is None:
            refuse(self._where, node, f"is {kind}, a type that views do not have; add a CAST")
        return kind

    def _alike(self, node: exp.Expression, parts: list[Typed]) -> list[Typed]:
        """The parts, which must be of one kind; text that is a date becomes one."""
        families = {part.family for part in parts} - {"null"}
        if families == {"time", "text"}:
            time = next(part.type for part in parts if part.family == "time")
            return [self._as_time(part, time) for part in parts]
        if len(families) > 1:
            kinds = " and ".join(sorted({part.type for part in parts}))
            refuse(self._where, node, f"mixes {kinds}; add a CAST so that both sides are alike")
        if families == {"number"} and not self._derived:
            sizes = [decimal_size(part.type) for part in parts if part.family == "number"]
            whole, scale = max(p - s for p, s in sizes), max(s for _, s in sizes)
            if scale > KEPT_SCALE and whole + scale > DIGITS:
                self._refuse_digits(node, whole + scale)
        return parts

    def _as_time(self, part: Typed, kind: str) -> Typed:
        literal = part.duckdb
        if part.family != "text":
            return part
        pattern = _DATE if kind == "DATE" else _TIME
        if not isinstance(literal, exp.Literal) or not pattern.fullmatch(str(literal.this)):
            refuse(
                self._where,
                literal,
                f"is compared with a {kind}; write {kind} '2026-01-31"
                f"{'' if kind == 'DATE' else ' 09:30:00'}'",
            )
        cast = exp.cast(literal.copy(), kind, dialect="duckdb")
        return Typed(cast, cast.copy(), kind)

    def _refuse_digits(self, node: exp.Expression, digits: int) -> None:
        refuse(
            self._where,
            node,
            f"needs up to {digits} digits and both engines hold {DIGITS}; first CAST to a "
            "smaller DECIMAL, such as CAST(x AS DECIMAL(18, 2))",
        )

    def _column(self, node: exp.Expression) -> Typed:
        kind = self._columns.get(node.name)
        if kind is None or (self._derived and not node.args.get("table")):
            refuse(
                self._where,
                exp.column(node.name),
                "is neither a GROUP BY column nor inside an aggregate; "
                f"add it to GROUP BY or write sum({node.name}) or count({node.name})",
            )
        column = exp.column(exp.to_identifier(node.name, quoted=True))
        return Typed(column, column.copy(), kind)

    def _literal(self, node: exp.Expression) -> Typed:
        if node.is_string:
            return Typed(node.copy(), node.copy(), "VARCHAR")
        if not re.fullmatch(r"\d+|\d+\.\d+", str(node.this)):
            refuse(self._where, node, "is not an exact number; write digits, such as 1000 or 0.19")
        return Typed(node.copy(), node.copy(), self._type(node, node))

    def _boolean(self, node: exp.Expression) -> Typed:
        return Typed(node.copy(), node.copy(), "BOOLEAN")

    def _null(self, node: exp.Expression) -> Typed:
        return Typed(node.copy(), node.copy(), "NULL")

    def _paren(self, node: exp.Expression) -> Typed:
        return self.check(node.this)

    def _neg(self, node: exp.Expression) -> Typed:
        return self._typed(node, [self.number(node.this)], lambda x: exp.Neg(this=x))

    def _abs(self, node: exp.Expression) -> Typed:
        return self._typed(node, [self.number(node.this)], lambda x: exp.Abs(this=x))

    def _arithmetic(self, node: exp.Expression) -> Typed:
        parts = [self.number(node.this), self.number(node.expression)]
        if any(is_decimal(part.type) for part in parts):
            parts = with_room(parts)
            (p1, s1), (p2, s2) = (decimal_size(part.type) for part in parts)
            if isinstance(node, exp.Mul):
                digits, scale = p1 + p2 + 1, s1 + s2
            else:
                scale = max(s1, s2)
                digits = max(p1 - s1, p2 - s2) + scale + 1
            if digits > DIGITS and scale > KEPT_SCALE and not self._derived:
                self._refuse_digits(node, digits)
        return self._typed(node, parts, lambda a, b: type(node)(this=a, expression=b))

    def _comparison(self, node: exp.Expression) -> Typed:
        parts = self._alike(node, [self.check(node.this), self.check(node.expression)])
        return self._typed(node, parts, lambda a, b: type(node)(this=a, expression=b))

    def _logic(self, node: exp.Expression) -> Typed:
        parts = [self.condition(node.this), self.condition(node.expression)]
        return self._typed(node, parts, lambda a, b: type(node)(this=a, expression=b))

    def _not(self, node: exp.Expression) -> Typed:
        return self._typed(node, [self.condition(node.this)], lambda x: exp.Not(this=x))

    def _is(self, node: exp.Expression) -> Typed:
        if not isinstance(node.expression, exp.Null | exp.Boolean):
            refuse_node(self._where, node)
        if isinstance(node.expression, exp.Boolean):
            self.condition(node.this)
        right = node.expression
        return self._typed(
            node, [self.check(node.this)], lambda x: exp.Is(this=x, expression=right.copy())
        )

    def _in(self, node: exp.Expression) -> Typed:
        if any(value for name, value in node.args.items() if name not in {"this", "expressions"}):
            refuse(self._where, node, "looks rows up elsewhere; write IN with a list of values")
        parts = self._alike(node, [self.check(each) for each in [node.this, *node.expressions]])
        return self._typed(node, parts, lambda x, *xs: exp.In(this=x, expressions=list(xs)))

    def _between(self, node: exp.Expression) -> Typed:
        if node.args.get("symmetric"):
            refuse(self._where, node, "is not supported; write BETWEEN low AND high")
        parts = [self.check(node.args[name]) for name in ("this", "low", "high")]
        return self._typed(
            node,
            self._alike(node, parts),
            lambda x, low, high: exp.Between(this=x, low=low, high=high),
        )

    def _like(self, node: exp.Expression) -> Typed:
        pattern = node.expression
        if not isinstance(pattern, exp.Literal) or "\\" in str(pattern.this):
            refuse(self._where, node, "needs a pattern in quotes without a backslash")
        return self._text_pair(node, exp.Like)

    def _concat(self, node: exp.Expression) -> Typed:
        return self._text_pair(node, exp.DPipe)

    def _text_pair(self, node: exp.Expression, build: type[exp.Expression]) -> Typed:
        parts = [self.check(node.this), self.check(node.expression)]
        for part in parts:
            if part.family not in {"text", "null"}:
                refuse(self._where, part.duckdb, f"is {part.type}; write CAST(… AS VARCHAR)")
        return self._typed(node, parts, lambda a, b: build(this=a, expression=b))

    def _coalesce(self, node: exp.Expression) -> Typed:
        parts = self._alike(node, [self.check(each) for each in [node.this, *node.expressions]])
        return self._typed(node, parts, lambda x, *xs: exp.Coalesce(this=x, expressions=list(xs)))

    def _nullif(self, node: exp.Expression) -> Typed:
        parts = self._alike(node, [self.check(node.this), self.check(node.expression)])
        return self._typed(node, parts, lambda a, b: exp.Nullif(this=a, expression=b))

    def _case(self, node: exp.Expression) -> Typed:
        """CASE, CASE x WHEN and IF, all as CASE WHEN condition THEN value."""
        ifs = [node] if isinstance(node, exp.If) else node.args["ifs"]
        subject = None if isinstance(node, exp.If) else node.this
        tests = [
            self.condition(each.this)
            if subject is None
            else self._comparison(exp.EQ(this=subject.copy(), expression=each.this.copy()))
            for each in ifs
        ]
        default = node.args.get("false" if isinstance(node, exp.If) else "default")
        values = [each.args["true"] for each in ifs] + ([] if default is None else [default])
        parts = self._alike(node, [self.check(each) for each in values])

        def build(*built: exp.Expression) -> exp.Expression:
            whens, thens = built[: len(tests)], built[len(tests) :]
            return exp.Case(
                ifs=[exp.If(this=a, true=b) for a, b in zip(whens, thens, strict=False)],
                default=None if default is None else thens[-1],
            )

        return self._typed(node, [*tests, *parts], build)

    def _trunc(self, node: exp.Expression) -> Typed:
        unit = str(node.args["unit"].name).upper()
        if unit not in TRUNC_UNITS:
            refuse(self._where, node, f"truncates to {unit}; write one of {', '.join(TRUNC_UNITS)}")
        part = self._time(node.this)
        # Spelt out, because sqlglot turns date_trunc over a DATE into Spark's trunc, which
        # answers NULL for units below a month.
        return self._typed(
            node,
            [part],
            lambda x: exp.Anonymous(
                this="date_trunc", expressions=[exp.Literal.string(unit.lower()), x]
            ),
        )

    def _extract(self, node: exp.Expression) -> Typed:
        if isinstance(node, exp.Extract):
            unit, value = str(node.this.name).upper(), node.expression
        else:
            unit, value = type(node).__name__.upper(), node.this
        if unit not in EXTRACT_UNITS:
            refuse(self._where, node, f"extracts {unit}; write one of {', '.join(EXTRACT_UNITS)}")
        return self._typed(
            node, [self._time(value)], lambda x: exp.Extract(this=exp.var(unit), expression=x)
        )

    def _time(self, node: exp.Expression) -> Typed:
        typed = self.check(node)
        if typed.family != "time":
            refuse(self._where, node, f"is {typed.type}, and here a time is needed")
        return typed

    def _cast(self, node: exp.Expression) -> Typed:
        part = self.check(node.this)
        target = node.to.sql("duckdb").replace(" ", "").replace("TEXT", "VARCHAR")
        if isinstance(node.this, exp.Literal) and node.this.is_string:
            if target not in {"DATE", "TIMESTAMP"}:
                refuse(self._where, node, "casts quoted text; write the value itself")
            return self._as_time(part, target)
        problem = cast_problem(part.type, target, derived=self._derived)
        if problem is not None:
            refuse(self._where, node, problem)
        return self._typed(node, [part], lambda x: exp.cast(x, target, dialect="duckdb"))

    def _round(self, node: exp.Expression) -> Typed:
        digits = node.args.get("decimals") or exp.Literal.number(0)
        if not isinstance(digits, exp.Literal) or digits.is_string:
            refuse(self._where, node, "needs a fixed number of digits, such as round(x, 2)")
        return self._typed(
            node, [self.number(node.this)], lambda x: exp.Round(this=x, decimals=digits.copy())
        )

    def _divide(self, node: exp.Expression) -> Typed:
        top, bottom = self.number(node.this), self.number(node.expression)
        exact = exact_quotient(top, bottom)
        return Typed(exact, exact, f"DECIMAL(38,{QUOTIENT_SCALE})")


def _grouped(node: exp.Expression) -> exp.Expression:
    """The node, in parentheses where another dialect might bind its operator differently."""
    operators = (exp.Binary, exp.Unary, exp.Between, exp.In)
    bare = isinstance(node, operators) and not isinstance(node, exp.Paren | exp.Dot)
    return exp.Paren(this=node.copy()) if bare else node.copy()


_Rule: TypeAlias = "Callable[[Expressions, exp.Expression], Typed]"
_DERIVED_ONLY: Final = frozenset({exp.Div, exp.Round})
_RULES: Final[dict[type[exp.Expression], _Rule]] = {
    exp.Column: Expressions._column,
    exp.Literal: Expressions._literal,
    exp.Boolean: Expressions._boolean,
    exp.Null: Expressions._null,
    exp.Paren: Expressions._paren,
    exp.Neg: Expressions._neg,
    exp.Abs: Expressions._abs,
    exp.Add: Expressions._arithmetic,
    exp.Sub: Expressions._arithmetic,
    exp.Mul: Expressions._arithmetic,
    exp.Div: Expressions._divide,
    exp.Round: Expressions._round,
    exp.EQ: Expressions._comparison,
    exp.NEQ: Expressions._comparison,
    exp.GT: Expressions._comparison,
    exp.GTE: Expressions._comparison,
    exp.LT: Expressions._comparison,
    exp.LTE: Expressions._comparison,
    exp.And: Expressions._logic,
    exp.Or: Expressions._logic,
    exp.Not: Expressions._not,
    exp.Is: Expressions._is,
    exp.In: Expressions._in,
    exp.Between: Expressions._between,
    exp.Like: Expressions._like,
    exp.DPipe: Expressions._concat,
    exp.Coalesce: Expressions._coalesce,
    exp.Nullif: Expressions._nullif,
    exp.Case: Expressions._case,
    exp.If: Expressions._case,
    exp.TimestampTrunc: Expressions._trunc,
    exp.DateTrunc: Expressions._trunc,
    exp.Extract: Expressions._extract,
    exp.Year: Expressions._extract,
    exp.Month: Expressions._extract,
    exp.Day: Expressions._extract,
    exp.Hour: Expressions._extract,
    exp.Cast: Expressions._cast,
}
