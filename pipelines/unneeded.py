"""Keeps out of a process of ours what is installed for others."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


class _Absent(MetaPathFinder):
    """Says of pandas that it is not there."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        del path, target
        if fullname == "pandas":
            raise ModuleNotFoundError("headrace runs without pandas", name=fullname)
        return None


def run_without_pandas() -> None:
    """Let pyarrow and DuckDB find no pandas: for processes that run our code and no other.

    It comes with Great Expectations, which has a process of its own. pyarrow would import it at the
    first array, only to see whether it was given one of its objects. DuckDB does the same at the
    first bound parameter.
    """
    sys.meta_path.insert(0, _Absent())
