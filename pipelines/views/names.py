"""Names in a view: what a column name stands for, and what an output may be called."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Final

from sqlglot import exp

from headrace.pipelines.views.rules import refuse, refuse_node

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")


class Names:
    """Resolves column names of what a view reads and earlier names of the SELECT list.

    As in DuckDB, a column comes before a name that the SELECT list gives. The columns of a joined
    view keep its alias.
    """

    def __init__(
        self,
        where: str,
        source: str,
        qualifier: str,
        columns: Mapping[str, str],
        joined: tuple[str, Mapping[str, str]] = ("", {}),
    ) -> None:
        self._where = where
        self._source = source
        self._qualifier = qualifier
        self._alias, self._joined = joined
        self.columns = columns

    def resolve(self, node: exp.Expression, given: Mapping[str, exp.Expression]) -> exp.Expression:
        """A copy with plain column names, and the names of `given` replaced by what they mean."""
        copy = node.copy()
        for each in copy.find_all(exp.Query):
            refuse_node(self._where, each)
        return copy.transform(lambda each: self._column(each, given))

    def _column(self, node: exp.Expression, given: Mapping[str, exp.Expression]) -> exp.Expression:
        if isinstance(node, exp.Identifier):
            return node
        if not isinstance(node, exp.Column):
            node.comments = None
            return node
        if isinstance(node.this, exp.Star):
            refuse_node(self._where, node.this)
        name, table = node.name.lower(), str(node.table).lower()
        there = name in self._joined and not node.args.get("db")
        if there and table == "" and name in self.columns:
            both = f"{self._qualifier}.{name} or {self._alias}.{name}"
            refuse(self._where, node, f"is a column of both; write {both}")
        if there and table in {"", self._alias}:
            return exp.column(exp.to_identifier(name, quoted=False), table=self._alias)
        if node.args.get("db") or table not in {"", self._qualifier}:
            refuse(self._where, node, f"is not a column of {self._source}; write {node.name}")
        if name in self.columns:
            return exp.column(exp.to_identifier(name, quoted=False))
        if name in given and not table:
            meaning = given[name].copy()
            return meaning if isinstance(meaning, exp.Column) else exp.Paren(this=meaning)
        self._unknown(node, name, given)
        return node

    def _unknown(
        self, node: exp.Expression, name: str, given: Mapping[str, exp.Expression]
    ) -> None:
        there = [*self.columns, *self._joined]
        known = [*there, *given]
        close = difflib.get_close_matches(name, known, n=3)
        hint = f"; did you mean {' or '.join(close)}?" if close else "."
        refuse(
            self._where,
            node,
            f"is not a column of {self._source}{hint} There are {', '.join(there)}",
        )


def select_items(select: exp.Select, names: Names, where: str) -> list[tuple[str, exp.Expression]]:
    """The SELECT list as pairs of name and resolved expression."""
    items: dict[str, exp.Expression] = {}
    for selected in select.expressions:
        name = output_name(selected, where)
        if name in items:
            refuse(where, selected, f"gives the name {name} a second time; use AS with another")
        items[name] = names.resolve(selected.unalias(), items)
    return list(items.items())


def output_name(selected: exp.Expression, where: str) -> str:
    """The name of a selected expression, in lower case."""
    inner = selected.unalias()
    if isinstance(inner, exp.Star) or (
        isinstance(inner, exp.Column) and isinstance(inner.this, exp.Star)
    ):
        refuse_node(where, exp.Star())
    if not isinstance(selected, exp.Alias | exp.Column):
        refuse(where, selected, "has no name; write … AS name")
    name = str(selected.alias_or_name).lower()
    if name.startswith("_"):
        refuse(where, selected, "has a name that begins with _, which is kept for hidden columns")
    if not _NAME.fullmatch(name):
        refuse(
            where,
            selected,
            "has a name that is not plain; use letters, digits and _, at most 63, a letter first",
        )
    return name
