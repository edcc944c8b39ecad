"""A compiled view and the SQL of its forms: partial, merged, served and full.

All forms of one view come from the same checked parts, so they cannot drift apart; only the
way in which an aggregate is computed differs between `full_sql` and the others.

What is stored adds up. Of an aggregate that does not (a minimum, a median) the values are stored,
each with how often: they stand beside the keys, so a partial row is one of (keys, values), and a
row that goes takes its values back. They are reduced when the view is read (`multiset`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from headrace.pipelines.views import multiset
from headrace.schemas.tables import TABLES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from headrace.schemas.zones import ZoneRules

Dialect = Literal["duckdb", "spark"]

ROWS: Final = "_rows"
"""Hidden partial: how many source rows stand behind a group. 0 means the group is gone."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column and its DuckDB type."""

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class Term:
    """An expression over source rows and the rows it counts for, in one dialect.

    `value` None stands for the row itself, `condition` None for every row.
    """

    value: str | None = None
    condition: str | None = None


@dataclass(frozen=True, slots=True)
class Partial:
    """An additive column of a view: it is summed, never anything else."""

    column: Column
    kind: Literal["count", "sum"]


@dataclass(frozen=True, slots=True)
class Rows:
    """What a view reads from source rows, in one dialect: keys, filter, terms, kept values."""

    keys: tuple[str, ...]
    where: str | None
    terms: tuple[Term, ...]
    values: tuple[Term, ...] = ()


@dataclass(frozen=True, slots=True)
class Aggregate:
    """An aggregate of the declaration, computed from the partials at the given places.

    `count` and `total` (a sum that is 0 over nothing) are one partial; `sum` is NULL where
    the partial `counted` says that nothing was summed. `reduction` is what is computed from kept
    values instead.
    """

    column: Column
    kind: Literal["count", "sum", "total", "reduced"]
    partial: int = 0
    counted: int | None = None
    reduction: multiset.Reduction | None = None


@dataclass(frozen=True, slots=True)
class Join:
    """Another view whose rows stand beside those of the one that is read, where keys are equal.

    Attributes:
        view: its name.
        alias: what its columns begin with, as in `alias.column`.
        on: pairs of columns that must be equal, of the one that is read and of this one.
        columns: its columns.
        during: a column of the one that is read, and the two of this one between which it must lie,
            the second one excluded.
    """

    view: str
    alias: str
    on: tuple[tuple[str, str], ...]
    columns: tuple[str, ...]
    during: tuple[str, str, str] | None = None


@dataclass(frozen=True, slots=True)
class Lookup:
    """What makes a view a lookup.

    Attributes:
        key: the columns that find a row.
        valid: the columns between which a row of a key holds, the second one excluded; or None.
        digest: SHA-256 of the content, 16 hex digits.
        rows: the content, if it was read from a file; None if it lies in a base.
    """

    key: tuple[str, ...]
    valid: tuple[str, str] | None
    digest: str
    rows: Sequence[tuple[Any, ...]] | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class View:
    """A view that was checked: its columns, and SQL for every way in which it is computed.

    Attributes:
        name: the view's name: the stem of its file.
        text: the declaration as it was written.
        sql: the declaration, normalised: the same for any whitespace, comments or quoting.
        misread: what earlier versions read wrongly in it; part of the logic version.
        zones: the rules of the time zones it uses, by name; part of the logic version.
        source: what it reads: `orders`, `ledger` or another view.
        columns: name to DuckDB type of what it reads, as far as the text can name it.
        join: another view that stands beside it.
        keys: the grouping columns, in the order of the SELECT list.
        values: the stored columns of values that are reduced when the view is read.
        partials: the stored additive columns; the first is `_rows`.
        outputs: the columns a reader sees, in the declared order.
        having: the condition that a group must meet to be seen, over keys and aggregates.
        lookup: set where it is a lookup, whose rows no event changes.
    """

    name: str
    text: str = field(repr=False, compare=False)
    sql: str
    misread: tuple[str, ...] = field(repr=False)
    zones: tuple[ZoneRules, ...] = field(repr=False)
    source: str
    keys: tuple[Column, ...]
    partials: tuple[Column, ...]
    outputs: tuple[Column, ...]
    additive: tuple[Partial, ...] = field(repr=False)
    aggregates: tuple[Aggregate, ...] = field(repr=False)
    rows: Mapping[str, Rows] = field(repr=False, compare=False)
    derived: tuple[str, ...] = field(repr=False)
    columns: Mapping[str, str] = field(repr=False, compare=False)
    values: tuple[Column, ...] = ()
    having: str | None = field(default=None, repr=False)
    join: Join | None = None
    lookup: Lookup | None = None

    @property
    def inner(self) -> tuple[str, ...]:
        """The views that it reads; none if it reads `orders` or `ledger`, or is a lookup."""
        if self.source in TABLES or self.lookup is not None:
            return ()
        return (self.source,) if self.join is None else (self.source, self.join.view)

    @property
    def row_key(self) -> tuple[str, ...]:
        """The columns that tell its rows apart."""
        if self.lookup is None:
            return tuple(column.name for column in self.keys)
        period = self.lookup.valid
        return self.lookup.key if period is None else (*self.lookup.key, period[0])

    @property
    def places(self) -> tuple[Column, ...]:
        """The columns by which partial rows add up: keys and values."""
        return (*self.keys, *self.values)

    def partial_sql(
        self, relation: str, dialect: Dialect = "duckdb", weight: str | None = None
    ) -> str:
        """SQL for keys and partials over source rows: a base, or the deltas of a change.

        Args:
            relation: a table name or a parenthesised subquery with the source's columns.
            dialect: `duckdb` or `spark` (session time zone UTC, ANSI mode on).
            weight: integer column of `relation`, +1 for a new row and -1 for an old one.
                Groups in which nothing changes are left out. None: each row counts once.

        Returns:
            A SELECT of `places` and `partials`, one row for each of the places.
        """
        rows = self.rows[dialect]
        weighted = None if weight is None else _quoted(weight, dialect)
        items = [
            *self._key_items(dialect),
            *self._value_items(dialect),
            *self._partial_items(dialect, weighted),
        ]
        text = self._select(items, relation, rows.where, dialect, self.places)
        if weight is None:
            return text
        changed = (f"{_quoted(column.name, dialect)} <> 0" for column in self.partials)
        return f"{text}\nHAVING {' OR '.join(changed)}"

    def merge_sql(self, relation: str, dialect: Dialect = "duckdb") -> str:
        """SQL that adds partial rows up by place and drops the places without source rows.

        NULL is a key like any other. A negative `_rows` is kept for the caller to refuse.
        """
        keys = [_quoted(column.name, dialect) for column in self.places]
        sums = [
            _cast(f"sum({_quoted(column.name, dialect)})", column, dialect)
            for column in self.partials
        ]
        rows = _quoted(ROWS, dialect)
        return (
            f"SELECT\n  {_lines([*keys, *sums])}\nFROM {relation}\n"
            f"GROUP BY {_ordinals(self.places)}\nHAVING sum({rows}) <> 0"
        )

    def unsound_sql(self, relation: str) -> str:
        """SQL (DuckDB) for places that no set of source rows can give; empty if all is well.

        A count below 0, or a place without rows that still holds money or counts.
        """
        merged = ", ".join(f'sum("{column.name}") AS "{column.name}"' for column in self.partials)
        negative = [
            f'"{partial.column.name}" < 0' for partial in self.additive if partial.kind == "count"
        ]
        left = [f'("{ROWS}" = 0 AND "{column.name}" <> 0)' for column in self.partials[1:]]
        keys = _names(self.places)
        return (
            f"SELECT * FROM (SELECT {keys}, {merged} FROM {relation} GROUP BY {keys})\n"
            f"WHERE {' OR '.join([*negative, *left])}"
        )

    def served_sql(self, relation: str) -> str:
        """SQL (DuckDB) for the view's columns from partial rows: base and deltas together."""
        keys = [f'"{column.name}"' for column in self.keys]
        values = [_cast(self._merged(each), each.column, "duckdb") for each in self.aggregates]
        items = _lines([*keys, *values])
        if not self.values:
            return self._derive(
                f"SELECT\n  {items}\nFROM {relation}\n"
                f'GROUP BY {_ordinals(self.keys)}\nHAVING sum("{ROWS}") <> 0'
            )
        kept = multiset.with_ranks(
            self.merge_sql(relation), keys, [each.reduction for each in self.aggregates]
        )
        return self._derive(
            f"SELECT\n  {items}\nFROM (\n{kept}\n)\nGROUP BY {_ordinals(self.keys)}"
        )

    def full_sql(self, relation: str) -> str:
        """SQL (DuckDB) for the view's columns straight from source rows, without partials."""
        rows = self.rows["duckdb"]
        items = [
            *self._key_items("duckdb"),
            *(_cast(_plain(each, rows), each.column, "duckdb") for each in self.aggregates),
        ]
        return self._derive(self._select(items, relation, rows.where, "duckdb", self.keys))

    def rows_sql(self, relation: str) -> str:
        """SQL (DuckDB) for the source rows that count, with keys as `_key_1`, `_key_2` and so on.

        For explaining a cell: filter with `_key_1 IS NOT DISTINCT FROM …`.
        """
        rows = self.rows["duckdb"]
        keys = ", ".join(f'{key} AS "_key_{n}"' for n, key in enumerate(rows.keys, start=1))
        where = "" if rows.where is None else f"\nWHERE {rows.where}"
        return f'SELECT {keys}, *\nFROM {relation} AS "{self.source}"{where}'

    def parts_sql(self, relation: str, by: Sequence[str]) -> str:
        """SQL (DuckDB) for what the rows of one group add to it, by columns of theirs.

        Returns:
            A SELECT of `by`, `values` and `partials`; added up, it is the group's partial rows.
        """
        items = [
            *(f'"{column}"' for column in by),
            *self._value_items("duckdb"),
            *self._partial_items("duckdb", None),
        ]
        places = (*(Column(name, "") for name in by), *self.values)
        where = self.rows["duckdb"].where
        return self._select(items, relation, where, "duckdb", places)

    def made_of(self, output: str) -> dict[str, str]:
        """The stored columns that a measure is computed from, each as SQL over source rows."""
        derived = self.derived[[column.name for column in self.outputs].index(output)]
        rows = self.rows["duckdb"]
        found: dict[str, str] = {}
        for each in self.aggregates:
            if f'"{each.column.name}"' not in derived:
                continue
            if each.reduction is None:
                place = each.partial
                term, kind = rows.terms[place], self.additive[place].kind
                over = "*" if term.value is None else term.value
                found[self.partials[place].name] = f"{kind}({over}){_filter(term.condition)}"
                continue
            for place in filter(None, (each.reduction.value, each.reduction.other)):
                found[self.values[place - 1].name] = _where_counted(rows.values[place - 1])
        return found

    def _partial_items(self, dialect: Dialect, weight: str | None) -> list[str]:
        terms = self.rows[dialect].terms
        return [
            _cast(_additive(partial, term, weight, dialect), partial.column, dialect)
            for partial, term in zip(self.additive, terms, strict=True)
        ]

    def _key_items(self, dialect: Dialect) -> list[str]:
        pairs = zip(self.rows[dialect].keys, self.keys, strict=True)
        if dialect == "duckdb":  # whose own types they are
            return [f'{key} AS "{column.name}"' for key, column in pairs]
        return [_cast(key, column, dialect) for key, column in pairs]

    def _value_items(self, dialect: Dialect) -> list[str]:
        """Each kept value, NULL for rows that do not count for it."""
        return [
            _cast(_where_counted(term), column, dialect)
            for term, column in zip(self.rows[dialect].values, self.values, strict=True)
        ]

    def _merged(self, aggregate: Aggregate) -> str:
        if aggregate.reduction is not None:
            return multiset.reduced(aggregate.reduction)
        total = f'sum("{self.partials[aggregate.partial].name}")'
        if aggregate.counted is None:
            return total
        return f'CASE WHEN sum("{self.partials[aggregate.counted].name}") > 0 THEN {total} END'

    def _derive(self, grouped: str) -> str:
        items = [
            f'{text} AS "{column.name}"'
            for text, column in zip(self.derived, self.outputs, strict=True)
        ]
        # Not indented: a quoted text in it may hold line breaks.
        seen = "" if self.having is None else f"\nWHERE {self.having}"
        return f"SELECT\n  {_lines(items)}\nFROM (\n{grouped}\n){seen}"

    def _select(
        self,
        items: Iterable[str],
        relation: str,
        where: str | None,
        dialect: Dialect,
        by: tuple[Column, ...],
    ) -> str:
        source = f"{relation} AS {_quoted(self.source, dialect)}"
        filtered = "" if where is None else f"\nWHERE {where}"
        return f"SELECT\n  {_lines(items)}\nFROM {source}{filtered}\nGROUP BY {_ordinals(by)}"


def _additive(partial: Partial, term: Term, weight: str | None, dialect: Dialect) -> str:
    """The sum that a partial is, over rows that count once or by their weight."""
    if partial.kind == "sum":
        value = str(term.value)
        # The sign is chosen, not multiplied: a product of decimals may lose digits in Spark.
        # And minus is a difference there: Spark's own -x rounds to 34 digits.
        minus = f"CAST(0 AS DECIMAL(1, 0)) - ({value})" if dialect == "spark" else f"-({value})"
        signed = (
            value if weight is None else f"CASE WHEN {weight} > 0 THEN {value} ELSE {minus} END"
        )
        if dialect == "spark":  # where a sum is only as wide as what is added
            signed = f"CAST({signed} AS {partial.column.type})"
        return f"coalesce(sum({signed}){_filter(term.condition)}, 0)"
    if weight is None:
        return f"count({'*' if term.value is None else term.value}){_filter(term.condition)}"
    present = None if term.value is None else f"({term.value}) IS NOT NULL"
    both = [part for part in (term.condition, present) if part is not None]
    condition = " AND ".join(f"({part})" for part in both) if both else None
    return f"coalesce(sum({weight}){_filter(condition)}, 0)"


def _ordinals(columns: tuple[Column, ...]) -> str:
    return ", ".join(str(place) for place, _ in enumerate(columns, start=1))


def _where_counted(term: Term) -> str:
    if term.condition is None:
        return str(term.value)
    return f"CASE WHEN {term.condition} THEN {term.value} END"


def _plain(aggregate: Aggregate, rows: Rows) -> str:
    """The aggregate as SQL itself means it."""
    if aggregate.reduction is not None:
        values = [_where_counted(term) for term in rows.values]
        return multiset.over_rows(aggregate.reduction, values)
    term = rows.terms[aggregate.partial]
    if aggregate.kind == "count":
        return f"count({'*' if term.value is None else term.value}){_filter(term.condition)}"
    total = f"sum({term.value}){_filter(term.condition)}"
    return total if aggregate.kind == "sum" else f"coalesce({total}, 0)"


def _filter(condition: str | None) -> str:
    return "" if condition is None else f" FILTER (WHERE {condition})"


def _cast(text: str, column: Column, dialect: Dialect) -> str:
    kind = column.type
    if dialect == "spark":
        kind = {"VARCHAR": "STRING", "TIMESTAMP": "TIMESTAMP_NTZ", "INTEGER": "INT"}.get(kind, kind)
    return f"CAST({text} AS {kind}) AS {_quoted(column.name, dialect)}"


def _quoted(name: str, dialect: Dialect) -> str:
    return f"`{name}`" if dialect == "spark" else f'"{name}"'


def _names(columns: Iterable[Column]) -> str:
    return ", ".join(f'"{column.name}"' for column in columns)


def _lines(items: Iterable[str]) -> str:
    return ",\n  ".join(items)
