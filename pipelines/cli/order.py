"""`headrace order`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from headrace.pipelines.cli import console
from headrace.pipelines.cli.app import open_lake
from headrace.pipelines.cli.options import json_option

if TYPE_CHECKING:
    from headrace.pipelines.serving.explanation import Listed
    from headrace.pipelines.serving.order_history import OrderHistory


@click.group("order")
def order_command() -> None:
    """Look at one order."""


@order_command.command("show")
@click.argument("order_id")
@click.option("--at", metavar="POSITION|TIME", help="As of a position of the log, or a time.")
@json_option
@click.pass_context
def show_order_command(ctx: click.Context, order_id: str, at: str | None, as_json: bool) -> None:
    """The state of an order, its ledger and its events, now or as of an earlier position.

    It is folded from the order's events. At the newest position it must be what is served; if it
    is not, this says so and exits with 1.
    """
    from headrace.pipelines.serving import time_travel
    from headrace.pipelines.serving.order_history import order_history

    with open_lake(ctx, read_only=True) as lake:
        position = None if at is None else time_travel.parse_at(at, lake)
        found = order_history(lake, order_id, position)
    console.emit(found.as_json(), _text(found), as_json=as_json)
    if not as_json:
        console.note(f"at {found.position}, cut {found.cut}, logic {found.logic}")
    if found.as_served is False:
        ctx.exit(1)


def _text(found: OrderHistory) -> str:
    state = [(name, console.cell(value)) for name, value in found.state.items()]
    lines = [
        console.table(["column", "value"], state),
        "",
        f"{found.ledger.total:,} rows of ledger",
        _table(found.ledger, {"order_id", "currency"}),
        "",
        f"{found.events.total:,} events",
        _table(found.events, {"order_id", "appended_at"}),
    ]
    if found.as_served is not None:
        lines += ["", "As served." if found.as_served else "NOT AS SERVED: run `headrace verify`."]
    return "\n".join(lines)


def _table(listed: Listed, leave: set[str]) -> str:
    places = [n for n, name in enumerate(listed.columns) if name not in leave]
    rows = [[row[n] for n in places] for row in listed.rows]
    return console.table([listed.columns[n] for n in places], rows)
