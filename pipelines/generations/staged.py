"""A base that is made but not published: its files, and where they stand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from headrace.pipelines.generations.generation import table_columns
from headrace.pipelines.lake.connect import exactly
from headrace.pipelines.position import Position
from headrace.pipelines.views.load import View


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
