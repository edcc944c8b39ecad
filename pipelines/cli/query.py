"""`headrace query`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from headrace.pipelines.cli import console, output
from headrace.pipelines.cli.app import open_lake
from headrace.pipelines.cli.options import json_option
from headrace.pipelines.errors import UsageError


@click.command("query")
@click.argument("sql", required=False)
@click.option(
    "--file", type=click.Path(path_type=Path), help="SQL from a file; - is standard input."
)
@click.option(
    "--param", "params", multiple=True, metavar="NAME=VALUE", help="What $NAME stands for."
)
@click.option("--at", metavar="POSITION|TIME", help="As of a position of the log, or a time.")
@click.option("--staged", is_flag=True, help="Of the base that an audit refused, not what is live.")
@click.option("--max-rows", type=click.IntRange(1), help="Give back at most so many rows.")
@click.option("--format", "form", type=click.Choice(output.FORMATS), help="[default: table]")
@click.option(
    "--output", "into", type=click.Path(path_type=Path), help="Write it into a file; .csv, .md, …"
)
@json_option
@click.pass_context
def query_command(
    ctx: click.Context,
    sql: str | None,
    file: Path | None,
    params: tuple[str, ...],
    at: str | None,
    staged: bool,
    max_rows: int | None,
    form: str | None,
    into: Path | None,
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
      headrace query "FROM revenue_by_day WHERE day = $day" --param day=2026-03-02
      headrace query "FROM orders" --output orders.parquet
    """  # noqa: D301 - click wants the character
    from headrace.pipelines.serving import query as serving
    from headrace.pipelines.serving import time_travel

    chosen = output.form_of(form, into, as_json=as_json)
    text, given = _sql(sql, file), _params(params)
    if staged:
        if at is not None:
            raise UsageError("--staged and --at exclude each other; a staged base has one position")
        from headrace.pipelines.batch.rejected import query_staged

        with open_lake(ctx, read_only=True) as lake:
            answer = query_staged(lake, text, max_rows=max_rows, params=given)
    elif at is None:
        with serving.Serving(open_lake(ctx, read_only=True)) as served:
            answer = served.query(text, max_rows=max_rows, params=given)
    else:
        with open_lake(ctx, read_only=True) as lake:
            position = time_travel.parse_at(at, lake)
            answer = time_travel.query_at(lake, text, position, max_rows=max_rows, params=given)
    if chosen != "json":
        which = "staged, not served: " if answer.staged else ""
        console.note(f"{which}at {answer.position}, cut {answer.cut}, logic {answer.logic}")
    output.put(answer, chosen, into)


def _sql(sql: str | None, file: Path | None) -> str:
    """The SQL, from wherever it comes.

    Raises:
        UsageError: it comes from nowhere, from two places, or the file cannot be read.
    """
    if (sql is None) == (file is None):
        raise UsageError('give the SQL, as in headrace query "SELECT …", or --file FILE')
    if file is None:
        return str(sql)
    try:
        return sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise UsageError(f"{file} cannot be read: {e}; name a text file with one SELECT") from e


def _params(given: tuple[str, ...]) -> dict[str, str]:
    """Names to values; they are bound, never pasted into the SQL.

    Raises:
        UsageError: one is no NAME=VALUE.
    """
    found = {}
    for each in given:
        name, mark, value = each.partition("=")
        if not mark or not name.isidentifier():
            raise UsageError(f"--param {each!r} is not NAME=VALUE, such as day=2026-03-02")
        found[name] = value
    return found
