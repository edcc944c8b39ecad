"""A generation is brought to where the live one stands, compared, and goes live, or back."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from headrace.pipelines.errors import PromotionError, SeamError
from headrace.pipelines.generations import registry, restatements, served_sql
from headrace.pipelines.generations.data_diff import Comparison, compare
from headrace.pipelines.generations.generation import Generation
from headrace.pipelines.generations.restatements import Changed
from headrace.pipelines.lake import checksums
from headrace.pipelines.lake.lake import Lake
from headrace.pipelines.logs import logger
from headrace.pipelines.position import Position
from headrace.pipelines.progress import Progress, silent
from headrace.pipelines.speed.layer import Commit, Speed
from headrace.pipelines.views.view import Column


@dataclass(frozen=True)
class Diff:
    """How a generation differs from another at one position.

    Of a view that both have, the columns that both have were compared; `columns` names the others,
    as `new` and `gone`. `added` and `removed` are views that only one has, or that are grouped by
    other keys.
    """

    generation: int
    against: int
    position: Position
    logic_changed: bool
    comparison: Comparison
    added: tuple[str, ...]
    removed: tuple[str, ...]
    columns: Mapping[str, Mapping[str, Sequence[str]]] = field(default_factory=dict)
    changed: Changed | None = None

    @property
    def equal(self) -> bool:
        """Whether all that both have is equal in every cell."""
        return self.comparison.wrong == 0

    @property
    def promotable(self) -> bool:
        """Equal logic must give equal numbers; changed logic is for a person to judge."""
        return self.equal or self.logic_changed


def level(
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
        pairs = {}
        common = _common_columns(live, other)
        for name in restatements.ORDERS_LEDGER:
            both = ", ".join(f'"{c}"' for c in restatements.both_have(live, other, name))
            pairs[name] = (
                f"SELECT {both} FROM ({other.select(name)})",
                f"SELECT {both} FROM ({live.select(name)})",
            )
        for name, columns in common.items():
            listed_columns = ", ".join(f'"{c}"' for c in columns)
            pairs[name] = (
                f"SELECT {listed_columns} FROM ({other.select(name)})",
                f"SELECT {listed_columns} FROM ({served_sql.as_served(live, name)})",
            )
        found = compare(lake, live, pairs)
        changed = None
        if listed and found.wrong:
            changed = restatements.between_generations(lake, live, other, common)
    return Diff(
        number,
        live.number,
        live.position,
        other.logic != live.logic,
        found,
        added=tuple(n for n in other.views if n not in common),
        removed=tuple(n for n in live.views if n not in common),
        columns={
            name: change for name in common if (change := _changed_columns(live, other, name))
        },
        changed=changed,
    )


def _common_columns(live: Generation, other: Generation) -> dict[str, list[str]]:
    """The views that both have with the same keys, and the columns that both have of them."""
    common = {}
    for name, view in other.views.items():
        if name in live.views and _names(view.keys) == _names(live.views[name].keys):
            known = _names(live.views[name].outputs)
            common[name] = [c for c in _names(view.outputs) if c in known]
    return common


def _changed_columns(live: Generation, other: Generation, name: str) -> dict[str, list[str]]:
    """Columns of a view that only one of the two has; nothing if they have the same."""
    new, old = (_names(line.views[name].outputs) for line in (other, live))
    found = {"new": [c for c in new if c not in old], "gone": [c for c in old if c not in new]}
    return {kind: columns for kind, columns in found.items() if columns}


def _names(columns: Iterable[Column]) -> list[str]:
    return [column.name for column in columns]


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
        number = registry.numbers(lake)[-1]
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
    live, before = registry.live_number(lake), registry.before_live(lake)
    if before is None:
        raise PromotionError("there is no earlier generation to return to")
    return _switch(lake, before, f"rollback of generation {live}", progress)


def _switch(lake: Lake, number: int, reason: str, progress: Progress) -> Generation:
    """Catch up with the live generation, compare where it must be equal, and switch."""
    with Speed.open(lake, commit_events=lake.settings.replay_events) as speed:
        _, diff = level(lake, speed, number, progress, listed=True)
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
