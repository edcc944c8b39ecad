"""The Kappa path: build a generation by replaying the log, compare, promote, roll back.

A replay from a timestamp starts from a base at or below the position of that time, so nothing
that began before it is forgotten. It reads forward to the live position, is compared with the
live generation there, and goes live only on request, in one transaction. The generation that was
live stays for rollback, and is brought up to date before readers return to it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from headrace.pipelines.errors import SeamError
from headrace.pipelines.generations import registry
from headrace.pipelines.generations.generation import Generation
from headrace.pipelines.lake import checksums
from headrace.pipelines.lake.lake import Lake
from headrace.pipelines.log.embedded import Log
from headrace.pipelines.position import Position
from headrace.pipelines.progress import Progress, silent
from headrace.pipelines.replay.promote import Diff, level
from headrace.pipelines.speed.layer import Speed
from headrace.pipelines.views.load import View
from headrace.pipelines.views.lookups import content_sql
from headrace.pipelines.views.stacked import in_full, rows_of


@dataclass(frozen=True)
class Replay:
    """What a replay built: from where it read, how much, and how it compares.

    `seconds` is what building it took, without the comparison.
    """

    generation: int
    started_at: Position
    requested: Position
    events: int
    seconds: float
    diff: Diff


def replay(
    lake: Lake,
    since: datetime | None,
    *,
    views: Mapping[str, View] | None = None,
    progress: Progress = silent,
) -> Replay:
    """Build a generation beside the live one and compare it at the live position.

    Args:
        lake: where to read and build.
        since: event time (UTC) to read from; None reads from the beginning.
        views: the views to compute; the files as they are now by default.
        progress: told (events read, events to read).

    Raises:
        SeamError: the log or a generation does not fit together; live serving goes on.
    """
    log = Log(lake)
    wanted = registry.current_views(lake.home) if views is None else views
    live = registry.read(lake)
    log.check(live.position)
    zero = Position.zero(lake.home.partitions)
    requested = zero if since is None else log.position_at(since).lowest(live.position)
    started, seconds = time.monotonic(), 0.0
    number, start = _start(lake, wanted, requested, since)
    steps = even_steps(live.position.minus(start), lake.settings.replay_events)
    with Speed.open(lake, commit_events=steps) as speed:
        goal = registry.read(lake).position
        commits = speed.run(number, until=goal, progress=progress)
        consolidate(lake, number)
        seconds += time.monotonic() - started
        more, diff = level(lake, speed, number, progress)
        done = sum(c.events for c in [*commits, *more])
    with lake.writing("diff") as tx:
        report = json.dumps(
            {
                "by_view": dict(diff.comparison.by_view),
                "added": diff.added,
                "removed": diff.removed,
                "columns": {name: dict(change) for name, change in diff.columns.items()},
            }
        )
        tx.record(
            "diffs",
            number,
            lake.clock(),
            diff.against,
            diff.position.text(),
            diff.logic_changed,
            diff.comparison.wrong,
            report,
        )
    return Replay(number, start, requested, done, seconds, diff)


def even_steps(events: int, about: int) -> int:
    """Events a commit so that all commits are alike, of about the given size: no small last one."""
    return max(1, -(-events // max(1, round(events / about))))


def _start(
    lake: Lake,
    wanted: Mapping[str, View],
    requested: Position,
    since: datetime | None,
) -> tuple[int, Position]:
    """Make the new generation on the nearest base at or below the requested position.

    The rows of `orders` and `ledger` in a base hold under any views, so views that changed are
    aggregated anew from them.
    """
    base = nearest_base(lake, requested) if requested.total else None
    origin = "replay from the beginning" if since is None else f"replay from {since.isoformat()}Z"
    filling: dict[str, registry.Filling] = {}
    cut = Position.zero(len(requested.offsets))
    if base is not None:
        cut = base.cut
        checksums.check(lake, base.stored("orders", "ledger"))
        for name in ("orders", "ledger"):
            columns = ", ".join(f'"{c}"' for c in base.tables[name])
            filling[name] = f"SELECT {columns} FROM {base.base_table(name)}"
        relation = in_full(wanted, base.base_table, lambda n: f"({content_sql(wanted[n])})")
        for name, view in wanted.items():
            if view.lookup is None:
                filling[name] = view.partial_sql(rows_of(view, relation))
    with lake.writing("create") as tx:
        number = registry.create(
            tx, wanted, origin=origin, cut=cut, filling=filling, engine="replay"
        )
    return number, cut


def nearest_base(lake: Lake, position: Position) -> Generation | None:
    """Of all generations' bases, the highest that lies at or below a position."""
    best: Generation | None = None
    for number in registry.numbers(lake):
        try:
            line = registry.read(lake, number)
        except SeamError:
            continue  # one that cannot be trusted is no place to start from
        usable = line.cut.total and position.covers(line.cut)
        if usable and (best is None or line.cut.total > best.cut.total):
            best = line
    return best


def consolidate(lake: Lake, number: int) -> Generation:
    """Merge a generation's deltas into a new base at its position; what it serves is the same."""
    line = registry.read(lake, number)
    if line.last_commit == line.after_commit:
        return line
    checksums.check(lake, registry.trusted(line).stored())
    filling = {name: line.select(name) for name in ("orders", "ledger")}
    for name, view in line.views.items():
        filling[name] = view.merge_sql(f"({line.partial_rows(view)})")
    with lake.writing("publish") as tx:
        if registry.read(lake, number).last_commit != line.last_commit:
            raise SeamError(
                f"generation {number} moved on while its deltas were merged; nothing was changed. "
                "Try again"
            )
        return registry.publish(
            tx, number, cut=line.position, filling=filling, engine="consolidate"
        )
