"""From the text of a view to a `View`: parsed, resolved, checked and split into partials.

Guarantees: what is returned can be maintained row by row, exactly, and means the same in DuckDB
and Spark. Everything else is refused with the file, the expression and what to write instead.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from headrace.pipelines.errors import ViewError
from headrace.pipelines.views.aggregates import Aggregates, contains_aggregate
from headrace.pipelines.views.names import Names, select_items
from headrace.pipelines.views.rules import refuse, refuse_unknown_arguments, refuse_unknown_kinds
from headrace.pipelines.views.scalars import derived_expressions, row_expressions
from headrace.pipelines.views.sources import source
from headrace.pipelines.views.view import Column, Rows, View
from headrace.schemas.tables import TABLES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from headrace.pipelines.views.expressions import Expressions, Typed
    from headrace.pipelines.views.sources import Known, Source
    from headrace.schemas.zones import ZoneRules

_CLAUSES: Final[dict[str, str]] = {
    "with_": "WITH is not allowed; a view is one SELECT over orders or ledger",
    "distinct": "DISTINCT is not needed: GROUP BY makes groups unique; leave it out",
    "qualify": "QUALIFY is not allowed; filter when you query the view",
    "windows": "window functions are not allowed; compute them over the view when you query",
    "order": "ORDER BY is not allowed, a view has no order; sort when you query it",
    "limit": "LIMIT is not allowed, a view keeps all its groups; limit when you query it",
    "offset": "OFFSET is not allowed, a view keeps all its groups; skip when you query it",
    "laterals": "lateral joins are not allowed; a view reads orders, ledger or other views",
    "sample": "sampling is not allowed; a view counts every row",
}
_ALLOWED: Final = frozenset({"expressions", "from_", "where", "group", "having", "joins"})


_NEGATED: Final = "NOT LIKE was read as LIKE"


def parse_view(
    name: str,
    sql: str,
    *,
    where: str,
    stored: bool = False,
    zones: Mapping[str, ZoneRules] | None = None,
    known: Known | None = None,
) -> View:
    """Parse and check a view.

    Args:
        name: the view's name.
        sql: one SELECT in DuckDB's dialect. `/` and avg are exact: DECIMAL with 4 fraction
            digits, half away from zero, NULL over 0. Sums of integers are BIGINT.
        where: the file, for messages.
        stored: whether a lake holds the view already. Then what an earlier version accepted and
            computed wrongly is named in `misread`, where a file would be refused.
        zones: the rules of zones that it was made with; of all others, those of today.
        known: gives the other view of a name, or None; by default there are no others.

    Returns:
        The compiled view.

    Raises:
        ViewError: it cannot be maintained. Names file, expression and remedy.
    """
    try:
        others = known or (lambda _: None)
        return _compiled(name, sql, where, others, stored=stored, zones=zones or {})
    except RecursionError as error:
        raise ViewError(f"{where}: is nested too deeply; write a shorter expression") from error


def _compiled(
    name: str, sql: str, where: str, known: Known, *, stored: bool, zones: Mapping[str, ZoneRules]
) -> View:
    select = _single_select(sql, where)
    reads = source(select, where, known)
    names = reads.names
    refuse_unknown_arguments(where, select)
    items = select_items(select, names, where)
    keys = _key_places(select, items, names, where)
    native = reads.name not in TABLES
    rows = row_expressions(where, reads.columns, native=native, stored=stored, zones=zones)
    condition = _where(select, names, rows, where)
    typed_keys = [_key(rows, items[place][1], where) for place in keys]
    key_columns = tuple(
        Column(items[place][0], typed.type) for place, typed in zip(keys, typed_keys, strict=True)
    )

    aggregates = Aggregates(where, rows)
    named_keys = [(items[key][1], items[key][0]) for key in keys]
    virtual = [aggregates.over_columns(node, named_keys) for _, node in items]
    having = _having(select, items, names)
    seen = None if having is None else aggregates.over_columns(having, named_keys)
    columns = {column.name: column.type for column in (*key_columns, *aggregates.columns)}
    derived = derived_expressions(where, columns, stored=stored, zones=zones)
    outputs = _outputs([name for name, _ in items], virtual, derived)
    shown_if = None if seen is None else derived.condition(seen)
    refuse_unknown_kinds(where, select)
    used = {**reads.zones, **rows.zones, **derived.zones}
    return View(
        name=name,
        text=sql,
        misread=tuple(sorted({*rows.misread, *derived.misread, *_misread(select)})),
        zones=tuple(used[name] for name in sorted(used)),
        sql=_normalised(items, keys, reads, select, having),
        source=reads.name,
        columns=reads.columns,
        join=reads.join,
        keys=key_columns,
        partials=tuple(partial.column for partial in aggregates.partials),
        outputs=tuple(column for column, _ in outputs),
        additive=tuple(aggregates.partials),
        aggregates=tuple(aggregates.aggregates),
        rows=_rows(typed_keys, condition, aggregates),
        derived=tuple(text for _, text in outputs),
        values=aggregates.value_columns,
        having=None if shown_if is None else _text(shown_if.duckdb, "duckdb"),
    )


def _single_select(sql: str, where: str) -> exp.Select:
    try:
        statements = [each for each in sqlglot.parse(sql, read="duckdb") if each is not None]
    except SqlglotError as error:
        raise ViewError(f"{where}: {_parse_message(error)}; write one SELECT") from error
    statements = [each for each in statements if not isinstance(each, exp.Semicolon)]
    if len(statements) != 1:
        raise ViewError(
            f"{where}: holds {len(statements)} statements; write exactly one SELECT a file"
        )
    statement = statements[0]
    if isinstance(statement, exp.SetOperation):
        refuse(where, statement, "combines two SELECTs; write a file for each of them")
    if not isinstance(statement, exp.Select):
        refuse(where, statement, "is not a SELECT; write SELECT … FROM orders or ledger GROUP BY …")
    for clause, value in statement.args.items():
        if value and clause not in _ALLOWED:
            problem = _CLAUSES.get(clause)
            if problem is None:
                problem = (
                    f"{clause.upper()} is not allowed; write SELECT, FROM, WHERE, GROUP BY, HAVING"
                )
            raise ViewError(f"{where}: {problem}")
    return statement


def _misread(select: exp.Select) -> list[str]:
    """What earlier versions read as something else: of such a view, old rows are no good."""
    negated = any(each.args.get("negate") for each in select.find_all(exp.Like))
    return [_NEGATED] if negated else []


def _parse_message(error: SqlglotError) -> str:
    details = getattr(error, "errors", None)
    if not details:
        return f"is not SQL: {str(error).splitlines()[0]}"
    first = details[0]
    return (
        f"line {first['line']}, column {first['col']}: {first['description']} "
        f"near {str(first['highlight'])!r}"
    )


def _key_places(
    select: exp.Select,
    items: Sequence[tuple[str, exp.Expression]],
    names: Names,
    where: str,
) -> list[int]:
    """Places of the select items that are keys, in the order of the SELECT list."""
    group = select.args.get("group")
    if group is None:
        raise ViewError(
            f"{where}: has no GROUP BY, so it would be one row even over nothing; group by a "
            "constant: SELECT 'all' AS scope, … GROUP BY scope"
        )
    many = (exp.Rollup, exp.Cube, exp.GroupingSets)
    if group.find(*many) is not None or group.args.get("totals"):
        text = group.sql("duckdb", comments=False).strip()
        refuse(where, text, "is several groupings at once; write a file for each of them")
    if group.args.get("all"):
        places = {place for place, (_, node) in enumerate(items) if not contains_aggregate(node)}
    else:
        places = {_key_place(each, items, names, where) for each in group.expressions}
    if not places:
        raise ViewError(f"{where}: GROUP BY names no key; select the column to group by")
    for place in places:
        if contains_aggregate(items[place][1]):
            refuse(where, items[place][1], "is an aggregate and cannot be a GROUP BY key")
    return sorted(places)


def _key_place(
    node: exp.Expression,
    items: Sequence[tuple[str, exp.Expression]],
    names: Names,
    where: str,
) -> int:
    aliases = [name for name, _ in items]
    if isinstance(node, exp.Literal) and not node.is_string:
        text = str(node.this)
        if not text.isdigit() or not 1 <= int(text) <= len(items):
            refuse(where, f"GROUP BY {text}", f"is not a place in a SELECT list of {len(items)}")
        return int(text) - 1
    bare = isinstance(node, exp.Column) and not node.args.get("table")
    if bare and node.name.lower() in aliases and node.name.lower() not in names.columns:
        return aliases.index(node.name.lower())
    wanted = names.resolve(node, {})
    places = [place for place, (_, item) in enumerate(items) if item == wanted]
    if not places and bare and node.name.lower() in aliases:
        refuse(
            where,
            f"GROUP BY {node.name}",
            f"means the column {node.name}, not the selected expression of that name; give the "
            f"expression another name, or write GROUP BY {aliases.index(node.name.lower()) + 1}",
        )
    if not places:
        text = node.sql("duckdb", comments=False)
        refuse(where, f"GROUP BY {text}", "is not selected; add it to the SELECT list")
    return places[0]


def _where(select: exp.Select, names: Names, rows: Expressions, where: str) -> Typed | None:
    clause = select.args.get("where")
    if clause is None:
        return None
    node = names.resolve(clause.this, {})
    if contains_aggregate(node):
        refuse(where, node, "is a condition over an aggregate; write it after HAVING")
    return rows.condition(node)


def _having(
    select: exp.Select, items: Sequence[tuple[str, exp.Expression]], names: Names
) -> exp.Expression | None:
    clause = select.args.get("having")
    return None if clause is None else names.resolve(clause.this, dict(items))


def _key(rows: Expressions, node: exp.Expression, where: str) -> Typed:
    typed = rows.check(node)
    if typed.family == "null":
        refuse(where, node, "is always NULL and cannot be a key; leave it out")
    return typed


def _outputs(
    names: Sequence[str], nodes: Sequence[exp.Expression], derived: Expressions
) -> list[tuple[Column, str]]:
    outputs = []
    for name, node in zip(names, nodes, strict=True):
        typed = derived.check(node)
        kind = "INTEGER" if typed.type == "NULL" else typed.type
        outputs.append((Column(name, kind), _text(typed.duckdb, "duckdb")))
    return outputs


def _rows(
    keys: Sequence[Typed], condition: Typed | None, aggregates: Aggregates
) -> Mapping[str, Rows]:
    return MappingProxyType(
        {
            dialect: Rows(
                keys=tuple(_text(getattr(key, dialect), dialect) for key in keys),
                where=None if condition is None else _text(getattr(condition, dialect), dialect),
                terms=aggregates.terms(dialect),
                values=aggregates.values(dialect),
            )
            for dialect in ("duckdb", "spark")
        }
    )


def _normalised(
    items: Sequence[tuple[str, exp.Expression]],
    keys: Sequence[int],
    reads: Source,
    select: exp.Select,
    having: exp.Expression | None,
) -> str:
    def text(node: exp.Expression) -> str:
        if reads.join is None:
            return _text(node, "duckdb")
        return _text(node.transform(lambda each: _of_left(each, reads.name)), "duckdb")

    selected = ", ".join(f'{text(node)} AS "{name}"' for name, node in items)
    clause = select.args.get("where")
    where = ""
    if clause is not None:
        where = f" WHERE {text(reads.names.resolve(clause.this, {}))}"
    joined = ""
    if reads.join is not None:
        join = reads.join
        pairs = (f'"{reads.name}"."{a}" = "{join.alias}"."{b}"' for a, b in join.on)
        equal = list(pairs)
        if join.during is not None:
            ours, start, end = (f'"{c}"' for c in join.during)
            left, right = f'"{reads.name}".{ours}', f'"{join.alias}".'
            equal += [f"{right}{start} <= {left}", f"{left} < {right}{end}"]
        joined = f' LEFT JOIN "{join.view}" AS "{join.alias}" ON {" AND ".join(equal)}'
    places = ", ".join(str(place + 1) for place in keys)
    seen = "" if having is None else f" HAVING {text(having)}"
    return f'SELECT {selected} FROM "{reads.name}"{joined}{where} GROUP BY {places}{seen}'


def _of_left(node: exp.Expression, name: str) -> exp.Expression:
    """A plain column as one of the view that the other is joined to."""
    plain = isinstance(node, exp.Column) and not node.table
    return exp.column(node.this.copy(), table=name) if plain else node


def _text(node: exp.Expression, dialect: str) -> str:
    return str(node.sql(dialect, identify=True, comments=False))
