"""`headrace attach`: DuckDB itself reads a home, with nothing of ours in its process."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

import headrace
from tests.e2e.command import Headrace
from tests.e2e.offline import offline

DUCKDB = Path(sys.executable).with_name("duckdb")
SQL = "SELECT day, currency, orders, net FROM revenue_by_day ORDER BY ALL"
PROGRAM = """
import json, sys
given = json.load(sys.stdin)
import duckdb
con = duckdb.connect()
for statement in given["statements"]:
    con.execute(statement)
rows = con.execute(given["sql"]).fetchall()
assert not [name for name in sys.modules if name.split(".")[0] == "headrace"]
print(json.dumps(rows, default=str))
"""


def alone(statements: list[str], sql: str, scratch: Path) -> list[list[str]]:
    """What plain DuckDB gives in a process of its own, that has never fetched an extension."""
    ran = subprocess.run(
        [*offline(), sys.executable, "-I", "-c", PROGRAM],
        input=json.dumps({"statements": statements, "sql": sql}),
        env={"HOME": str(scratch), "PATH": os.environ["PATH"]},
        capture_output=True, text=True, check=False, cwd=scratch,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    found: list[list[str]] = json.loads(ran.stdout)
    return found


def as_text(rows: list[list[object]]) -> list[list[object]]:
    return [[value if isinstance(value, int) else str(value) for value in row] for row in rows]


@pytest.fixture
def ugly(filled_home: Path, tmp_path: Path) -> Headrace:
    """A home whose path has blanks and quotes, in it and around it."""
    return Headrace(shutil.copytree(filled_home, tmp_path / 'a "b" c' / "d 'e' f"))


def looks(home: Path) -> list[tuple[str, int, int]]:
    """All files of a home, but for SQLite's own beside the catalog, which any reader makes."""
    kept = [p for p in home.rglob("*") if not p.name.startswith("catalog.sqlite-")]
    return sorted((str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in kept)


def test_the_statements_read_the_same_numbers_without_headrace_and_without_a_network(
    ugly: Headrace, tmp_path: Path
) -> None:
    before = looks(ugly.home)
    told = ugly.json("attach", "--name", "shop")
    assert not [each for each in told["statements"] if each.startswith("INSTALL")]
    found = alone(told["statements"], SQL, tmp_path)
    assert found == as_text(ugly.rows(SQL))
    assert found
    named = alone(told["statements"], SQL.replace("FROM ", 'FROM "shop".'), tmp_path)
    assert named == found
    assert looks(ugly.home) == before
    assert told["position"] == ugly.json("status")["position"]
    assert told["tables"][:2] == ["orders", "ledger"]
    assert not told["copied"]


def test_what_is_printed_is_a_script_of_duckdbs_own_command(ugly: Headrace, tmp_path: Path) -> None:
    file = tmp_path / "attach.sql"
    file.write_text(ugly.run("attach").out, "utf-8")
    for sql, code, said in (("FROM orders", 0, ""), ("DELETE FROM orders", 1, "read-only")):
        ran = subprocess.run(
            [*offline(), DUCKDB, "-init", file, "-json", "-c", sql],
            env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert ran.returncode == code, ran.stderr
        assert said in ran.stderr.replace("Can only delete from base table", "read-only")
        assert len(json.loads(ran.stdout or "[]")) == (0 if code else 8)


@pytest.mark.thorough
def test_a_connection_of_duckdbs_own_is_given_the_lake(ugly: Headrace) -> None:
    con = duckdb.connect()
    found = headrace.attach(con, ugly.home)
    assert as_text([list(row) for row in con.execute(SQL).fetchall()]) == as_text(ugly.rows(SQL))
    assert found.position.as_dict() == ugly.json("status")["position"]
    assert set(found.tables) == {name for (name,) in con.execute("SHOW TABLES").fetchall()}
    with pytest.raises(duckdb.Error, match="read-only"):
        con.execute("DELETE FROM sys.commits")
    con.execute("CREATE TABLE memory.main.mine AS SELECT 1 AS x")
    con.close()


@pytest.mark.thorough
def test_two_homes_in_one_connection_have_names_of_their_own(ugly: Headrace) -> None:
    con = duckdb.connect()
    for name in ("shop", "select"):
        headrace.attach(con, ugly.home, name=name, use=False)
    assert con.execute('SELECT count(*) FROM shop.orders, "select".orders').fetchall() == [(64,)]
    with pytest.raises(headrace.UsageError, match="give a connection that may read files, and a"):
        headrace.attach(con, ugly.home, name="shop")
    con.close()


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["", "a b", 'a"b', "1a", "ä"])
def test_a_name_that_is_no_name_is_refused(ugly: Headrace, name: str) -> None:
    ugly.run("attach", "--name", name).refused(2, f"{name!r} is no name for a lake")


@pytest.mark.thorough
def test_a_home_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    Headrace(tmp_path / "none").run("attach").refused(2, "there is no home at")
    assert not (tmp_path / "none").exists()


@pytest.mark.thorough
def test_where_deltas_do_not_meet_nothing_is_attached_and_what_was_attached_fails(
    ugly: Headrace, tmp_path: Path
) -> None:
    con = duckdb.connect()
    headrace.attach(con, ugly.home)
    with headrace.connect(ugly.home) as lake:
        number = lake.query("SELECT max(commit_no) FROM sys.commits").rows[0][0]
    from headrace.pipelines import bootstrap, settings

    with bootstrap.open_lake(settings.load(ugly.home)) as broken:
        broken.con.execute(
            f"UPDATE sys.commits SET from_position = to_position WHERE commit_no = {number}"
        )
    with pytest.raises(duckdb.Error, match="SeamError: gap or overlap"):
        con.execute("FROM orders").fetchall()
    con.close()
    ugly.run("attach").refused(1, "seam")
