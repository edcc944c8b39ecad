"""Explain a cell: from a row of a view down to the rows, orders and events that make it.

The view's own text says which rows those are: its key expressions become the filter. What is found
is then put together again in three ways, and each must give what is served, to the last digit:

- the rows, through the view's text, give the row;
- what each part adds, added up, gives what base and deltas hold of it;
- the orders' events, folded anew, give the rows.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

import duckdb

from headrace.pipelines.errors import UsageError
from headrace.pipelines.generations import registry
from headrace.pipelines.lake import checksums
from headrace.pipelines.lake.connect import literal
from headrace.pipelines.lake.guarded_sql import plain
from headrace.pipelines.serving import order_events
from headrace.pipelines.serving.explanation import Explanation, Level, Listed, Term
from headrace.pipelines.views.stacked import rows_of
from headrace.pipelines.views.view import ROWS
from headrace.schemas.tables import TABLES

if TYPE_CHECKING:
    from headrace.pipelines.generations.generation import Generation
    from headrace.pipelines.lake.lake import Lake
    from headrace.pipelines.views.load import View
    from headrace.pipelines.views.view import Column

LIMIT = 20
"""Parts, rows, and orders with their events that are listed unless more are asked for."""


def explain(
    lake: Lake,
    name: str,
    key: Mapping[str, object],
    *,
    measure: str | None = None,
    limit: int = LIMIT,
) -> Explanation:
    """Explain one cell of a view of the live generation.

    Args:
        lake: where.
        name: the view.
        key: a value for each of its keys; text is read as the key's type, None is NULL.
        measure: the column to explain; by default the first that is no key.
        limit: how many parts, rows and orders are listed; all are counted and added up.

    Raises:
        UsageError: there is no such view, measure or row.
        SeamError, DamageError: what is served does not fit together, or is damaged.
    """
    with lake.reading():
        line = registry.trusted(registry.read(lake))
        view = _view(line, name)
        chosen = _measure(view, measure)
        read = {*line.stored(*TABLES, *_below(line, view)), ("sys", "events")}
        checksums.check(lake, {*read, ("sys", "restatements")})
        explaining = _Explaining(lake, line, limit)
        try:
            return explaining.explanation(view, key, chosen)
        finally:
            explaining.clean_up()


def _view(line: Generation, name: str) -> View:
    known = sorted(n for n in line.views if line.views[n].lookup is None)
    if name not in known:
        raise UsageError(f"{name!r} is no view that is live; there are {', '.join(known)}")
    return line.views[name]


def _measure(view: View, name: str | None) -> str:
    keys = {c.name for c in view.keys}
    known = [c.name for c in view.outputs if c.name not in keys]
    if not known:
        raise UsageError(f"{view.name} has keys alone, and nothing to explain")
    if name is not None and name not in known:
        raise UsageError(f"{view.name} has no measure {name!r}; it has {', '.join(known)}")
    return name or known[0]


def _below(line: Generation, view: View) -> set[str]:
    """The view and all views and lookups that it is made of."""
    return {view.name}.union(*(_below(line, line.views[inner]) for inner in view.inner))


@dataclass(frozen=True)
class _Held:
    """A view, a table of some of its keys, and a table of the rows that it reads for them."""

    view: View
    keys: str
    rows: str


class _Explaining:
    """The steps of one explanation, inside one transaction."""

    def __init__(self, lake: Lake, line: Generation, limit: int) -> None:
        self._lake = lake
        self._line = line
        self._limit = limit
        self._tables: list[str] = []

    def explanation(self, view: View, key: Mapping[str, object], measure: str) -> Explanation:
        """All of it; temporary tables stay behind until `clean_up`."""
        keys = self._keys(view, key)
        row = self._row(view, keys, key)
        held = list(self._down(view, keys))
        parts, added = self._parts(held[0], measure)
        orders = self._orders(held, parts)
        events = self._events(orders)
        tried = [(f"rows give {each.view.name}", self._given(each)) for each in held]
        tried.append(("parts give base and deltas", added))
        tried += [
            (f"events give rows of {each.view.source} for {each.view.name}", self._refolded(each))
            for each in held
            if each.view.source in TABLES
        ]
        proofs: dict[str, bool] = {}
        for what, good in tried:  # a view that is reached in two ways is tried twice
            proofs[what] = good and proofs.get(what, True)
        return Explanation(
            view=view.name,
            key={c.name: row[c.name] for c in view.keys},
            row=row,
            measure=measure,
            terms=tuple(self._terms(view, keys, measure)),
            commits=self._commits(view, keys),
            parts=parts,
            levels=tuple(Level(e.view.name, e.view.source, self._read(e, orders)) for e in held),
            orders=self._count(orders),
            events=events,
            restatements=self._restatements(view, keys, measure),
            proofs=proofs,
            cut=self._line.cut,
            position=self._line.position,
            logic=self._line.logic,
            generation=self._line.number,
        )

    def clean_up(self) -> None:
        """Drop what an explanation left behind."""
        with contextlib.suppress(duckdb.TransactionException):  # its rollback drops them
            order_events.drop(self._lake)
            for table in self._tables:
                self._lake.con.execute(f"DROP TABLE IF EXISTS temp.{table}")

    def _keys(self, view: View, key: Mapping[str, object]) -> str:
        """A table with the wanted key, each column under its name."""
        names = [c.name for c in view.keys]
        if set(key) != set(names):
            example = " ".join(f"{name}=…" for name in names)
            raise UsageError(f"name one row of {view.name} by all of its key: {example}")
        items = [f'{self._value(c, key[c.name])} AS "{c.name}"' for c in view.keys]
        return self._table(f"SELECT {', '.join(items)}")

    def _value(self, column: Column, given: object) -> str:
        """SQL of a value of the key.

        Raises:
            UsageError: it is none of the column's type, or would have to be rounded to be one.
        """
        sql = f"CAST({literal(given)} AS {column.type})"
        try:
            (value,) = self._lake.row(f"SELECT {sql}")
        except duckdb.Error as e:
            raise UsageError(f"{given!r} is no {column.type}, as {column.name} is") from e
        if not _same(value, given):
            raise UsageError(
                f"{given!r} is not exactly a {column.type}, as {column.name} is; {plain(value)} is"
            )
        return sql

    def _row(self, view: View, keys: str, key: Mapping[str, object]) -> dict[str, Any]:
        found = self._lake.rows(self._served(view, keys))
        if not found:
            named = ", ".join(
                f"{name}={'NULL' if value is None else value}" for name, value in key.items()
            )
            raise UsageError(
                f'{view.name} has no row with {named}; `headrace query "FROM {view.name}"` '
                "shows those that it has"
            )
        return dict(zip((c.name for c in view.outputs), found[0], strict=True))

    def _served(self, view: View, keys: str) -> str:
        """The rows of a view, as they are served, that have one of the keys."""
        return f"SELECT s.* FROM ({self._line.select(view.name)}) AS s WHERE {_has(view, keys)}"

    def _down(self, view: View, keys: str) -> Iterator[_Held]:
        """What a view reads for some keys of it, then what its inner views read for theirs."""
        rows = self._table(self._rows(view, keys, lambda n: f"({self._line.select(n)})"))
        yield _Held(view, keys, rows)
        for inner in dict.fromkeys(view.inner):
            below = self._line.views[inner]
            if below.lookup is None:
                yield from self._down(below, self._table(_keys_read(view, below, rows)))

    def _rows(self, view: View, keys: str, relation: Callable[[str], str]) -> str:
        """The rows that a view reads for some keys, if `relation` gives those of its source."""
        hidden = [f'"_key_{n}"' for n, _ in enumerate(view.keys, start=1)]
        same = (
            f'r.{ours} IS NOT DISTINCT FROM k."{c.name}"'
            for ours, c in zip(hidden, view.keys, strict=True)
        )
        return (
            f"SELECT r.* EXCLUDE ({', '.join(hidden)}) "
            f"FROM ({view.rows_sql(rows_of(view, relation))}) AS r WHERE EXISTS "
            f"(SELECT 1 FROM {keys} AS k WHERE {' AND '.join(same)})"
        )

    def _given(self, held: _Held) -> bool:
        """Whether rows give, through the view's text, what is served of it."""
        return self._equal(
            held.view.full_sql(f"(FROM {held.rows})"), self._served(held.view, held.keys)
        )

    def _parts(self, held: _Held, measure: str) -> tuple[Listed, bool]:
        """What each order, or row of an inner view, adds; and whether it is all that is held."""
        view = held.view
        source = self._line.views.get(view.source)
        by = ["order_id"] if source is None else [c.name for c in source.keys]
        parts = self._table(view.parts_sql(held.rows, by))
        values = "".join(f'"{c.name}", ' for c in view.values)
        sums = ", ".join(f'CAST(sum("{c.name}") AS {c.type}) AS "{c.name}"' for c in view.partials)
        added = f'SELECT {values}{sums} FROM {parts} GROUP BY ALL HAVING sum("{ROWS}") <> 0'
        columns = ", ".join(f's."{c.name}"' for c in (*view.values, *view.partials))
        merged = view.merge_sql(f"({self._line.partial_rows(view)})")
        kept = f"SELECT {columns} FROM ({merged}) AS s WHERE {_has(view, held.keys)}"
        shown = self._listed(_parts_of(view, measure, parts, by))
        return shown, self._equal(added, kept)

    def _terms(self, view: View, keys: str, measure: str) -> Iterator[Term]:
        kept = {c.name for c in view.values}
        base, delta = self._line.base_table(view.name), self._line.delta_table(view.name)
        for column, sql in view.made_of(measure).items():
            if column in kept:
                yield Term(sql, None, None)
                continue
            held = (
                f'SELECT coalesce(sum(s."{column}"), 0) FROM {table} AS s WHERE {_has(view, keys)}'
                for table in (base, delta)
            )
            yield Term(sql, *(self._lake.row(each)[0] for each in held))

    def _commits(self, view: View, keys: str) -> int:
        table = self._line.delta_table(view.name)
        counted = f"SELECT count(DISTINCT s.commit_no) FROM {table} AS s WHERE {_has(view, keys)}"
        return int(self._lake.row(counted)[0])

    def _orders(self, held: list[_Held], parts: Listed) -> str:
        """A table of the orders behind it, those first that are listed among the parts."""
        found = " UNION ALL ".join(
            f"SELECT order_id FROM {each.rows}" for each in held if each.view.source in TABLES
        )
        first: list[str] = []
        if parts.columns[0] == "order_id" and held[0].view.source in TABLES:
            first = list(dict.fromkeys(str(row[0]) for row in parts.rows))
        return self._table(
            f"SELECT order_id, row_number() OVER (ORDER BY "
            f"coalesce(list_position({literal(first)}::VARCHAR[], order_id), {len(first) + 1}), "
            f"order_id) AS nth FROM (SELECT DISTINCT order_id FROM ({found}))"
        )

    def _events(self, orders: str) -> Listed:
        """The events of the orders, folded anew; those of the first orders are listed."""
        order_events.refold(self._lake, f"SELECT order_id FROM {orders}", self._line.position)
        listed = self._listed(
            f"SELECT m.* FROM ({order_events.marked(self._line.cut)}) AS m JOIN {orders} AS n "
            f"ON m.order_id = n.order_id WHERE n.nth <= {self._limit} "
            'ORDER BY n.nth, m."offset"',
            all_of_them=True,
        )
        return Listed(listed.columns, listed.rows, self._count(order_events.EVENTS))

    def _read(self, held: _Held, orders: str) -> Listed:
        """The rows that a view reads; of `orders` and `ledger` in the order of the orders."""
        if held.view.source not in TABLES:
            return self._listed(f"FROM {held.rows} ORDER BY ALL")
        columns = [c for c in self._line.columns(held.view.source) if c != "order_id"]
        listed = ", ".join(f'r."{c}"' for c in columns)
        return self._listed(
            f"SELECT r.order_id, {listed} FROM {held.rows} AS r JOIN {orders} AS n "
            f"ON r.order_id = n.order_id ORDER BY n.nth, {listed}"
        )

    def _refolded(self, held: _Held) -> bool:
        """Whether the events, folded anew, give the rows."""

        def folded(name: str) -> str:
            return f"({order_events.rows(name, self._line.columns(name))})"

        return self._equal(self._rows(held.view, held.keys, folded), f"FROM {held.rows}")

    def _restatements(self, view: View, keys: str, measure: str) -> Listed:
        packed = ", ".join(f'"{c.name}" := "{c.name}"' for c in view.keys)
        key = f"SELECT CAST(to_json(struct_pack({packed})) AS VARCHAR) FROM {keys}"
        return self._listed(
            "SELECT recorded_at, generation, base, old, new, cause, events, offsets, "
            f"from_position, to_position FROM sys.restatements WHERE view = {literal(view.name)} "
            f"AND measure = {literal(measure)} AND key = ({key}) "
            "ORDER BY recorded_at DESC"
        )

    def _table(self, select: str) -> str:
        """A temporary table of what a SELECT gives; its name."""
        name = f"explained_{len(self._tables)}"
        self._lake.con.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS {select}")
        self._tables.append(name)
        return name

    def _equal(self, one: str, other: str) -> bool:
        """Whether two SELECTs give the same rows, each as often."""
        (differ,) = self._lake.row(
            f"SELECT count(*) FROM ((({one}) EXCEPT ALL ({other})) "
            f"UNION ALL (({other}) EXCEPT ALL ({one})))"
        )
        return int(differ) == 0

    def _listed(self, select: str, *, all_of_them: bool = False) -> Listed:
        table = self._table(select)
        some = "" if all_of_them else f" LIMIT {self._limit}"
        cursor = self._lake.con.execute(f"FROM {table}{some}")
        columns = tuple(column[0] for column in cursor.description or ())
        return Listed(columns, tuple(cursor.fetchall()), self._count(table))

    def _count(self, table: str) -> int:
        return int(self._lake.row(f"SELECT count(*) FROM {table}")[0])


def _has(view: View, keys: str) -> str:
    """The condition that a row `s` has one of the keys."""
    same = " AND ".join(f's."{c.name}" IS NOT DISTINCT FROM k."{c.name}"' for c in view.keys)
    return f"EXISTS (SELECT 1 FROM {keys} AS k WHERE {same})"


def _keys_read(view: View, inner: View, rows: str) -> str:
    """The keys of an inner view that are among the rows which a view reads."""
    if inner.name == view.source or view.join is None:
        own = ", ".join(f'"{c.name}"' for c in inner.keys)
        found = [f"SELECT {own} FROM {rows}"]
    else:
        found = []
    if view.join is not None and inner.name == view.join.view:
        pairs = {its: ours for ours, its in view.join.on}
        named = ", ".join(f'"{pairs[c.name]}" AS "{c.name}"' for c in inner.keys)
        there = " AND ".join(f'"{ours}" IS NOT NULL' for ours in pairs.values())
        found.append(f"SELECT {named} FROM {rows} WHERE {there}")
    return f"SELECT DISTINCT * FROM ({' UNION ALL '.join(found)})"


def _parts_of(view: View, measure: str, parts: str, by: list[str]) -> str:
    """The parts that add to a measure, the largest first, by the columns that tell them apart."""
    made_of = view.made_of(measure)
    kept = [c.name for c in view.values if c.name in made_of]
    summed = [c for c in view.partials if c.name in made_of]
    named = {name: sql if len(made_of) > 1 else measure for name, sql in made_of.items()}
    items = [f'"{c}"' for c in by]
    items += [f'"{c}" AS {_quoted(named[c])}' for c in kept]
    items += [f'CAST(sum("{ROWS}") AS BIGINT) AS "rows"']
    items += [f'CAST(sum("{c.name}") AS {c.type}) AS {_quoted(named[c.name])}' for c in summed]
    adds = [f'sum("{c.name}") <> 0' for c in summed]
    adds += [f'max("{c}") IS NOT NULL' for c in kept]
    grouped = ", ".join(str(n) for n in range(1, len(by) + len(kept) + 1))
    largest = "".join(f'abs(sum("{c.name}")) DESC, ' for c in summed[:1])
    return (
        f"SELECT {', '.join(items)} FROM {parts} GROUP BY {grouped} "
        f"HAVING {' OR '.join(adds) or 'true'} ORDER BY {largest}{grouped}"
    )


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _same(value: object, given: object) -> bool:
    """Whether a value of a key is the one that was given, and not one near it."""
    if not isinstance(given, str):
        return value == given
    try:
        if isinstance(value, int | Decimal) and not isinstance(value, bool):
            return Decimal(given) == value
        if isinstance(value, datetime):
            return datetime.fromisoformat(given.removesuffix("Z")) == value
        if isinstance(value, date):
            return date.fromisoformat(given) == value
    except (InvalidOperation, ValueError):
        return False
    return True
