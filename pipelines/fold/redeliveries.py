"""Redelivered events whose bytes differ from the first delivery's: found where they are folded."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import duckdb


class Suspect(NamedTuple):
    """A redelivered event whose bytes differ from the first delivery's, at `first`."""

    partition: int
    offset: int
    first: int


def in_fold(con: duckdb.DuckDBPyConnection, new: str, known: str, prefix: str) -> list[Suspect]:
    """Suspects among new events, after they were folded with all of their orders' events.

    Args:
        con: where the fold left `{prefix}repeats`.
        new: the relation of new events.
        known: a SELECT of all events of their orders, the new ones among them.
        prefix: of the fold.
    """
    rows = con.execute(f"""
        WITH again AS MATERIALIZED (
          -- Few rows. Joined first: the optimizer would else join all events by partition alone.
          SELECT e."partition", e."offset", e.digest, r.first_offset
          FROM {new} AS e
          JOIN {prefix}repeats AS r ON e."partition" = r."partition" AND e."offset" = r."offset"
        )
        SELECT a."partition", a."offset", a.first_offset
        FROM ({known}) AS f
        JOIN again AS a ON f."partition" = a."partition" AND f."offset" = a.first_offset
        WHERE a.digest <> f.digest ORDER BY ALL""").fetchall()
    return [Suspect(*row) for row in rows]
