"""Mutants of the fold: each small change of schemas/fold.sql must be noticed by the oracle.

    python -m tests.guards.mutate_sql

Prints how many mutants were killed, and the survivors with their place. A mutant is killed when
the fold fails, or differs from the oracle in a cell, on the situations and random shops that the
property tests use too. docs/mutation.md explains the survivors.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from unittest import mock

import duckdb
import sqlglot
from sqlglot import exp

from headrace.pipelines.fold import fold
from tests.conformance.paths import differences
from tests.conformance.streams import SITUATIONS, Shop
from tests.property.test_fold_set import by_the_oracle, folded

SHOPS = 40
_SWAPS: dict[type[exp.Expression], type[exp.Expression]] = {
    exp.Min: exp.Max,
    exp.Max: exp.Min,
    exp.And: exp.Or,
    exp.Or: exp.And,
    exp.Add: exp.Sub,
    exp.Sub: exp.Add,
    exp.EQ: exp.NEQ,
    exp.NEQ: exp.EQ,
    exp.GT: exp.GTE,
    exp.GTE: exp.GT,
    exp.LT: exp.LTE,
    exp.LTE: exp.LT,
}


@dataclass(frozen=True)
class Mutant:
    """A changed fold: which step, what was changed, and all steps with it."""

    step: str
    change: str
    steps: tuple[tuple[str, str], ...]


def mutants() -> Iterator[Mutant]:
    """All of them, one change each."""
    real = fold.steps("p_", dialect="duckdb")
    for number, (name, sql) in enumerate(real):
        count = len(list(sqlglot.parse_one(sql, "duckdb").walk()))
        for place in range(count):
            tree = sqlglot.parse_one(sql, "duckdb")
            node = list(tree.walk())[place]
            before = node.sql("duckdb")
            for change in _changes(node):
                changed = tree.sql("duckdb")
                if changed != sql:
                    steps = (*real[:number], (name, changed), *real[number + 1 :])
                    yield Mutant(name.removeprefix("p_"), f"{before[:70]!r}: {change}", steps)
                break


def _changes(node: exp.Expression) -> Iterator[str]:
    """Change a node in place; says how. At most one way a node."""
    other = _SWAPS.get(type(node))
    if other is not None:
        node.replace(other(**{k: v for k, v in node.args.items() if k in other.arg_types}))
        yield f"{type(node).__name__} -> {other.__name__}"
    elif isinstance(node, exp.Filter):
        node.replace(node.this)
        yield "without its FILTER"
    elif isinstance(node, exp.Where | exp.Having):
        node.pop()
        yield f"without its {type(node).__name__.upper()}"
    elif isinstance(node, exp.Distinct):
        node.pop()
        yield "without DISTINCT"
    elif isinstance(node, exp.Join) and node.side == "LEFT":
        node.set("side", None)
        yield "LEFT JOIN -> JOIN"
    elif isinstance(node, exp.Neg):
        node.replace(node.this)
        yield "without its sign"
    elif isinstance(node, exp.Ordered):
        node.set("desc", not node.args.get("desc"))
        yield "the other order"
    elif isinstance(node, exp.Coalesce) and node.expressions:
        node.replace(node.this)
        yield "without its alternative"
    elif isinstance(node, exp.Literal):
        node.replace(exp.Literal.string("x") if node.is_string else exp.Literal.number(7))
        yield "another literal"
    elif isinstance(node, exp.Not):
        node.replace(node.this)
        yield "without NOT"


def killed(con: duckdb.DuckDBPyConnection, mutant: Mutant, streams: list[list[bytes]]) -> bool:
    """Whether any stream shows a difference to the oracle."""
    with mock.patch.object(fold, "steps", return_value=mutant.steps):
        for lines in streams:
            try:
                if differences(folded(con, lines), TRUTH[id(lines)]):
                    return True
            except duckdb.Error:
                return True
    return False


TRUTH: dict[int, dict[str, object]] = {}


def main() -> int:
    """Run them all; the exit code is 0, however many survive: the list is for reading."""
    streams = [*SITUATIONS.values()]
    streams += [Shop(Random(seed), 1 + seed % 6).events(20 + seed) for seed in range(SHOPS)]
    TRUTH.update({id(lines): by_the_oracle(lines) for lines in streams})
    found, alive = 0, []
    with duckdb.connect(config={"threads": "1"}) as con:
        for mutant in mutants():
            found += 1
            if not killed(con, mutant, streams):
                alive.append(mutant)
                print(f"survived: step {mutant.step}, {mutant.change}", flush=True)
    print(
        f"{found} mutants of schemas/fold.sql, {found - len(alive)} killed, {len(alive)} survived"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
