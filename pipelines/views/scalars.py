"""The kinds of scalar expression that a view may hold, one rule a kind.

On the list is what DuckDB and Spark were seen to agree on; tests hold both to it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from sqlglot import exp

from headrace.pipelines.views.decimals import (
    QUOTIENT_TYPE,
    cast_problem,
    exact_quotient,
    negated_size,
    result_size,
    with_room,
)
from headrace.pipelines.views.expressions import Expressions, Rule, Typed, cast_to
from headrace.pipelines.views.rules import EXTRACT_UNITS, TRUNC_UNITS, refuse_node
from headrace.pipelines.views.types import is_decimal
from headrace.pipelines.views.zoned import local_time

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headrace.schemas.zones import ZoneRules


def row_expressions(
    where: str,
    columns: Mapping[str, str],
    *,
    native: bool,
    stored: bool,
    zones: Mapping[str, ZoneRules] | None = None,
) -> Expressions:
    """Checks expressions over source rows: keys, conditions, what is inside aggregates."""
    return Expressions(
        where, columns, _ROW_RULES, derived=False, native=native, stored=stored, zones=zones
    )


def derived_expressions(
    where: str,
    columns: Mapping[str, str],
    *,
    stored: bool,
    zones: Mapping[str, ZoneRules] | None = None,
) -> Expressions:
    """Checks expressions over keys and aggregates; `/` and round are allowed there."""
    return Expressions(where, columns, _DERIVED_RULES, derived=True, stored=stored, zones=zones)


def _column(at: Expressions, node: exp.Expression) -> Typed:
    beside = "" if at.derived or not node.table else f"{node.table}."
    name = f"{beside}{node.name}"
    kind = at.columns.get(name)
    if kind is None or (at.derived and not node.args.get("table")):
        at.refuse(
            exp.column(node.name),
            "is neither a GROUP BY key nor inside an aggregate; "
            f"add it to GROUP BY, or write sum({name}) or count({name})",
        )
    column = exp.column(exp.to_identifier(name, quoted=True))
    return Typed(column, column.copy(), kind)


def _literal(at: Expressions, node: exp.Expression) -> Typed:
    if node.is_string:
        return Typed(node.copy(), node.copy(), "VARCHAR")
    if not re.fullmatch(r"\d+|\d+\.\d+", str(node.this)):
        at.refuse(node, "is not an exact number; write digits, such as 1000 or 0.19")
    return Typed(node.copy(), node.copy(), at.type_of(node, node))


def _boolean(_at: Expressions, node: exp.Expression) -> Typed:
    return Typed(node.copy(), node.copy(), "BOOLEAN")


def _null(_at: Expressions, node: exp.Expression) -> Typed:
    return Typed(node.copy(), node.copy(), "NULL")


def _paren(at: Expressions, node: exp.Expression) -> Typed:
    return at.check(node.this)


def _signed(at: Expressions, node: exp.Expression) -> Typed:
    """Minus and abs. Spark's own round to 34 digits, so it is given a difference instead."""
    part = at.number(node.this)
    if not at.native:
        at.fits(node, *negated_size(part.type))
    typed = at.build(node, [part], lambda x: type(node)(this=x))
    value = part.spark.sql("spark", identify=True)
    minus = f"CAST(0 AS DECIMAL(1, 0)) - ({value})"
    if isinstance(node, exp.Abs):
        minus = f"CASE WHEN ({value}) < 0 THEN {minus} ELSE {value} END"
    spark = cast_to(exp.maybe_parse(minus, dialect="spark"), typed.type)
    return Typed(typed.duckdb, spark, typed.type)


def _arithmetic(at: Expressions, node: exp.Expression) -> Typed:
    parts = [at.number(node.this), at.number(node.expression)]
    if any(is_decimal(part.type) for part in parts):
        parts = with_room(parts)
        at.fits(node, *result_size(node, parts[0].type, parts[1].type))
    return at.build(node, parts, lambda a, b: type(node)(this=a, expression=b))


def _divide(at: Expressions, node: exp.Expression) -> Typed:
    exact = exact_quotient(at.number(node.this), at.number(node.expression))
    return Typed(exact, exact, QUOTIENT_TYPE)


def _round(at: Expressions, node: exp.Expression) -> Typed:
    digits = node.args.get("decimals") or exp.Literal.number(0)
    if not isinstance(digits, exp.Literal) or digits.is_string:
        at.refuse(node, "needs a fixed number of digits, such as round(x, 2)")
    return at.build(
        node, [at.number(node.this)], lambda x: exp.Round(this=x, decimals=digits.copy())
    )


def _comparison(at: Expressions, node: exp.Expression) -> Typed:
    parts = at.alike(node, [at.check(node.this), at.check(node.expression)])
    return at.build(node, parts, lambda a, b: type(node)(this=a, expression=b))


def _logic(at: Expressions, node: exp.Expression) -> Typed:
    parts = [at.condition(node.this), at.condition(node.expression)]
    return at.build(node, parts, lambda a, b: type(node)(this=a, expression=b))


def _not(at: Expressions, node: exp.Expression) -> Typed:
    return at.build(node, [at.condition(node.this)], lambda x: exp.Not(this=x))


def _is(at: Expressions, node: exp.Expression) -> Typed:
    right = node.expression
    if not isinstance(right, exp.Null | exp.Boolean):
        refuse_node(at.where, node)
    left = at.check(node.this) if isinstance(right, exp.Null) else at.condition(node.this)
    return at.build(node, [left], lambda x: exp.Is(this=x, expression=right.copy()))


def _in(at: Expressions, node: exp.Expression) -> Typed:
    parts = at.alike(node, [at.check(each) for each in [node.this, *node.expressions]])
    return at.build(node, parts, lambda x, *xs: exp.In(this=x, expressions=list(xs)))


def _between(at: Expressions, node: exp.Expression) -> Typed:
    parts = at.alike(node, [at.check(node.args[name]) for name in ("this", "low", "high")])
    return at.build(node, parts, lambda x, low, high: exp.Between(this=x, low=low, high=high))


def _like(at: Expressions, node: exp.Expression) -> Typed:
    # A backslash is a plain character in DuckDB's patterns and an escape in Spark's.
    pattern = node.expression
    if not isinstance(pattern, exp.Literal) or "\\" in str(pattern.this):
        at.refuse(node, "needs a fixed pattern in quotes, without a backslash")
    parts = _texts(at, node)
    if node.args.get("negate"):  # NOT LIKE, !~~
        return at.build(
            node, parts, lambda a, b: exp.Not(this=exp.Paren(this=exp.Like(this=a, expression=b)))
        )
    return at.build(node, parts, lambda a, b: exp.Like(this=a, expression=b))


def _joined(at: Expressions, node: exp.Expression) -> Typed:
    parts = _texts(at, node)
    return at.build(node, parts, lambda a, b: exp.DPipe(this=a, expression=b))


def _texts(at: Expressions, node: exp.Expression) -> list[Typed]:
    parts = [at.check(node.this), at.check(node.expression)]
    for part in parts:
        if part.family not in {"text", "null"}:
            at.refuse(part.duckdb, f"is {part.type}, and here text is needed; add a CAST")
    return parts


def _coalesce(at: Expressions, node: exp.Expression) -> Typed:
    parts = at.alike(node, [at.check(each) for each in [node.this, *node.expressions]])
    return at.build(node, parts, lambda x, *xs: exp.Coalesce(this=x, expressions=list(xs)))


def _nullif(at: Expressions, node: exp.Expression) -> Typed:
    parts = at.alike(node, [at.check(node.this), at.check(node.expression)])
    return at.build(node, parts, lambda a, b: exp.Nullif(this=a, expression=b))


def _case(at: Expressions, node: exp.Expression) -> Typed:
    """CASE WHEN, CASE x WHEN and if(…), all built as CASE WHEN."""
    alone = isinstance(node, exp.If)
    branches = [node] if alone else node.args["ifs"]
    subject = None if alone else node.this
    tests = [
        at.condition(each.this)
        if subject is None
        else at.check(exp.EQ(this=subject.copy(), expression=each.this.copy()))
        for each in branches
    ]
    default = node.args.get("false" if alone else "default")
    values = [each.args["true"] for each in branches] + ([] if default is None else [default])
    parts = at.alike(node, [at.check(each) for each in values])

    def assemble(*built: exp.Expression) -> exp.Expression:
        whens, thens = built[: len(tests)], built[len(tests) :]
        return exp.Case(
            ifs=[exp.If(this=a, true=b) for a, b in zip(whens, thens, strict=False)],
            default=None if default is None else thens[-1],
        )

    return at.build(node, [*tests, *parts], assemble)


def _trunc(at: Expressions, node: exp.Expression) -> Typed:
    unit = str(node.args["unit"].name).upper()
    if unit not in TRUNC_UNITS:
        at.refuse(node, f"truncates to {unit}; write one of {', '.join(TRUNC_UNITS)}")
    # Spelt out, because sqlglot turns date_trunc of a DATE into Spark's trunc, which answers
    # NULL for units below a month.
    spelt = exp.Literal.string(unit.lower())
    return at.build(
        node,
        [at.time(node.this)],
        lambda x: exp.Anonymous(this="date_trunc", expressions=[spelt.copy(), x]),
    )


def _extract(at: Expressions, node: exp.Expression) -> Typed:
    if isinstance(node, exp.Extract):
        unit, value = str(node.this.name).upper(), node.expression
    else:
        unit, value = type(node).__name__.upper(), node.this
    if unit not in EXTRACT_UNITS:
        at.refuse(node, f"extracts {unit}; write one of {', '.join(EXTRACT_UNITS)}")
    return at.build(node, [at.time(value)], lambda x: exp.Extract(this=exp.var(unit), expression=x))


def _cast(at: Expressions, node: exp.Expression) -> Typed:
    part = at.check(node.this)
    target = node.args["to"].sql("duckdb").replace(" ", "").replace("TEXT", "VARCHAR")
    if isinstance(part.duckdb, exp.Literal) and part.family == "text" and target != "VARCHAR":
        if target not in {"DATE", "TIMESTAMP"}:
            at.refuse(node, "casts quoted text; write the value itself")
        return at.as_time(part, target)
    problem = cast_problem(part.type, target, derived=at.derived)
    if problem is not None:
        at.refuse(node, problem)
    return at.build(node, [part], lambda x: cast_to(x, target))


_ROW_RULES: Final[Mapping[type[exp.Expression], Rule]] = {
    exp.Column: _column,
    exp.Literal: _literal,
    exp.Boolean: _boolean,
    exp.Null: _null,
    exp.Paren: _paren,
    exp.Neg: _signed,
    exp.Abs: _signed,
    **dict.fromkeys((exp.Add, exp.Sub, exp.Mul), _arithmetic),
    **dict.fromkeys((exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE), _comparison),
    **dict.fromkeys((exp.And, exp.Or), _logic),
    exp.Not: _not,
    exp.Is: _is,
    exp.In: _in,
    exp.Between: _between,
    exp.Like: _like,
    exp.DPipe: _joined,
    exp.Coalesce: _coalesce,
    exp.Nullif: _nullif,
    **dict.fromkeys((exp.Case, exp.If), _case),
    **dict.fromkeys((exp.TimestampTrunc, exp.DateTrunc), _trunc),
    **dict.fromkeys((exp.Extract, exp.Year, exp.Month, exp.Day, exp.Hour), _extract),
    exp.Cast: _cast,
    exp.AtTimeZone: local_time,
}
_DERIVED_RULES: Final[Mapping[type[exp.Expression], Rule]] = {
    **_ROW_RULES,
    exp.Div: _divide,
    exp.Round: _round,
}
