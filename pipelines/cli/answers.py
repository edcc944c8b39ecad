"""Commands that answer: query, views, status, verify, demo."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import click

from headrace.pipelines.cli import console
from headrace.pipelines.cli.app import open_lake, settings_of
from headrace.pipelines.cli.events import json_option
from headrace.pipelines.errors import UsageError

if TYPE_CHECKING:
    from headrace.pipelines.quality.verify import Certificate


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
    r"""Answer one SELECT over `orders`, `ledger` and the views (`headrace views`).

    The answer carries the position of the log at which it is true. If base and deltas do not
    meet there, there is no answer. With --at, it is recomputed from the log. `restatements`
    holds the cells that changed: from what to what, and why.

    \b
      headrace query "SELECT * FROM revenue_by_day ORDER BY day"
      headrace query "SELECT status, count(*) FROM orders GROUP BY ALL" --json
      headrace query "SELECT sum(net) FROM customer_value" --at 2026-03-05
    """
    from headrace.pipelines.serving import query as serving

    if staged:
        if at is not None:
            raise UsageError("--staged and --at exclude each other; a staged base has one position")
        from headrace.pipelines.batch.rejected_query import query_staged

        with open_lake(ctx, read_only=True) as lake:
            answer = query_staged(lake, sql, max_rows=max_rows)
    elif at is None:
        with serving.Serving(open_lake(ctx, read_only=True)) as served:
            answer = served.query(sql, max_rows=max_rows)
    else:
        with open_lake(ctx, read_only=True) as lake:
            answer = serving.query_at(lake, sql, serving.parse_at(at, lake))
    text = console.table(answer.columns, answer.rows)
    if answer.truncated:
        text += f"\n… only the first {len(answer.rows):,} rows"
    if not as_json:
        which = "staged, not served: " if answer.staged else ""
        console.note(f"{which}at {answer.position}, cut {answer.cut}, logic {answer.logic}")
    console.emit(answer.as_json(), text, as_json=as_json)


@click.command("views")
@json_option
@click.pass_context
def views_command(ctx: click.Context, as_json: bool) -> None:
    """List what can be queried: tables, views and their columns; and view files that wait."""
    from headrace.pipelines.generations import registry
    from headrace.schemas.tables import LEDGER_COLUMNS, ORDERS_COLUMNS

    with open_lake(ctx, read_only=True) as lake:
        line = registry.read(lake)
        wanted = registry.current_views(lake.home)
    found: list[dict[str, Any]] = [
        {"name": name, "kind": "table", "columns": dict(columns)}
        for name, columns in (("orders", ORDERS_COLUMNS), ("ledger", LEDGER_COLUMNS))
    ]
    found += [
        {
            "name": view.name,
            "kind": f"view of {view.source}",
            "columns": {c.name: c.type for c in view.outputs},
            "key": [c.name for c in view.keys],
            "sql": view.sql,
        }
        for view in line.views.values()
    ]
    waiting = sorted(
        name
        for name in {*wanted, *line.views}
        if name not in wanted or name not in line.views or wanted[name].sql != line.views[name].sql
    )
    rows = [(f["name"], f["kind"], ", ".join(f["columns"])) for f in found]
    text = console.table(["name", "kind", "columns"], rows)
    if waiting:
        text += (
            f"\nchanged on disk, not live yet: {', '.join(waiting)}. "
            "`headrace replay --from beginning` builds a generation with them"
        )
    result = {"logic": line.logic, "views": found, "waiting": waiting}
    console.emit(result, text, as_json=as_json)


@click.command("status")
@json_option
@click.pass_context
def status_command(ctx: click.Context, as_json: bool) -> None:
    """Where the log ends, where the views stand, and what was counted, doubled or refused."""
    from headrace.pipelines.operations.status import status

    # Many small reads: a second thread would only wait for the first.
    with open_lake(ctx, read_only=True, threads=1) as lake:
        result = status(lake)
    proof = result["certificate"]
    lines = [
        ("home", result["home"]),
        ("log", f"{result['events']:,} events, end {_position(result['end'])}"),
        *(("topic", text) for text in _topic(result["topic"])),
        ("redelivered", f"{result['repeats']:,} (counted once)"),
        ("quarantined", f"{result['quarantined']:,} open"),
        ("live", f"generation {result['generation']}, logic {result['logic']}"),
        ("base", f"{result['base']} ({result['engine']}), cut {_position(result['cut'])}"),
        ("position", f"{_position(result['position'])}, {_lag(result['lag_events'])}"),
        *_partitions(result["partitions"]),
        ("newest event", f"{result['newest_event'] or '-'} (event time)"),
        ("clocks", _clocks(result["ahead"])),
        ("speed layer", result["speed"]),
        (
            "last proof",
            "none; `headrace verify` makes one"
            if proof is None
            else f"{'equal' if proof['equal'] else 'NOT EQUAL'} at {_position(proof['position'])}, "
            f"{proof['recorded_at']}",
        ),
        *_checks(result),
    ]
    text = "\n".join(f"{name:<13} {value}" for name, value in lines)
    console.emit(result, text, as_json=as_json)


def _checks(result: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What the last checks found, the base that was refused, and where the Data Docs are."""
    for found in result["checks"]:
        said = "passed" if found["passed"] else "FAILED"
        if found["forced_reason"] is not None:
            said += f", published all the same: {found['forced_reason']}"
        if found["findings"]:
            said += f", {found['findings']} findings"
        yield f"check {found['suite']}"[:13], f"{said}, {found['recorded_at']}"
    if result["refused"] is not None:
        cut = _position(result["refused"]["cut"])
        yield "refused", f"a base at {cut} waits: `headrace query --staged`, `headrace publish`"
    if result["reports"] is not None:
        yield "reports", result["reports"]


def _lag(events: int) -> str:
    return "up to date" if not events else f"{events:,} events behind"


def _topic(topic: dict[str, Any] | None) -> Iterator[str]:
    """The topic's own end, or why it is not known."""
    if topic is None:
        return
    if topic["error"] is not None:
        yield f"{topic['address']}: {topic['error']}"
    else:
        yield f"{topic['address']}, end {_position(topic['end'])}, {_lag(topic['lag_events'])}"


def _partitions(partitions: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """Those that are behind, each with how many events, and since when the first of them waits."""
    from datetime import timedelta

    for found in partitions:
        if found["lag_events"]:
            seconds = found["lag_seconds"]
            waits = "" if seconds is None else f", for {timedelta(seconds=round(seconds))}"
            place = f"  partition {found['partition']}"
            yield (
                place,
                f"{found['position']} of {found['end']}, {_lag(found['lag_events'])}{waits}",
            )


def _clocks(ahead: list[dict[str, Any]]) -> str:
    """Who sends events that have not happened yet, by this machine's clock."""
    from datetime import timedelta

    if not ahead:
        return "no source is ahead of ours"
    first = ahead[0]
    by = timedelta(seconds=round(first["seconds"]))
    more = f", and {len(ahead) - 1} more" if len(ahead) > 1 else ""
    return f"{first['source']} was ahead by {by}, newest event {first['newest_event']}{more}"


def _position(offsets: dict[str, int]) -> str:
    return "{" + ", ".join(f"{p}: {o}" for p, o in offsets.items()) + "}"


@click.command("verify")
@click.option("--generation", type=int, help="Another generation than the live one.")
@json_option
@click.pass_context
def verify_command(ctx: click.Context, generation: int | None, as_json: bool) -> None:
    """Prove what is served: recompute it from the log, compare every cell of every view.

    Exit code 1 if a single cell differs. The certificate is stored in the lake.
    """
    from headrace.pipelines.quality.verify import verify

    with open_lake(ctx) as lake, console.bar("verify", "slices") as progress:
        certificate = verify(lake, generation, progress=progress)
    console.emit(certificate_json(certificate), certificate_text(certificate), as_json=as_json)
    ctx.exit(0 if certificate.equal else 1)


def certificate_json(c: Certificate) -> dict[str, Any]:
    """A certificate as `verify --json` prints it."""
    from headrace.pipelines.lake.guarded_sql import plain

    return {
        "equal": c.equal,
        "generation": c.generation,
        "logic": c.logic,
        "cut": c.cut.as_dict(),
        "position": c.position.as_dict(),
        "events": c.events,
        "repeats": c.repeats,
        "rows": c.comparison.rows,
        "cells": c.comparison.cells,
        "wrong": c.comparison.wrong,
        "by_view": dict(c.comparison.by_view),
        "fingerprint": c.fingerprint,
        "at": f"{c.at.isoformat(timespec='seconds')}Z",
        "differences": [
            {
                "view": x.view,
                "key": plain(dict(x.key)),
                "column": x.column,
                "served": plain(x.served),
                "expected": plain(x.expected),
            }
            for x in c.comparison.shown
        ],
    }


def certificate_text(c: Certificate) -> str:
    """A certificate for a person."""
    verdict = "EQUAL" if c.equal else f"NOT EQUAL: {c.comparison.wrong:,} cells differ"
    lines = [
        verdict,
        f"  served == recomputed from {c.events:,} events ({c.repeats:,} redelivered)",
        f"  {c.comparison.cells:,} cells in {c.comparison.rows:,} rows",
        f"  position {c.position}, cut {c.cut}",
        f"  generation {c.generation}, logic {c.logic}, fingerprint {c.fingerprint}",
        f"  {c.at.isoformat(timespec='seconds')}Z",
    ]
    if c.comparison.shown:
        rows = [
            (
                x.view,
                " ".join(f"{k}={console.cell(v)}" for k, v in x.key.items()),
                x.column,
                x.served,
                x.expected,
            )
            for x in c.comparison.shown
        ]
        lines.append(console.table(["view", "key", "column", "served", "expected"], rows))
    return "\n".join(lines)


@click.command("demo")
@click.option("--orders", type=click.IntRange(100), default=20_000, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=7, show_default=True)
@click.option("--engine", type=click.Choice(["spark", "duckdb"]), default="spark")
@click.pass_context
def demo_command(ctx: click.Context, orders: int, seed: int, engine: str) -> None:
    """Tell the whole story in a fresh home, with real output.

    Uses a temporary home unless --home names one that is empty.
    """
    import tempfile
    from pathlib import Path

    from headrace.pipelines.cli.demo import tell

    chosen: Callable[[Path], Any] = lambda home: tell(  # noqa: E731 - reads like the call it is
        settings_of(ctx).model_copy(update={"home": home}), orders=orders, seed=seed, engine=engine
    )
    home = ctx.find_root().obj
    if home is not None:
        chosen(home)
        return
    with tempfile.TemporaryDirectory(prefix="headrace-demo-") as folder:
        chosen(Path(folder) / "home")
