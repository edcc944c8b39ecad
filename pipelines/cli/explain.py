"""`headrace explain`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from headrace.pipelines.cli import console
from headrace.pipelines.cli.app import open_lake
from headrace.pipelines.cli.options import json_option
from headrace.pipelines.errors import UsageError

if TYPE_CHECKING:
    from headrace.pipelines.serving.explanation import Explanation, Listed


@click.command("explain")
@click.argument("view")
@click.argument("keys", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--null", "nulls", multiple=True, metavar="KEY", help="A key that is NULL.")
@click.option("--measure", help="The column to explain.  [default: the first]")
@click.option(
    "--limit",
    type=click.IntRange(1),
    default=20,
    show_default=True,
    help="List so many parts, rows and orders; all are added up.",
)
@json_option
@click.pass_context
def explain_command(
    ctx: click.Context,
    view: str,
    keys: tuple[str, ...],
    nulls: tuple[str, ...],
    measure: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """Explain one number: the parts, rows, orders and events that make it.

    Name a row of a view by its key. Everything that is found is added up again, and must give the
    number to the last digit; if it does not, this says so and exits with 1.

    \b
      headrace explain revenue_by_day day=2026-03-02 currency=EUR --measure net
      headrace explain country_sales currency=EUR --null country
      headrace explain repeat_rate scope=all --measure rate
    """  # noqa: D301 - click wants the character
    from headrace.pipelines.serving.query import Serving

    key: dict[str, object] = dict(map(_pair, keys))
    if len(key) < len(keys) or key.keys() & set(nulls):
        raise UsageError("a key is given twice; name each once, as KEY=VALUE or --null KEY")
    key |= dict.fromkeys(nulls)
    with Serving(open_lake(ctx, read_only=True)) as served:
        found = served.explain(view, key, measure=measure, limit=limit)
    console.emit(found.as_json(), _text(found), as_json=as_json)
    if not as_json:
        console.note(f"at {found.position}, cut {found.cut}, logic {found.logic}")
    if not found.adds_up:
        ctx.exit(1)


def _pair(text: str) -> tuple[str, str]:
    name, mark, value = text.partition("=")
    if not mark or not name:
        raise UsageError(f"{text!r} is not KEY=VALUE, such as day=2026-03-02")
    return name, value


def _text(found: Explanation) -> str:
    named = " ".join(f"{name}={console.cell(value)}" for name, value in found.key.items())
    lines = [f"{found.view} {named}".rstrip() + f": {found.measure} = {console.cell(found.value)}"]
    lines += ["", *_terms(found), ""]
    what = "orders" if found.parts.columns[0] == "order_id" else f"rows of {found.levels[0].source}"
    lines += [_block(f"{what} that add to it", found.parts), ""]
    for level in found.levels:
        lines += [_block(f"rows of {level.source} that {level.view} reads", level.rows), ""]
    shown = len({row[0] for row in found.events.rows})
    of = f" of {shown:,} of the {found.orders:,} orders" if shown < found.orders else ""
    lines += [_block(f"events{of}", found.events, leave=("source", "id", "appended_at")), ""]
    if found.restatements.total:
        lines += [_block("how it moved", found.restatements), ""]
    lines += [f"{'yes' if good else 'NO':>3}  {name}" for name, good in found.proofs.items()]
    lines.append(
        "It adds up, to the last digit."
        if found.adds_up
        else "IT DOES NOT ADD UP: run `headrace verify` and `headrace doctor`."
    )
    return "\n".join(lines)


def _terms(found: Explanation) -> list[str]:
    touched = f"{found.commits:,} commit{'' if found.commits == 1 else 's'} since"
    rows = [
        (term.sql, term.base, term.deltas, term.base + term.deltas)
        for term in found.terms
        if term.base is not None
    ]
    lines = [console.table(["made of", "base", touched, "together"], rows)] if rows else []
    values = [term.sql for term in found.terms if term.base is None]
    return [*lines, *(f"made of the values of {sql}" for sql in values)]


def _block(title: str, listed: Listed, leave: tuple[str, ...] = ()) -> str:
    more = listed.total - len(listed.rows)
    head = f"{listed.total:,} {title}" + (f", the first {len(listed.rows):,}" if more else "")
    places = [n for n, name in enumerate(listed.columns) if name not in leave]
    rows = [[row[n] for n in places] for row in listed.rows]
    return head + "\n" + console.table([listed.columns[n] for n in places], rows)
