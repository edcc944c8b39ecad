"""What surprised people at the edges: each of it once, so that it does not come back."""

from __future__ import annotations

from pathlib import Path

import pytest

import headrace
from headrace.pipelines import settings
from headrace.pipelines.errors import StorageError
from headrace.pipelines.ingest.append import append_lines
from headrace.pipelines.ingest.ndjson import Line
from headrace.pipelines.log.embedded import Log
from tests.conftest import MakeLake
from tests.e2e.command import Headrace
from tests.e2e.orders import events, write

MINE = "SELECT country, count(*) AS n, coalesce(sum(net), 0) AS net FROM orders GROUP BY country"


@pytest.fixture
def own(tmp_path: Path) -> Headrace:
    """A home with a view of its own, and events in it."""
    command = Headrace(tmp_path / "home")
    (command.home / "views").mkdir(parents=True)
    (command.home / "views" / "mine.sql").write_text(MINE, encoding="utf-8")
    command.json("append", write(tmp_path / "in.ndjson", events(10, seed=8)))
    command.json("speed", "--once")
    return command


def test_a_replay_compares_the_columns_that_both_have_and_names_the_others(own: Headrace) -> None:
    changed = MINE.replace("count(*) AS n", "count(*) AS orders, sum(units) AS units")
    (own.home / "views" / "mine.sql").write_text(changed, encoding="utf-8")
    told = own.json("replay", "--from", "beginning")
    assert told["columns"] == {"mine": {"new": ["orders", "units"], "gone": ["n"]}}
    assert (told["equal"], told["logic_changed"], told["added"]) == (True, True, [])
    said = own.run("replay", "--from", "beginning").out
    assert "all equal among the columns that both have" in said
    assert "changed logic: mine has other columns (new: orders, units; gone: n)" in said


def test_a_replay_sees_a_column_that_means_something_else_now(own: Headrace) -> None:
    changed = MINE.replace("sum(net)", "sum(gross)").replace("count(*) AS n, ", "")
    (own.home / "views" / "mine.sql").write_text(changed, encoding="utf-8")
    told = own.json("replay", "--from", "beginning")
    assert told["by_view"]["mine"] > 0
    assert told["columns"] == {"mine": {"gone": ["n"]}}
    done = own.json("promote")
    assert own.json("verify")["equal"] is True
    causes = own.rows("SELECT DISTINCT view, measure, cause FROM restatements")
    assert ["mine", "net", "changed logic"] in causes
    assert done["generation"] == told["generation"]


def test_a_view_with_other_keys_is_named_as_grouped_otherwise(own: Headrace) -> None:
    changed = MINE.replace("country", "channel")
    (own.home / "views" / "mine.sql").write_text(changed, encoding="utf-8")
    said = own.run("replay", "--from", "beginning").out
    assert "changed logic: grouped by other keys: mine" in said


def test_a_mistyped_home_is_refused_with_the_nearest_one_and_not_made(own: Headrace) -> None:
    typo = Headrace(own.home.with_name("hone"))
    for call in (["verify"], ["query", "SELECT 1"], ["status"], ["batch"], ["promote"], ["check"]):
        typo.run(*call).refused(2, "there is no home at", f"did you mean --home {own.home}?")
    assert not typo.home.exists()


def test_an_import_that_fails_leaves_no_home_behind(tmp_path: Path) -> None:
    command = Headrace(tmp_path / "fresh")
    file = write(tmp_path / "not.csv", [b"a,b", b"1,2"])
    command.run("import", "uci-online-retail", file).refused(1, "is no file of UCI Online Retail")
    assert not command.home.exists()


def test_a_proof_of_nothing_is_not_called_equal(tmp_path: Path) -> None:
    command = Headrace(tmp_path / "home")
    command.json("init")
    said = command.run("verify").out
    assert said.startswith("NOTHING TO PROVE")
    assert "EQUAL" not in said


def test_the_batch_of_a_home_says_which_audit_it_had(own: Headrace) -> None:
    assert "; audit core" in own.run("batch", "--engine", "duckdb", "--audit", "core").out


def test_an_append_that_is_refused_half_way_says_what_is_recorded(
    make_lake: MakeLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = make_lake(append_events=10)
    whole, calls = Log.append, []

    def append(log: Log, lines: list[bytes], origins: list[str]) -> object:
        calls.append(len(lines))
        if len(calls) > 2:
            raise StorageError("the disk is full; nothing of it was recorded")
        return whole(log, lines, origins)

    monkeypatch.setattr(Log, "append", append)
    lines = [Line(raw, f"in:{n}") for n, raw in enumerate(events(20, seed=1))]
    with pytest.raises(StorageError, match=r"20 lines before it are recorded \(20 events"):
        append_lines(lake, lines)
    assert Log(lake).end().total == 20


def test_a_schedule_may_be_a_plain_number_of_seconds(tmp_path: Path) -> None:
    (tmp_path / "headrace.toml").write_text("schedule_ingest = 20\n", encoding="utf-8")
    assert settings.load(tmp_path, environ={}).schedule_ingest == "20"


def test_a_message_shows_a_sign_as_it_is() -> None:
    from headrace.pipelines.ingest.delimited import shown

    assert shown("7,50 €") == "'7,50 €'"
    assert shown("a\x07") == "'a\\x07'"


def test_the_help_keeps_its_examples_apart() -> None:
    command = Headrace(Path("unused"))
    for call in (["--help"], ["query", "--help"]):
        said = command.run(*call).out
        assert "\\b" not in said
        assert "\n    headrace " in said or "\n  headrace " in said


def test_the_demo_ends_with_what_to_do_next() -> None:
    from headrace.pipelines.cli.demo import _next_steps

    kept = _next_steps(Path("/tmp/it's mine"))  # noqa: S108 - only a name
    assert "headrace --home '/tmp/it'\"'\"'s mine' query" in kept
    assert "headrace demo --keep" in _next_steps(None)


def test_prefect_that_is_down_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = Headrace(tmp_path / "home")
    headrace.append(command.home, events(2, seed=1))
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    outcome = command.process("flows", "run", "batch", "--param", "engine=duckdb")
    outcome.refused(2, "no Prefect server answers at http://127.0.0.1:9/api")
