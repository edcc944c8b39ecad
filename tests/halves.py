"""Which half of the tests a case belongs to: `make test`, or what only `make test-all` runs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def first(quick: int, cases: Iterable[Any]) -> list[Any]:
    """Parameters of a test: so many of them in `make test`, the others thorough."""
    given = list(cases)
    return given[:quick] + [
        pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.thorough)
        for case in given[quick:]
    ]
