"""Homes, files and folders with names that somebody will give them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import headrace
from tests.e2e.command import Headrace
from tests.e2e.orders import events, write
from tests.halves import first

UGLY = ["q'x", "a blank", "Käse", '50% "off"', "two\nlines", "[brackets] {braces}", "a*b?c", "-x;y"]

VIEW = "SELECT country, count(*) AS n FROM orders GROUP BY country"


@pytest.mark.parametrize("name", first(1, [" ".join(reversed(UGLY)), *UGLY]))
def test_a_home_may_have_any_name(tmp_path: Path, name: str) -> None:
    home = tmp_path / name / f"home of {name}"
    (home / "views").mkdir(parents=True)
    (home / "views" / "mine.sql").write_text(VIEW, encoding="utf-8")
    lines = events(12, seed=3)
    file = write(tmp_path / f"{name}.ndjson", lines[:20])
    assert headrace.append(home, file).accepted == 20
    headrace.speed(home, commit_events=8)
    assert headrace.batch(home, engine="duckdb", audit="core") is not None
    headrace.append(home, lines[20:])
    headrace.speed(home)
    assert headrace.batch(home, engine="duckdb", incremental=True, audit="core") is not None
    headrace.promote(home, headrace.replay(home, "2020-01-01").generation)
    assert headrace.verify(home).equal
    with headrace.connect(home) as lake:
        assert lake.query("SELECT sum(n) FROM mine").rows == ((12,),)


@pytest.mark.parametrize("name", ["[brackets]", "{braces}", "st*r", "wh?t"])
def test_spark_does_not_read_a_home_whose_name_is_a_pattern_to_it(
    tmp_path: Path, name: str
) -> None:
    headrace.append(tmp_path / name, events(3, seed=3))
    with pytest.raises(headrace.UsageError, match=r"Spark takes for a pattern; .*--engine duckdb"):
        headrace.batch(tmp_path / name, engine="spark", audit="core")


@pytest.mark.spark
@pytest.mark.thorough
@pytest.mark.xdist_group("spark")
def test_spark_takes_quotes_and_blanks_for_names(tmp_path: Path) -> None:
    home = tmp_path / "it's, Käse; 50%"
    lines = events(8, seed=3)
    headrace.append(home, lines[:15])
    assert headrace.batch(home, engine="spark", audit="core") is not None
    headrace.append(home, lines[15:])
    headrace.speed(home)
    assert headrace.batch(home, engine="spark", incremental=True, audit="core") is not None
    assert headrace.verify(home).equal


def test_the_command_takes_any_path_from_another_folder(tmp_path: Path) -> None:
    place = tmp_path / "here, 'now'"
    place.mkdir()
    headrace_command = Headrace(place / "my home")
    file = write(place / "it's.ndjson", events(3, seed=1))
    before = Path.cwd()
    os.chdir(place)
    try:
        assert headrace_command.json("append", file.name)["accepted"] > 0
    finally:
        os.chdir(before)
    assert headrace_command.json("quarantine", "ls")["total"] == 0


@pytest.mark.parametrize("name", ["it's", "two words", "Käse", "a.b"])
def test_a_view_file_with_a_name_that_sql_would_quote_is_refused(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "home" / "views"
    folder.mkdir(parents=True)
    (folder / f"{name}.sql").write_text(VIEW, encoding="utf-8")
    with pytest.raises(headrace.ViewError, match="cannot be the name of a view"):
        headrace.speed(tmp_path / "home")
