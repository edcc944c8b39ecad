"""Queries of the base that an audit refused: what it would serve, and at which position."""

from __future__ import annotations

import duckdb

from pipelines import generations, refused
from pipelines.errors import QueryError
from pipelines.lake import Lake
from pipelines.serving import Answer, as_ours, check_select, guard


def query_staged(lake: Lake, sql: str, *, max_rows: int | None = None) -> Answer:
    """Answer one SELECT over the refused base; `position` and `cut` are where it was cut.

    Raises:
        UsageError: no base is kept.
        QueryError: the SQL was refused or failed.
    """
    check_select(sql)
    candidate = refused.load(lake.home)
    staged = candidate.staged
    guard(lake, lake.home.refused)
    con = lake.con
    try:
        for name in ("orders", "ledger"):
            con.execute(f"CREATE OR REPLACE TEMP VIEW {name} AS FROM {staged.relation(name)}")
        for name, view in staged.views.items():
            select = view.served_sql(staged.relation(name))
            con.execute(f'CREATE OR REPLACE TEMP VIEW "{name}" AS {select}')
        cursor = con.execute(sql)
        described = cursor.description or []
        rows = cursor.fetchall() if max_rows is None else cursor.fetchmany(max_rows + 1)
    except duckdb.IOException as e:
        raise QueryError(f"the refused base is not whole: {str(e).splitlines()[0]}") from e
    except duckdb.Error as e:
        raise as_ours(e) from e
    return Answer(
        tuple(d[0] for d in described),
        tuple(str(d[1]) for d in described),
        tuple(rows if max_rows is None else rows[:max_rows]),
        staged.cut,
        staged.cut,
        generations.logic_of(staged.views),
        candidate.generation or generations.live_number(lake),
        max_rows is not None and len(rows) > max_rows,
        staged=True,
    )
