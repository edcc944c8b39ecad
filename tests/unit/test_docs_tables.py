"""What the pages list is what the code has: settings, fields, views, crash points, decisions."""

from __future__ import annotations

import re
import sqlite3
from datetime import timedelta
from pathlib import Path

import pytest

from headrace.pipelines import settings
from headrace.pipelines.errors import ViewError
from headrace.pipelines.lake import home
from headrace.pipelines.lake.lake import Lake
from headrace.pipelines.views.load import BUILTIN_VIEWS, load_views, parse_view
from headrace.schemas.events import ENVELOPE, NEWEST
from tests.unit.pages import ROOT, name_of, page_text


def test_the_settings_table_is_what_the_settings_are() -> None:
    table = page_text("operations").split("<!-- settings:begin -->")[1].split("<!-- settings")[0]
    rows = {
        cells[0].strip("`"): (cells[1].strip("`"), cells[2])
        for line in table.strip().splitlines()[2:]
        for cells in [[cell.strip() for cell in line.strip("|").split("|")]]
    }
    fields = settings.Settings.model_fields
    assert list(rows) == list(fields)
    for name, field in fields.items():
        default = "" if field.default is None else str(field.default)
        assert rows[name][0] == default
        assert (field.description or "") in rows[name][1]
        assert rows[name][1]


def test_the_table_of_a_home_is_what_is_in_one() -> None:
    table = page_text("operations").split("<!-- places:begin -->")[1].split("<!-- places")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:4]] for line in table.splitlines()[3:]]
    told = {name.strip("`").rstrip("/"): (name.endswith("/`"), what) for name, what, _ in rows}
    folders = {name: "." not in name for name in home.PLACES}
    assert told == {name: (folders[name], what) for name, what in home.PLACES.items()}
    assert all(lost for *_, lost in rows)


def test_the_table_of_locks_is_what_the_home_has() -> None:
    table = page_text("operations").split("| lock | held by | how long |")[1].split("\n\n")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == list(home.LOCKS)


def test_durations_may_be_written_as_the_guide_says() -> None:
    for text in ("60", "00:01:00"):
        given = settings.load(Path("nowhere"), environ={"HEADRACE_LOCK_WAIT": text})
        assert given.lock_wait == timedelta(minutes=1)


def test_the_contract_page_names_every_type_and_field() -> None:
    text = page_text("contract")
    for field in ENVELOPE:
        assert f"`{field.name}`" in text
    for shape in NEWEST.values():
        (row,) = re.findall(
            rf"^\| `{shape.type}` \({shape.version}\) \|(.*)\|$", text, re.MULTILINE
        )
        for field in shape.fields:
            written = f"`{field.name}`" if field.required else f"[`{field.name}`]"
            assert written in row
            for item in field.items:
                assert f"`{item.name}`" in row


def test_the_table_of_built_in_views_is_what_they_are() -> None:
    text = page_text("views")
    found = dict(re.findall(r"^\| `(\w+)` \| (`.*` \| `.*`) \|$", text, re.MULTILINE))
    expected = {}
    for name, view in load_views(BUILTIN_VIEWS).items():
        keys = [c.name for c in view.keys]
        measures = [c.name for c in view.outputs if c.name not in keys]
        expected[name] = f"`{', '.join(keys)}` | `{', '.join(measures)}`"
    assert found == expected


def test_every_view_that_the_guide_calls_refused_is_refused() -> None:
    sums = "SELECT currency, {} AS x FROM ledger GROUP BY currency"
    refused = [
        sums.format("stddev(amount)"),
        sums.format("first(country)"),
        sums.format("any_value(country)"),
        sums.format("sum(DISTINCT amount)"),
        sums.format("median(country)"),
        "WITH a AS (SELECT * FROM ledger) SELECT currency, count(*) AS n FROM a GROUP BY 1",
        "SELECT currency, count(*) AS n FROM (SELECT * FROM ledger) GROUP BY 1",
        "SELECT currency, sum(amount) FILTER (WHERE booked_at < now()) AS x FROM ledger GROUP BY 1",
        sums.format("sum(amount * random())"),
        "SELECT upper(country) AS c, count(*) AS n FROM orders GROUP BY c",
        sums.format("sum(amount / quantity)"),
        "SELECT currency, count(*) AS n FROM orders JOIN ledger USING (order_id) GROUP BY currency",
        sums.format("count(*)") + " ORDER BY x",
        sums.format("count(*)") + " LIMIT 1",
        "SELECT count(*) AS n FROM orders",
    ]
    for sql in refused:
        with pytest.raises(ViewError):
            parse_view("mine", sql, where="views/mine.sql")
    instead = "SELECT 'all' AS scope, sum(amount) / sum(quantity) AS x FROM ledger GROUP BY scope"
    assert parse_view("mine", instead, where="views/mine.sql").outputs


def test_the_crash_points_in_the_architecture_are_those_of_the_code() -> None:
    text = (ROOT / "docs/architecture.md").read_text("utf-8").split("## Crash points")[1]
    first, second = text.split("| point | at that moment |")
    whats = set(re.findall(r"^\| `(\w+)` \|", first, re.MULTILINE))
    points = set(
        re.findall(r"`(\w+)`", "".join(re.findall(r"^(\| `.*) \|.*\|$", second, re.MULTILINE)))
    )
    source = "\n".join(p.read_text("utf-8") for p in (ROOT / "pipelines").rglob("*.py"))
    assert whats == set(re.findall(r"\.writing\(\s*\"(\w+)\"", source))
    passed = re.findall(r"failpoints\.here\(f?\"(?:\{[^}]+\}|\w+)\.(\w+)\"\)", source)
    assert points | {"dropped"} == set(passed)


def test_the_tables_in_the_architecture_are_those_of_the_lake(lake: Lake) -> None:
    text = (ROOT / "docs/architecture.md").read_text("utf-8")
    with sqlite3.connect(lake.home.catalog) as catalog:
        tables = {
            row[0]
            for row in catalog.execute(
                "SELECT table_name FROM ducklake_table AS t JOIN ducklake_schema AS s "
                "USING (schema_id) WHERE s.schema_name = 'sys' AND t.end_snapshot IS NULL"
            )
        }
    assert tables
    assert {name for name in tables if f"`sys.{name}`" not in text} == set()
    named = set(re.findall(r"`sys\.(\w+)`", text)) - {"seam", "served"}
    assert named == tables


@pytest.mark.parametrize("record", sorted((ROOT / "docs/decisions").glob("0*.md")), ids=name_of)
def test_every_decision_adds_up_and_has_all_its_parts(record: Path) -> None:
    text = record.read_text("utf-8")
    template = (ROOT / "docs/decisions/template.md").read_text("utf-8")
    heads = re.findall(r"^## .*$", template, re.MULTILINE)
    assert re.findall(r"^## .*$", text, re.MULTILINE) == heads
    assert f"({record.name})" in (ROOT / "docs/decisions/README.md").read_text("utf-8")
    rows = re.findall(r"^\|[^|]*\| (\d) \|(.*)\|$", text, re.MULTILINE)
    (total,) = re.findall(r"^\| \*\*weighted sum\*\* \| \|(.*)\|$", text, re.MULTILINE)
    scores = [[int(weight) * int(score) for score in cells.split("|")] for weight, cells in rows]
    assert [sum(column) for column in zip(*scores, strict=True)] == [
        int(cell.strip(" *")) for cell in total.split("|")
    ]
