"""Expectations: declared once, exact, the same in DuckDB and in Great Expectations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest

from headrace.pipelines.errors import UsageError
from headrace.pipelines.lake.home import Home
from headrace.pipelines.quality import judge as checks
from headrace.pipelines.quality import suites
from headrace.pipelines.quality.judge import Judge
from headrace.schemas.expectations import DEFINITIONS, KINDS, Definition, Expectation, Table

EDGES = """
    SELECT * FROM (VALUES
      ('a', 1, 'x', 'EUR', 0.1::DECIMAL(18,4), 1, 1),
      ('b', 2, 'x', 'GBP', 0.3::DECIMAL(18,4), 2, 1),
      ('c', 2, 'y', NULL,  NULL,               2, 3),
      ('d', 2, 'y', 'eur', 0.3001::DECIMAL(18,4), NULL, 4),
      (NULL, 3, 'z', 'EURO', 900719925474.0993::DECIMAL(18,4), 5, NULL)
    ) AS t(name, number, word, code, money, low, high)"""

CASES: list[tuple[str, dict[str, Any], int]] = [
    ("not_be_null", {"column": "number"}, 0),
    ("not_be_null", {"column": "name"}, 1),
    ("be_unique", {"column": "name"}, 0),
    ("be_unique", {"column": "number"}, 3),
    ("be_in_set", {"column": "word", "value_set": ["x", "y", "z"]}, 0),
    ("be_in_set", {"column": "code", "value_set": ["EUR", "GBP"]}, 2),
    ("be_in_set", {"column": "number", "value_set": [1, 2]}, 1),
    ("match_regex", {"column": "code", "regex": "[A-Za-z]{3}"}, 0),
    ("match_regex", {"column": "code", "regex": "^[A-Z]{3}$"}, 2),
    ("be_between", {"column": "number", "min_value": 1, "max_value": 3}, 0),
    ("be_between", {"column": "number", "min_value": 1, "strict_min": True}, 1),
    ("be_between", {"column": "number", "max_value": 3, "strict_max": True}, 1),
]
ODD: list[tuple[str, dict[str, Any], int]] = [
    ("expect_compound_columns_to_be_unique", {"column_list": ["name", "word"]}, 0),
    ("expect_compound_columns_to_be_unique", {"column_list": ["number", "word"]}, 2),
    ("expect_column_pair_values_to_be_equal", {"column_A": "number", "column_B": "number"}, 0),
    ("expect_column_pair_values_to_be_equal", {"column_A": "low", "column_B": "high"}, 4),
    ("expect_column_pair_values_a_to_be_greater_than_b",
     {"column_A": "number", "column_B": "low", "or_equal": True}, 1),
    ("expect_column_pair_values_a_to_be_greater_than_b",
     {"column_A": "number", "column_B": "low"}, 4),
    ("expect_table_row_count_to_equal", {"value": 0}, 5),
]  # fmt: skip


def expectation(name: str, kind: str, kwargs: dict[str, Any]) -> Expectation:
    return Expectation(name, "edges", kind, kwargs, "blocking", name)


def money(bounds: str) -> dict[str, Any]:
    """Bounds as a file has them."""
    import tomllib
    from decimal import Decimal

    return {"column": "money", **tomllib.loads(bounds, parse_float=Decimal)}


MONEY: list[tuple[str, int]] = [
    ("min_value = 0.1", 0),
    ("max_value = 900719925474.0992", 1),
    ("min_value = 0.1\nstrict_min = true", 1),
    ("max_value = 0.3", 2),
    ("min_value = 0.3", 1),
]
"""Where a float would be wrong: it has no 0.1, and rounds the largest amount to 0.0992."""


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, bool, int]]:
    """Each case: what DuckDB counts, what Great Expectations says, what must come out."""
    listed = [(f"expect_column_values_to_{kind}", kwargs, n) for kind, kwargs, n in CASES] + ODD
    between = "expect_column_values_to_be_between"
    listed += [(between, money(bounds), n) for bounds, n in MONEY]
    names = [f"{i}: {kind} {kwargs}" for i, (kind, kwargs, _) in enumerate(listed)]
    made = tuple(
        expectation(name, kind, kwargs)
        for name, (kind, kwargs, _) in zip(names, listed, strict=True)
    )
    definition = Definition({"edges": Table("edges", EDGES, ("name",), "Edges.")}, made)
    home = Home(tmp_path_factory.mktemp("edges"), "log", 1)
    seen: dict[str, Any] = {}

    class Watched(Judge):
        def _judge(self, plan: dict[str, Any]) -> dict[str, Any]:
            seen.update(super()._judge(plan))
            return seen

    judge = Watched(home)
    try:
        with duckdb.connect() as con:
            found, _ = judge.run(con, "served", definition)
    finally:
        judge.close()
    counted = {f.expectation: f.count for f in found}
    return {
        name: (counted.get(name, 0), seen[name]["success"], n)
        for name, (_, _, n) in zip(names, listed, strict=True)
    }


def test_duckdb_and_great_expectations_mean_the_same_at_every_edge(
    judged: dict[str, tuple[int, bool, int]],
) -> None:
    wrong = {
        name: found for name, found in judged.items()
        if found[0] != found[2] or found[1] != (found[2] == 0)
    }  # fmt: skip
    assert wrong == {}
    used = {f"expect_column_values_to_{kind}" for kind, _, _ in CASES} | {k for k, _, _ in ODD}
    assert used == set(KINDS)


def test_every_built_in_expectation_is_of_a_type_and_a_table_that_there_are() -> None:
    for definition in DEFINITIONS.values():
        names = [e.name for e in definition.expectations]
        assert len(names) == len(set(names))
        for e in definition.expectations:
            kind = KINDS[e.type]
            assert set(kind.needed) <= set(e.kwargs) <= {*kind.needed, *kind.allowed}
            assert e.table in definition.tables
            assert e.severity in {"blocking", "warning"}


def own(tmp_path: Path, text: str) -> Definition:
    (tmp_path / "mine.toml").write_text(text, encoding="utf-8")
    return suites.definition("served", tmp_path)


GOOD = """
suite = "served"
[[expectations]]
table = "orders"
type = "expect_column_values_to_be_unique"
column = "order_id"
"""


def test_a_file_of_another_suite_is_left_out(tmp_path: Path) -> None:
    assert len(own(tmp_path, GOOD).expectations) == len(DEFINITIONS["served"].expectations) + 1
    assert suites.definition("events", tmp_path) == Definition(
        dict(DEFINITIONS["events"].tables), DEFINITIONS["events"].expectations
    )


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('suite = "served"', 'suite = "sold"', "suite is 'sold'; write one of events, base"),
        ('suite = "served"', "", "suite is None"),
        ("be_unique", "be_lucky", "expectations[1].type is 'expect_column_values_to_be_lucky'"),
        ('column = "order_id"', "", "expectations[1].column is missing"),
        ('column = "order_id"', "column = 3", "expectations[1].column is 3; write a text"),
        ("be_unique", "be_between", "expectations[1] has no bound"),
        ('column = "order_id"', 'column = "order_id"\nmostly = 0.9', "expectations[1].mostly"),
        ('table = "orders"', "", "expectations[1].table is missing"),
        ('table = "orders"', 'table = "orders"\nseverity = "loud"', "severity is 'loud'"),
        ("[[expectations]]", "[tables.x]\nsql = 'DROP TABLE a'\nkey = ['a']\n[[expectations]]",
         "tables.x.sql: only SELECT"),
        ("[[expectations]]", "[tables.x]\nsql = 'SELECT 1'\n[[expectations]]", "x needs sql"),
        ("[[expectations]]", "[tables.orders]\nsql = 'SELECT 1'\nkey = ['a']\n[[expectations]]",
         "tables.orders is there already"),
        ("[[expectations]]", "[[expectation]]", "'expectation' means nothing here"),
        ('suite = "served"', "suite = ", "is not TOML"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_refused_with_file_place_and_remedy(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    assert old in GOOD
    with pytest.raises(UsageError) as told:
        own(tmp_path, GOOD.replace(old, new))
    assert str(told.value).startswith(str(tmp_path / "mine.toml"))
    assert said in str(told.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("min_value = 0.00001", "at most 4 decimals"),
        ("min_value = nan", "at most 4 decimals"),
        ("max_value = 900719925474.0993", "less than 900 billion"),
        ('min_value = "1"', "at most 4 decimals"),
        ("min_value = true", "at most 4 decimals"),
        ("max_value = 1\nstrict_max = 1", "write true or false"),
    ],
)
def test_a_bound_that_is_not_exact_is_refused(tmp_path: Path, given: str, said: str) -> None:
    text = GOOD.replace("be_unique", "be_between") + given + "\n"
    with pytest.raises(UsageError, match=said):
        own(tmp_path, text)


@pytest.mark.parametrize(
    ("table", "column", "said"),
    [("nowhere", "x", "there is no table 'nowhere'"), ("edges", "x", "has no column 'x'"),
     ("edges", "rate", "is DOUBLE, which is not exact")],
)  # fmt: skip
def test_a_column_that_is_not_there_or_not_exact_is_refused(
    tmp_path: Path, table: str, column: str, said: str
) -> None:
    kind = "expect_column_values_to_not_be_null"
    one = Expectation("mine", table, kind, {"column": column}, "blocking", "")
    tables = {"edges": Table("edges", "SELECT 1 AS k, 0.5::DOUBLE AS rate", ("k",), "")}
    judge = object.__new__(Judge)
    judge.folder = tmp_path
    with duckdb.connect() as con, pytest.raises(UsageError, match=said):
        judge.run(con, "served", Definition(tables, (one,)))


def test_a_long_table_is_read_whole_and_only_what_breaks_it_is_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "ROW_LIMIT", 10)
    table = Table("edges", "SELECT range AS k FROM range(1000)", ("k",), "")
    one = expectation("k", "expect_column_values_to_be_between", {"column": "k", "max_value": 996})
    with duckdb.connect() as con:
        entry, (found,) = checks._measure(con, table, [one], tmp_path)
        frame = con.execute(f"FROM '{entry['file']}' ORDER BY 1").fetchall()
    assert frame == [(997,), (998,), (999,)]
    assert (found.count, found.rows) == (3, ("k=997", "k=998", "k=999"))
    assert "1,000 rows, all of them read" in entry["notes"]
