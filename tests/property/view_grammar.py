"""Random texts of views, from a seed: each operator and aggregate in each spelling."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from headrace.pipelines.views.types import family
from headrace.schemas.tables import LEDGER_KINDS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headrace.pipelines.views.view import View

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

    def of_orders(self) -> str:
        """A view of `orders`: fewer kinds of expression, and its own columns."""
        key = self.one("channel", "status", "country", "CAST(placed_at AS DATE)", "units > 1")
        item = self.over_columns(
            {
                "gross": "DECIMAL(38,4)",
                "net": "DECIMAL(38,4)",
                "units": "BIGINT",
                "status": "VARCHAR",
                "order_id": "VARCHAR",
                "placed_at": "TIMESTAMP",
            }
        )
        where = self.one("", " WHERE status <> 'cancelled'", " WHERE placed_at IS NOT NULL")
        return f"SELECT {key} AS k0, {item} FROM orders{where} GROUP BY 1"

    def over(self, inner: View, beside: View | None = None) -> str:
        """A view of another one; of two, if another's whole key is among its keys."""
        columns = {f"a.{c.name}": c.type for c in inner.outputs}
        read = f"{inner.name} AS a"
        if beside is not None:
            kinds = {c.name: c.type for c in beside.outputs}
            lookup = beside.lookup
            key = [c.name for c in beside.keys] if lookup is None else lookup.key
            pairs = [f"a.{self.key_like(inner, kinds[name])} = b.{name}" for name in key]
            if lookup is not None and lookup.valid is not None:
                start, end = lookup.valid
                when = self.key_like(inner, kinds[start])
                pairs += [f"b.{start} <= a.{when}", f"a.{when} < b.{end}"]
            read += f" LEFT JOIN {beside.name} AS b ON {' AND '.join(pairs)}"
            columns |= {f"b.{c.name}": c.type for c in beside.outputs}
        key = self.one(*columns)
        where = self.one("", f" WHERE {self.one(*columns)} IS {self.one('', 'NOT ')}NULL")
        seen = self.one("", "", " HAVING count(*) > 1")
        items = self.over_columns(columns)
        return f"SELECT {key} AS k0, {items} FROM {read}{where} GROUP BY 1{seen}"

    def key_like(self, inner: View, kind: str) -> str:
        return self.one(*(c.name for c in inner.keys if c.type == kind))

    def over_columns(self, columns: Mapping[str, str]) -> str:
        """Some aggregates over columns of known types."""
        numbers = [name for name, kind in columns.items() if family(kind) == "number"]
        share = self.one("0", "0.5", "0.9", "0.25")
        made = []
        for nth in range(self.random.randint(1, 3)):
            any_of, number = self.one(*columns), self.one(*(numbers or ["1"]))
            item = self.one(
                "count(*)",
                f"count({any_of})",
                f"count(DISTINCT {any_of})",
                f"min({any_of})",
                f"max({any_of})",
                f"mode({any_of})",
                f"quantile_disc({any_of}, {share})",
                f"arg_max({any_of}, {number})",
                f"arg_min({any_of}, {number})",
                *([f"sum({number})", f"avg({number})", f"median({number})",
                   f"quantile_cont({number}, {share})", f"sum({number}) / count(*)",
                   f"max({number}) - min({number})"] if numbers else []),
            )  # fmt: skip
            filtered = (
                f" FILTER (WHERE {any_of} IS NOT NULL)"
                if "/" not in item and "-" not in item
                else ""
            )
            made.append(f"{item}{self.one('', filtered)} AS m{nth}")
        return ", ".join(made)
