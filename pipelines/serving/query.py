"""Serving: read-only SQL over what is live. Every answer carries the position it is true at.

    import headrace

    with headrace.connect("headrace-data") as lake:
        answer = lake.query("SELECT sum(net) FROM revenue_by_day")
        answer.rows, answer.position, answer.logic

One query is one read transaction: the seam is checked inside it, all views show one position,
and a writer never makes it wait. Answers are cached by the lake's snapshot, so a cached answer is
never stale.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

import duckdb

from headrace.pipelines import bootstrap, settings
from headrace.pipelines.errors import DamageError, QueryError, UsageError
from headrace.pipelines.generations import registry
from headrace.pipelines.generations.generation import Generation
from headrace.pipelines.lake import checksums, data_files
from headrace.pipelines.lake.guarded_sql import Rows, as_ours, check_select, guard, plain, select
from headrace.pipelines.lake.lake import Lake
from headrace.pipelines.position import Position

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

    from headrace.pipelines.serving.explanation import Explanation
    from headrace.pipelines.serving.order_history import OrderHistory

RESTATEMENTS = (
    "recorded_at", "generation", "base", "view", "key", "measure", "old", "new", "cause",
    "events", "offsets", "from_position", "to_position", "cells",
)  # fmt: skip
"""Columns of `restatements`. A row is a cell that changed; `cells` counts all of its publish."""

_AGAIN = 3
"""Times that a query begins anew because the files under it were replaced by an erasure."""
_CACHED = 256
"""Answers kept by one connection; each has at most `max_rows` rows."""


@dataclass(frozen=True)
class Answer(Rows):
    """Rows, and what they are worth: true at `position`, on a base at `cut`, by `logic`."""

    cut: Position
    position: Position
    logic: str
    generation: int
    staged: bool = False

    def arrow(self) -> pa.Table:
        """As an Arrow table. Money is decimal, as DuckDB gave it."""
        from headrace.pipelines.serving.frames import arrow_table

        return arrow_table(self.columns, self.types, self.rows)

    def polars(self) -> pl.DataFrame:
        """As a Polars frame, with the same types."""
        import polars as pl

        return cast("pl.DataFrame", pl.from_arrow(self.arrow()))

    def pandas(self) -> Any:
        """As a pandas frame. Decimals are Python's `Decimal`, dates and times as Arrow has them.

        Raises:
            UsageError: pandas is not installed.
        """
        try:
            import pandas as pd  # type: ignore[import-untyped]
        except ImportError as e:
            raise UsageError(
                "pandas is not installed; install it, or use .polars() or .arrow()"
            ) from e
        table = self.arrow()
        return pd.DataFrame(
            {
                name: column.to_pandas()
                for name, column in zip(table.column_names, table.columns, strict=True)
            }
        )

    def as_json(self) -> dict[str, Any]:
        """What `query --json` prints; decimals and times as strings."""
        return {
            "columns": list(self.columns),
            "rows": [[plain(value) for value in row] for row in self.rows],
            "cut": self.cut.as_dict(),
            "position": self.position.as_dict(),
            "logic": self.logic,
            "generation": self.generation,
            "truncated": self.truncated,
            **({"staged": True} if self.staged else {}),
        }


def connect(home: str | Path, **overrides: Any) -> Serving:
    """Open a home for reading.

    Args:
        home: the home directory; it must exist.
        overrides: settings, such as `threads` or `memory_limit`.

    Raises:
        UsageError: there is no home.
        HomeError: it cannot be read.
    """
    chosen = settings.load(Path(home), **overrides)
    bootstrap.require(chosen.home)
    return Serving(bootstrap.open_lake(chosen, read_only=True))


class Serving:
    """A guarded, read-only connection. Not shared between threads."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        self._ready()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give back the connection."""
        self._lake.close()

    def query(
        self,
        sql: str,
        *,
        max_rows: int | None = None,
        timeout: timedelta | None = None,
        params: Mapping[str, object] | None = None,
    ) -> Answer:
        """Answer one SELECT over the live generation.

        Args:
            sql: exactly one SELECT; `orders`, `ledger` and the views are its tables.
            max_rows: rows to give back at most; `truncated` says if there were more.
            timeout: after which the query is interrupted.
            params: what `$name` in it stands for; bound, never pasted.

        Raises:
            SeamError: base and deltas do not meet; there is no answer.
            DamageError: a data file that it reads is not as it was written; no answer either.
            QueryError: the SQL was refused, failed or took too long.
        """
        check_select(sql, self._lake.con)
        if self._lake.refresh():
            self._ready()
        for _ in range(_AGAIN):
            seen = self._newest()
            try:
                return self._answer(sql, max_rows, timeout, params)
            except (QueryError, DamageError, duckdb.IOException):
                if self._newest() == seen:
                    raise
        return self._answer(sql, max_rows, timeout, params)

    def explain(
        self,
        view: str,
        key: Mapping[str, object],
        *,
        measure: str | None = None,
        limit: int = 20,
    ) -> Explanation:
        """Explain one cell of a view down to its events, and add it up again from them.

        Args:
            view: a view that is live.
            key: a value for each of its keys; None is NULL.
            measure: the column to explain; by default the first that is no key.
            limit: how many parts, rows and orders are listed; all are added up.

        Raises:
            UsageError: there is no such view, measure or row.
            SeamError, DamageError: what is served does not fit together, or is damaged.
        """
        from headrace.pipelines.serving.explain import explain

        if self._lake.refresh():
            self._ready()
        return explain(self._lake, view, key, measure=measure, limit=limit)

    def order(self, order_id: str, at: Position | None = None) -> OrderHistory:
        """One order's state, ledger and events, folded from its events.

        Args:
            order_id: which order.
            at: a position of the log; by default the one that is served.

        Raises:
            UsageError: there is no such order below it.
            LogError: the log does not reach that far.
            SeamError, DamageError: what is served does not fit together, or is damaged.
        """
        from headrace.pipelines.serving.order_history import order_history

        if self._lake.refresh():
            self._ready()
        return order_history(self._lake, order_id, at)

    def _newest(self) -> int:
        with self._lake.reading():
            return self._lake.snapshot()

    def _answer(
        self,
        sql: str,
        max_rows: int | None,
        timeout: timedelta | None,
        params: Mapping[str, object] | None,
    ) -> Answer:
        with self._lake.reading():
            snapshot = self._lake.snapshot()
            key = (snapshot, sql, max_rows, repr(sorted((params or {}).items())))
            if key in self._cache:
                self._cache.move_to_end(key)
                return self._cache[key]
            line = self._line_at(snapshot)
            checksums.check(self._lake, self._read_by(sql, line), snapshot)
            found = select(self._lake, sql, max_rows=max_rows, timeout=timeout, params=params)
        answer = Answer(
            **vars(found),
            cut=line.cut,
            position=line.position,
            logic=line.logic,
            generation=line.number,
        )
        self._cache[key] = answer
        while len(self._cache) > _CACHED:
            self._cache.popitem(last=False)
        return answer

    def _ready(self) -> None:
        """Guard the connection, and give the restatement ledger its short name.

        Nothing is remembered of the connection before: the catalog may have been restored since,
        and count other snapshots by the same numbers.
        """
        self._cache: OrderedDict[tuple[int, str, int | None, str], Answer] = OrderedDict()
        self._line: tuple[int, Generation] | None = None
        guard(self._lake)
        columns = ", ".join(RESTATEMENTS)
        self._lake.con.execute(
            "CREATE OR REPLACE TEMP VIEW restatements AS "
            f"SELECT {columns} FROM lake.sys.restatements"
        )

    def _line_at(self, snapshot: int) -> Generation:
        """What is live at the snapshot of the open transaction, its seam checked; read once."""
        if self._line is None or self._line[0] != snapshot:
            self._line = (snapshot, registry.trusted(registry.read(self._lake)))
        return self._line[1]

    def _read_by(self, sql: str, line: Generation) -> set[data_files.Table]:
        """The tables that a query reads, behind the views; all that are served if in doubt."""
        everything = line.stored()
        try:
            names = self._lake.con.get_table_names(sql, qualified=True)
        except duckdb.Error as e:
            if "prepared parameter" in str(e):
                return everything  # DuckDB does not say it of a statement with parameters
            raise as_ours(e) from e  # it would not run either
        parts = [name.split(" AS ")[0].replace('"', "").split(".") for name in names]
        if not all(part[1:] for part in parts):
            return everything
        return {(part[-2], part[-1]) for part in parts}
