"""What views over views change by, when the views that they read do.

Cost follows the groups that were touched: of the inner views, only those groups are read that new
partial rows touch, and those that are joined to them. They are served twice, without the new rows
and with them, and the two are the old rows (weight -1) and the new ones (+1) of the outer view.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from headrace.pipelines.views.stacked import over_views, rows_of

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

    from headrace.pipelines.generations.generation import Generation
    from headrace.pipelines.views.load import View


def with_views_over_views(
    lake: duckdb.DuckDBPyConnection,
    engine: duckdb.DuckDBPyConnection,
    line: Generation,
    rows: Mapping[str, pa.Table],
) -> dict[str, pa.Table]:
    """The rows that a commit adds to deltas, with those of views over views.

    Args:
        lake: reads the generation, in the transaction of the commit, before it writes.
        engine: where to compute; only temporary objects are made.
        line: the generation as it stands in that transaction.
        rows: for `orders`, `ledger` and each view over them, the rows to add.
    """
    made = dict(rows)
    for name, view in over_views(line.views).items():
        if any(inner in made and made[inner].num_rows for inner in view.inner):
            made[name] = _change(lake, engine, line, view, made)
    return made


def _change(
    lake: duckdb.DuckDBPyConnection,
    engine: duckdb.DuckDBPyConnection,
    line: Generation,
    view: View,
    rows: Mapping[str, pa.Table],
) -> pa.Table:
    by = _touched_by(view, line)
    fresh = {f"_new_{name}": rows[name] for name in by if name in rows}
    with _registered(engine, fresh):
        touched = engine.execute(
            " UNION ".join(
                f"SELECT {_numbered(columns)} FROM _new_{name}"
                for name, columns in by.items()
                if name in rows
            )
        ).to_arrow_table()
    with _registered(lake, {"_touched": touched}):
        near = {
            f"_near_{name}": lake.execute(_near(line, name, columns)).to_arrow_table()
            for name, columns in by.items()
        }
    for name in by:
        fresh.setdefault(f"_new_{name}", near[f"_near_{name}"].schema.empty_table())
    before = _rows(view, line, "(FROM _near_{0})")
    after = _rows(view, line, "(FROM _near_{0} UNION ALL BY NAME FROM _new_{0})")
    weighted = f"(SELECT *, -1 AS _weight FROM {before} UNION ALL SELECT *, 1 FROM {after})"
    with _registered(engine, {**fresh, **near}):
        return engine.execute(view.partial_sql(weighted, weight="_weight")).to_arrow_table()


def _touched_by(view: View, line: Generation) -> dict[str, list[str]]:
    """Each view that is read, to the columns by whose values it is found what is touched."""
    if view.join is None:
        return {view.source: [c.name for c in line.views[view.source].keys]}
    return {
        view.source: [ours for ours, _ in view.join.on],
        view.join.view: [its for _, its in view.join.on],
    }


def _near(line: Generation, name: str, columns: list[str]) -> str:
    """The partial rows of a view that are touched, as they were before."""
    view = line.views[name]
    same = " AND ".join(
        f'p."{column}" IS NOT DISTINCT FROM t.k{nth}' for nth, column in enumerate(columns)
    )
    found = f"EXISTS (SELECT 1 FROM _touched AS t WHERE {same})" if line.position.total else "false"
    return f"SELECT * FROM ({line.partial_rows(view)}) AS p WHERE {found}"


def _rows(view: View, line: Generation, partials: str) -> str:
    """What the view reads, if these are the partial rows of the views that it reads."""
    return rows_of(view, lambda name: f"({line.views[name].served_sql(partials.format(name))})")


def _numbered(columns: list[str]) -> str:
    return ", ".join(f'"{column}" AS k{nth}' for nth, column in enumerate(columns))


@contextlib.contextmanager
def _registered(con: duckdb.DuckDBPyConnection, tables: Mapping[str, pa.Table]) -> Iterator[None]:
    for name, table in tables.items():
        con.register(name, table)
    try:
        yield
    finally:
        for name in tables:
            con.unregister(name)
