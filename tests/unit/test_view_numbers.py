"""Numbers in views: exact division, the room that digits need, and which casts are taken."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Context, Decimal, localcontext
from itertools import product

import duckdb
import pytest
import sqlglot
from sqlglot import exp

from headrace.pipelines.views.decimals import (
    cast_problem,
    exact_quotient,
    negated_size,
    result_size,
    with_room,
)
from headrace.pipelines.views.expressions import Typed

TYPES = {
    "INTEGER": ("0", "1", "-7", "2147483647"),
    "BIGINT": ("3", "-9223372036854775807"),
    "DECIMAL(3,1)": ("0.0", "-0.3", "99.9"),
    "DECIMAL(10,2)": ("0.05", "-12345678.91"),
    "DECIMAL(18,4)": ("0.0003", "99999999999999.9999"),
    "DECIMAL(18,7)": ("0.0000001", "-98765432109.8765432"),
}
"""Values for division, by type: small, large, both signs, and scales below, at and above 4."""


def typed(value: str, kind: str) -> Typed:
    """A value of a type, as the compiler holds it."""
    made = sqlglot.parse_one(f"CAST('{value}' AS {kind})", dialect="duckdb")
    return Typed(made, made.copy(), kind)


@pytest.mark.parametrize(("top", "bottom"), list(product(TYPES, TYPES)))
def test_a_quotient_has_four_digits_rounded_half_away_from_zero(top: str, bottom: str) -> None:
    with duckdb.connect(config={"threads": "1"}) as con:
        for a, b in product(TYPES[top], TYPES[bottom]):
            quotient = exact_quotient(typed(a, top), typed(b, bottom)).sql("duckdb")
            (found,) = con.execute(f"SELECT {quotient}").fetchall()[0]
            if Decimal(b) == 0:
                assert found is None
                continue
            with localcontext(Context(prec=60)):
                expected = (Decimal(a) / Decimal(b)).quantize(Decimal("0.0001"), ROUND_HALF_UP)
            assert found == expected, (a, b)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [("1", "8", "0.1250"), ("1", "20000", "0.0001"), ("-1", "20000", "-0.0001"),
     ("1", "-20000", "-0.0001"), ("-1", "-20000", "0.0001"), ("1", "20001", "0.0000")],
)  # fmt: skip
def test_exactly_half_a_digit_is_rounded_away_from_zero(a: str, b: str, expected: str) -> None:
    quotient = exact_quotient(typed(a, "INTEGER"), typed(b, "INTEGER")).sql("duckdb")
    assert duckdb.sql(f"SELECT {quotient}").fetchall() == [(Decimal(expected),)]


@pytest.mark.parametrize(
    ("operation", "left", "right", "size"),
    [
        # The rules of Spark's decimal arithmetic without loss of precision.
        (exp.Mul, "DECIMAL(10,2)", "DECIMAL(5,3)", (16, 5)),
        (exp.Mul, "INTEGER", "DECIMAL(18,4)", (29, 4)),
        (exp.Add, "DECIMAL(10,2)", "DECIMAL(5,3)", (12, 3)),
        (exp.Add, "DECIMAL(5,3)", "DECIMAL(10,2)", (12, 3)),
        (exp.Sub, "DECIMAL(18,4)", "DECIMAL(18,4)", (19, 4)),
        (exp.Sub, "BIGINT", "DECIMAL(18,4)", (25, 4)),
        (exp.Add, "INTEGER", "INTEGER", (11, 0)),
    ],
)
def test_arithmetic_has_the_size_that_spark_gives_it(
    operation: type[exp.Expression], left: str, right: str, size: tuple[int, int]
) -> None:
    assert result_size(operation(), left, right) == size


def test_a_row_that_is_taken_back_needs_a_digit_more() -> None:
    assert negated_size("DECIMAL(18,4)") == (19, 4)
    assert negated_size("BIGINT") == (21, 0)


@pytest.mark.parametrize(
    ("left", "right", "widened"),
    [
        ("DECIMAL(18,4)", "DECIMAL(3,2)", "DECIMAL(19,4)"),
        ("DECIMAL(3,2)", "DECIMAL(18,4)", "DECIMAL(19,2)"),
        ("DECIMAL(19,4)", "DECIMAL(3,2)", None),
        ("DECIMAL(3,2)", "DECIMAL(19,4)", None),
        ("INTEGER", "DECIMAL(18,4)", "DECIMAL(19,0)"),
        ("DECIMAL(18,4)", "INTEGER", "DECIMAL(19,4)"),
        ("DECIMAL(18,4)", "BIGINT", None),
    ],
)
def test_two_short_decimals_are_given_room(left: str, right: str, widened: str | None) -> None:
    parts = [typed("1", left), typed("1", right)]
    first, second = with_room(parts)
    assert second is parts[1]
    if widened is None:
        assert first is parts[0]
    else:
        assert first.type == widened
        for made in (first.duckdb, first.spark):
            inner, wide = parts[0].duckdb.sql("duckdb"), widened.replace(",", ", ")
            assert made.sql("duckdb") == f"CAST({inner} AS {wide})"


def test_the_product_of_two_short_decimals_fits_where_duckdb_alone_would_fail() -> None:
    first, second = with_room([typed("99999999999999.9999", "DECIMAL(18,4)"),
                               typed("9.99", "DECIMAL(3,2)")])  # fmt: skip
    text = f"{first.duckdb.sql('duckdb')} * {second.duckdb.sql('duckdb')}"
    assert duckdb.sql(f"SELECT {text}").fetchall() == [(Decimal("998999999999999.999001"),)]


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        ("TIMESTAMP", "DATE"), ("DATE", "TIMESTAMP"), ("NULL", "DATE"), ("NULL", "BIGINT"),
        ("NULL", "DECIMAL(3,2)"), ("VARCHAR", "VARCHAR"), ("INTEGER", "VARCHAR"),
        ("BIGINT", "VARCHAR"), ("DATE", "VARCHAR"), ("NULL", "VARCHAR"), ("INTEGER", "BIGINT"),
        ("BIGINT", "BIGINT"), ("INTEGER", "DECIMAL(10,0)"), ("BIGINT", "DECIMAL(19,0)"),
        ("BIGINT", "DECIMAL(38,19)"), ("BIGINT", "DECIMAL(38,20)"),
        ("DECIMAL(18,4)", "DECIMAL(18,4)"),
        ("DECIMAL(18,4)", "DECIMAL(20,6)"), ("DECIMAL(18,4)", "DECIMAL(17,2)"),
        ("DECIMAL(38,4)", "DECIMAL(38,6)"),
    ],
)  # fmt: skip
def test_a_cast_on_which_the_engines_agree_is_taken(kind: str, target: str) -> None:
    assert cast_problem(kind, target, derived=False) is None


@pytest.mark.parametrize(
    ("kind", "target", "said"),
    [
        ("DECIMAL(18,4)", "DECIMAL(16,2)",
         ("has room for 14 digits before the point, and DECIMAL(18,4) has up to 15; "
         "write DECIMAL(17, 2)")),
        ("DECIMAL(18,4)", "DECIMAL(19,6)",
         ("has room for 13 digits before the point, and DECIMAL(18,4) has up to 14; "
         "write DECIMAL(20, 6)")),
        ("DECIMAL(18,4)", "DECIMAL(17,4)",
         ("has room for 13 digits before the point, and DECIMAL(18,4) has up to 14; "
         "write DECIMAL(18, 4)")),
        ("BIGINT", "DECIMAL(18,0)",
         "has room for 18 digits before the point, and BIGINT has up to 19; write DECIMAL(19, 0)"),
        ("INTEGER", "DECIMAL(9,0)",
         "has room for 9 digits before the point, and INTEGER has up to 10; write DECIMAL(10, 0)"),
        ("DECIMAL(4,0)", "BIGINT",
         "rounds in DuckDB and truncates in Spark; write CAST(… AS DECIMAL(38, 0))"),
        ("DECIMAL(4,2)", "BIGINT",
         "rounds in DuckDB and truncates in Spark; write CAST(… AS DECIMAL(38, 0))"),
        ("DECIMAL(18,4)", "VARCHAR",
         "writes a DECIMAL(18,4) as text, and engines differ in how; keep it as it is"),
        ("TIMESTAMP", "VARCHAR",
         "writes a TIMESTAMP as text, and engines differ in how; keep it as it is"),
        ("VARCHAR", "BIGINT",
         ("casts VARCHAR to BIGINT; a view casts numbers to BIGINT or DECIMAL(p, s), times to DATE "
         "or TIMESTAMP, and integers and dates to VARCHAR")),
        ("INTEGER", "DATE",
         ("casts INTEGER to DATE; a view casts numbers to BIGINT or DECIMAL(p, s), times to DATE "
         "or TIMESTAMP, and integers and dates to VARCHAR")),
    ],
)  # fmt: skip
def test_a_cast_that_could_differ_or_fail_is_refused_with_a_remedy(
    kind: str, target: str, said: str
) -> None:
    assert cast_problem(kind, target, derived=False) == said


def test_over_aggregates_numbers_may_lose_digits_for_only_duckdb_runs_there() -> None:
    assert cast_problem("DECIMAL(38,4)", "DECIMAL(10,2)", derived=True) is None
    assert cast_problem("DECIMAL(38,4)", "BIGINT", derived=True) is None
    assert cast_problem("DECIMAL(38,4)", "VARCHAR", derived=True) is not None
