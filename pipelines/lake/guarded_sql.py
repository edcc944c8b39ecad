"""Somebody else's SELECT: exactly one statement, which reads and changes nothing, ended in time.

What it may read is the lake, its catalog included. See `guard` for what that does not keep out.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import duckdb

from headrace.pipelines.errors import QueryError, SeamError
from headrace.pipelines.lake.connect import literal
from headrace.pipelines.lake.connection import Connection
from headrace.pipelines.lake.duckdb_errors import damaged_catalog, malformed


@dataclass(frozen=True)
class Rows:
    """What a SELECT gave; `truncated` says that there was more than was asked for."""

    columns: tuple[str, ...]
    types: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    truncated: bool


def check_select(sql: str, con: duckdb.DuckDBPyConnection) -> None:
    """Refuse anything but exactly one SELECT that reads tables and nothing else.

    Args:
        sql: what somebody gave.
        con: a connection that parses it.

    Raises:
        QueryError: it is something else.
    """
    try:
        statements = duckdb.extract_statements(sql)
    except duckdb.Error as e:
        raise as_ours(e) from e
    if len(statements) != 1:
        raise QueryError(f"give exactly one SELECT, not {len(statements)} statements")
    kind = statements[0].type
    if kind == duckdb.StatementType.EXPLAIN:
        explained = _EXPLAIN.sub("", sql)
        if explained == sql:
            raise QueryError("write EXPLAIN first, with nothing before it, not even a comment")
        check_select(explained, con)
        return
    if kind != duckdb.StatementType.SELECT:
        raise QueryError(
            f"only SELECT is answered here, not {kind.name}; events come in by `headrace append`"
        )
    for name in _functions(sql, con):
        if name in _REACHING or (name.startswith(_TABLE) and name[1:] not in _HARMLESS):
            raise QueryError(
                f"the function {name.removeprefix(_TABLE)} is not answered here, because it can "
                f"reach beyond the lake; as tables there are {', '.join(sorted(_HARMLESS))}"
            )


_PAUSE: Final = 0.02
"""Seconds between two times that a statement is told to stop."""
_EXPLAIN: Final = re.compile(r"^\s*EXPLAIN\s+(ANALYZE\s+)?", re.IGNORECASE)
_TABLE: Final = "@"
"""Before the name of a function that stands where a table could."""
_HARMLESS: Final = frozenset({"generate_series", "json_each", "json_tree", "range", "unnest"})
"""All others are refused. `sqlite_scan` opens files by itself, whatever DuckDB forbids, and `query`
runs any text."""
_REACHING: Final = frozenset({"getenv", "getvariable", "current_setting"})


def _functions(sql: str, con: duckdb.DuckDBPyConnection) -> Iterator[str]:
    """The functions of a SELECT, as DuckDB parses it."""
    serialized = f"SELECT json_serialize_sql({literal(sql)})"
    (told,) = con.cursor().execute(serialized).fetchall()[0]
    tree = json.loads(told)
    if tree["error"]:
        raise QueryError(
            f"it cannot be looked into ({tree['error_message']}); write a plain SELECT"
        )
    waiting: list[Any] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            call = node.get("function") if node.get("type") == "TABLE_FUNCTION" else None
            if isinstance(call, dict):
                yield f"{_TABLE}{str(call['function_name']).lower()}"
                waiting += [value for key, value in call.items() if key != "function_name"]
                node = {key: value for key, value in node.items() if key != "function"}
            elif node.get("class") == "FUNCTION":
                yield str(node["function_name"]).lower()
            waiting += node.values()
        elif isinstance(node, list):
            waiting += node


def guard(lake: Connection, *also: Path) -> None:
    """From here on, DuckDB reads and writes no file on this connection but the lake's data files.

    Not even the rest of the home: its settings may hold a password. And nobody can undo it.

    Functions of extensions open files by themselves, whatever is forbidden here: `check_select`
    refuses them. The catalog can be read, since it is attached.

    Args:
        lake: the connection.
        also: folders that may be used as well.
    """
    if lake.row("SELECT current_setting('lock_configuration')")[0]:
        return  # guarded already
    allowed = ", ".join(literal(folder) for folder in (lake.home.data, *also))
    lake.con.execute(f"SET allowed_directories = [{allowed}]")
    lake.con.execute("SET enable_external_access = false")
    lake.con.execute("SET lock_configuration = true")


def select(
    lake: Connection,
    sql: str,
    *,
    max_rows: int | None = None,
    timeout: timedelta | None = None,
    params: Mapping[str, object] | None = None,
) -> Rows:
    """Run a checked SELECT on a guarded lake.

    Args:
        lake: whose connection runs it.
        sql: one SELECT.
        max_rows: rows to give back at most.
        timeout: after which it is interrupted.
        params: what `$name` stands for; bound, never pasted.

    Raises:
        SeamError: base and deltas do not meet.
        QueryError: it failed or took too long.
        DamageError: the catalog turned out to be damaged.
    """
    with _interrupted_after(lake.con, timeout):
        try:
            described, rows = _run(lake.con, sql, max_rows, params)
        except duckdb.InterruptException as e:
            raise QueryError(
                f"the query took longer than {timeout}; narrow it, or raise the limit"
            ) from e
        except duckdb.Error as e:
            if malformed(e):
                raise damaged_catalog(lake.home, e) from e
            raise as_ours(e) from e
        except TypeError as e:
            raise QueryError(f"a parameter cannot be bound: {e}") from e
    return Rows(
        tuple(d[0] for d in described),
        tuple(str(d[1]) for d in described),
        tuple(rows[:max_rows]),
        max_rows is not None and len(rows) > max_rows,
    )


def _run(
    con: duckdb.DuckDBPyConnection,
    sql: str,
    max_rows: int | None,
    params: Mapping[str, object] | None,
) -> tuple[list[Any], list[tuple[Any, ...]]]:
    """Run a statement, so that ctrl-C stops it: gives its columns and rows.

    In a thread of its own. In the main one, DuckDB looks for ctrl-C only between its tasks, and
    some joins are one task of hours; `interrupt` is seen at the next thousand rows.
    """

    def run() -> tuple[list[Any], list[tuple[Any, ...]]]:
        # To bind loads pandas, where that is not kept out: only who binds pays for it.
        cursor = con.execute(sql, dict(params)) if params else con.execute(sql)
        described = cursor.description or []
        return described, cursor.fetchall() if max_rows is None else cursor.fetchmany(max_rows + 1)

    with ThreadPoolExecutor(1) as apart:
        running = apart.submit(run)
        try:
            return running.result()
        except KeyboardInterrupt:
            while not running.done():  # DuckDB forgets one that comes just before it begins
                con.interrupt()
                time.sleep(_PAUSE)
            raise


def as_ours(e: duckdb.Error) -> Exception:
    """DuckDB's error as one of ours, its first lines kept: they name the place."""
    text = str(e)
    if "SeamError: " in text:
        return SeamError(text.split("SeamError: ", 1)[1].splitlines()[0])
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    said = " ".join(lines[:2]) if lines else type(e).__name__
    if isinstance(e, duckdb.CatalogException) and said.startswith("Catalog Error: Table"):
        said += " `headrace views` lists what there is: a home may switch built-in views off"
    return QueryError(said)


def plain(value: object) -> object:
    """A value as JSON can hold it exactly: decimals and times become strings."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return str(value)


@contextlib.contextmanager
def _interrupted_after(con: duckdb.DuckDBPyConnection, timeout: timedelta | None) -> Iterator[None]:
    """Interrupt what runs on a connection after a time."""
    if timeout is None:
        yield
        return
    timer = threading.Timer(timeout.total_seconds(), con.interrupt)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
