"""Cells that differ between two relations with one key: a row each, values as exact text."""

from __future__ import annotations

from collections.abc import Sequence


def differing(name: str, keys: Sequence[str], measures: Sequence[str], old: str, new: str) -> str:
    """SQL for the cells of rows that only one side has, or that both have with other values.

    Columns: `view`, `key` (JSON text), `measure`, `old`, `new`. A row that one side lacks has
    NULL for its values there. Keys must be unique on both sides.

    Args:
        name: what stands as `view`.
        keys: the key's columns; NULL is a key like any other.
        measures: the columns that are compared.
        old: a SELECT.
        new: a SELECT.
    """
    listed = ", ".join(f'"{c}"' for c in (*keys, *measures))
    same = " AND ".join(f'a."{k}" IS NOT DISTINCT FROM b."{k}"' for k in keys)
    key = ", ".join(f'"{k}" := coalesce(a."{k}", b."{k}")' for k in keys)
    cells = ", ".join(
        f"{{'measure': '{m}', 'old': CAST(a.\"{m}\" AS VARCHAR), "
        f"'new': CAST(b.\"{m}\" AS VARCHAR)}}"
        for m in measures
    )
    # Equal rows go first, in one pass over both sides: what is left to be joined is small.
    return f"""
        WITH surplus AS MATERIALIZED (
          SELECT sum(_side) AS _side, {listed}
          FROM (SELECT 1 AS _side, {listed} FROM ({old})
                UNION ALL SELECT -1 AS _side, {listed} FROM ({new}))
          GROUP BY {listed} HAVING sum(_side) <> 0)
        SELECT '{name}' AS view, key, cell.measure AS measure, cell.old AS old, cell.new AS new
        FROM (
          SELECT CAST(to_json(struct_pack({key})) AS VARCHAR) AS key, unnest([{cells}]) AS cell
          FROM (FROM surplus WHERE _side > 0) AS a
          FULL JOIN (FROM surplus WHERE _side < 0) AS b ON {same})
        WHERE cell.old IS DISTINCT FROM cell.new"""
