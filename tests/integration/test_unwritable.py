"""A home that a process may read and not write: it answers, and says what it cannot do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.command import REPOSITORY, Headrace
from tests.e2e.orders import events, write

# Root may write everywhere, unless that right is taken from it.
AS_OTHERS = ["setpriv", "--bounding-set", "-dac_override"] if os.geteuid() == 0 else []
LINES = events(8, seed=6)


@pytest.fixture
def shut(tmp_path: Path) -> Iterator[Path]:
    """A filled home in which nothing can be made, and no SQLite file lies beside the catalog."""
    headrace = Headrace(tmp_path / "home")
    headrace.json("append", write(tmp_path / "in.ndjson", LINES))
    headrace.json("speed", "--once")
    for left in headrace.home.glob("catalog.sqlite-*"):
        left.unlink()
    folders = [headrace.home, *(p for p in headrace.home.rglob("*") if p.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    for file in headrace.home.rglob("*"):
        if file.is_file():
            file.chmod(0o444)
    yield headrace.home
    for folder in folders:
        folder.chmod(0o755)  # so that it can be removed


def as_reader(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command, by somebody who may not write the home."""
    return subprocess.run(
        [*AS_OTHERS, sys.executable, "-m", "headrace", "--home", str(home), *arguments],
        capture_output=True, text=True, check=False, cwd=REPOSITORY,
    )  # fmt: skip


def test_a_home_that_cannot_be_written_can_be_queried(shut: Path) -> None:
    before = sorted(str(p) for p in shut.rglob("*"))
    answered = as_reader(shut, "query", "SELECT count(*) AS n FROM orders", "--json")
    assert answered.returncode == 0, answered.stderr
    assert json.loads(answered.stdout)["rows"] == [[8]]
    past = as_reader(
        shut, "query", "SELECT count(*) AS n FROM orders", "--at", "2000-01-01", "--json"
    )
    assert json.loads(past.stdout)["rows"] == [[0]], past.stderr
    for command in (
        ("views",),
        ("status",),
        ("generations",),
        ("log", "tail"),
        ("quarantine", "ls"),
    ):
        done = as_reader(shut, *command)
        assert done.returncode == 0, done.stderr
    assert sorted(str(p) for p in shut.rglob("*")) == before


@pytest.mark.parametrize(
    "command", [("speed", "--once"), ("verify",), ("batch", "--engine", "duckdb"), ("doctor",)]
)
def test_what_writes_says_that_it_cannot(shut: Path, command: tuple[str, ...]) -> None:
    done = as_reader(shut, *command)
    assert done.returncode == 1
    assert "cannot be written here: it is mounted read-only, or belongs to another" in done.stderr
    assert "repair" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_what_is_committed_elsewhere_is_seen_by_the_next_query(shut: Path, tmp_path: Path) -> None:
    program = (
        "import sys, headrace\n"
        "with headrace.connect(sys.argv[1]) as lake:\n"
        "    for _ in sys.stdin:\n"
        "        print(lake.query('SELECT count(*) FROM orders').rows[0][0], flush=True)\n"
    )
    with subprocess.Popen(
        [*AS_OTHERS, sys.executable, "-c", program, str(shut)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY,
    ) as reader:  # fmt: skip
        assert reader.stdin is not None
        assert reader.stdout is not None
        reader.stdin.write("\n")
        reader.stdin.flush()
        assert reader.stdout.readline() == "8\n"
        for place in (shut, *shut.rglob("*")):
            place.chmod(0o755)
        headrace = Headrace(shut)
        headrace.json("append", write(tmp_path / "more.ndjson", events(3, seed=99)))
        headrace.json("speed", "--once")
        shut.chmod(0o555)
        reader.stdin.write("\n")
        reader.stdin.flush()
        assert reader.stdout.readline() == "11\n"
        reader.stdin.close()


def test_duckdb_itself_reads_a_home_that_cannot_be_written_from_a_copy_of_its_catalog(
    shut: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "a 'cache'"))
    before = sorted((str(p), p.stat().st_mtime_ns) for p in shut.rglob("*"))
    told = as_reader(shut, "attach", "--json")
    assert told.returncode == 0, told.stderr
    found = json.loads(told.stdout)
    assert found["copied"]
    assert "reads a copy of its catalog" in as_reader(shut, "attach").stdout
    program = (
        "import json, sys, duckdb\n"
        "con = duckdb.connect()\n"
        "for statement in json.load(sys.stdin): con.execute(statement)\n"
        "print(con.execute('SELECT count(*) FROM orders').fetchone()[0])\n"
    )
    plain = subprocess.run(
        [*AS_OTHERS, sys.executable, "-I", "-c", program],
        input=json.dumps(found["statements"]), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert plain.stdout == "8\n", plain.stderr
    ours = (
        "import duckdb, headrace, sys\n"
        "con = duckdb.connect()\n"
        "print(headrace.attach(con, sys.argv[1]).copied)\n"
        "print(con.execute('SELECT count(*) FROM orders').fetchone()[0])\n"
    )
    also = subprocess.run(
        [*AS_OTHERS, sys.executable, "-c", ours, str(shut)],
        capture_output=True, text=True, check=False, cwd=REPOSITORY,
    )  # fmt: skip
    assert also.stdout == "True\n8\n", also.stderr
    assert sorted((str(p), p.stat().st_mtime_ns) for p in shut.rglob("*")) == before
    (copy,) = (tmp_path / "a 'cache'" / "headrace").iterdir()
    assert [p.name for p in copy.glob("catalog.sqlite*") if "-" not in p.name] == ["catalog.sqlite"]
    assert copy.stat().st_mode & 0o077 == 0


def test_a_home_that_cannot_be_written_can_be_backed_up(shut: Path, tmp_path: Path) -> None:
    before = sorted((str(p), p.stat().st_mtime_ns) for p in shut.rglob("*"))
    done = as_reader(shut, "backup", str(tmp_path / "kept"))
    assert done.returncode == 0, done.stderr
    assert sorted((str(p), p.stat().st_mtime_ns) for p in shut.rglob("*")) == before
    made = Headrace(tmp_path / "new")
    assert made.json("restore", tmp_path / "kept")["certificate"]["equal"] is True
    made.json("append", write(tmp_path / "more.ndjson", events(3, seed=99)))
    made.json("speed", "--once")
    assert made.rows("SELECT count(*) FROM orders") == [[11]]
