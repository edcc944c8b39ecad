"""`headrace erase`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from headrace.pipelines.cli import console
from headrace.pipelines.cli.app import open_lake
from headrace.pipelines.cli.options import json_option

if TYPE_CHECKING:
    from headrace.pipelines.operations.erasure import Erased

_reason = click.option(
    "--reason", required=True, help="Why. It is kept, so it must not name the customer."
)
_dry_run = click.option("--dry-run", is_flag=True, help="Only count what would change.")


@click.group("erase")
def erase_command() -> None:
    """Make a person's data unreadable, in all of the home; every sum stays."""


@erase_command.command("customer")
@click.argument("customer_id")
@_reason
@_dry_run
@json_option
@click.pass_context
def customer_command(
    ctx: click.Context, customer_id: str, reason: str, dry_run: bool, as_json: bool
) -> None:
    """Put a random pseudonym in the place of CUSTOMER_ID, and drop what else could identify."""
    _run(ctx, customer_id, None, reason, dry_run, as_json)


@erase_command.command("order")
@click.argument("order_id")
@_reason
@_dry_run
@json_option
@click.pass_context
def order_command(
    ctx: click.Context, order_id: str, reason: str, dry_run: bool, as_json: bool
) -> None:
    """Drop what could identify the guest of ORDER_ID, who has no customer id."""
    _run(ctx, None, order_id, reason, dry_run, as_json)


def _run(
    ctx: click.Context,
    customer: str | None,
    order: str | None,
    reason: str,
    dry_run: bool,
    as_json: bool,
) -> None:
    from headrace.pipelines.verbs.erase import erase

    with open_lake(ctx) as lake:
        done = erase(lake, customer, reason=reason, order=order, dry_run=dry_run)
    console.emit(asdict(done), _text(done), as_json=as_json)
    ctx.exit(1 if done.nothing and not done.finished else 0)


def _text(done: Erased) -> str:
    if done.finished:
        return "an erasure that was interrupted is finished; nobody of this id is left"
    if done.nothing:
        return "nobody of this id is in the log or in quarantine; nothing was recorded"
    counts = (
        f"{done.events:,} events of {done.orders:,} orders, {done.entries:,} entries of the "
        f"quarantine, {done.files:,} data files"
    )
    if done.dry_run:
        lines = [f"would be rewritten: {counts}; nothing was changed"]
    else:
        lines = [f"erased: {counts}", f"erasure {done.erasure}, pseudonym {done.pseudonym}"]
    if done.mixed_orders:
        lines.append(
            f"{done.mixed_orders:,} orders name another customer too: an event of them that comes "
            "again brings the id back; run this again then"
        )
    if done.keys:
        lines.append(f"{done.keys:,} events have the id in their own id, order or source: it stays")
    lines += [f"your own file {name} names the customer: change it" for name in done.still_named]
    return "\n".join(lines)
