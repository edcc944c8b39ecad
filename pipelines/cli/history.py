"""What was typed in a shell before: kept for the user, outside of any home."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Final

_KEPT: Final = 1_000
"""Lines."""


def place() -> Path:
    """The file: below `XDG_STATE_HOME`, or where that is if nobody says otherwise."""
    states = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(states) / "headrace" / "sql_history"


@contextlib.contextmanager
def kept(words: Sequence[str]) -> Iterator[Callable[[], None]]:
    """Lines can be edited and called back, and Tab completes words. Gives what keeps the last line.

    A Python without readline, or a folder that cannot be written, costs only that.
    """
    try:
        import readline
    except ImportError:
        yield lambda: None
        return
    file = place()
    with contextlib.suppress(OSError):
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.touch(mode=0o600)
        readline.read_history_file(file)
    _complete(readline, words)
    known = readline.get_current_history_length()

    def keep() -> None:
        nonlocal known
        now = readline.get_current_history_length()
        with contextlib.suppress(OSError):
            readline.append_history_file(now - known, file)
        known = now

    try:
        yield keep
    finally:
        with contextlib.suppress(OSError):
            _shorten(file)


def _shorten(file: Path) -> None:
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    if len(lines) > 2 * _KEPT:
        file.write_text("".join(lines[-_KEPT:]), encoding="utf-8")


def _complete(readline: ModuleType, words: Sequence[str]) -> None:
    def word(typed: str, number: int) -> str | None:
        fitting = [each for each in words if each.lower().startswith(typed.lower())]
        return fitting[number] if number < len(fitting) else None

    readline.set_completer(word)
    readline.set_completer_delims(" \t\n,();=<>*+-/")
    readline.parse_and_bind("tab: complete")
