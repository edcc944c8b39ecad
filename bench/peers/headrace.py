"""Headrace from the same file, with its default settings: append, `speed --once`, three answers.

It does more than the others here: all twelve built-in views, each event kept and synced, positions.
The home is left behind in OUT.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from bench.peers import KEYS, VALUES, Rows, run


def compute(events: str, out: Path) -> dict[str, Rows]:
    """The three views; their files are written by the command itself."""
    home = out / "home"
    shutil.rmtree(home, ignore_errors=True)
    command = [sys.executable, "-m", "headrace", "--home", str(home)]
    for arguments in (["append", events], ["speed", "--once"]):
        subprocess.run([*command, *arguments], check=True, stdout=subprocess.DEVNULL)
    for view in KEYS:
        sql = f"SELECT {', '.join((*KEYS[view], *VALUES[view]))} FROM {view}"
        file = str(out / f"{view}.csv")
        query = [*command, "query", sql, "--output", file]
        subprocess.run(query, check=True, stdout=subprocess.DEVNULL)
    return {}


if __name__ == "__main__":
    run("headrace", compute)
