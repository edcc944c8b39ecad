"""`headrace sql`: a script, and a person at a terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.e2e.command import SCRIPT, Headrace, Outcome

LONGEST = 60.0


def script(headrace: Headrace, text: str, *arguments: str) -> Outcome:
    return headrace.fed(text.encode(), "sql", *arguments)


def test_each_answer_of_a_script_is_that_of_query_with_its_position(filled_home: Path) -> None:
    headrace = Headrace(filled_home)
    statements = ["SELECT count(*) AS n\nFROM orders", "FROM country_sales ORDER BY ALL"]
    done = script(headrace, ";\n".join(statements), "--json")
    answers = [json.loads(line) for line in done.out.splitlines()]
    assert answers == [headrace.json("query", each) for each in statements], done.err
    told = script(headrace, statements[0])
    assert told.out.splitlines() == ["n", "─", "8"]
    assert told.err.startswith("at {"), told.err


def test_a_script_ends_at_its_first_error_and_says_the_line(filled_home: Path) -> None:
    done = script(Headrace(filled_home), "SELECT 1;\n\nSELECT nope;\nSELECT 2;\n", "--json")
    assert done.code == 1
    assert len(done.out.splitlines()) == 1
    (line,) = done.err.splitlines()
    assert line.startswith('headrace: line 3: Binder Error: Referenced column "nope"')


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("DELETE FROM orders;", 1, "only SELECT is answered here, not DELETE"),
        ("FROM read_csv('/etc/passwd');", 1, "read_csv is not answered here"),
        ("SELECT 1; SELECT 'open", 2, "a quote or a comment is open"),
        (".schem orders", 2, "there is no .schem; .help lists what there is"),
        (".schema", 2, "write .schema NAME"),
        (".views all", 2, "write .views, and nothing after it"),
        (".schema nope", 2, "there is no 'nope'; there are orders, ledger"),
        (".format xml", 2, "there is no 'xml'; take table, csv"),
        (".format arrow\nSELECT 1;", 2, "arrow goes into a file; name it with .output FILE"),
        (".at never", 2, "'never' is no time"),
        (".output /nowhere/x.csv\nSELECT 1;", 2, "cannot be written"),
    ],
)
def test_what_the_shell_refuses_is_said_in_one_line(
    filled_home: Path, text: str, code: int, said: str
) -> None:
    done = script(Headrace(filled_home), text)
    assert done.code == code
    line = done.err.splitlines()[-1]
    assert line.startswith("headrace: line ")
    assert said in line


def test_the_next_answer_goes_into_a_file_by_its_name(filled_home: Path, tmp_path: Path) -> None:
    parquet, plain = tmp_path / "an o'file.parquet", tmp_path / "plain"
    text = f".format csv\n.output {parquet}\nFROM orders;\n.output {plain}\nSELECT 1 AS x;\n"
    done = script(Headrace(filled_home), f"{text}SELECT 2 AS y;")
    assert pq.read_table(parquet).num_rows == 8
    assert plain.read_text("utf-8") == "x\n1\n"
    assert done.out == "y\n2\n"


@pytest.mark.thorough
def test_as_of_a_position_until_now_is_asked_for_again(filled_home: Path) -> None:
    text = ".at 2000-01-01\nSELECT count(*) AS n FROM orders;\n.at now\nFROM (SELECT count(*) AS n "
    done = script(Headrace(filled_home), f"{text}FROM orders);", "--json")
    before, after = (json.loads(line) for line in done.out.splitlines())
    assert (before["rows"], after["rows"]) == ([[0]], [[8]])
    assert set(before["position"].values()) == {0}


@pytest.mark.thorough
def test_views_and_columns_are_listed(filled_home: Path) -> None:
    done = script(Headrace(filled_home), ".help\n.views\n.schema order_funnel;\n.exit\nnonsense;")
    assert done.code == 0, done.err
    assert re.search(r"^order_funnel +view of orders +day$", done.out, re.MULTILINE)
    assert re.search(r"^day +DATE$", done.out, re.MULTILINE)
    assert ".output FILE" in done.out


def files_of(home: Path) -> list[str]:
    """All files but those that SQLite keeps beside a catalog while somebody has it open."""
    return sorted(str(p) for p in home.rglob("*") if not p.name.startswith("catalog.sqlite-"))


class Terminal:
    """The shell in a pseudo-terminal."""

    def __init__(self, home: Path, state: Path) -> None:
        ours, theirs = pty.openpty()
        kept = {k: v for k, v in os.environ.items() if not k.startswith("HEADRACE_")}
        self.process = subprocess.Popen(
            [SCRIPT, "--home", home, "sql"], stdin=theirs, stdout=theirs, stderr=theirs,
            env={**kept, "XDG_STATE_HOME": str(state), "TERM": "dumb", "HEADRACE_THREADS": "1"},
            start_new_session=True,
        )  # fmt: skip
        os.close(theirs)
        self._ours = ours
        self.said = ""

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def until(self, text: str) -> str:
        """Wait for a text; gives all that came up to it since the last time."""
        end = time.monotonic() + LONGEST
        while text not in self.said:
            assert time.monotonic() < end, f"{text!r} did not come: {self.said!r}"
            if select.select([self._ours], [], [], 1)[0]:
                self.said += os.read(self._ours, 4096).decode(errors="replace")
        before, _, self.said = self.said.partition(text)
        return before

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)


@pytest.fixture
def terminal(filled_home: Path, tmp_path: Path) -> Iterator[Terminal]:
    made = Terminal(filled_home, tmp_path / "state")
    yield made
    made.close()


@pytest.mark.thorough
def test_a_person_goes_on_after_an_error_and_after_ctrl_c(
    terminal: Terminal, filled_home: Path, tmp_path: Path
) -> None:
    before = files_of(filled_home)
    terminal.until("headrace> ")
    terminal.type("SELECT nope;\n")
    terminal.until("headrace: Binder Error")
    terminal.until("headrace> ")
    terminal.type("SELECT count(*) FROM range(100000000) a,\n")
    terminal.until("-> ")
    # In one task of DuckDB's, which looks for no signal: it would go on for hours.
    terminal.type("range(100000) b WHERE a.range + b.range = 7;\n")
    terminal.until("= 7;")
    time.sleep(1)  # into it; where this is too short, the test sees less, and is not red
    os.kill(terminal.process.pid, signal.SIGINT)
    terminal.until("stopped")
    terminal.until("headrace> ")
    terminal.type("SELECT count(*) AS n FROM orders;\n")
    assert "at {" in terminal.until("headrace> ")
    terminal.type("\x04")
    assert terminal.process.wait(LONGEST) == 0
    history = tmp_path / "state" / "headrace" / "sql_history"
    assert "SELECT count(*) AS n FROM orders;" in history.read_text("utf-8")
    assert history.stat().st_mode & 0o077 == 0
    assert files_of(filled_home) == before
