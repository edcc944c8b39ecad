"""What a view reads: `orders`, `ledger`, or other views, one of them alone or with one joined.

Guarantees: a joined view gives at most one row for each, because the join is on its whole key; so
no row is lost or doubled by it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlglot import exp

from headrace.pipelines.views.names import Names
from headrace.pipelines.views.rules import refuse
from headrace.pipelines.views.view import Join
from headrace.schemas.tables import TABLES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from headrace.pipelines.views.view import View
    from headrace.schemas.zones import ZoneRules

    Known = Callable[[str], View | None]
    """The other view of that name, compiled; None if there is none."""

_ALONE: Final = (
    "is joined to {source}, and the change of such a join is more than the change of its rows; "
    "make a view of {source} first, and join that"
)


@dataclass(frozen=True, slots=True)
class Source:
    """What a view reads, by the name that the fold or the other view gives it.

    Attributes:
        name: `orders`, `ledger` or a view.
        columns: name to DuckDB type; those of a joined view as `alias.column`.
        names: resolves what the text calls them.
        join: the joined view.
        zones: the rules of time zones that the views use which it reads.
    """

    name: str
    columns: Mapping[str, str]
    names: Names
    join: Join | None
    zones: Mapping[str, ZoneRules]


def source(select: exp.Select, where: str, known: Known) -> Source:
    """Read the FROM clause.

    Raises:
        ViewError: it names something else, or joins in a way that cannot be followed.
    """
    origin = select.args.get("from_")
    table = None if origin is None else origin.this
    if not isinstance(table, exp.Table) or not isinstance(table.this, exp.Identifier):
        what = "nothing" if table is None else table
        refuse(where, what, "is read from; a view reads FROM orders, FROM ledger or another view")
    name, columns, inner = _columns(table, where, known)
    if inner is not None and inner.lookup is not None:
        refuse(where, table, "is a lookup; read a view, and LEFT JOIN the lookup to it")
    alias = table.alias_or_name.lower()
    joins = select.args.get("joins") or []
    if not joins:
        zones = {} if inner is None else {z.name: z for z in inner.zones}
        return Source(name, columns, Names(where, name, alias, columns), None, zones)
    if inner is None:
        refuse(where, joins[0].this, _ALONE.format(source=name))
    if len(joins) > 1:
        refuse(
            where, joins[1].this, "is a second join; make a view of the first one, and join that"
        )
    return _joined(inner, alias, columns, joins[0], where, known)


def _columns(
    table: exp.Expression, where: str, known: Known
) -> tuple[str, dict[str, str], View | None]:
    extra = [key for key, value in table.args.items() if value and key not in {"this", "alias"}]
    if table.args.get("alias") is not None:
        extra += table.args["alias"].columns
    name = table.name.lower()
    if not extra and isinstance(table.this, exp.Identifier):
        if name in TABLES:
            return name, dict(TABLES[name]), None
        inner = known(name)
        if inner is not None:
            return name, {c.name: c.type for c in inner.outputs}, inner
    return refuse(where, table, "is neither orders nor ledger nor a view; write FROM one of them")


def _joined(
    left: View, alias: str, columns: dict[str, str], join: exp.Join, where: str, known: Known
) -> Source:
    right = join.this
    if str(join.args.get("side") or "").upper() != "LEFT":
        refuse(where, right, "would lose rows that it has nothing for; write LEFT JOIN")
    other, theirs, inner = _columns(right, where, known)
    other_alias = right.alias_or_name.lower()
    if inner is None:
        refuse(where, right, "is a table of single rows; make a view of it first, and join that")
    if other == left.name:
        refuse(where, right, "is joined to itself; make another view of it, and join that")
    if other_alias == alias:
        refuse(where, right, "has the name of what it is joined to; give it another with AS")
    used = {str(each.name).lower() for each in join.args.get("using") or []}
    shown = {c: kind for c, kind in theirs.items() if c not in used}
    names = Names(where, left.name, alias, columns, (other_alias, shown))
    during = _during(join, names, other_alias, inner)
    on = tuple(_pairs(join, names, alias, other_alias, where, during))
    for ours, its in on:
        if its not in theirs:
            refuse(where, f"{other_alias}.{its}", f"is not a column of {other}")
        if inner.lookup is None and ours not in {c.name for c in left.keys}:
            refuse(
                where, f"{alias}.{ours}", f"is not a key of {left.name}; join on one of its keys"
            )
        if columns[ours] != theirs[its]:
            kinds = f"{columns[ours]} and {theirs[its]}"
            refuse(where, f"{ours} = {other_alias}.{its}", f"compares {kinds}; make them alike")
    _refuse_several(where, right, inner, {its for _, its in on}, alias, periods=during is not None)
    return Source(
        left.name,
        {**columns, **{f"{other_alias}.{c}": kind for c, kind in theirs.items()}},
        names,
        Join(other, other_alias, on, tuple(theirs), during and during[0]),
        {zone.name: zone for zone in (*left.zones, *inner.zones)},
    )


def _refuse_several(
    where: str, right: exp.Expression, inner: View, on: set[str], alias: str, *, periods: bool
) -> None:
    """Refuse a join that may find more than one row."""
    key = [c.name for c in inner.keys] if inner.lookup is None else inner.lookup.key
    other = right.alias_or_name.lower()
    if inner.lookup is not None and inner.lookup.valid is not None and not periods:
        start, end = inner.lookup.valid
        refuse(
            where,
            right,
            f"has a row for each period; add {other}.{start} <= {alias}.day AND {alias}.day < "
            f"{other}.{end}, with the {inner.columns[start]} that is meant",
        )
    if on != set(key):
        refuse(
            where,
            right,
            "may have several rows for one; join on its whole key, and on nothing else: "
            + ", ".join(key),
        )


def _during(
    join: exp.Join, names: Names, other: str, inner: View
) -> tuple[tuple[str, str, str], list[exp.Expression]] | None:
    """The column that lies in a lookup's period, with it; and the conditions that say so."""
    condition = join.args.get("on")
    if condition is None or inner.lookup is None or inner.lookup.valid is None:
        return None
    start, end = inner.lookup.valid
    found: dict[str, tuple[str, exp.Expression]] = {}
    for part in condition.flatten() if isinstance(condition, exp.And) else [condition]:
        node = part.unnest()
        if not isinstance(node, exp.LTE | exp.LT | exp.GTE | exp.GT):
            continue
        sides = [node.this, node.expression]
        if not all(isinstance(side, exp.Column) for side in sides):
            continue
        a, b = (names.resolve(side, {}) for side in sides)
        if isinstance(node, exp.GTE | exp.GT):
            a, b = b, a
        strict = isinstance(node, exp.LT | exp.GT)
        if (a.table, a.name, strict) == (other, start, False) and b.table != other:
            found["from"] = (b.name, part)
        if (b.table, b.name, strict) == (other, end, True) and a.table != other:
            found["to"] = (a.name, part)
    if found.keys() != {"from", "to"} or found["from"][0] != found["to"][0]:
        return None
    ours = found["from"][0]
    if names.columns.get(ours) != inner.columns[start]:
        return None
    return (ours, start, end), [found["from"][1], found["to"][1]]


def _pairs(
    join: exp.Join,
    names: Names,
    alias: str,
    other: str,
    where: str,
    during: tuple[tuple[str, str, str], list[exp.Expression]] | None,
) -> Iterator[tuple[str, str]]:
    """The pairs of columns that must be equal, ours first."""
    said = [] if during is None else during[1]
    for each in join.args.get("using") or []:
        column = str(each.name).lower()
        if column not in names.columns:
            refuse(where, column, f"is not a column of {alias}")
        yield column, column
    condition = join.args.get("on")
    if condition is None:
        if not join.args.get("using"):
            refuse(where, join.this, "is joined on nothing; write ON a = b, with its whole key")
        return
    for part in condition.flatten() if isinstance(condition, exp.And) else [condition]:
        if any(part is each for each in said):
            continue
        node = part.unnest()
        written = [node.this, node.expression] if isinstance(node, exp.EQ) else [None]
        if not all(isinstance(side, exp.Column) for side in written):
            refuse(where, part, "is not an equality of two columns; put conditions into WHERE")
        sides = [names.resolve(side, {}) for side in written]
        ours = [side.name for side in sides if side.table != other]
        its = [side.name for side in sides if side.table == other]
        if len(ours) != 1:
            refuse(where, part, f"compares columns of one side; write {alias}.a = {other}.b")
        yield ours[0], its[0]
