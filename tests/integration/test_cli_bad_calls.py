"""Wrong calls, SQL, settings and views: one clear line, the right exit code, nothing changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.command import Headrace
from tests.integration.conftest import nothing_lost

# Queries


@pytest.mark.parametrize(
    ("sql", "word"),
    [
        ("SELECT nope FROM revenue_by_day", "nope"),
        ("SELECT * FROM revenue_by_year", "revenue_by_year"),
        ("SELEC 1", "SELEC"),
        ("", "exactly one SELECT"),
        ("SELECT 1; SELECT 2", "not 2 statements"),
        ("DELETE FROM sys.events", "not DELETE"),
        ("DROP TABLE sys.events", "not DROP"),
        ("CREATE TEMP TABLE t AS SELECT 1", "not CREATE"),
        ("INSERT INTO sys.appends SELECT * FROM sys.appends", "not INSERT"),
        ("COPY orders TO '/tmp/headrace-test-copy.csv'", "not COPY"),
        ("ATTACH '/tmp/headrace-test.db' AS other", "not ATTACH"),
        ("SELECT * FROM sqlite_scan('other.db', 't')", "sqlite_scan"),
        ("SELECT 1 UNION ALL SELECT * FROM SQLITE_SCAN('other.db', 't')", "sqlite_scan"),
        ("SELECT * FROM orders WHERE EXISTS (FROM sqlite_query('other.db', 'x'))", "sqlite_query"),
        ("WITH a AS (FROM query('FROM orders')) FROM a", "query"),
        ("SELECT * FROM range((SELECT count(*) FROM glob('/*')))", "glob"),
        ("SELECT getenv('HOME')", "getenv"),
        ("SET threads = 1", "not "),
        ("PRAGMA enable_profiling", "not PRAGMA"),
        ("INSTALL httpfs", "not "),
        ("CALL ducklake_expire_snapshots('lake', older_than => now())", "not CALL"),
        ("SELECT * FROM read_text('/etc/hostname')", "read_text"),
        ("SELECT * FROM read_csv('/etc/passwd')", "read_csv"),
        ("SELECT * FROM '/etc/passwd'", "/etc/passwd"),
        ("SELECT * FROM glob('/etc/*')", "glob"),
        ("SELECT * FROM sqlite_scan('/tmp/headrace-test.db', 't')", "sqlite_scan"),
    ],
)
@pytest.mark.parametrize("at", [(), ("--at", "2026-03-20")], ids=["live", "at"])
def test_sql_that_is_wrong_or_reaches_too_far_is_refused(
    filled_home: Path, sql: str, word: str, at: tuple[str, ...]
) -> None:
    Headrace(filled_home).run("query", sql, *at).refused(1, word)
    assert not Path("/tmp/headrace-test-copy.csv").exists()  # noqa: S108 - nobody may write it
    assert not Path("/tmp/headrace-test.db").exists()  # noqa: S108


@pytest.mark.parametrize("sql", ["SELECT sum(net) FROM revenue_by_day", "FROM orders"])
def test_refused_sql_has_changed_nothing(filled_home: Path, sql: str) -> None:
    headrace = Headrace(filled_home)
    assert headrace.run("query", sql).code == 0
    nothing_lost(headrace)


# Arguments


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["query", "SELECT 1", "--at", "yesterday"], "'yesterday' is no time"),
        (["query", "SELECT 1", "--at", "{"], "is no position"),
        (["query", "SELECT 1", "--at", '{"0": -1}'], "cannot be negative"),
        (["query", "SELECT 1", "--at", '{"0": "x"}'], "is no position"),
        (["query", "SELECT 1", "--at", '{"0": 1}'], "no position {0: 1}: it ends at {0: 0, 1: 2"),
        (["query", "SELECT 1", "--at", '{"0": 9, "1": 2, "2": 9, "3": 7}'], "it ends at {0: 0"),
        (["query"], "SQL"),
        (["replay", "--from", "2026-13-01"], "'2026-13-01' is no time"),
        (["replay"], "--from"),
        (["replay", "--from", "beginning", "--views", "/nowhere"], "/nowhere"),
        (["promote", "7"], "no generation 7"),
        (["promote", "x"], "'x'"),
        (["verify", "--generation", "7"], "no generation 7"),
        (["speed"], "--once or --follow"),
        (["append"], "FILE"),
        (["append", "--nope"], "--nope"),
        (["nope"], "nope"),
        (["batch", "--engine", "abacus"], "abacus"),
        (["log", "show"], "--order"),
        (["log", "show", "--order", "none"], "no such event"),
        (["quarantine", "show", "none"], "'none'"),
        (["quarantine", "retry", "none"], "'none'"),
        (["import", "uci-online-retail", "/nowhere"], "/nowhere does not exist"),
        (["init", "--partitions", "0"], "--partitions"),
        (["init", "--partitions", "9"], "4 partitions"),
        (["generate", "--orders", "1", "--seed", "1", "--late", "2"], "--late"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_a_wrong_call_is_told_so_and_does_nothing(
    filled_home: Path, arguments: list[str], word: str
) -> None:
    Headrace(filled_home).run(*arguments).refused(2, word)


def test_a_mapping_that_cannot_be_read_is_named(filled_home: Path) -> None:
    arguments = ("import", "csv", "--mapping", "/nowhere.toml", "/nowhere.csv")
    Headrace(filled_home).run(*arguments).refused(1, "/nowhere.toml", "docs/guides/csv-import.md")


def test_nothing_to_switch_to_is_said(filled_home: Path) -> None:
    headrace = Headrace(filled_home)
    headrace.run("rollback").refused(1, "no earlier generation")
    headrace.run("promote").refused(1, "live already")
    nothing_lost(headrace)


# Settings


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (b"commit_events = ", "is not TOML"),
        (b"\xff\xfe", "is not TOML"),
        (b"commit_event = 5", "'commit_event'"),
        (b"commit_events = 0", "'commit_events' is 0"),
        (b"commit_events = 'many'", "'commit_events' is 'many'"),
        (b"lock_wait = -1", "'lock_wait' is -1"),
        (b"memory_limit = 'lots'", "memory_limit"),
    ],
)
def test_a_bad_setting_is_named_with_its_value(filled: Headrace, text: bytes, word: str) -> None:
    file = filled.home / "headrace.toml"
    file.write_bytes(text)
    filled.run("status").refused(2, word)
    file.unlink()
    nothing_lost(filled)


def test_a_bad_setting_in_the_environment_is_named(filled_home: Path) -> None:
    headrace = Headrace(filled_home)
    headrace.run("status", append_events="few").refused(
        2, "'append_events' is 'few'", "HEADRACE_APPEND_EVENTS"
    )


def test_a_duration_in_the_environment_may_be_plain_seconds(filled_home: Path) -> None:
    assert Headrace(filled_home).run("status", lock_wait="2.5").code == 0


# Views


@pytest.mark.parametrize(
    ("sql", "word"),
    [
        ("SELECT customer_id, sum(nope) AS n FROM ledger GROUP BY customer_id", "nope"),
        ("SELECT customer_id, stddev(amount) AS n FROM ledger GROUP BY customer_id", "stddev"),
        ("SELECT 1", "mine.sql"),
        ("SELEC", "mine.sql"),
    ],
)
def test_a_view_that_cannot_be_kept_is_refused_with_its_file_and_what_is_served_stays(
    filled: Headrace, sql: str, word: str
) -> None:
    file = filled.home / "views" / "mine.sql"
    file.write_text(sql)
    for command in (["speed", "--once"], ["batch", "--engine", "duckdb"]):
        filled.run(*command).refused(1, "mine.sql", word)
    file.unlink()
    nothing_lost(filled)


def test_ctrl_c_in_the_middle_of_a_query_is_told_as_a_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DuckDB turns the signal into an error of its own; only chance decides when it comes."""
    headrace = Headrace(tmp_path / "home")
    headrace.json("init")

    def interrupted(*_: object, **__: object) -> None:
        raise RuntimeError("Query interrupted")

    monkeypatch.setattr("headrace.pipelines.quality.verify.verify", interrupted)
    outcome = headrace.run("verify")
    assert (outcome.code, outcome.err) == (
        130, "headrace: stopped; everything acknowledged so far is kept\n"
    )  # fmt: skip
