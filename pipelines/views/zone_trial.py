"""A zone is tried before a view with it is taken: both forms of its rules against Python's own.

Guarantees: at every change of the zone's clocks, a microsecond before it and in between, what is
compiled for DuckDB and what stands for the text give the time that `zoneinfo` gives.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from headrace.pipelines.errors import ViewError
from headrace.pipelines.views.types import scratch
from headrace.pipelines.views.zoned import as_tree, shifted
from headrace.schemas import zones
from headrace.schemas.events import END_YEAR, FIRST_YEAR

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headrace.schemas.zones import ZoneRules

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND: Final = 1_000_000


def try_zone(table: ZoneRules, where: str) -> None:
    """Compare a zone's compiled rules with Python's reading of them.

    Raises:
        ViewError: a time differs.
    """
    problem = _difference(table)
    if problem:
        raise ViewError(f"{where}: {problem}. Please report it, with the version of tzdata")


@lru_cache(maxsize=64)
def _difference(table: ZoneRules) -> str:
    """The first time that differs; empty if none does."""
    moments = telling_moments(table)
    clock = zones.clock(table.name)
    for moment, compiled, written in converted(table, moments):
        utc = _EPOCH + timedelta(microseconds=moment)
        expected = utc.astimezone(clock).replace(tzinfo=None)
        if not compiled == written == expected:
            return (
                f"{utc:%Y-%m-%d %H:%M:%S}Z is {expected} in {table.name}, and would be computed "
                f"as {compiled if compiled != expected else written}"
            )
    return ""


def telling_moments(table: ZoneRules) -> list[int]:
    """Microseconds since 1970: the zone's changes, just before them, in between, and the ends."""
    first, last = (
        int((datetime(year, 1, 1, tzinfo=UTC) - _EPOCH).total_seconds())
        for year in (FIRST_YEAR, END_YEAR)
    )
    edges = [first, *table.starts, last]
    middle = ((a + b) // 2 * _SECOND for a, b in pairwise(edges))
    return [
        *middle,
        *(edge * _SECOND for edge in edges[:-1]),
        *(edge * _SECOND - 1 for edge in edges[1:]),
    ]


def converted(
    table: ZoneRules, moments: Sequence[int]
) -> list[tuple[int, datetime | None, datetime | None]]:
    """Each moment in microseconds, with local time as compiled and as for the text, by DuckDB."""
    listed = ", ".join(map(str, moments))
    found: list[tuple[int, datetime | None, datetime | None]] = (
        scratch()
        .cursor()
        .execute(
            f"SELECT epoch_us(t), {shifted('t', table, 'duckdb')}, {as_tree(table)} FROM "
            f"(SELECT make_timestamp(unnest(CAST('[{listed}]' AS BIGINT[]))) AS t)"
        )
        .fetchall()
    )
    return found
