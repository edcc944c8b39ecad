"""A base that is made but not published: its files, and where they stand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.pipelines.generations.generation import table_columns
from headrace.pipelines.lake.connect import exactly, literal
from headrace.pipelines.position import Position
from headrace.pipelines.views.load import View
from headrace.pipelines.views.lookups import content_sql
from headrace.pipelines.views.stacked import lookups, over_views, rows_of

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True)
class Staged:
    """A finished base that nobody reads yet: its files, the views in it, and where it was cut."""

    folder: Path
    views: Mapping[str, View]
    cut: Position
    repeats: int

    def relation(self, name: str) -> str:
        """SQL for the rows of `orders`, `ledger`, or of a view's partials."""
        return f"read_parquet({exactly(self.folder / name, inside=True)})"

    @property
    def tables(self) -> dict[str, str]:
        """Name to relation of all that it holds."""
        return {name: self.relation(name) for name in table_columns(self.views)}

    def served(self, name: str) -> str:
        """A relation with the rows of a view as a reader of this base would see them."""
        return f"({self.views[name].served_sql(self.relation(name))})"

    def complete(self, con: duckdb.DuckDBPyConnection) -> None:
        """Make lookups, and views over views from the inner partials, whose files are there."""
        for name, view in lookups(self.views).items():
            self._write(con, name, f"SELECT *, 1 AS _rows FROM ({content_sql(view)})")
        for name, view in over_views(self.views).items():
            self._write(con, name, view.partial_sql(rows_of(view, self.served)))

    def _write(self, con: duckdb.DuckDBPyConnection, name: str, select: str) -> None:
        path = self.folder / name / "part.parquet"
        path.parent.mkdir(parents=True)
        con.execute(f"COPY ({select}) TO {literal(path)} (FORMAT parquet, COMPRESSION zstd)")
