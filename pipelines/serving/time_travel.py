"""Answers as of any earlier position of the log, recomputed from it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from headrace.pipelines.errors import UsageError
from headrace.pipelines.generations import registry
from headrace.pipelines.generations.recompute import recomputed
from headrace.pipelines.lake.guarded_sql import check_select, guard, select
from headrace.pipelines.lake.lake import Lake
from headrace.pipelines.log.embedded import Log
from headrace.pipelines.position import Position
from headrace.pipelines.serving.query import Answer
from headrace.pipelines.views.stacked import in_full


def query_at(
    lake: Lake,
    sql: str,
    at: Position,
    *,
    max_rows: int | None = None,
    params: Mapping[str, object] | None = None,
) -> Answer:
    """Answer one SELECT as of any position of the log, recomputed from the log.

    Raises:
        LogError: the log does not reach that far.
        QueryError: the SQL was refused or failed.
    """
    check_select(sql, lake.con)
    guard(lake)
    log = Log(lake)
    log.check(at)
    line = registry.read(lake)
    with recomputed(lake, log, at, "at_"):
        con = lake.con
        made = ["orders", "ledger", *line.views]
        try:
            for name in ("orders", "ledger"):
                listed = ", ".join(f'"{c}"' for c in line.columns(name))
                con.execute(f"CREATE OR REPLACE TEMP VIEW {name} AS SELECT {listed} FROM at_{name}")
            relation = in_full(line.views, "at_{}".format, lambda n: f"({line.select(n)})")
            for name in line.views:
                con.execute(f'CREATE OR REPLACE TEMP VIEW "{name}" AS FROM {relation(name)}')
            found = select(lake, sql, max_rows=max_rows, params=params)
        finally:
            for name in made:
                con.execute(f'DROP VIEW IF EXISTS temp."{name}"')
    return Answer(**vars(found), cut=at, position=at, logic=line.logic, generation=line.number)


def parse_at(text: str, lake: Lake) -> Position:
    """Read `--at`: a position, or a time whose position is looked up in the log.

    Raises:
        UsageError: it is neither, or no position of this log.
    """
    log = Log(lake)
    if not text.lstrip().startswith("{"):
        return log.position_at(parse_time(text))
    position, end = Position.parse(text), log.end()
    if len(position.offsets) != len(end.offsets) or not end.covers(position):
        raise UsageError(f"the log has no position {position}: it ends at {end}")
    return position


def parse_time(text: str) -> datetime:
    """Read a date or an ISO 8601 time; without an offset it is UTC.

    Raises:
        UsageError: it is neither.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as e:
        raise UsageError(
            f"{text!r} is no time; write one such as 2011-06-01 or 2011-06-01T12:00:00Z"
        ) from e
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment
