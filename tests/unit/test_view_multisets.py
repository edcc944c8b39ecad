"""Aggregates over kept values: what they give, and that a row that goes takes its value back."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import duckdb
import pytest

from headrace.pipelines.views import multiset
from headrace.pipelines.views.view import View
from headrace.schemas.tables import LEDGER_COLUMNS
from tests.unit.view_samples import by_currency
from tests.unit.view_samples import view as view_of

AMOUNTS = ["3", "1", "4", "1", "5", "9", "2"]
KINDS = ["a", "b", "c", "d", "e", "f", "g"]


@pytest.fixture
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    """A ledger of seven amounts, each of a kind of its own."""
    with duckdb.connect() as made:
        columns = ", ".join(f'"{name}" {kind}' for name, kind in LEDGER_COLUMNS.items())
        made.execute(f"CREATE TABLE ledger ({columns}, w INTEGER)")
        for kind, amount in zip(KINDS, AMOUNTS, strict=True):
            made.execute(
                "INSERT INTO ledger (kind, currency, quantity, amount, w) VALUES "
                f"('{kind}', 'EUR', 1, {amount}, 1)"
            )
        yield made


def served(con: duckdb.DuckDBPyConnection, view: View, *gone: str) -> list[tuple[object, ...]]:
    """The view after a base of all rows and a commit in which some kinds went."""
    listed = ", ".join(f"'{kind}'" for kind in gone) or "NULL"
    parts = (
        view.partial_sql("ledger"),
        view.partial_sql(
            f"(SELECT * REPLACE (-1 AS w) FROM ledger WHERE kind IN ({listed}))", weight="w"
        ),
    )
    both = " UNION ALL ".join(f"({part})" for part in parts)
    return con.execute(view.served_sql(f"({both})")).fetchall()


@pytest.mark.parametrize(
    ("item", "before", "gone", "after"),
    [
        ("max(amount)", "9", ["f"], "5"),
        ("max(amount)", "9", ["f", "e", "c"], "3"),
        ("min(amount)", "1", ["b"], "1"),
        ("min(amount)", "1", ["b", "d"], "2"),
        ("count(DISTINCT amount)", 6, ["b"], 6),
        ("count(DISTINCT amount)", 6, ["b", "d"], 5),
        ("median(amount)", "3", ["f"], "2.5"),
        ("median(amount)", "3", ["f", "e", "c"], "1.5"),
        ("quantile_disc(amount, 0.5)", "3", ["f"], "2"),
        ("quantile_disc(amount, 1)", "9", ["f"], "5"),
        ("quantile_disc(amount, 0)", "1", ["b", "d"], "2"),
        ("quantile_cont(amount, 0.25)", "1.5", ["b"], "2.25"),
        ("mode(amount)", "1", ["b", "d"], "2"),
        ("mode(kind)", "a", ["a"], "b"),
        ("arg_max(kind, amount)", "f", ["f"], "e"),
        ("arg_min(kind, amount)", "b", ["b"], "d"),
        ("max(amount) FILTER (WHERE kind < 'd')", "4", ["c"], "3"),
        ("count(DISTINCT kind) FILTER (WHERE amount > 4)", 2, ["f"], 1),
    ],
)
def test_a_value_that_is_taken_back_gives_way_to_the_next(
    con: duckdb.DuckDBPyConnection, item: str, before: object, gone: list[str], after: object
) -> None:
    view = by_currency(f"{item} AS x")

    for kinds, expected in (([], before), (gone, after)):
        ((_, found),) = served(con, view, *kinds)
        assert found == (Decimal(str(expected)) if isinstance(found, Decimal) else expected)


def test_a_group_whose_values_all_went_is_gone(con: duckdb.DuckDBPyConnection) -> None:
    assert served(con, by_currency("max(amount) AS x"), *KINDS) == []


def test_a_value_that_no_row_has_any_more_is_unsound_only_below_zero(
    con: duckdb.DuckDBPyConnection,
) -> None:
    view = by_currency("max(amount) AS x")
    once = view.partial_sql("ledger", weight="w")
    assert con.execute(view.unsound_sql(f"({once})")).fetchall() == []
    twice = view.partial_sql("(SELECT * REPLACE (-1 AS w) FROM ledger)", weight="w")
    both = f"({once} UNION ALL {twice} UNION ALL {twice})"
    assert len(con.execute(view.unsound_sql(both)).fetchall()) == len(set(AMOUNTS))


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        (["0.0001", "0.0002"], "0.5", "0.0002"),
        (["-0.0001", "-0.0002"], "0.5", "-0.0002"),
        (["0.0001", "0.0003"], "0.5", "0.0002"),
        (["1", "2"], "0.333333", "1.3333"),
        (["99999999999999.9999", "-99999999999999.9999"], "0.5", "0"),
        (["99999999999999.9999", "99999999999999.9998"], "0.5", "99999999999999.9999"),
        (["7"], "0.123456", "7"),
    ],
)
def test_what_lies_between_two_values_is_exact_half_away_from_zero(
    con: duckdb.DuckDBPyConnection, values: list[str], share: str, expected: str
) -> None:
    con.execute("DELETE FROM ledger")
    for value in values:
        con.execute(f"INSERT INTO ledger (kind, currency, amount, w) VALUES ('x', 'E', {value}, 1)")
    view = by_currency(f"quantile_cont(amount, {share}) AS x")
    assert served(con, view, "none") == [("E", Decimal(expected))]
    assert con.execute(view.full_sql("ledger")).fetchall() == [("E", Decimal(expected))]


def test_one_value_is_kept_once_for_all_that_read_it() -> None:
    view = by_currency(
        "min(amount) AS a, max(amount) AS b, median(amount) AS c, count(DISTINCT amount) AS d, "
        "max(amount) FILTER (WHERE quantity > 1) AS e, sum(amount) AS f"
    )
    assert [c.name for c in view.values] == ["_x1", "_x2"]
    assert [c.name for c in view.keys] == ["currency"]
    assert [c.name for c in view.partials] == ["_rows", "_sum1", "_count2"]


def test_having_hides_a_group_and_shows_it_when_it_passes(con: duckdb.DuckDBPyConnection) -> None:
    view = by_currency("sum(amount) AS x")
    text = "SELECT currency, sum(amount) AS x FROM ledger GROUP BY currency HAVING max(amount) < 9"
    shown = view_of(text)
    assert shown.partials == view.partials
    assert served(con, shown) == []
    assert served(con, shown, "f") == [("EUR", Decimal(16))]


def test_a_retraction_that_is_left_out_is_found(
    con: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the tests above would say if a value that goes were kept."""
    view = by_currency("max(amount) AS x")
    whole = View.partial_sql

    def forgetful(
        self: View, relation: str, dialect: str = "duckdb", weight: str | None = None
    ) -> str:
        kept = f"(SELECT * FROM {relation} WHERE {weight} > 0)" if weight else relation
        return whole(self, kept, "duckdb", weight)

    monkeypatch.setattr(View, "partial_sql", forgetful)
    assert served(con, view, "f") == [("EUR", Decimal(9))]


def test_every_kind_has_its_two_forms() -> None:
    for kind in multiset.Kind.__args__:  # type: ignore[attr-defined]
        to = multiset.Reduction(kind, 1, other=1, share=5, digits=1, scale=4)
        assert "_x1" in multiset.reduced(to)
        assert "amount" in multiset.over_rows(to, ["amount"])
