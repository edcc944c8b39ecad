"""Queries of the base that an audit refused: what it would serve, and at which position."""

from __future__ import annotations

import duckdb

from headrace.pipelines.batch import rejected
from headrace.pipelines.errors import QueryError
from headrace.pipelines.generations import registry
from headrace.pipelines.lake.guarded_sql import check_select, guard, select
from headrace.pipelines.lake.lake import Lake
from headrace.pipelines.serving.query import Answer


def query_staged(lake: Lake, sql: str, *, max_rows: int | None = None) -> Answer:
    """Answer one SELECT over the refused base; `position` and `cut` are where it was cut.

    Raises:
        UsageError: no base is kept.
        QueryError: the SQL was refused or failed.
    """
    check_select(sql)
    candidate = rejected.load(lake.home)
    staged = candidate.staged
    guard(lake, lake.home.refused)
    con = lake.con
    try:
        for name in ("orders", "ledger"):
            con.execute(f"CREATE OR REPLACE TEMP VIEW {name} AS FROM {staged.relation(name)}")
        for name, view in staged.views.items():
            text = view.served_sql(staged.relation(name))
            con.execute(f'CREATE OR REPLACE TEMP VIEW "{name}" AS {text}')
        found = select(lake, sql, max_rows=max_rows)
    except (duckdb.Error, QueryError) as e:
        cause = e.__cause__ if isinstance(e, QueryError) else e
        if isinstance(cause, duckdb.IOException):
            told = str(cause).splitlines()[0]
            raise QueryError(f"the refused base is not whole: {told}") from e
        raise
    return Answer(
        **vars(found),
        cut=staged.cut,
        position=staged.cut,
        logic=registry.logic_of(staged.views),
        generation=candidate.generation or registry.live_number(lake),
        staged=True,
    )
