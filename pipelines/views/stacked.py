"""Views over views: which ones they are, in which order, and the rows that they read.

A view over tables is computed wherever the fold is. A view over views is a function of their
groups, which are few beside the rows: it is computed in DuckDB, from what was made of the inner
ones, whichever engine made that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from headrace.pipelines.views.view import View


def over_tables(views: Mapping[str, View]) -> dict[str, View]:
    """The views of `orders` and `ledger`."""
    return {name: v for name, v in views.items() if not v.inner and v.lookup is None}


def lookups(views: Mapping[str, View]) -> dict[str, View]:
    """The lookups among them."""
    return {name: view for name, view in views.items() if view.lookup is not None}


def over_views(views: Mapping[str, View]) -> dict[str, View]:
    """The views of other views, each after those that it reads."""
    ordered: dict[str, View] = {}

    def put(name: str) -> None:
        view = views[name]
        for inner in view.inner:
            put(inner)
        if view.inner:
            ordered.setdefault(name, view)

    for name in views:
        put(name)
    return ordered


def read_by_views(views: Mapping[str, View]) -> set[str]:
    """The views that others read."""
    return {inner for view in views.values() for inner in view.inner}


def rows_of(view: View, relation: Callable[[str], str]) -> str:
    """The rows that a view reads, as a relation (DuckDB).

    Args:
        view: which.
        relation: name of a table or view to a relation with its rows as they are served.
    """
    source, join = relation(view.source), view.join
    if join is None:
        return source
    theirs = ", ".join(f'r."{c}" AS "{join.alias}.{c}"' for c in join.columns)
    equal = " AND ".join(f'l."{ours}" = r."{its}"' for ours, its in join.on)
    if join.during is not None:
        ours, start, end = join.during
        equal += f' AND r."{start}" <= l."{ours}" AND l."{ours}" < r."{end}"'
    return (
        f"(SELECT l.*, {theirs} FROM {source} AS l LEFT JOIN {relation(join.view)} AS r ON {equal})"
    )


def in_full(
    views: Mapping[str, View], table: Callable[[str], str], lookup: Callable[[str], str]
) -> Callable[[str], str]:
    """A relation for each name.

    Of tables and lookups the one given, of views what their text says of those.
    """

    def relation(name: str) -> str:
        view = views.get(name)
        if view is None:
            return table(name)
        if view.lookup is not None:
            return lookup(name)
        return f"({view.full_sql(rows_of(view, relation))})"

    return relation
