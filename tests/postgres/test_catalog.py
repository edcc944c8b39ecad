"""A lake whose catalog is in PostgreSQL: everything is as with a file, and the server may die."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

import headrace
from headrace.pipelines import settings
from headrace.pipelines.bootstrap import open_lake
from tests.e2e.command import Headrace
from tests.e2e.orders import Truth, events, write
from tests.faults.crashing import kill_at
from tests.halves import first
from tests.postgres.server import Server, server

pytestmark = pytest.mark.xdist_group("postgres")  # one server

LINES = events(24, seed=77)


@pytest.fixture(scope="module", name="server")
def running_server() -> Iterator[Server]:
    """A real PostgreSQL."""
    with server() as made:
        yield made


class Home(Headrace):
    """The command on a home whose catalog is in a database."""

    def __init__(self, home: Path, url: str, password: str) -> None:
        super().__init__(home, catalog=url, catalog_password=password, partitions=2)


@pytest.fixture
def home(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A new one, empty."""
    monkeypatch.delenv("PGPASSWORD", raising=False)
    name = "".join(c for c in tmp_path.name if c.isalnum())[-40:]
    return Home(tmp_path / "home", server.database(f"h{name}"), server.password)


def append(home: Home, tmp_path: Path, lines: list[bytes]) -> None:
    told = home.json("append", write(tmp_path / "lines.ndjson", lines))
    assert told["accepted"] == len(lines)


def test_lambda_and_kappa_are_exact_over_a_catalog_in_postgresql(
    home: Home, tmp_path: Path
) -> None:
    append(home, tmp_path, LINES[:60])
    home.json("speed", "--once", commit_events=20)
    home.json("batch", "--engine", "duckdb")
    append(home, tmp_path, LINES[60:])
    home.json("speed", "--once")
    Truth.of(LINES).check(home)
    assert home.json("verify")["equal"] is True
    assert home.json("replay", "--from", "beginning")["differing_cells"] == 0
    home.json("promote")
    home.json("maintain", keep_snapshots=0)
    Truth.of(LINES).check(home)
    assert home.json("verify")["equal"] is True
    assert not list(home.home.glob("catalog.sqlite*"))


def test_the_address_is_kept_in_the_home_and_the_password_nowhere(
    home: Home, server: Server, tmp_path: Path
) -> None:
    append(home, tmp_path, LINES[:20])
    marker = json.loads((home.home / "home.json").read_text())
    assert marker["catalog"] == home.chosen["catalog"]
    held = [path for path in home.home.rglob("*") if path.is_file()]
    assert not [path for path in held if server.password.encode() in path.read_bytes()]


def test_an_open_lake_leaves_the_password_to_no_child_and_no_query(
    home: Home, server: Server, tmp_path: Path
) -> None:
    append(home, tmp_path, LINES[:20])
    given = settings.load(home.home, environ={}, catalog_password=server.password)
    with open_lake(given) as lake:
        assert lake.row("SELECT count(*) FROM sys.events") == (20,)
        env = subprocess.run(["env"], capture_output=True, text=True, check=True).stdout
        assert "PATH=" in env
        assert server.password not in env
        assert lake.rows("SELECT name FROM duckdb_secrets()") == []
        known = lake.rows("SELECT path, CAST(options AS VARCHAR) FROM duckdb_databases()")
        assert f"{server.port}" in str(known)
        assert server.password not in str(
            [*known, lake.rows("SELECT value FROM duckdb_settings()")]
        )


def test_an_address_may_name_several_servers_and_options(server: Server, tmp_path: Path) -> None:
    path = server.database("several").replace("@127", "@127.0.0.1:1,127")
    home = Home(tmp_path / "home", f"{path}?application_name=it%27s%20ours", server.password)
    home.json("init")
    with open_lake(settings.load(home.home, environ={}, catalog_password=server.password)) as lake:
        asked = "SELECT current_setting(''application_name'')"
        (name,) = lake.row(f"FROM postgres_query('__ducklake_metadata_lake', '{asked}')")
    assert name == "it's ours"


def test_a_wrong_password_is_refused_and_not_repeated(home: Home, tmp_path: Path) -> None:
    append(home, tmp_path, LINES[:20])
    wrong = home.process("status", catalog_password="open-sesame")  # noqa: S106 - it is wrong
    assert wrong.code == 1
    assert "cannot be opened" in wrong.err
    assert "password" in wrong.err
    assert "open-sesame" not in wrong.err + wrong.out


def test_a_database_that_holds_another_lake_is_refused(home: Home, tmp_path: Path) -> None:
    append(home, tmp_path, LINES[:20])
    second = Home(tmp_path / "second", *list(home.chosen.values())[:2])
    second.run("init").refused(1, "holds the catalog of another lake", "make a new database")
    assert not (second.home / "home.json").exists()
    assert home.json("status")["events"] == 20


def test_a_home_of_one_catalog_is_not_opened_with_the_other(home: Home, tmp_path: Path) -> None:
    plain = Headrace(tmp_path / "plain")
    plain.json("init")
    outcome = plain.run("status", catalog=home.chosen["catalog"])
    outcome.refused(1, "has its catalog in", "not in a database")


def test_an_address_with_a_password_is_refused(tmp_path: Path) -> None:
    outcome = Headrace(tmp_path / "home").run("init", catalog="postgresql://me:secret@db/lake")
    outcome.refused(2, "HEADRACE_CATALOG_PASSWORD")
    assert "secret" not in outcome.err


KILLS = ["commit.ready", "commit.done", "append.ready", "append.done"]


@pytest.mark.parametrize("point", first(1, KILLS))
def test_a_command_that_is_killed_did_all_or_nothing(
    home: Home, tmp_path: Path, point: str
) -> None:
    append(home, tmp_path, LINES[:30])
    path = write(tmp_path / "more.ndjson", LINES[30:])
    if point.startswith("append"):
        kill_at(point, home, "append", path)
        if home.json("status")["events"] == 30:
            home.json("append", path)
    else:
        home.json("append", path)
        kill_at(point, home, "speed", "--once")
    home.json("speed", "--once")
    Truth.of(LINES).check(home)
    assert home.json("verify")["equal"] is True


@pytest.mark.thorough
def test_a_server_that_is_killed_loses_nothing_that_was_acknowledged(
    home: Home, server: Server, tmp_path: Path
) -> None:
    append(home, tmp_path, LINES[:40])
    home.json("speed", "--once")
    server.kill()
    try:
        away = home.process("append", write(tmp_path / "more.ndjson", LINES[40:]))
        assert (away.code, away.err.count("\n")) == (1, 1)
        assert "PostgreSQL" in away.err
    finally:
        server.start()
    assert home.json("status")["events"] == 40
    append(home, tmp_path, LINES[40:])
    home.json("speed", "--once")
    Truth.of(LINES).check(home)
    assert home.json("verify")["equal"] is True


@pytest.mark.thorough
def test_a_speed_layer_whose_server_dies_says_so_and_goes_on_when_started_again(
    home: Home, server: Server, tmp_path: Path
) -> None:
    append(home, tmp_path, LINES[:40])
    with home.start("speed", "--follow", poll=0.05) as running:
        while home.json("status")["lag_events"]:
            assert running.poll() is None
        server.kill()
        try:
            _, said = running.communicate(timeout=60)
        finally:
            server.start()
    assert running.returncode == 1
    assert "PostgreSQL" in said.splitlines()[-1]
    append(home, tmp_path, LINES[40:])
    home.json("speed", "--once")
    Truth.of(LINES).check(home)


@pytest.mark.thorough
def test_the_doctor_knows_where_the_catalog_is(home: Home, tmp_path: Path) -> None:
    append(home, tmp_path, LINES[:20])
    told = json.loads(home.run("doctor", "--json").out)["findings"]
    assert not [f for f in told if f["state"] == "wrong"]
    assert any("back up that database" in f["what"] for f in told if f["check"] == "backups")
    assert home.run("doctor", "--repair").code == 0
    assert os.environ.get("HEADRACE_CATALOG_PASSWORD") is None


def test_duckdb_itself_attaches_it_and_no_password_is_printed(
    home: Home, server: Server, tmp_path: Path
) -> None:
    append(home, tmp_path, LINES[:40])
    home.json("speed", "--once")
    outcome = home.run("attach")
    assert outcome.code == 0, outcome.err
    assert "PGPASSWORD" in outcome.out
    assert server.password not in outcome.out + home.run("attach", "--json").out
    told = home.json("attach")
    program = (
        "import json, sys, duckdb\n"
        "con = duckdb.connect()\n"
        "for statement in json.load(sys.stdin): con.execute(statement)\n"
        "print(con.execute('SELECT sum(event_count)::BIGINT FROM orders').fetchone()[0])\n"
    )
    ran = subprocess.run(
        [sys.executable, "-I", "-c", program], input=json.dumps(told["statements"]),
        env={**os.environ, "PGPASSWORD": server.password},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    expected = home.rows("SELECT sum(event_count) FROM orders")[0][0]
    assert ran.stdout.strip() == str(expected), ran.stderr
    con = duckdb.connect()
    found = headrace.attach(con, home.home, catalog_password=server.password)
    assert con.execute("SELECT count(*) FROM orders").fetchone() is not None
    assert server.password not in str(found)
    assert con.execute("FROM duckdb_secrets()").fetchall() == []
    con.close()


def test_a_backup_of_it_is_refused_and_says_what_to_do(home: Home, tmp_path: Path) -> None:
    append(home, tmp_path, LINES[:5])
    outcome = home.run("backup", tmp_path / "kept")
    outcome.refused(2, "pg_dump", str(home.home / "lake"))
    assert not (tmp_path / "kept").exists()
