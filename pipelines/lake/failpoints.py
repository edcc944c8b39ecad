"""Crash points: named places where a test can make the process die, as if by `kill -9`.

Each durable step passes one before and after what it does. Unarmed, a point costs one comparison.
"""

from __future__ import annotations

import os
import signal

_armed: str | None = None
_left = 0


def arm(point: str | None) -> None:
    """Die at a point, such as `commit.ready`, or at the n-th pass of it: `commit.ready:3`.

    None disarms. The command reads it from `HEADRACE_CRASH_AT`.
    """
    global _armed, _left
    name, _, nth = (point or "").partition(":")
    _armed, _left = name or None, int(nth or 1)


def here(point: str) -> None:
    """Pass a point; the end of the process, if it is the one that was armed."""
    if _armed is None or point != _armed:
        return
    global _left  # noqa: PLW0603
    _left -= 1
    if _left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
