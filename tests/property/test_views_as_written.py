"""A view means what its text means to DuckDB: random texts, each operator in each spelling."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest
from sqlglot import exp

from headrace.pipelines.errors import ViewError
from headrace.pipelines.views import parse, rules, scalars
from headrace.pipelines.views.expressions import Expressions, Typed
from headrace.pipelines.views.load import BUILTIN_VIEWS, load_views, parse_view
from headrace.pipelines.views.trial import try_view
from headrace.schemas.tables import LEDGER_KINDS
from tests.halves import first
from tests.unit.view_samples import by_currency

VIEWS_A_SEED = 30

TEXTS = ["kind", "country", "product_id", "coalesce(country, 'none')", "kind || '-' || country"]
PATTERNS = ["'s%'", "'%al%'", "'_ale'", "'%'", "'sale'", "'%e'", "'placed'"]
TIMES = ["booked_at", "date_trunc('day', booked_at)", "CAST(booked_at AS DATE)"]
NUMBERS = ["amount", "quantity", "amount * 2", "-amount", "abs(quantity)", "amount + quantity"]
MOMENTS = ["'2026-02-01'", "TIMESTAMP '2026-01-31 23:59:59'", "DATE '2026-03-01'"]
VALUES = ["0", "1", "2.5", "-3", "100"]


class Grammar:
    """Texts of views, from a seed."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)

    def one(self, *choices: str) -> str:
        return self.random.choice(choices)

    def text_condition(self) -> str:
        left, pattern = self.one(*TEXTS), self.one(*PATTERNS)
        listed = ", ".join(f"'{k}'" for k in self.random.sample(LEDGER_KINDS, 2))
        return self.one(
            f"{left} LIKE {pattern}",
            f"{left} NOT LIKE {pattern}",
            f"{left} ~~ {pattern}",
            f"{left} !~~ {pattern}",
            f"NOT {left} LIKE {pattern}",
            f"NOT {left} NOT LIKE {pattern}",
            f"({left} NOT LIKE {pattern}) IS NULL",
            f"{left} IN ({listed})",
            f"{left} NOT IN ({listed})",
            f"NOT ({left} IN ({listed}))",
            f"{left} IN ({listed}, NULL)",
            f"{left} BETWEEN 'a' AND 'r'",
            f"{left} NOT BETWEEN 'a' AND 'r'",
            f"{left} {self.comparison()} 'sale'",
            f"{left} IS {self.one('', 'NOT ')}NULL",
            f"{left} ISNULL",
            f"{left} NOTNULL",
            f"{left} NOT NULL",
        )

    def comparison(self) -> str:
        return self.one("=", "==", "<>", "!=", "<", "<=", ">", ">=")

    def number_condition(self) -> str:
        left, right = self.one(*NUMBERS), self.one(*VALUES)
        return self.one(
            f"{left} {self.comparison()} {right}",
            f"NOT {left} {self.comparison()} {right}",
            f"{left} BETWEEN -1 AND {right}",
            f"{left} NOT BETWEEN -1 AND {right}",
            f"{left} IN (1, {right})",
            f"{left} NOT IN (1, {right})",
            f"({left} > {right}) IS {self.one('', 'NOT ')}{self.one('TRUE', 'FALSE')}",
        )

    def time_condition(self) -> str:
        left, right = self.one(*TIMES), self.one(*MOMENTS)
        return self.one(
            f"{left} {self.comparison()} {right}",
            f"{left} {self.one('', 'NOT ')}BETWEEN DATE '2026-01-01' AND {right}",
            f"extract(month FROM booked_at) {self.comparison()} 2",
        )

    def condition(self, depth: int = 2) -> str:
        if depth and self.random.random() < 0.45:
            left, right = self.condition(depth - 1), self.condition(depth - 1)
            return self.one(
                f"({left}) {self.one('AND', 'OR')} ({right})",
                f"{left} {self.one('AND', 'OR')} {right}",
                f"NOT ({left})",
                f"({left}) {self.one('AND', 'OR')} NOT {right}",
                f"CASE WHEN {left} THEN {right} ELSE {self.one('true', 'false')} END",
                f"coalesce({left}, {right})",
            )
        return self.one(self.text_condition(), self.number_condition(), self.time_condition())

    def summand(self) -> str:
        return self.one(
            *NUMBERS,
            "amount * 1.19",
            "quantity * 1.19",
            "amount * quantity",
            "amount - quantity * 0.5",
            "CAST(amount AS DECIMAL(17, 2))",
            "nullif(amount, 0)",
            "coalesce(amount, quantity, 0)",
            "ifnull(quantity, 7)",
            f"CASE WHEN {self.condition(1)} THEN amount ELSE -amount END",
            f"CASE kind WHEN 'sale' THEN amount WHEN 'return' THEN -amount "
            f"{self.one('', 'ELSE 0')} END",
            f"if({self.condition(1)}, amount, quantity)",
        )

    def aggregate(self) -> str:
        plain = self.one(self.additive(), self.reduction(self.one(*NUMBERS)))
        return plain + self.filter()

    def filter(self) -> str:
        return self.one("", f" FILTER (WHERE {self.condition()})", f" FILTER ({self.condition()})")

    def any_aggregate(self) -> str:
        """Of any type: a text, a time, whether something holds."""
        return self.reduction(self.value()) + self.filter()

    def additive(self) -> str:
        return self.one(
            "count(*)",
            "count()",
            f"count({self.value()})",
            f"sum({self.summand()})",
            f"avg({self.one(*NUMBERS)})",
        )

    def value(self) -> str:
        return self.one(*TEXTS, *NUMBERS, *TIMES, "customer_id", f"({self.condition(0)})")

    def reduction(self, x: str) -> str:
        """Of a number, a number."""
        share = self.one("0", "1", "0.5", "0.25", "0.9", "0.333", "0.999999")
        return self.one(
            f"count(DISTINCT {self.value()})",
            f"{self.one('min', 'max')}({x})",
            f"median({self.one(*NUMBERS)})",
            f"quantile_cont({self.one(*NUMBERS)}, {share})",
            f"{self.one('quantile_disc', 'quantile')}({x}, {share})",
            f"mode({x})",
            f"{self.one('arg_min', 'argmin', 'min_by')}({x}, {self.value()})",
            f"{self.one('arg_max', 'argmax', 'max_by')}({x}, {self.value()})",
        )

    def having(self) -> str:
        return self.one(
            f"{self.aggregate()} {self.comparison()} {self.one(*VALUES)}",
            f"{self.additive()} IS {self.one('', 'NOT ')}NULL",
            f"NOT count(*) {self.comparison()} {self.one('1', '2', '5')}",
            f"count(*) > 1 {self.one('AND', 'OR')} {self.any_aggregate()} IS NOT NULL",
        )

    def measure(self) -> str:
        a, b = self.aggregate(), self.aggregate()
        return self.one(
            a,
            a,
            self.any_aggregate(),
            self.any_aggregate(),
            f"coalesce({a}, 0)",
            f"{a} / {b}",
            f"{a} {self.one('+', '-')} {b}",
            f"-{a}",
            f"round({a} / {b}, {self.one('0', '1', '2')})",
            f"CASE WHEN {a} {self.comparison()} {self.one(*VALUES)} THEN {b} END",
            f"nullif({a}, {self.one(*VALUES)})",
            f"{a} {self.comparison()} {b}",
            f"{a} {self.one('', 'NOT ')}BETWEEN 0 AND 5",
            f"{a} {self.one('', 'NOT ')}IN (0, 1, 2)",
            f"{a} IS {self.one('', 'NOT ')}NULL",
        )

    def key(self) -> str:
        return self.one(
            "currency", "country", "kind", *TIMES, "quantity",
            "date_trunc('month', booked_at)", "CAST(quantity AS VARCHAR)", "hour(booked_at)",
            self.text_condition(),
            f"CASE WHEN {self.condition(1)} THEN 'yes' ELSE 'no' END",
        )  # fmt: skip

    def view(self) -> str:
        keys = [self.key() for _ in range(self.random.randint(1, 2))]
        measures = [self.measure() for _ in range(self.random.randint(1, 3))]
        named = [f"{text} AS k{n}" for n, text in enumerate(keys)]
        named += [f"{text} AS m{n}" for n, text in enumerate(measures)]
        where = self.one("", f" WHERE {self.condition()}")
        group = ", ".join(str(n + 1) for n in range(len(keys)))
        seen = self.one("", "", f" HAVING {self.having()}")
        return f"SELECT {', '.join(named)} FROM ledger{where} GROUP BY {group}{seen}"


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
