"""`headrace query`."""

from __future__ import annotations

import click

from headrace.pipelines.cli import console
from headrace.pipelines.cli.app import open_lake
from headrace.pipelines.cli.options import json_option
from headrace.pipelines.errors import UsageError


@click.command("query")
@click.argument("sql")
@click.option("--at", metavar="POSITION|TIME", help="As of a position of the log, or a time.")
@click.option("--staged", is_flag=True, help="Of the base that an audit refused, not what is live.")
@click.option("--max-rows", type=click.IntRange(1), help="Give back at most so many rows.")
@json_option
@click.pass_context
def query_command(
    ctx: click.Context,
    sql: str,
    at: str | None,
    staged: bool,
    max_rows: int | None,
    as_json: bool,
) -> None:
    """Answer one SELECT over `orders`, `ledger` and the views (`headrace views`).

    The answer carries the position of the log at which it is true. If base and deltas do not
    meet there, there is no answer. With --at, it is recomputed from the log. `restatements`
    holds the cells that changed: from what to what, and why.

    \b
      headrace query "SELECT * FROM revenue_by_day ORDER BY day"
      headrace query "SELECT status, count(*) FROM orders GROUP BY ALL" --json
      headrace query "SELECT sum(net) FROM customer_value" --at 2026-03-05
    """  # noqa: D301 - click wants the character
    from headrace.pipelines.serving import query as serving
    from headrace.pipelines.serving import time_travel

    if staged:
        if at is not None:
            raise UsageError("--staged and --at exclude each other; a staged base has one position")
        from headrace.pipelines.batch.rejected import query_staged

        with open_lake(ctx, read_only=True) as lake:
            answer = query_staged(lake, sql, max_rows=max_rows)
    elif at is None:
        with serving.Serving(open_lake(ctx, read_only=True)) as served:
            answer = served.query(sql, max_rows=max_rows)
    else:
        with open_lake(ctx, read_only=True) as lake:
            answer = time_travel.query_at(lake, sql, time_travel.parse_at(at, lake))
    text = console.table(answer.columns, answer.rows)
    if answer.truncated:
        text += f"\n… only the first {len(answer.rows):,} rows"
    if not as_json:
        which = "staged, not served: " if answer.staged else ""
        console.note(f"{which}at {answer.position}, cut {answer.cut}, logic {answer.logic}")
    console.emit(answer.as_json(), text, as_json=as_json)
