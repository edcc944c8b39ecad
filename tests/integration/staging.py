"""Faults planted in a staged base, between its making and its audit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from headrace.pipelines.batch import engines

Damage = Callable[[Path], None]


def rewrite(**selects: str) -> Damage:
    """Replace the staged rows of tables by a SELECT of them (`staged`)."""

    def apply(folder: Path) -> None:
        for table, sql in selects.items():
            file = folder / table / "part.parquet"
            with duckdb.connect() as con:
                con.execute(f"CREATE TABLE staged AS FROM '{file}'")
                con.execute(f"COPY ({sql}) TO '{file}' (FORMAT parquet)")

    return apply


def plant(monkeypatch: pytest.MonkeyPatch, damage: Damage) -> None:
    """Let each base from now on be damaged as soon as it is made."""
    real = engines.make

    def damaged(lake: Any, log: Any, task: Any, report: Any) -> tuple[int, int]:
        made = real(lake, log, task, report)
        damage(task.folder)
        return made

    monkeypatch.setattr(engines, "make", damaged)
