"""Cells that differ between two relations with one key: a row each, values as exact text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from headrace.pipelines.generations.generation import Generation
from headrace.pipelines.lake.lake import Lake


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


_SHOWN = 20
"""Differing cells that are listed; all of them are counted."""


@dataclass(frozen=True)
class Cell:
    """One cell that differs: its row's key, its column, and both values."""

    view: str
    key: Mapping[str, Any]
    column: str
    served: Any
    expected: Any


@dataclass(frozen=True)
class Comparison:
    """What a comparison of all views found."""

    rows: int
    cells: int
    wrong: int
    shown: tuple[Cell, ...] = ()
    by_view: Mapping[str, int] = field(default_factory=dict)


def compare(lake: Lake, line: Generation, pairs: Mapping[str, tuple[str, str]]) -> Comparison:
    """Compare two SELECTs for each name, as bags of rows, cell by cell.

    Args:
        lake: where to run.
        line: the generation whose views they are; it knows the keys.
        pairs: name to (served, expected).
    """
    rows = cells = wrong = 0
    shown: list[Cell] = []
    by_view = {}
    for name, (served, expected) in pairs.items():
        columns = [row[0] for row in lake.rows(f"DESCRIBE {expected}")]
        keys = columns if name == "ledger" else keys_of(line, name)  # a ledger has no key
        count = int(lake.row(f"SELECT count(*) FROM ({expected})")[0])
        rows += count
        cells += count * len(columns)
        by_view[name], first = _differing(lake, name, keys, columns, served, expected)
        wrong += by_view[name]
        shown += first[: _SHOWN - len(shown)]
    return Comparison(rows, cells, wrong, tuple(shown), by_view)


def keys_of(line: Generation, name: str) -> list[str]:
    """The columns that identify a row of `orders` or of a view."""
    if name == "orders":
        return ["order_id"]
    return list(line.views[name].row_key)


def _differing(
    lake: Lake, name: str, keys: list[str], columns: list[str], served: str, expected: str
) -> tuple[int, list[Cell]]:
    """The cells of rows that one side has more often than the other, paired by key.

    Gives how many there are, counted where they lie, and the first of them.
    """
    listed, key = (", ".join(f'"{c}"' for c in names) for names in (columns, keys))
    lake.con.execute(f"""
        CREATE OR REPLACE TEMP TABLE _surplus AS
        SELECT _side, row_number() OVER (PARTITION BY _side, {key} ORDER BY {listed}) AS _nth,
          {listed}
        FROM (
          SELECT _side, {listed}, unnest(range(_times))
          FROM (
            SELECT sign(sum(_side)) AS _side, abs(sum(_side))::BIGINT AS _times, {listed}
            FROM (SELECT 1 AS _side, * FROM ({served})
                  UNION ALL SELECT -1 AS _side, * FROM ({expected}))
            GROUP BY {listed} HAVING sum(_side) <> 0))""")
    same = " AND ".join(f'a."{k}" IS NOT DISTINCT FROM b."{k}"' for k in ("_nth", *keys))
    unequal = " + ".join(f'(a."{c}" IS DISTINCT FROM b."{c}")::INT' for c in columns)
    both = f"""
        FROM (FROM _surplus WHERE _side = 1) AS a
        FULL JOIN (FROM _surplus WHERE _side = -1) AS b ON {same}"""
    missing = "a._side IS NULL OR b._side IS NULL"
    cells_of = f"CASE WHEN {missing} THEN {len(columns)} ELSE {unequal} END"
    wrong = lake.row(f"SELECT coalesce(sum({cells_of}), 0) {both}")[0]
    first = ", ".join(f'coalesce(a."{k}", b."{k}")' for k in keys)
    pairs = lake.rows(
        f"SELECT a._side, b._side, a.* EXCLUDE (_side, _nth), b.* EXCLUDE (_side, _nth) {both} "
        f"ORDER BY {first} LIMIT {_SHOWN}"
    )
    lake.con.execute("DROP TABLE temp._surplus")
    cells = []
    for ours, theirs, *values in pairs:
        a = dict(zip(columns, values[: len(columns)], strict=True)) if ours else {}
        b = dict(zip(columns, values[len(columns) :], strict=True)) if theirs else {}
        shared = {k: (a or b)[k] for k in keys}
        cells += [
            Cell(name, shared, c, a.get(c), b.get(c))
            for c in columns
            if not a or not b or a[c] != b[c]
        ]
    return int(wrong), cells[:_SHOWN]
