"""Answers to take away: formats, files, parameters, SQL from elsewhere; the numbers stay exact."""

from __future__ import annotations

import csv
import io
import json
from decimal import Decimal
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.e2e.command import Headrace

SQL = "SELECT country, currency, net FROM country_sales ORDER BY ALL"


@pytest.fixture
def headrace(filled_home: Path) -> Headrace:
    return Headrace(filled_home)


def truth(headrace: Headrace) -> list[list[str]]:
    return headrace.rows(SQL)


def test_csv_has_every_digit_and_an_empty_field_for_null(headrace: Headrace) -> None:
    done = headrace.run("query", f"SELECT *, NULL AS nothing FROM ({SQL})", "--format", "csv")
    rows = list(csv.reader(io.StringIO(done.out)))
    assert rows[0] == ["country", "currency", "net", "nothing"]
    assert [row[:3] for row in rows[1:]] == [[c or "", x, n] for c, x, n in truth(headrace)]
    assert {row[3] for row in rows[1:]} == {""}
    assert "at {" in done.err


@pytest.mark.parametrize("name", ["o.parquet", "o.csv", "o.md", "o.json", "it's out.parquet"])
def test_the_files_name_says_the_format(headrace: Headrace, tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    done = headrace.run("query", SQL, "--output", file)
    assert (done.code, done.out) == (0, ""), done.err
    nets = [Decimal(net) for _, _, net in truth(headrace)]
    if name.endswith("parquet"):
        table = pq.read_table(file)
        assert table.schema.field("net").type == pa.decimal128(38, 4)
        assert table["net"].to_pylist() == nets
        told = json.loads(table.schema.metadata[b"headrace"])
        assert told["position"] == headrace.json("status")["position"]
    elif name.endswith("csv"):
        assert pl.read_csv(file, schema_overrides={"net": pl.String})["net"].to_list() == [
            str(net) for net in nets
        ]
    elif name.endswith("md"):
        lines = file.read_text(encoding="utf-8").splitlines()
        assert lines[0] == "| country | currency | net |"
        assert [line.split(" | ")[2].removesuffix(" |") for line in lines[2:]] == list(
            map(str, nets)
        )
    else:
        assert [Decimal(row[2]) for row in json.loads(file.read_text())["rows"]] == nets
    assert list(tmp_path.iterdir()) == [file]


def test_arrow_goes_into_a_file_that_arrow_reads(headrace: Headrace, tmp_path: Path) -> None:
    headrace.run("query", SQL, "--format", "arrow", "--output", tmp_path / "out.arrow")
    table = pa.ipc.open_file(tmp_path / "out.arrow").read_all()
    assert [str(net) for net in table["net"].to_pylist()] == [n for _, _, n in truth(headrace)]


def test_a_parameter_is_bound_and_never_pasted(headrace: Headrace) -> None:
    day = headrace.rows("SELECT min(day) FROM revenue_by_day")[0][0]
    asked = (
        "query",
        "SELECT count(*) FROM revenue_by_day WHERE day = $day",
        "--param",
        f"day={day}",
    )
    assert headrace.json(*asked)["rows"][0][0] > 0
    told = headrace.json("query", "SELECT $x AS x", "--param", "x=1'; DROP TABLE orders; --")
    assert told["rows"] == [["1'; DROP TABLE orders; --"]]
    past = (*asked, "--at", "2000-01-01")
    assert headrace.json(*past)["rows"] == [[0]]


def test_answers_with_other_parameters_are_other_answers(filled_home: Path) -> None:
    import headrace as api

    with api.connect(filled_home) as lake:
        for value in (1, 2, 1):
            assert lake.query("SELECT $n + 1", params={"n": value}).rows == ((value + 1,),)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["query"], ["give the SQL", "--file FILE"]),
        (["query", "SELECT 1", "--file", "x.sql"], ["give the SQL"]),
        (["query", "SELECT 1", "--param", "day"], ["--param 'day' is not NAME=VALUE"]),
        (["query", "--file", "none.sql"], ["none.sql cannot be read"]),
        (["query", "SELECT 1", "--json", "--format", "csv"], ["--json and --format csv exclude"]),
        (["query", "SELECT 1", "--output", "no/such/folder.csv"], ["cannot be written", "No such"]),
    ],
)
def test_a_call_that_cannot_be_meant_is_refused(
    headrace: Headrace, arguments: list[str], words: list[str]
) -> None:
    done = headrace.run(*arguments)
    assert (done.code, done.out) == (2, "")
    for word in words:
        assert word in done.err


def test_a_parameter_that_is_missing_is_told(headrace: Headrace) -> None:
    headrace.run("query", "SELECT $day").refused(1, "day")


def test_sql_may_come_from_a_file_or_standard_input(headrace: Headrace, tmp_path: Path) -> None:
    file = tmp_path / "my question.sql"
    file.write_text("-- the sum\nSELECT count(*) FROM orders;\n", encoding="utf-8")
    expected = headrace.rows("SELECT count(*) FROM orders")
    assert headrace.json("query", "--file", file)["rows"] == expected
    fed = headrace.fed(file.read_bytes(), "query", "--file", "-", "--json")
    assert json.loads(fed.out)["rows"] == expected


def test_a_screen_gets_a_thousand_rows_and_is_told_how_many_there_are(headrace: Headrace) -> None:
    said = headrace.run("query", "SELECT range AS n FROM range(2500)").out
    assert "… 1,000 of 2,500 rows; `--output FILE.csv`" in said
    assert len(said.splitlines()) == 1_003
    everything = headrace.run("query", "SELECT range AS n FROM range(2500)", "--format", "csv").out
    assert len(everything.splitlines()) == 2_501


def test_explain_is_answered_and_guarded_like_the_select(headrace: Headrace) -> None:
    assert "orders" in headrace.run("query", "EXPLAIN SELECT count(*) FROM orders").out
    reaching = "EXPLAIN ANALYZE SELECT * FROM sqlite_scan('a.db', 't')"
    headrace.run("query", reaching).refused(1, "sqlite_scan")
    headrace.run("query", "EXPLAIN DELETE FROM sys.events").refused(1, "not DELETE")
    headrace.run("query", "/* why */ EXPLAIN SELECT 1").refused(1, "write EXPLAIN first")
