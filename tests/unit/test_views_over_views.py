"""Which views over views are taken, which are refused, and how a folder of them loads."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.pipelines.errors import ViewError
from headrace.pipelines.views.load import BUILTIN_VIEWS, load_view, load_views
from headrace.pipelines.views.stacked import over_tables, over_views

COUNTED = "SELECT {} AS k, count(*) AS n FROM {} GROUP BY 1"
D = "customer_days AS d"
H = "customer_history AS h"


def folder(tmp_path: Path, **texts: str) -> Path:
    place = tmp_path / "views"
    place.mkdir(exist_ok=True)
    for name, text in texts.items():
        (place / f"{name}.sql").write_text(text, encoding="utf-8")
    return place


def test_views_come_after_those_that_they_read(tmp_path: Path) -> None:
    own = folder(
        tmp_path,
        a_last=COUNTED.format("n", "b_middle"),
        b_middle=COUNTED.format("net", "customer_value"),
    )
    views = load_views(BUILTIN_VIEWS, own)
    order = list(over_views(views))
    assert order.index("b_middle") < order.index("a_last")
    assert order.index("customer_history") < order.index("cohorts")
    assert over_tables(views).keys() | set(order) == views.keys()
    assert views["a_last"].inner == ("b_middle",)
    assert views["cohorts"].inner == ("customer_days", "customer_history")


@pytest.mark.parametrize(
    ("read", "key", "remedy"),
    [
        (f"{D} LEFT JOIN customer_value AS v ON d.customer_id = v.customer_id", "day", "whole key"),
        (f"{D} LEFT JOIN {H} ON d.orders = h.customer_id", "day", "join on one of its keys"),
        (f"{D} LEFT JOIN {H} ON d.day = h.customer_id", "day", "DATE and VARCHAR; make them alike"),
        (f"{D} LEFT JOIN {H} ON d.customer_id = h.orders", "day", "make them alike"),
        (f"{D} LEFT JOIN {H} ON d.customer_id = h.nothing", "day", "is not a column of"),
        (f"{D} LEFT JOIN {H} ON d.customer_id = d.customer_id", "day", "columns of one side"),
        (f"{D} LEFT JOIN {H} ON d.day > h.first_day", "day", "put conditions into WHERE"),
        (f"{D} LEFT JOIN {H} ON true", "day", "put conditions into WHERE"),
        (f"{D} LEFT JOIN {H} USING (who)", "day", "who is not a column of d"),
        (f"{D} NATURAL LEFT JOIN {H}", "day", "write ON a = b"),
        (f"{D} ASOF LEFT JOIN {H} ON d.customer_id = h.customer_id", "day", "METHOD"),
        (f"{D} JOIN {H} ON d.customer_id = h.customer_id", "day", "write LEFT JOIN"),
        (f"{D} RIGHT JOIN {H} ON d.customer_id = h.customer_id", "day", "write LEFT JOIN"),
        (f"{D} SEMI JOIN {H} ON d.customer_id = h.customer_id", "day", "write LEFT JOIN"),
        (f"{D}, {H}", "day", "write LEFT JOIN"),
        (f"{D} LEFT JOIN customer_days AS e USING (customer_id, day, currency)", "day", "itself"),
        (f"{D} LEFT JOIN customer_history AS d USING (customer_id)", "day", "with AS"),
        (f"{D} LEFT JOIN orders AS o USING (customer_id)", "day", "make a view of it first"),
        (f"ledger LEFT JOIN {H} USING (customer_id)", "kind", "make a view of ledger first"),
        (
            f"{D} LEFT JOIN {H} USING (customer_id) LEFT JOIN repeat_rate AS r ON d.day = r.scope",
            "day",
            "a second join",
        ),
        (f"{D} LEFT JOIN {H} USING (customer_id)", "orders", "d.orders or h.orders"),
        (f"{D} LEFT JOIN {H} USING (customer_id)", "h.customer_id", "write customer_id"),
        (f"{D} LEFT JOIN {H} USING (customer_id)", "h.nothing", "is not a column of"),
        ("customer_dys", "day", "neither orders nor ledger nor a view"),
        ("main.customer_days", "day", "neither orders nor ledger nor a view"),
        ("mine", "k", "mine reads mine: a circle"),
    ],
)
def test_what_cannot_be_followed_is_refused_with_a_remedy(
    tmp_path: Path, read: str, key: str, remedy: str
) -> None:
    own = folder(tmp_path, mine=COUNTED.format(key, read))
    with pytest.raises(ViewError) as refused:
        load_views(BUILTIN_VIEWS, own)
    assert "mine.sql: " in str(refused.value)
    assert remedy in str(refused.value)


@pytest.mark.parametrize(
    "read",
    [
        f"{D} LEFT JOIN {H} ON d.customer_id = h.customer_id",
        f"{D} LEFT JOIN {H} ON (h.customer_id = d.customer_id)",
        f"{D} LEFT OUTER JOIN {H} USING (customer_id)",
        "customer_days LEFT JOIN customer_history USING (customer_id)",
        "customer_days AS d LEFT JOIN customer_value AS v USING (customer_id, currency)",
        f"{D} LEFT JOIN country_sales AS c ON d.currency = c.country AND d.currency = c.currency",
    ],
)
def test_a_join_on_the_whole_key_is_taken_however_it_is_written(tmp_path: Path, read: str) -> None:
    views = load_views(BUILTIN_VIEWS, folder(tmp_path, mine=COUNTED.format("day", read)))
    assert views["mine"].join is not None


def test_a_circle_of_several_is_named(tmp_path: Path) -> None:
    own = folder(tmp_path, one=COUNTED.format("n", "two"), two=COUNTED.format("n", "one"))
    with pytest.raises(ViewError, match="one reads two reads one: a circle"):
        load_views(BUILTIN_VIEWS, own)


def test_a_built_in_view_that_others_read_cannot_just_be_switched_off(tmp_path: Path) -> None:
    own = folder(tmp_path, customer_history="-- off\n")
    with pytest.raises(ViewError, match=r"customer_history\.sql: changes what the built-in") as no:
        load_views(BUILTIN_VIEWS, own)
    assert "-- off" in str(no.value)
    own = folder(tmp_path, cohorts="-- off", customers_by_day="-- off", repeat_rate="-- off")
    assert "customer_history" not in load_views(BUILTIN_VIEWS, own)


def test_a_replaced_view_must_keep_what_others_read_of_it(tmp_path: Path) -> None:
    own = folder(tmp_path, customer_days="SELECT customer_id, count(*) AS n FROM ledger GROUP BY 1")
    with pytest.raises(ViewError, match=r"customer_days\.sql: changes what the built-in view"):
        load_views(BUILTIN_VIEWS, own)
    text = (BUILTIN_VIEWS / "customer_days.sql").read_text("utf-8")
    own = folder(tmp_path, customer_days=text.replace("coalesce(sum(amount), 0)", "sum(amount)"))
    assert load_views(BUILTIN_VIEWS, own)["customer_days"].text != text


def test_one_file_is_loaded_with_only_what_it_reads(tmp_path: Path) -> None:
    own = folder(tmp_path, broken="SELECT nothing FROM ledger GROUP BY 1")
    file = tmp_path / "elsewhere.sql"
    file.write_text(COUNTED.format("net", "customer_value"), encoding="utf-8")
    view, views = load_view(file, BUILTIN_VIEWS, own)
    assert (view.name, list(views)) == ("elsewhere", ["customer_value", "elsewhere"])


def test_what_a_view_reads_is_part_of_its_meaning(tmp_path: Path) -> None:
    one = folder(tmp_path, mine=COUNTED.format("net", "customer_value"))
    first = load_views(BUILTIN_VIEWS, one)["mine"]
    other = folder(tmp_path, mine=COUNTED.format("net", "customer_days"))
    assert load_views(BUILTIN_VIEWS, other)["mine"].sql != first.sql
