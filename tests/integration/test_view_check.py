"""`headrace views` and `headrace views check`: what views hold and cost, before and after."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from headrace.pipelines.batch import view_check
from headrace.pipelines.batch.view_check import check_view
from headrace.pipelines.errors import ViewError
from headrace.pipelines.generations import registry
from headrace.pipelines.verbs.views import views
from headrace.pipelines.views.view import View
from tests.conformance.paths import append, run_speed
from tests.conformance.streams import combined
from tests.e2e.command import Headrace

if TYPE_CHECKING:
    from headrace.pipelines.lake.lake import Lake

BASKETS = (
    "SELECT country, count(*) AS n, count(DISTINCT customer_id) AS customers, median(gross) AS m, "
    "max(gross) AS largest FROM orders GROUP BY country"
)
LOYAL = "SELECT orders, currency, count(*) AS n, max(net) AS m FROM customer_value GROUP BY 1, 2"
JOINED = (
    "SELECT date_trunc('month', first_day) AS month, sum(d.net) AS net FROM customer_days AS d "
    "LEFT JOIN customer_history AS h USING (customer_id) GROUP BY month"
)


@pytest.fixture
def full(lake: Lake) -> Lake:
    """A lake with events, all of them in the views."""
    append(lake, combined(3, shops=1))
    run_speed(lake)
    return lake


def file_of(folder: Path, text: str, name: str = "mine") -> Path:
    file = folder / f"{name}.sql"
    file.write_text(text, encoding="utf-8")
    return file


@pytest.mark.parametrize("text", [BASKETS, LOYAL, JOINED])
def test_a_view_is_tried_in_every_way_and_nothing_changes(
    full: Lake, tmp_path: Path, text: str
) -> None:
    before = full.snapshot()
    done = check_view(full, file_of(tmp_path, text), spark=False)
    assert done.equal
    assert [way.name for way in done.ways] == [
        "as it is written, in DuckDB",
        "in full, in DuckDB",
        "from a base, in DuckDB",
        "from a base and commits",
    ]
    assert {way.rows for way in done.ways} == {done.ways[0].rows}
    assert done.ways[0].rows > 0
    assert done.source_rows >= done.stored_rows >= done.ways[0].rows
    assert done.stored_bytes > 0
    assert full.snapshot() == before
    assert not list(full.home.staging.iterdir())
    left = "table_name LIKE 'check%' OR table_name LIKE 'tried%'"
    assert full.rows(f"SELECT table_name FROM duckdb_tables() WHERE {left}") == []


@pytest.mark.spark
@pytest.mark.thorough
@pytest.mark.xdist_group("spark")
def test_spark_gives_the_same(full: Lake, tmp_path: Path) -> None:
    done = check_view(full, file_of(tmp_path, BASKETS))
    assert (done.ways[-1].name, done.equal) == ("from a base, in Spark", True)


def test_a_way_that_gives_other_rows_is_said(
    full: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = View.full_sql
    monkeypatch.setattr(view_check, "load_view", _untried(view_check.load_view))
    monkeypatch.setattr(
        View, "full_sql", lambda self, rows: f"SELECT * FROM ({whole(self, rows)}) LIMIT 1"
    )
    done = check_view(full, file_of(tmp_path, BASKETS), spark=False)
    assert not done.equal
    assert [way.name for way in done.ways if way.differ] == ["in full, in DuckDB"]


def _untried(load: object) -> object:
    """Loading without the trial, which would refuse the view before it is checked."""

    def loaded(path: Path, *folders: Path, **given: object) -> object:
        from headrace.pipelines.views import load as loading

        trial, loading.try_view = loading.try_view, lambda *_: None
        try:
            return load(path, *folders, **given)  # type: ignore[operator]
        finally:
            loading.try_view = trial

    return loaded


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("SELECT nothing FROM orders GROUP BY 1", "nothing is not a column of orders"),
        ("SELECT k, count(*) AS n FROM nowhere GROUP BY 1", "neither orders nor ledger nor a view"),
        ("-- off", "mine.sql: holds no SELECT"),
    ],
)
def test_a_file_that_is_no_view_is_told(full: Lake, tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ViewError, match=said):
        check_view(full, file_of(tmp_path, text), spark=False)


def test_a_file_that_is_not_there_is_told(full: Lake, tmp_path: Path) -> None:
    with pytest.raises(ViewError, match="there is no such file"):
        check_view(full, tmp_path / "mine.sql", spark=False)


def test_views_say_what_they_hold_and_what_a_commit_adds(full: Lake) -> None:
    told = {each["name"]: each for each in views(full)["views"]}
    assert told["order_funnel"]["kind"] == "view of orders"
    assert told["cohorts"]["kind"] == "view of customer_days, customer_history"
    for name, each in told.items():
        (rows,) = full.row(f'SELECT count(*) FROM "{name}"')
        assert each["rows"] == rows
        assert each["stored_rows"] >= rows
        assert each["rows_a_commit"] == each["stored_rows"]  # of one commit, on an empty base
    assert told["basket_by_day"]["stored_rows"] > told["basket_by_day"]["rows"]
    assert sum(each["bytes"] for each in told.values()) > 0


def test_views_say_whether_they_are_up_to_date(full: Lake) -> None:
    assert views(full)["fresh"] is True
    append(full, combined(5, shops=1))
    assert views(full)["fresh"] is False
    registry.read(full)


def test_the_command_prints_ways_cost_and_sample(full: Lake, tmp_path: Path) -> None:
    folder = tmp_path / "it's a folder"
    folder.mkdir()
    file = file_of(folder, BASKETS)
    shop = Headrace(full.home.path)
    told = shop.json("views", "check", str(file), "--no-spark")
    assert (told["view"], told["equal"], told["reads"]) == ("mine", True, ["orders"])
    assert [way["differ"] for way in told["ways"]] == [0, 0, 0, 0]
    assert told["columns"]["m"] == "DECIMAL(38,4)"
    assert len(told["sample"][0]) == len(told["columns"])
    text = shop.run("views", "check", str(file), "--no-spark").out
    assert "from a base and commits" in text
    assert "A base would hold" in text
    shop.run("views", "check").refused(2, "headrace views check FILE")
    shop.run("views", "revenue_by_day", str(file)).refused(2, "headrace views check FILE")
    shop.run("views", "check", str(folder / "other.sql")).refused(1, "there is no such file")


def test_the_list_shows_rows_and_bytes(full: Lake) -> None:
    out = Headrace(full.home.path).run("views").out
    assert "a commit" in out.splitlines()[0]
    assert "view of customer_days, customer_history" in out
