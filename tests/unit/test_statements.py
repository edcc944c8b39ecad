"""Where a statement ends, as the shell sees it: as DuckDB does."""

from __future__ import annotations

import duckdb
import pytest

from headrace.pipelines.cli.statements import says_something, split

WHOLE = [
    "SELECT 1",
    "SELECT ';'",
    "SELECT 'it''s ; one'",
    "SELECT E'a\\';b'",
    'SELECT 1 AS "a;b""c"',
    "SELECT 1 -- it's ; one\n + 1",
    "SELECT 1 /* ; ' /* ; */ ; */ + 1",
    "SELECT $$ ; ' $$",
    "SELECT $q$ ; $$ ; $q$",
    "SELECT date'2026-01-01'",
    "SELECT 5 - -1",
]


@pytest.mark.parametrize("text", WHOLE)
def test_a_statement_ends_at_its_own_semicolon_and_no_other(text: str) -> None:
    assert len(duckdb.extract_statements(f"{text};")) == 1
    assert split(f"{text};") == ([text], "")
    assert split(f"{text}; SELECT 2 ;\n{text};SELECT 3") == (
        [text, "SELECT 2", text],
        "SELECT 3",
    )


@pytest.mark.parametrize("text", ["SELECT ';", 'SELECT ";', "SELECT 1 -- ;", "SELECT /* ;", "$$;"])
def test_what_is_open_does_not_end(text: str) -> None:
    assert split(text) == ([], text)


def test_comments_and_blanks_are_no_statement() -> None:
    assert split("; ;-- a\n;/* b /* c */ */;") == ([], "")
    assert not says_something(" -- a\n /* b */")
    assert says_something("/* a */ x")
