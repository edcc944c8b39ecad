"""What an explanation says: a served cell, the parts that make it, whether they add up to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from headrace.pipelines.lake.guarded_sql import plain

if TYPE_CHECKING:
    from headrace.pipelines.position import Position


@dataclass(frozen=True)
class Listed:
    """Rows of one kind: the first of them, and how many there are in all."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    total: int

    def as_json(self) -> dict[str, Any]:
        """As JSON can hold it; decimals and times as strings."""
        rows = [[plain(value) for value in row] for row in self.rows]
        return {"columns": list(self.columns), "rows": rows, "total": self.total}


@dataclass(frozen=True)
class Level:
    """Rows that one view reads on the way down; they are of `orders`, `ledger` or another view."""

    view: str
    source: str
    rows: Listed


@dataclass(frozen=True)
class Term:
    """What a measure is made of: `sql` over the rows that the view reads.

    `base` and `deltas` add up to it; both are None for values, which are kept and not added.
    """

    sql: str
    base: Any
    deltas: Any


@dataclass(frozen=True)
class Explanation:
    """Why a row of a view is what it is.

    Attributes:
        view: its view.
        key: its key, column to value.
        row: the row as it is served, column to value.
        measure: the column that is explained.
        terms: what the measure is made of.
        commits: how many commits since the base touched the row.
        parts: what each order (or each row of an inner view) adds to the terms.
        levels: the rows, from those that the view reads down to those of `orders` or `ledger`.
        orders: how many orders stand behind it.
        events: their events, each with what is odd about it.
        restatements: how the cell moved over publishes, newest first.
        proofs: each way of putting the row together again, to whether it gave what is served.
        cut: where the base ends.
        position: the position at which all of this is true.
        logic: the logic version.
        generation: which generation it is of.
    """

    view: str
    key: Mapping[str, Any]
    row: Mapping[str, Any]
    measure: str
    terms: tuple[Term, ...]
    commits: int
    parts: Listed
    levels: tuple[Level, ...]
    orders: int
    events: Listed
    restatements: Listed
    proofs: Mapping[str, bool]
    cut: Position
    position: Position
    logic: str
    generation: int

    @property
    def value(self) -> Any:
        """The cell."""
        return self.row[self.measure]

    @property
    def adds_up(self) -> bool:
        """Whether every way gave what is served, to the last digit."""
        return all(self.proofs.values())

    def as_json(self) -> dict[str, Any]:
        """What `explain --json` prints."""
        return {
            "view": self.view,
            "key": {name: plain(value) for name, value in self.key.items()},
            "row": {name: plain(value) for name, value in self.row.items()},
            "measure": self.measure,
            "value": plain(self.value),
            "adds_up": self.adds_up,
            "proofs": dict(self.proofs),
            "terms": [
                {"sql": t.sql, "base": plain(t.base), "deltas": plain(t.deltas)} for t in self.terms
            ],
            "commits": self.commits,
            "parts": self.parts.as_json(),
            "levels": [
                {"view": e.view, "source": e.source, **e.rows.as_json()} for e in self.levels
            ],
            "orders": self.orders,
            "events": self.events.as_json(),
            "restatements": self.restatements.as_json(),
            "cut": self.cut.as_dict(),
            "position": self.position.as_dict(),
            "logic": self.logic,
            "generation": self.generation,
        }
