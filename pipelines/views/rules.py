"""What a view may say, and how to say no: the lists behind every refusal, with the remedy.

A scalar function is on the list only if DuckDB and Spark were seen to agree on it.
"""

from __future__ import annotations

from typing import Final, NoReturn

from sqlglot import exp

from headrace.pipelines.errors import ViewError

SCALARS: Final = (
    "date_trunc (minute, hour, day, week, month, quarter, year), extract (year, month, day, hour), "
    "CAST to DATE, TIMESTAMP, VARCHAR, BIGINT or DECIMAL(p, s), coalesce, nullif, abs, CASE, IN, "
    "BETWEEN, LIKE, IS NULL, AND, OR, NOT, comparisons, + - *, ||, AT TIME ZONE"
)
WRITTEN: Final = "written"
"""Key in `meta` of an expression that stands for another: what the user wrote."""
_SHOWN: Final = 120
TRUNC_UNITS: Final = ("MINUTE", "HOUR", "DAY", "WEEK", "MONTH", "QUARTER", "YEAR")
EXTRACT_UNITS: Final = ("YEAR", "MONTH", "DAY", "HOUR")

_NOT_ADDITIVE: Final = (
    "cannot be kept up to date exactly; use count, sum, avg, count(DISTINCT), min, max, median, "
    "quantile_disc, quantile_cont, mode, arg_min or arg_max, or ask orders or ledger directly when "
    "you query"
)
_UNSTEADY: Final = (
    "gives another answer each time it is asked, so the view could never be verified; "
    "use the times in the rows, such as booked_at or placed_at"
)
_TIMEZONE: Final = (
    "is written as an operator in a view: booked_at AT TIME ZONE 'UTC' AT TIME ZONE 'Europe/Berlin'"
)
_UNSTEADY_NAMES: Final = frozenset(
    {
        "now",
        "today",
        "random",
        "rand",
        "uuid",
        "gen_random_uuid",
        "uuidv4",
        "uuidv7",
        "current_date",
        "current_time",
        "current_timestamp",
        "localtime",
        "localtimestamp",
        "get_current_timestamp",
        "get_current_time",
        "transaction_timestamp",
        "currentdate",
        "currenttime",
        "currenttimestamp",
        "setseed",
        "nextval",
        "currval",
        "current_user",
        "session_user",
        "user",
        "current_localtime",
        "current_localtimestamp",
    }
)
_AGGREGATE_NAMES: Final = frozenset(
    {
        "product",
        "fsum",
        "sumkahan",
        "kahan_sum",
        "favg",
        "entropy",
        "bit_and",
        "bit_or",
        "bit_xor",
        "bitstring_agg",
        "histogram",
        "arbitrary",
        "mad",
        "sem",
        "kurtosis",
        "skewness",
        "reservoir_quantile",
        "arg_min_null",
        "arg_max_null",
        "map_from_entries",
        "list",
        "string_agg",
        "geomean",
        "geometric_mean",
        "weighted_avg",
        "min_by",
        "max_by",
    }
)
_REMEDIES: Final[dict[type[exp.Expression], str]] = {
    exp.CountIf: "is not supported; write count(*) FILTER (WHERE condition)",
    exp.Lower: "differs between DuckDB and Spark for some letters (such as İ and Σ); "
    "use CASE WHEN or IN with the spellings you expect",
    exp.Upper: "differs between DuckDB and Spark for some letters (such as ß and ŉ); "
    "use CASE WHEN or IN with the spellings you expect",
    exp.Concat: "skips NULL in DuckDB and not in Spark; write a || b, with coalesce where "
    "NULL may stand",
    exp.IntDiv: "rounds each row; divide the aggregates instead: sum(a) / sum(b)",
    exp.Mod: "is not supported; keep the value as a key or count with FILTER (WHERE …)",
    exp.TryCast: "hides bad values as NULL; write CAST(… AS …)",
    exp.ILike: "differs between DuckDB and Spark; write LIKE with the spellings you expect",
    exp.Window: "is a window function, and a view adds rows up group by group; compute it over "
    "the view when you query",
    exp.Subquery: "is a subquery; make a view of it, and read FROM that",
    exp.Exists: "is a subquery; make a view of it, and read FROM that",
    exp.Select: "is a subquery; make a view of it, and read FROM that",
    exp.Star: "is not a column; name the columns",
    exp.Columns: "is not a column; name the columns",
    exp.Placeholder: "is a parameter; write the value",
    exp.Parameter: "is a parameter; write the value",
    exp.Interval: "is an interval, which DuckDB and Spark add differently; compare with a fixed "
    "time such as TIMESTAMP '2026-01-01 00:00:00'",
    exp.Escape: "changes LIKE's escape character; write a pattern without it",
    exp.NullSafeEQ: "is not supported; write a = b OR (a IS NULL AND b IS NULL)",
    exp.NullSafeNEQ: "is not supported; write a <> b with IS NULL where NULL may stand",
    exp.Round: "is not supported on rows; write CAST(x AS DECIMAL(p, s)), which rounds, "
    "or round the aggregate",
    exp.Div: "divides row by row, which is not exact; divide the aggregates: sum(a) / sum(b)",
    exp.Filter: "is an aggregate, and here a value of one row is needed",
    exp.WithinGroup: "is not supported; write quantile_cont(x, 0.5), quantile_disc(x, 0.5) or "
    "mode(x)",
    exp.First: "depends on the order of rows; write arg_min(x, booked_at) for the earliest",
    exp.Last: "depends on the order of rows; write arg_max(x, booked_at) for the latest",
    exp.AnyValue: "gives any of the values; write min(x) or max(x)",
    exp.Stddev: "is a root, which is not exact; keep sum(x), sum(x * x) and count(*) and take it "
    "when you query",
}


_ONE: Final = frozenset({"this"})
_TWO: Final = frozenset({"this", "expression"})
_MANY: Final = frozenset({"this", "expressions"})
ARGUMENTS: Final[dict[type[exp.Expression], frozenset[str]]] = {
    exp.Select: frozenset({"expressions", "from_", "where", "group", "having", "joins"}),
    exp.Join: frozenset({"this", "side", "kind", "on", "using"}),
    exp.From: _ONE,
    exp.Table: frozenset({"this", "alias"}),
    exp.TableAlias: _ONE,
    **dict.fromkeys((exp.Where, exp.Having), _ONE),
    exp.Group: frozenset({"expressions", "all"}),
    exp.Alias: frozenset({"this", "alias"}),
    exp.Identifier: frozenset({"this", "quoted"}),
    exp.Column: frozenset({"this", "table"}),
    exp.Literal: frozenset({"this", "is_string"}),
    **dict.fromkeys((exp.Boolean, exp.Paren, exp.Not, exp.Neg, exp.Abs, exp.Var), _ONE),
    **dict.fromkeys((exp.Null, exp.Star), frozenset[str]()),
    **dict.fromkeys((exp.Add, exp.Sub, exp.Mul, exp.Div, exp.And, exp.Or), _TWO),
    **dict.fromkeys((exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Is), _TWO),
    **dict.fromkeys((exp.Nullif, exp.Extract, exp.Filter), _TWO),
    **dict.fromkeys((exp.Year, exp.Month, exp.Day, exp.Hour, exp.Sum, exp.Avg), _ONE),
    **dict.fromkeys((exp.In, exp.Coalesce), _MANY),
    exp.Between: frozenset({"this", "low", "high"}),
    exp.Like: _TWO | {"negate"},
    exp.DPipe: _TWO | {"safe"},  # set by the parser: NULL || x is NULL, in both engines
    exp.Case: frozenset({"this", "ifs", "default"}),
    exp.If: frozenset({"this", "true", "false"}),
    **dict.fromkeys((exp.TimestampTrunc, exp.DateTrunc), frozenset({"this", "unit"})),
    exp.Cast: frozenset({"this", "to"}),
    exp.DataType: _MANY,
    exp.DataTypeParam: _ONE,
    exp.AtTimeZone: frozenset({"this", "zone"}),
    exp.Round: frozenset({"this", "decimals"}),
    exp.Count: _MANY | {"big_int"},  # set by the parser: a count is a BIGINT
    exp.Distinct: frozenset({"expressions"}),
    **dict.fromkeys((exp.Min, exp.Max, exp.Median, exp.Mode), _ONE),
    **dict.fromkeys((exp.PercentileCont, exp.PercentileDisc, exp.ArgMin, exp.ArgMax), _TWO),
    exp.Quantile: frozenset({"this", "quantile"}),
}
"""What the compiler knows of each kind of expression. An argument that is not here is refused:
an unknown one may be the NOT of a condition, and what is left without it is another view."""


def refuse_unknown_arguments(where: str, statement: exp.Expression) -> None:
    """Refuse a statement with a known kind of expression that says more than is known of it."""
    for node in statement.walk():
        known = ARGUMENTS.get(type(node))
        if known is None:
            continue  # a kind that has a refusal of its own
        for name, value in node.args.items():
            if name in known or value is None or value is False or value == []:
                continue
            if isinstance(value, exp.Expression) and type(value) not in ARGUMENTS:
                refuse_node(where, value)
            refuse(where, node, f"says {name.upper()}, which no view may; write it without that")


def refuse_unknown_kinds(where: str, statement: exp.Expression) -> None:
    """Refuse a statement that holds a kind of expression of which nothing is known."""
    for node in statement.walk():
        if type(node) not in ARGUMENTS:
            refuse_node(where, node)


def refuse(where: str, node: exp.Expression | str, problem: str) -> NoReturn:
    """Raise ViewError: file, expression, what is wrong with it and what to write instead."""
    raise ViewError(f"{where}: {shown(node)} {problem}")


def shown(node: exp.Expression | str) -> str:
    """An expression as a person would write it, at most 120 characters."""
    if isinstance(node, str):
        text = node
    else:
        written = node.transform(lambda each: each.meta.get(WRITTEN, each))
        text = written.sql("duckdb", comments=False, normalize_functions="lower")
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def refuse_node(where: str, node: exp.Expression) -> NoReturn:
    """Refuse an expression of a kind that no view may hold, with the reason for that kind."""
    remedy = _REMEDIES.get(type(node))
    if remedy is not None:
        refuse(where, node, remedy)
    name = _function_name(node)
    if name == "timezone":
        refuse(where, node, _TIMEZONE)
    if name in _UNSTEADY_NAMES:
        refuse(where, node, _UNSTEADY)
    inner = node.this if isinstance(node, exp.IgnoreNulls | exp.RespectNulls) else node
    if type(inner) in ARGUMENTS and isinstance(inner, exp.AggFunc):
        refuse(where, node, "is an aggregate, and here a value of one row is needed")
    if isinstance(inner, exp.AggFunc) or name in _AGGREGATE_NAMES:
        refuse(where, node, _NOT_ADDITIVE)
    what = f"the function {name}" if name else "this"
    refuse(where, node, f"uses what a view may not: {what} is not among {SCALARS}")


def refuse_distinct(where: str, node: exp.Expression, argument: exp.Expression) -> NoReturn:
    """Refuse a sum or an average over DISTINCT values."""
    column = ", ".join(shown(each) for each in argument.expressions)
    refuse(
        where,
        node,
        "counts equal amounts once, which is hardly meant; only count(DISTINCT x) is supported. "
        f"Declare a view with GROUP BY {column} if it is",
    )


def _function_name(node: exp.Expression) -> str:
    if isinstance(node, exp.Anonymous):
        return str(node.name).lower()
    if isinstance(node, exp.Func):
        return str(node.sql_name()).lower()
    return ""
