"""How long work tells its caller how far it is. Whoever does not care passes nothing."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int, int], None]
"""Told (done, of): events, slices or files."""
Report = Callable[[str], None]
"""Told a step, in words."""


def silent(done: int, of: int) -> None:
    """Tell nobody how far it is."""
    del done, of


def quiet(text: str) -> None:
    """Tell nobody what is being done."""
    del text
