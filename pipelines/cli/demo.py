"""The demo: the whole loop on one machine, each number printed as it was computed."""

from __future__ import annotations

import contextlib
import shlex
import sys
import tempfile
import time
from pathlib import Path

import click

from headrace.pipelines.batch import run as batch
from headrace.pipelines.bootstrap import open_lake
from headrace.pipelines.cli import console
from headrace.pipelines.cli.app import settings_of
from headrace.pipelines.cli.certificate import certificate_text
from headrace.pipelines.errors import HeadraceError, UsageError
from headrace.pipelines.generations import registry
from headrace.pipelines.generator.generator import generate
from headrace.pipelines.ingest.append import append_lines
from headrace.pipelines.ingest.ndjson import Line
from headrace.pipelines.lake.lake import Lake
from headrace.pipelines.log import quarantine
from headrace.pipelines.operations.status import status
from headrace.pipelines.quality.verify import verify
from headrace.pipelines.replay import build, promote
from headrace.pipelines.serving import query as serving
from headrace.pipelines.serving import time_travel
from headrace.pipelines.settings import Settings
from headrace.pipelines.speed.layer import Speed

_DAYS = "SELECT * FROM revenue_by_day ORDER BY day, currency LIMIT 6"
_SUM = (
    "SELECT currency, sum(orders) AS orders, sum(net) AS net FROM revenue_by_day "
    "GROUP BY ALL ORDER BY ALL"
)


def tell(settings: Settings, *, orders: int, seed: int, engine: str) -> None:
    """Run the story in `settings.home`, which must not hold events yet.

    Raises:
        UsageError: the home holds events already.
        HeadraceError: a step did not hold; the demo shows no number that was not checked.
    """
    started = time.monotonic()
    with open_lake(settings) as lake:
        _check_home(lake)
        _say(f"A home at {settings.home}, with an empty log of {lake.home.partitions} partitions.")

        _step(
            "Events, as they come in real life",
            f"generate --orders {orders} --seed {seed} --duplicates 0.05 --disorder 0.05 "
            "--late 0.02 --poison 0.0005 | headrace append -",
        )
        lines = [
            Line(raw, f"generated:{i}")
            for i, raw in enumerate(
                generate(orders, seed, duplicates=0.05, disorder=0.05, late=0.02, poison=0.0005),
                start=1,
            )
        ]
        half = len(lines) // 2
        first = append_lines(lake, lines[:half])
        _say(
            f"{len(lines):,} lines: one in twenty comes twice, one in twenty out of order, some "
            f"days late, some broken.\nThe first half is in the log: {first.accepted:,} accepted, "
            f"{first.quarantined:,} quarantined. Nothing is dropped:"
        )
        rows = [(e.id, e.origin, e.reason) for e in quarantine.entries(lake, limit=3)]
        _say(console.table(["id", "origin", "reason"], rows))

        _step(
            f"Batch: {engine} folds the log up to a cut and publishes a base",
            f"batch --engine {engine}",
        )
        done = batch.run(lake, engine=engine, report=lambda text: _say(f"  {text}"))
        if done is None:
            raise HeadraceError("there was nothing to recompute; give the demo more orders")
        _say(
            f"base at {done.cut}: {done.cut.total:,} events, {done.repeats:,} of them redelivered, "
            f"{done.seconds:.1f} s"
        )

        _step(
            "Speed: the second half arrives, late and doubled events of the first among it",
            "append … && headrace speed --once",
        )
        second = append_lines(lake, lines[half:])
        clock = time.monotonic()
        with Speed.open(lake) as speed, console.bar("speed") as progress:
            commits = speed.run(progress=progress)
        _say(
            f"{second.accepted:,} events in {len(commits)} commits, "
            f"{time.monotonic() - clock:.1f} s"
        )

        _step(
            "Serving: base ⊕ deltas, with the position at which it is true",
            f"query {shlex.quote(_DAYS)}",
        )
        with serving.connect(settings.home) as served:
            answer = served.query(_DAYS)
            before = served.query(_SUM)
        _say(console.table(answer.columns, answer.rows))
        _say(f"cut {answer.cut}, position {answer.position}, logic {answer.logic}")

        later = lake.row("SELECT quantile_disc(time, 0.8) FROM sys.events")[0].date()
        _step(
            "Kappa: replay from a timestamp into a new generation, compare, promote",
            f"replay --from {later} && headrace promote",
        )
        with console.bar("replay") as progress:
            again = build.replay(lake, time_travel.parse_time(str(later)), progress=progress)
        _say(
            f"generation {again.generation}: read {again.events:,} events from the base at "
            f"{again.started_at},\ncompared {again.diff.comparison.cells:,} cells with the live "
            f"generation: {again.diff.comparison.wrong} differ"
        )
        line = promote.promote(lake, again.generation)
        _say(f"promoted: generation {line.number} is live")

        _step("And back", "rollback")
        line = promote.rollback(lake)
        with serving.connect(settings.home) as served:
            after = served.query(_SUM)
        _say(
            f"generation {line.number} is live again, and its numbers are "
            f"{'the same' if after.rows == before.rows else 'OTHERS'}:"
        )
        _say(console.table(after.columns, after.rows))

        _step("Proof: recompute everything from the log, compare every cell", "verify")
        with console.bar("verify", "slices") as progress:
            certificate = verify(lake, progress=progress)
        _say(certificate_text(certificate))
        if not certificate.equal or after.rows != before.rows:
            raise HeadraceError("the demo found numbers that differ; please report this output")
    _say(f"\nThat took {time.monotonic() - started:.0f} s.")


def _check_home(lake: Lake) -> None:
    """See that a home has no events yet, and the view that the demo shows.

    Raises:
        UsageError: it is another home's turn.
    """
    if registry.read(lake).position.total or status(lake)["events"]:
        raise UsageError(f"{lake.home.path} holds events already; name a new home for the demo")
    shown = registry.current_views(lake.home).get("revenue_by_day")
    columns = set() if shown is None else {column.name for column in shown.outputs}
    if not {"day", "currency", "orders", "net"} <= columns:
        raise UsageError(
            f"the demo shows the built-in view revenue_by_day, and {lake.home.views} has "
            f"{'switched it off' if shown is None else 'another one'}; name a new home for the demo"
        )


def _step(title: str, command: str) -> None:
    _say(f"\n── {title}\n   $ headrace {command}")


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


@click.command("demo")
@click.option("--orders", type=click.IntRange(100), default=20_000, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=7, show_default=True)
@click.option("--engine", type=click.Choice(["spark", "duckdb"]), default="spark")
@click.option("--keep", is_flag=True, help="Keep the home, to look around in.")
@click.pass_context
def demo_command(ctx: click.Context, orders: int, seed: int, engine: str, keep: bool) -> None:
    """Tell the whole story in a fresh home, with real output.

    Uses a temporary home, unless --home names one that is empty; with --keep, it stays.
    """
    home = ctx.find_root().obj
    with contextlib.ExitStack() as stack:
        if home is None and keep:
            home = Path(tempfile.mkdtemp(prefix="headrace-demo-")) / "home"
        elif home is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="headrace-demo-"))
            home = Path(folder) / "home"
        settings = settings_of(ctx).model_copy(update={"home": home})
        tell(settings, orders=orders, seed=seed, engine=engine)
    _say(_next_steps(home if home.exists() else None))


def _next_steps(home: Path | None) -> str:
    """What to do now, in three lines."""
    if home is None:
        look = "headrace demo --keep             keep the home, and ask it anything"
    else:
        look = f'headrace --home {shlex.quote(str(home))} query "FROM customer_value LIMIT 5"'
    return f"""
Next:
   {look}
   headrace import csv --help       bring in orders of your own
   docs/tour.md                     one order, followed from its line to a served cell"""
