"""Whether a catalog holds the lake that a home was made with: that log, no older state of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb

from headrace.pipelines.errors import HomeError, LogError
from headrace.pipelines.lake import backups
from headrace.pipelines.lake.duckdb_errors import before_a_copy, first_line, out_of_memory

if TYPE_CHECKING:
    from headrace.pipelines.lake.connection import Connection


def check(lake: Connection) -> None:
    """Refuse a catalog whose log is not the one that the home was made with; note its kind.

    Raises:
        HomeError: the catalog holds no lake of ours.
        LogError: it holds another log, or is an older copy of itself.
    """
    home = lake.home
    # Before the catalog is asked: a writer may commit at any moment, and the mark comes later.
    furthest = backups.furthest(home)
    try:
        with lake.reading():
            found = lake.rows("SELECT log_id, kind FROM sys.log")
            snapshot = lake.snapshot()
    except duckdb.Error as e:
        if out_of_memory(e):
            raise
        raise HomeError(
            f"{home.catalog_place} is no catalog of a lake ({first_line(e)}); "
            f"{before_a_copy(e)}restore it from a copy: `headrace doctor --repair`"
        ) from e
    if [log_id for log_id, _ in found] != [home.log_id]:
        raise LogError(
            f"the log in {home.path} is not the one this home was made with (expected "
            f"{home.log_id}, found {found}); restore home.json and catalog together, "
            "or import the events into a new home"
        )
    if snapshot < furthest:
        raise LogError(
            f"the catalog {home.catalog_place} is older than the lake: it stands at "
            f"snapshot {snapshot}, the lake was at {furthest}. Put the newer one back, or let "
            "`headrace doctor --repair` restore what came after it"
        )
    lake.log_kind = str(found[0][1])
    if lake.settings.log is not None and lake.log_kind == "embedded":
        raise LogError(
            f"the home {home.path} has a log of its own, not {lake.settings.log}; name "
            "another home for that topic"
        )
