"""The Kappa path: build a generation by replaying the log, compare, promote, roll back.

A replay from a timestamp starts from a base at or below the position of that time, so nothing
that began before it is forgotten. It reads forward to the live position, is compared with the
live generation there, and goes live only on request, in one transaction. The generation that was
live stays for rollback, and is brought up to date before readers return to it.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from headrace.pipelines.errors import PromotionError, SeamError
from headrace.pipelines.generations import registry, restatements
from headrace.pipelines.generations.generation import Generation
from headrace.pipelines.generations.restatements import Changed
from headrace.pipelines.lake import checksums
from headrace.pipelines.lake.lake import Lake
from headrace.pipelines.log.embedded import Log
from headrace.pipelines.logs import logger
from headrace.pipelines.position import Position
from headrace.pipelines.progress import Progress, silent
from headrace.pipelines.quality.verify import Comparison, compare
from headrace.pipelines.speed.layer import Commit, Speed
from headrace.pipelines.views.load import View


@dataclass(frozen=True)
class Diff:
    """How a generation differs from another at one position."""

    generation: int
    against: int
    position: Position
    logic_changed: bool
    comparison: Comparison
    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: Changed | None = None

    @property
    def equal(self) -> bool:
        """Whether all views that both have are equal in every cell."""
        return self.comparison.wrong == 0

    @property
    def promotable(self) -> bool:
        """Equal logic must give equal numbers; changed logic is for a person to judge."""
        return self.equal or self.logic_changed


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
        more, diff = _level(lake, speed, number, progress)
        done = sum(c.events for c in [*commits, *more])
    with lake.writing("diff") as tx:
        report = json.dumps(
            {"by_view": dict(diff.comparison.by_view), "added": diff.added, "removed": diff.removed}
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
        for name, view in wanted.items():
            filling[name] = view.partial_sql(base.base_table(view.source))
    with lake.writing("create") as tx:
        number = registry.create(
            tx, wanted, origin=origin, cut=cut, filling=filling, engine="replay"
        )
    return number, cut


def nearest_base(lake: Lake, position: Position) -> Generation | None:
    """Of all generations' bases, the highest that lies at or below a position."""
    best: Generation | None = None
    for (number,) in lake.rows("SELECT generation FROM sys.generations ORDER BY generation"):
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


def _level(
    lake: Lake, speed: Speed, number: int, progress: Progress, *, listed: bool = False
) -> tuple[list[Commit], Diff]:
    """Bring a generation to where the live one stands, and compare the two there.

    A live generation that commits all the time would never be met. So for the last few events
    nobody else commits; the comparison itself reads one state of the lake while all go on.
    """
    goal = registry.read(lake).position
    done = speed.run(number, until=goal, progress=progress)
    with contextlib.ExitStack() as held:
        held.enter_context(lake.alone())
        done += speed.run(number, until=registry.read(lake).position)
        diff = difference(lake, number, seen=held.close, listed=listed)
    if diff is None:
        raise SeamError(f"generation {number} cannot be brought to where the live one stands")
    return done, diff


def difference(
    lake: Lake, number: int, *, seen: Callable[[], None] = lambda: None, listed: bool = False
) -> Diff | None:
    """Compare a generation with the live one; None if they do not stand at one position now.

    Args:
        lake: whose generations.
        number: the other one.
        seen: called as soon as it no longer matters what others commit.
        listed: give the cells that differ as well, for the restatement ledger.
    """
    with lake.reading():
        live, other = registry.read(lake), registry.read(lake, number)
        seen()
        if live.position != other.position:
            return None
        checksums.check(lake, live.stored() | other.stored())
        pairs = {name: (other.select(name), live.select(name)) for name in ("orders", "ledger")}
        shared = [name for name in other.views if name in live.views]
        comparable = [
            name
            for name in shared
            if [c.name for c in other.views[name].outputs]
            == [c.name for c in live.views[name].outputs]
        ]
        pairs |= {name: (other.select(name), registry.as_served(live, name)) for name in comparable}
        found = compare(lake, live, pairs)
        changed = None
        if listed and found.wrong:
            changed = restatements.between_generations(lake, live, other, comparable)
    added = tuple(n for n in other.views if n not in comparable)
    removed = tuple(n for n in live.views if n not in comparable)
    logic_changed = other.logic != live.logic
    return Diff(number, live.number, live.position, logic_changed, found, added, removed, changed)


def promote(
    lake: Lake,
    number: int | None = None,
    *,
    reason: str = "promote",
    progress: Progress = silent,
) -> Generation:
    """Point readers at a generation (the newest by default), once it has caught up.

    Raises:
        PromotionError: it is live already, it was never compared, or its logic is the live one's
            and its numbers are not.
    """
    live = registry.live_number(lake)
    if number is None:
        number = int(lake.row("SELECT max(generation) FROM sys.generations")[0])
    if number == live:
        raise PromotionError(
            f"generation {number} is live already; `headrace replay` builds a new one"
        )
    return _switch(lake, number, reason, progress)


def rollback(lake: Lake, *, progress: Progress = silent) -> Generation:
    """Point readers back at the generation that was live before, once it has caught up.

    Raises:
        PromotionError: there was none.
    """
    live = registry.live_number(lake)
    found = lake.rows(
        f"SELECT generation FROM sys.live WHERE generation <> {live} "
        "ORDER BY switch_no DESC LIMIT 1"
    )
    if not found:
        raise PromotionError("there is no earlier generation to return to")
    return _switch(lake, int(found[0][0]), f"rollback of generation {live}", progress)


def _switch(lake: Lake, number: int, reason: str, progress: Progress) -> Generation:
    """Catch up with the live generation, compare where it must be equal, and switch."""
    with Speed.open(lake, commit_events=lake.settings.replay_events) as speed:
        _, diff = _level(lake, speed, number, progress, listed=True)
        if not diff.promotable:
            cell = diff.comparison.shown[0]
            raise PromotionError(
                f"generation {number} has the logic of generation {diff.against} but differs "
                f"in {diff.comparison.wrong} cells, first {cell.view} {dict(cell.key)} "
                f"{cell.column}: {cell.served} instead of {cell.expected}. It was not "
                "promoted; run headrace verify"
            )
        speed.run(number, until=registry.read(lake).position)
        with lake.alone():  # what came since: both stood equal, and move by the same events
            live = registry.read(lake)
            speed.run(number, until=live.position)
            with lake.writing("switch") as tx:
                here = registry.read(lake, number)
                if not here.position.covers(live.position):
                    raise SeamError(f"generation {number} does not reach {live.position}")
                registry.switch(tx, number, reason=reason)
                here = registry.read(lake, number)
                if diff.changed is not None:
                    restatements.record(tx, diff.changed, generation=number, base=here.base)
        logger("replay").info(
            "switch",
            generation=number,
            instead_of=live.number,
            reason=reason,
            position=here.position.as_dict(),
        )
        return here
