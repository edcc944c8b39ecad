"""A generation as one reading found it: its views, its tables, and the SQL of what it serves."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from headrace.pipelines.position import Position
from headrace.pipelines.views.filling import zones_of
from headrace.pipelines.views.packed import pack, parted, stored_view
from headrace.schemas.tables import LEDGER_COLUMNS, ORDERS_COLUMNS, TABLES

if TYPE_CHECKING:
    from headrace.pipelines.views.load import View


_MAYBE_MISREAD: Final = re.compile(
    r"NOT\s+LIKE|!~~|DECIMAL|NUMERIC|ROUND|\d\.\d|[^(\s]\s*\*", re.IGNORECASE
)
"""What a text has in which an earlier version could read something wrongly. All others need not
be compiled to know that they were read rightly."""
_QUOTED: Final = re.compile(r"--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"", re.DOTALL)
_NEVER_MISREAD: Final = re.compile(
    r"\b(min|max|median|mode|quantile\w*|arg_?min|arg_?max|min_by|max_by)\s*\(|\(\s*DISTINCT\b"
    r"|\bHAVING\b|\bJOIN\b",
    re.IGNORECASE,
)
"""What no version took that misread anything, outside quotes and comments."""


@dataclass(frozen=True)
class Generation:
    """A generation as it stands at one moment; its seam has been checked.

    Commits with a number above `after_commit` lie on its base; the last one is `last_commit`.
    `wanted_cut` is where the last batch asked for a commit to end.
    """

    number: int
    created_at: datetime
    origin: str
    logic: str
    views: StoredViews
    base: int
    cut: Position
    after_commit: int
    position: Position
    last_commit: int
    wanted_cut: Position | None

    @property
    def misread(self) -> dict[str, str]:
        """View to what an earlier version read wrongly in it, if that version made its rows."""
        suspects = [name for name in self.views if _suspect(self.views.text(name))]
        found = {name: "; ".join(self.views[name].misread) for name in suspects}
        if not any(found.values()):
            return {}
        from headrace.pipelines.fold import fold
        from headrace.pipelines.views.load import logic_version

        if logic_version(self.views, fold.version()) == self.logic:
            return {}
        return {name: what for name, what in found.items() if what}

    @property
    def schema(self) -> str:
        """The lake's schema that holds its tables."""
        return f"g{self.number}"

    def base_table(self, name: str) -> str:
        """The table of the base's rows of `orders`, `ledger` or a view."""
        return f"{self.schema}.b{self.base}_{name}"

    def delta_table(self, name: str) -> str:
        """The table of the deltas' rows of `orders`, `ledger` or a view."""
        return f"{self.schema}.d{self.base}_{name}"

    def _deltas(self, name: str, through: int | None) -> str:
        table = self.delta_table(name)
        return table if through is None else f"(FROM {table} WHERE commit_no <= {through})"

    @property
    def tables(self) -> dict[str, dict[str, str]]:
        """Name to columns (DuckDB types) of all that a base holds."""
        return {**table_columns(self.views), "ledger": self.columns("ledger")}

    def columns(self, name: str) -> dict[str, str]:
        """The columns of `orders` or `ledger` as this generation has them."""
        return dict(ORDERS_COLUMNS) if name == "orders" else self.views.ledger

    def stored(self, *names: str) -> set[tuple[str, str]]:
        """Schema and table of what is stored under these names (all by default): base, deltas."""
        wanted = names or (*TABLES, *self.views)
        return {(self.schema, f"{kind}{self.base}_{name}") for name in wanted for kind in "bd"}

    def partial_rows(self, view: View, through: int | None = None) -> str:
        """A SELECT of a view's partial rows, base and deltas, not yet merged."""
        columns = ", ".join(f'"{c.name}"' for c in (*view.places, *view.partials))
        base = f"SELECT {columns} FROM {self.base_table(view.name)}"
        return f"{base} UNION ALL {self.delta_rows(view, through)}"

    def delta_rows(self, view: View, through: int | None = None) -> str:
        """A SELECT of the partial rows of its deltas: all there are where the base is empty.

        An empty base costs more than a full one to read: it has no statistics, so DuckLake asks
        the catalog for them again for each column.
        """
        columns = ", ".join(f'"{c.name}"' for c in (*view.places, *view.partials))
        return f"SELECT {columns} FROM {self._deltas(view.name, through)}"

    def select(self, name: str, through: int | None = None) -> str:
        """A SELECT of what this generation serves as `orders`, `ledger` or a view.

        With `through`, of what it served after that commit.
        """
        if name in self.views:
            view = self.views[name]
            return view.served_sql(f"({self.partial_rows(view, through)})")
        columns = ", ".join(f'"{c}"' for c in self.columns(name))
        base, delta = self.base_table(name), self._deltas(name, through)
        touched = self._deltas("orders", through)
        newest = f"SELECT order_id, max(commit_no) AS commit_no FROM {touched} GROUP BY order_id"
        return (
            f"SELECT {columns} FROM {base} AS b WHERE NOT EXISTS "
            f"(SELECT 1 FROM {touched} AS t WHERE t.order_id = b.order_id) "
            f"UNION ALL SELECT {columns} FROM {delta} AS d WHERE EXISTS "
            f"(SELECT 1 FROM ({newest}) AS n "
            "WHERE n.order_id = d.order_id AND n.commit_no = d.commit_no)"
        )


def _suspect(text: str) -> bool:
    """Whether an earlier version may have read a view's text wrongly."""
    if not _MAYBE_MISREAD.search(text):
        return False
    return not _NEVER_MISREAD.search(_QUOTED.sub(" ", text))


def table_columns(views: Mapping[str, View]) -> dict[str, dict[str, str]]:
    """Name to columns (DuckDB types) of the tables of a base with these views."""
    of_views = {
        name: {c.name: c.type for c in (*view.places, *view.partials)}
        for name, view in views.items()
    }
    return {**{name: dict(columns) for name, columns in TABLES.items()}, **of_views}


_FIRST_LEDGER: Final = tuple(c for c in LEDGER_COLUMNS if c != "channel")
"""The ledger of a generation that says nothing of it: it was made before there was a `channel`."""


def stored_texts(views: Mapping[str, View]) -> dict[str, str]:
    """What a new generation keeps: its views, as `pack` has them, and the columns of its ledger.

    No view can have the name `ledger`.
    """
    return pack(views) | {"ledger": ",".join(LEDGER_COLUMNS)}


class StoredViews(Mapping[str, "View"]):
    """Views as a generation stores them, each compiled when it is asked for."""

    def __init__(self, packed: Mapping[str, str]) -> None:
        kept = {name: text for name, text in packed.items() if name != "ledger"}
        self._texts, self._zones = parted(kept)
        columns = packed["ledger"].split(",") if "ledger" in packed else _FIRST_LEDGER
        self.ledger = {name: LEDGER_COLUMNS[name] for name in columns}
        """The columns of the generation's ledger."""

    @property
    def zones(self) -> dict[str, dict[str, Any]]:
        """The zones in which they read times, with the version of the `rules`, and the `views`."""
        return zones_of(self) if self._zones else {}

    def text(self, name: str) -> str:
        """The text of a view as it was written."""
        return self._texts[name]

    def __getitem__(self, name: str) -> View:
        texts = tuple(self._texts.items())
        return stored_view(name, texts, self._zones, "the stored view", stored=True)

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)

    def __len__(self) -> int:
        return len(self._texts)

    def __contains__(self, name: object) -> bool:
        return name in self._texts
