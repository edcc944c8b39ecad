"""Splits the aggregates of a view into what is stored.

Sums, which a weight can add and take back, and values, which are kept each with how often.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from sqlglot import exp

from headrace.pipelines.views.decimals import negated_size
from headrace.pipelines.views.multiset import MOST_DIGITS, RANKED, SCALE, Kind, Reduction
from headrace.pipelines.views.rules import WRITTEN, refuse, refuse_distinct, refuse_node, shown
from headrace.pipelines.views.types import decimal_size, is_decimal
from headrace.pipelines.views.view import ROWS, Aggregate, Column, Partial, Term

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headrace.pipelines.views.expressions import Expressions, Typed

VIRTUAL: Final = "group"
"""Qualifier of a column that stands for a key or an aggregate; names of rows have none."""
_REDUCED: Final[dict[type[exp.Expression], Kind]] = {
    exp.Min: "min",
    exp.Max: "max",
    exp.Median: "cont",
    exp.PercentileCont: "cont",
    exp.PercentileDisc: "disc",
    exp.Quantile: "disc",
    exp.Mode: "mode",
    exp.ArgMin: "arg_min",
    exp.ArgMax: "arg_max",
}
_FORMS: Final[dict[Kind, str]] = {
    "distinct": "count(DISTINCT x)",
    "min": "min(x)",
    "max": "max(x)",
    "cont": "median(x) or quantile_cont(x, 0.9)",
    "disc": "quantile_disc(x, 0.9)",
    "mode": "mode(x)",
    "arg_min": "arg_min(a, x)",
    "arg_max": "arg_max(a, x)",
}


class Aggregates:
    """Collects aggregates, each once, and the partials they need, each once.

    Args:
        where: file or place, for messages.
        rows: checks the expressions inside aggregates.
    """

    def __init__(self, where: str, rows: Expressions) -> None:
        self._where = where
        self._rows = rows
        self._terms: list[tuple[Typed | None, Typed | None]] = [(None, None)]
        self.partials: list[Partial] = [Partial(Column(ROWS, "BIGINT"), "count")]
        self.aggregates: list[Aggregate] = []
        self._values: list[tuple[Typed, Typed | None]] = []

    @property
    def columns(self) -> list[Column]:
        """The columns that stand for the aggregates."""
        return [each.column for each in self.aggregates]

    def terms(self, dialect: str) -> tuple[Term, ...]:
        """What each partial sums or counts, in the order of the partials."""
        return tuple(
            Term(_text(value, dialect), _text(condition, dialect))
            for value, condition in self._terms
        )

    @property
    def value_columns(self) -> tuple[Column, ...]:
        """The columns of kept values."""
        return tuple(
            Column(f"_x{nth}", value.type) for nth, (value, _) in enumerate(self._values, start=1)
        )

    def values(self, dialect: str) -> tuple[Term, ...]:
        """What each of them holds, and for which rows."""
        return tuple(
            Term(_text(value, dialect), _text(condition, dialect))
            for value, condition in self._values
        )

    def over_columns(
        self, node: exp.Expression, keys: Sequence[tuple[exp.Expression, str]]
    ) -> exp.Expression:
        """The expression over columns that stand for its aggregates and keys."""
        if isinstance(node, exp.WithinGroup):
            refuse_node(self._where, node)
        if isinstance(node, exp.Filter):
            return _standing_for(node, self._aggregate(node, node.this, node.expression.this))
        if isinstance(node, exp.AggFunc):
            return _standing_for(node, self._aggregate(node, node, None))
        zeroed = _zeroed_sum(node)
        if zeroed is not None:
            inner, condition = zeroed
            return _standing_for(node, self._sum(inner, condition, total=True))
        for key, name in keys:
            if node == key:
                return _standing_for(node, exp.column(name, table=VIRTUAL))
        copy = node.copy()
        for child in list(copy.iter_expressions()):
            if not isinstance(child, exp.Identifier | exp.DataType | exp.Var):
                child.replace(self.over_columns(child, keys))
        return copy

    def _aggregate(
        self, node: exp.Expression, inner: exp.Expression, condition: exp.Expression | None
    ) -> exp.Expression:
        if type(inner) not in {exp.Count, exp.Sum, exp.Avg, *_REDUCED}:
            refuse_node(self._where, inner)
        if isinstance(inner.this, exp.Distinct):
            return self._distinct(node, inner, condition)
        if any(isinstance(inner.args.get(each), exp.Order) for each in inner.args):
            refuse(self._where, node, "has an ORDER BY, which changes nothing; leave it out")
        if type(inner) in _REDUCED:
            return self._reduced(node, inner, condition)
        if inner.this is None or inner.args.get("expressions"):
            if isinstance(inner, exp.Count) and inner.this is None:
                return self._count(exp.Star(), condition)
            refuse(self._where, node, "takes exactly one argument")
        if isinstance(inner, exp.Count):
            return self._count(inner.this, condition)
        if isinstance(inner, exp.Sum):
            return self._sum(inner.this, condition, total=False)
        return self._average(inner.this, condition)

    def _distinct(
        self, node: exp.Expression, inner: exp.Expression, condition: exp.Expression | None
    ) -> exp.Expression:
        arguments = inner.this.expressions
        if isinstance(inner, exp.Min | exp.Max):
            refuse(self._where, node, "has a DISTINCT, which changes nothing; leave it out")
        if not isinstance(inner, exp.Count):
            refuse_distinct(self._where, node, inner.this)
        if len(arguments) != 1:
            refuse(
                self._where,
                f"count(DISTINCT {', '.join(map(shown, arguments))})",
                "counts several columns at once; join them into one text, such as "
                "a || '/' || b, with coalesce where NULL may stand",
            )
        place, _ = self._value(node, arguments[0], condition)
        return self._kept("BIGINT", Reduction("distinct", place))

    def _reduced(
        self, node: exp.Expression, inner: exp.Expression, condition: exp.Expression | None
    ) -> exp.Expression:
        kind = _REDUCED[type(inner)]
        if inner.this is None or inner.args.get("count") or inner.args.get("expressions"):
            refuse(self._where, node, f"is not {_FORMS[kind]}, the form that a view may have")
        if kind in {"arg_min", "arg_max"}:
            if inner.expression is None:
                refuse(self._where, node, f"is not {_FORMS[kind]}, the form that a view may have")
            place, _ = self._value(node, inner.expression, condition)
            other, given = self._value(node, inner.this, condition)
            return self._kept(given.type, Reduction(kind, place, other=other))
        place, value = self._value(node, inner.this, condition)
        if kind not in RANKED:
            return self._kept(value.type, Reduction(kind, place))
        share = "0.5" if isinstance(inner, exp.Median) else self._share(node, inner, kind)
        digits = len(share.partition(".")[2])
        part = int(share.replace(".", ""))
        if kind == "disc":
            return self._kept(value.type, Reduction(kind, place, share=part, digits=digits))
        if value.family != "number":
            refuse(
                self._where,
                node,
                f"is between two values, and of {value.type} there is none between; write "
                f"quantile_disc({shown(inner.this)}, {share})",
            )
        scale = decimal_size(value.type)[1]
        to = Reduction(kind, place, share=part, digits=digits, scale=scale)
        return self._kept(f"DECIMAL(38,{SCALE})", to)

    def _share(self, node: exp.Expression, inner: exp.Expression, kind: Kind) -> str:
        """The fraction of a quantile, as it is written."""
        written = inner.args.get("quantile") or inner.args.get("expression")
        plain = isinstance(written, exp.Literal) and not written.is_string
        text = str(written.this) if written is not None and plain else ""
        if not re.fullmatch(rf"(0|1|0\.\d{{1,{MOST_DIGITS}}}|1\.0+)", text):
            refuse(
                self._where,
                node,
                f"needs one fixed fraction from 0 to 1 of at most {MOST_DIGITS} digits, such as "
                f"quantile_{kind}({shown(inner.this)}, 0.9)",
            )
        return text

    def _value(
        self, node: exp.Expression, argument: exp.Expression, condition: exp.Expression | None
    ) -> tuple[int, Typed]:
        """The place of kept values, from 1, added unless they are there."""
        value = self._rows.check(argument)
        if value.family == "null":
            refuse(self._where, node, "is over NULL, which is no value; leave it out")
        kept = (value, self._condition(condition))
        for place, each in enumerate(self._values, start=1):
            if _same(each, kept):
                return place, value
        self._values.append(kept)
        return len(self._values), value

    def _kept(self, of: str, to: Reduction) -> exp.Expression:
        """A column that stands for a reduction, which is added unless it is there."""
        found = next((each for each in self.aggregates if each.reduction == to), None)
        if found is None:
            column = Column(f"_value{len(self.aggregates) + 1}", of)
            found = Aggregate(column, "reduced", reduction=to)
            self.aggregates.append(found)
        return exp.column(found.column.name, table=VIRTUAL)

    def _count(self, argument: exp.Expression, condition: exp.Expression | None) -> exp.Expression:
        every = isinstance(argument, exp.Star | exp.Literal)
        value = None if every else self._rows.check(argument)
        place = self._partial("count", value, self._condition(condition))
        return self._named("count", "BIGINT", place)

    def _sum(
        self,
        argument: exp.Expression,
        condition: exp.Expression | None,
        *,
        total: bool,
    ) -> exp.Expression:
        value = self._summand(argument)
        kind = _sum_type(value.type) if is_decimal(value.type) else "BIGINT"
        place = self._partial("sum", value, self._condition(condition))
        if total:
            return self._named("total", kind, place)
        counted = self._partial("count", value, self._condition(condition))
        return self._named("sum", kind, place, counted)

    def _average(
        self, argument: exp.Expression, condition: exp.Expression | None
    ) -> exp.Expression:
        value = self._summand(argument)
        place = self._partial("sum", value, self._condition(condition))
        counted = self._partial("count", value, self._condition(condition))
        total = self._named("total", _sum_type(value.type), place)
        return exp.Div(this=total, expression=self._named("count", "BIGINT", counted))

    def _summand(self, argument: exp.Expression) -> Typed:
        value = self._rows.number(argument)
        self._rows.fits(argument, *negated_size(value.type))
        return value

    def _condition(self, node: exp.Expression | None) -> Typed | None:
        return None if node is None else self._rows.condition(node)

    def _partial(self, kind: str, value: Typed | None, condition: Typed | None) -> int:
        """The place of the partial, which is added unless it is there."""
        for place, (partial, term) in enumerate(zip(self.partials, self._terms, strict=True)):
            if partial.kind == kind and _same(term, (value, condition)):
                return place
        place = len(self.partials)
        if kind == "count" or value is None:
            self.partials.append(Partial(Column(f"_count{place}", "BIGINT"), "count"))
        else:
            self.partials.append(Partial(Column(f"_sum{place}", _sum_type(value.type)), "sum"))
        self._terms.append((value, condition))
        return place

    def _named(
        self, kind: str, of: str, partial: int, counted: int | None = None
    ) -> exp.Expression:
        """A column that stands for the aggregate, which is added unless it is there."""
        found = next(
            (
                each
                for each in self.aggregates
                if (each.kind, each.column.type, each.partial) == (kind, of, partial)
            ),
            None,
        )
        if found is None:
            column = Column(f"_value{len(self.aggregates) + 1}", of)
            match kind:
                case "count":
                    found = Aggregate(column, "count", partial)
                case "total":
                    found = Aggregate(column, "total", partial)
                case _:
                    found = Aggregate(column, "sum", partial, counted)
            self.aggregates.append(found)
        return exp.column(found.column.name, table=VIRTUAL)


def contains_aggregate(node: exp.Expression) -> bool:
    """Whether an aggregate of any kind is in the expression."""
    return node.find(exp.AggFunc, exp.Filter) is not None


def _standing_for(node: exp.Expression, column: exp.Expression) -> exp.Expression:
    column.meta[WRITTEN] = node.copy()
    return column


def _zeroed_sum(
    node: exp.Expression,
) -> tuple[exp.Expression, exp.Expression | None] | None:
    """Argument and condition of `coalesce(sum(…), 0)`, which needs no count beside the sum."""
    if not isinstance(node, exp.Coalesce) or len(node.expressions) != 1:
        return None
    zero = node.expressions[0]
    if not isinstance(zero, exp.Literal) or zero.is_string or str(zero.this) != "0":
        return None
    inner = node.this
    condition = None
    if isinstance(inner, exp.Filter):
        inner, condition = inner.this, inner.expression.this
    if not isinstance(inner, exp.Sum) or isinstance(inner.this, exp.Distinct | exp.Order):
        return None
    return inner.this, condition


def _sum_type(kind: str) -> str:
    return f"DECIMAL(38,{decimal_size(kind)[1]})"


def _same(one: tuple[Typed | None, Typed | None], other: tuple[Typed | None, Typed | None]) -> bool:
    return [_text(each, "duckdb") for each in one] == [_text(each, "duckdb") for each in other]


def _text(typed: Typed | None, dialect: str) -> str | None:
    if typed is None:
        return None
    return str(getattr(typed, dialect).sql(dialect, identify=True, comments=False))
