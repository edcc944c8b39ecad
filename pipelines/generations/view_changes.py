"""What views over views change by, when the views that they read do.

Cost follows the groups that were touched: of the inner views, only those groups are read that new
partial rows touch, and those that are joined to them. They are served twice, without the new rows
and with them, and the two are the old rows (weight -1) and the new ones (+1) of the outer view.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import pyarrow as pa

from headrace.pipelines.views.stacked import lookups as lookups_of
from headrace.pipelines.views.stacked import over_views, read_by_views, rows_of

if TYPE_CHECKING:
    import duckdb

    from headrace.pipelines.generations.generation import Generation
    from headrace.pipelines.views.load import View


def with_views_over_views(
    lake: duckdb.DuckDBPyConnection,
    engine: duckdb.DuckDBPyConnection,
    line: Generation,
    rows: Mapping[str, pa.Table],
    lookups: dict[str, pa.Table],
) -> dict[str, pa.Table]:
    """The rows that a commit adds to deltas, with those of views over views.

    Args:
        lake: reads the generation, in the transaction of the commit, before it writes.
        engine: where to compute; only temporary objects are made.
        line: the generation as it stands in that transaction.
        rows: for `orders`, `ledger` and each view over them, the rows to add.
        lookups: what is known of the generation's lookups, which never change; filled as needed.
    """
    made = dict(rows)
    outer = over_views(line.views)
    near = {name: _Near(lake, engine, line, name) for name in read_by_views(outer)}
    for name in near.keys() & lookups_of(line.views).keys():
        if name not in lookups:
            lookups[name] = lake.execute(line.partial_rows(line.views[name])).to_arrow_table()
    for name, view in outer.items():
        fresh = {inner: made[inner] for inner in view.inner if inner in made}
        if any(table.num_rows for table in fresh.values()):
            held = {inner: lookups[inner] for inner in view.inner if inner in lookups}
            made[name] = _change(engine, line, view, fresh, near, held)
    return made


def _change(
    engine: duckdb.DuckDBPyConnection,
    line: Generation,
    view: View,
    fresh: Mapping[str, pa.Table],
    near: Mapping[str, _Near],
    held: Mapping[str, pa.Table],
) -> pa.Table:
    by = _touched_by(view, line)
    new = {f"_new_{name}": table for name, table in fresh.items()}
    tables = {f"_near_{name}": table for name, table in held.items()}
    with _registered(engine, new):
        for name, columns in by.items():
            # Values of the same columns, whichever of the views they were touched in.
            touched = " UNION ".join(
                f"SELECT {_numbered(columns, others)} FROM _new_{other}"
                for other, others in by.items()
                if other in fresh
            )
            tables[f"_near_{name}"] = near[name].rows(list(dict.fromkeys(columns)), touched)
        for name in set(view.inner) - fresh.keys():
            tables[f"_new_{name}"] = tables[f"_near_{name}"].schema.empty_table()
        before = _rows(view, line, "(FROM _near_{0})")
        after = _rows(view, line, "(FROM _near_{0} UNION ALL BY NAME FROM _new_{0})")
        weighted = f"(SELECT *, -1 AS _weight FROM {before} UNION ALL SELECT *, 1 FROM {after})"
        with _registered(engine, tables):
            return engine.execute(view.partial_sql(weighted, weight="_weight")).to_arrow_table()


class _Near:
    """The partial rows of an inner view as they were before, as far as they were asked for.

    They are found by columns that all who read the view have in common, so that they are read from
    the lake once. To have more of them than were touched is no harm: what is the same on both sides
    cancels out.
    """

    def __init__(
        self,
        lake: duckdb.DuckDBPyConnection,
        engine: duckdb.DuckDBPyConnection,
        line: Generation,
        name: str,
    ) -> None:
        self._lake = lake
        self._engine = engine
        self._line = line
        self._name = name
        wanted = [
            _touched_by(view, line)[name]
            for view in over_views(line.views).values()
            if name in _touched_by(view, line)
        ]
        shared = (c for c in (wanted[0] if wanted else ()) if all(c in each for each in wanted))
        self._columns = list(dict.fromkeys(shared)) or None
        self._asked: set[str] = set()
        self._known: pa.Table | None = None
        self._rows: pa.Table | None = None

    def rows(self, columns: list[str], touched: str) -> pa.Table:
        """Those that are touched, and perhaps more.

        Args:
            columns: the columns by which it is known what is touched.
            touched: a SELECT (for the engine) of their values, under their names.
        """
        if self._columns is None:  # nothing in common
            return self._read(columns, self._engine.execute(touched).to_arrow_table())
        listed = ", ".join(f'"{c}"' for c in self._columns)
        if self._rows is not None and touched in self._asked:  # what is new stays as it is
            return self._rows
        self._asked.add(touched)
        held = {} if self._known is None else {"_known": self._known}
        new = f"SELECT DISTINCT {listed} FROM ({touched})"
        with _registered(self._engine, held):
            missing = self._engine.execute(
                f"{new} EXCEPT FROM _known" if held else new
            ).to_arrow_table()
        if self._known is None or self._rows is None:
            self._known, self._rows = missing, self._read(self._columns, missing)
        elif missing.num_rows:
            more = self._read(self._columns, missing)
            self._known = pa.concat_tables([self._known, missing])
            self._rows = pa.concat_tables([self._rows, more])
        return self._rows

    def _read(self, columns: list[str], touched: pa.Table) -> pa.Table:
        line, view = self._line, self._line.views[self._name]
        same = " AND ".join(f'p."{c}" IS NOT DISTINCT FROM t."{c}"' for c in columns)
        found = f"EXISTS (SELECT 1 FROM _touched AS t WHERE {same})"
        if not line.position.total:
            found = "false"
        rows = line.partial_rows(view) if line.cut.total else line.delta_rows(view)
        with _registered(self._lake, {"_touched": touched}):
            return self._lake.execute(f"SELECT * FROM ({rows}) AS p WHERE {found}").to_arrow_table()


def _touched_by(view: View, line: Generation) -> dict[str, list[str]]:
    """Each view that is read, to the columns by whose values it is found what is touched."""
    if view.join is None or line.views[view.join.view].lookup is not None:
        return {view.source: [c.name for c in line.views[view.source].keys]}
    return {
        view.source: [ours for ours, _ in view.join.on],
        view.join.view: [its for _, its in view.join.on],
    }


def _rows(view: View, line: Generation, partials: str) -> str:
    """What the view reads, if these are the partial rows of the views that it reads."""
    return rows_of(view, lambda name: f"({line.views[name].served_sql(partials.format(name))})")


def _numbered(names: list[str], columns: list[str]) -> str:
    """Columns under the names that the same values have in another view, each name once.

    A column may be joined to two others. What one of them finds is enough, and perhaps too much.
    """
    named = dict(reversed(list(zip(names, columns, strict=True))))
    return ", ".join(f'"{c}" AS "{name}"' for name, c in named.items())


@contextlib.contextmanager
def _registered(con: duckdb.DuckDBPyConnection, tables: Mapping[str, pa.Table]) -> Iterator[None]:
    for name, table in tables.items():
        con.register(name, table)
    try:
        yield
    finally:
        for name in tables:
            con.unregister(name)
