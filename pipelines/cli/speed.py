"""`headrace speed`: once to the log's end, or for as long as it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import click

from headrace.pipelines.cli import console
from headrace.pipelines.cli.app import interrupted, open_lake
from headrace.pipelines.cli.options import json_option
from headrace.pipelines.errors import UsageError
from headrace.pipelines.generations import registry
from headrace.pipelines.lake.lake import Lake
from headrace.pipelines.processes import become_python
from headrace.pipelines.settings import as_environment
from headrace.pipelines.speed.layer import Commit
from headrace.pipelines.verbs import layers as verbs

if TYPE_CHECKING:
    from headrace.pipelines.lake.lake import Lake


@click.command("speed")
@click.option("--once", "mode", flag_value="once", help="Commit up to the log's end, then stop.")
@click.option("--follow", "mode", flag_value="follow", help="Stay there until stopped.")
@click.option("--commit-events", type=click.IntRange(1), help="Events a commit.")
@click.option("--workers", type=click.IntRange(1), help="Processes that read a topic's partitions.")
@click.option("--engine", type=click.Choice(["local", "spark"]), default="local", show_default=True)
@click.option("--master", help="Spark master, such as spark://host:7077.")
@json_option
@click.pass_context
def speed_command(
    ctx: click.Context,
    mode: str | None,
    commit_events: int | None,
    workers: int | None,
    engine: str,
    master: str | None,
    as_json: bool,
) -> None:
    """Run the speed layer: read new events, commit what they change in all views.

    It can be stopped or killed at any moment; the next start goes on exactly there.
    """
    if mode is None:
        raise UsageError("say --once or --follow")
    given: dict[str, Any] = {
        "commit_events": commit_events,
        "workers": workers,
        "spark_master": master,
    }
    with open_lake(ctx, make=True, **given) as lake:
        try:
            if engine == "spark":
                with lake.home.lock("speed", wait=0):
                    waiting = registry.adopt_views(lake)
                    if waiting:
                        console.note(waiting)
            elif mode == "follow":
                _follow(lake)
            else:
                with console.bar("speed") as progress:
                    done = verbs.speed(lake, progress=progress, report=console.note)
                console.emit(*speed_told(done), as_json=as_json)
        except KeyboardInterrupt:
            console.note("stopped; what is committed stays")
    if engine == "spark":
        become_stream(lake, follow=mode == "follow", as_json=as_json)


def _follow(lake: Lake) -> None:
    import signal

    # What a service manager sends means the same as ctrl-C, also where that is ignored.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        verbs.follow(lake, report=console.note, told=_committed)
    except Exception as e:
        if interrupted(e):
            raise KeyboardInterrupt from e
        raise


def _committed(commit: Commit) -> None:
    console.note(f"commit {commit.number}: {commit.events:,} events, at {commit.position}")


def speed_told(done: verbs.CaughtUp) -> tuple[dict[str, object], str]:
    """What a run of the speed layer did: for a program, and for a person."""
    result = {
        "commits": len(done.commits),
        "events": done.events,
        "repeats": done.repeats,
        "position": done.position.as_dict(),
        "seconds": round(done.seconds, 3),
    }
    text = (
        f"{done.events:,} events in {len(done.commits)} commits, {done.repeats:,} redelivered; "
        f"at {done.position}"
    )
    return result, text


def become_stream(lake: Lake, *, follow: bool, as_json: bool) -> NoReturn:
    """Go on as the Spark speed job: same process, same terminal, so a kill or ctrl-C hits it.

    Raises:
        UsageError: the home has a log of its own, which Spark does not read.
    """
    if lake.log_kind == "embedded":
        raise UsageError(
            f"the home {lake.home.path} has a log of its own; --engine spark is for one that is "
            "bound to a topic. Leave --engine out"
        )
    given = ["--home", str(lake.home.path), *["--follow"] * follow, *["--json"] * as_json]
    become_python("headrace.jobs.streaming.main", *given, env=as_environment(lake.settings))
