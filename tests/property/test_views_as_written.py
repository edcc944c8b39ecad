"""A view means what its text means to DuckDB: random texts, each operator in each spelling."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlglot import exp

from headrace.pipelines.errors import ViewError
from headrace.pipelines.views import parse, rules, scalars
from headrace.pipelines.views.expressions import Expressions, Typed
from headrace.pipelines.views.load import BUILTIN_VIEWS, load_views, parse_view
from headrace.pipelines.views.trial import try_view
from tests.halves import first
from tests.property.view_grammar import Grammar
from tests.unit.view_samples import by_currency

VIEWS_A_SEED = 30


@pytest.mark.parametrize("seed", first(3, range(10)))
def test_a_random_view_means_what_its_text_means(seed: int) -> None:
    grammar, taken = Grammar(seed), 0
    for number in range(VIEWS_A_SEED):
        text = grammar.view()
        try:
            view = parse_view("mine", text, where=f"seed {seed}, view {number}: {text}")
        except ViewError:
            continue
        try_view(view, f"seed {seed}, view {number}: {text}")
        taken += 1
    assert taken > VIEWS_A_SEED // 2  # else it is the refusals that are tested


@pytest.mark.parametrize(
    "condition",
    ["kind NOT LIKE 's%'", "kind !~~ 's%'", "NOT kind LIKE 's%'", "NOT (kind NOT LIKE 's%')"],
)
def test_a_negated_pattern_counts_the_other_rows(condition: str) -> None:
    view = by_currency(f"count(*) FILTER (WHERE {condition}) AS x")
    try_view(view, "views/mine.sql")
    positive = "NOT (kind NOT" in condition
    assert ("NOT" in str(view.rows["duckdb"].terms[1].condition)) or positive


def test_built_in_views_mean_what_their_texts_mean() -> None:
    for view in load_views(BUILTIN_VIEWS).values():
        try_view(view, view.name)


Rule = Callable[[Expressions, exp.Expression], Typed]


def _ignoring(kind: type[exp.Expression], built: type[exp.Expression]) -> Rule:
    """A rule that drops what it does not know: how NOT LIKE once became LIKE."""

    def rule(at: Expressions, node: exp.Expression) -> Typed:
        parts = [at.check(node.this), at.check(node.expression)]
        return at.build(node, parts, lambda a, b: built(this=a, expression=b))

    assert kind in scalars._ROW_RULES
    return rule


@pytest.mark.parametrize(
    ("kind", "built", "condition"),
    [
        (exp.Like, exp.Like, "kind NOT LIKE 's%'"),
        (exp.LT, exp.LTE, "amount < 7.25"),
        (exp.GTE, exp.GT, "booked_at >= '2026-02-01'"),
        (exp.NEQ, exp.EQ, "country <> 'FR'"),
        (exp.Or, exp.And, "kind = 'sale' OR quantity > 3"),
    ],
)
def test_a_compiler_that_reads_a_condition_wrongly_is_caught_by_the_text(
    monkeypatch: pytest.MonkeyPatch,
    kind: type[exp.Expression],
    built: type[exp.Expression],
    condition: str,
) -> None:
    monkeypatch.setitem(scalars._ROW_RULES, kind, _ignoring(kind, built))
    view = by_currency(f"count(*) FILTER (WHERE {condition}) AS x")
    with pytest.raises(ViewError, match="means something else to DuckDB"):
        try_view(view, "views/mine.sql")


def test_an_argument_that_the_compiler_does_not_know_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = rules.ARGUMENTS[exp.Like]
    monkeypatch.setitem(rules.ARGUMENTS, exp.Like, known - {"negate"})
    with pytest.raises(ViewError, match="says NEGATE, which no view may"):
        by_currency("count(*) FILTER (WHERE kind NOT LIKE 's%') AS x")


def test_every_kind_that_has_a_rule_has_its_arguments_listed() -> None:
    assert {*scalars._DERIVED_RULES} <= {*rules.ARGUMENTS}


@pytest.mark.parametrize(
    "item",
    [
        "CASE WHEN sum(quantity * 1.19) > sum(amount) THEN 1 END AS x",
        "coalesce(sum(quantity * 1.19), sum(amount)) AS x",
        "CASE WHEN count(*) > 1 THEN sum(quantity * 1.19) ELSE sum(amount) END AS x",
        "sum(amount) > 0.00005 AS x",
        "nullif(sum(amount * amount), sum(amount)) AS x",
    ],
)
def test_numbers_of_which_one_would_lose_digits_are_not_compared(item: str) -> None:
    with pytest.raises(ViewError, match=r"rounded away; CAST each of them AS DECIMAL\(38, \d\)"):
        by_currency(item)


def test_what_an_earlier_version_took_is_read_and_named() -> None:
    text = (
        "SELECT currency, coalesce(sum(quantity * 1.19), sum(amount)) AS x FROM ledger "
        "WHERE kind NOT LIKE 's%' GROUP BY 1"
    )
    view = parse_view("mine", text, where="stored", stored=True)
    assert len(view.misread) == 2
    assert parse._NEGATED in view.misread


def test_a_product_that_the_largest_events_overflow_is_refused_when_it_is_loaded() -> None:
    view = by_currency("sum(quantity * quantity * quantity) AS x")
    with pytest.raises(ViewError, match="fails on values that an event may have"):
        try_view(view, "views/mine.sql")


def test_a_column_with_the_name_of_what_is_read_is_told() -> None:
    text = "SELECT channel, count(*) AS orders, sum(net) / orders AS mean FROM orders GROUP BY 1"
    with pytest.raises(ViewError, match="orders is the name of a column here and of what is read"):
        try_view(parse_view("mine", text, where="views/mine.sql"), "views/mine.sql")


def test_a_text_that_duckdb_does_not_accept_is_refused() -> None:
    text = (
        "SELECT currency, CASE WHEN currency = 'EUR' THEN sum(amount) END AS x "
        "FROM ledger GROUP BY ALL"
    )
    view = parse_view("mine", text, where="views/mine.sql")
    with pytest.raises(ViewError, match="DuckDB does not accept it as it is written"):
        try_view(view, "views/mine.sql")


@pytest.mark.parametrize("text", ["2026-01-01%", "2026-99-99 x", "2026-01-01T", "2026-01-01"])
def test_a_text_that_looks_like_a_date_is_tried_as_text(text: str) -> None:
    operator = "LIKE" if "%" in text else "="
    try_view(by_currency(f"count(*) FILTER (WHERE order_id {operator} '{text}') AS x"), "mine")
