"""Lookups: small tables of the user's own that stand beside a view, such as product to category.

In a generation a lookup is a view whose rows never change: its base holds the content, its deltas
are empty, and the digest of the content is its text, so that another content is another logic. So
base, merge, diff, restatements and reading treat it as they treat any view.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from headrace.pipelines.errors import ViewError
from headrace.pipelines.views.view import ROWS, Column, Lookup, Partial, Rows, Term, View

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import duckdb

SOURCE: Final = "lookup"
"""What a lookup is said to read: nothing that events could change."""


def lookup_view(
    name: str,
    columns: Mapping[str, str],
    key: Iterable[str],
    valid: Iterable[str] | None,
    *,
    digest: str | None = None,
    rows: Sequence[tuple[Any, ...]] | None = None,
) -> View:
    """A lookup as a view. Either its rows are given, or the digest of them.

    Args:
        name: the stem of its files.
        columns: name to DuckDB type.
        key: the columns that find a row.
        valid: from and to, where a key has a row for each period.
        digest: of the content.
        rows: the content, values as DuckDB takes them, in the order of the columns.
    """
    keyed = tuple(key)
    period = None
    if valid is not None:
        start, end = valid
        period = (start, end)
    told = {"columns": dict(columns), "key": keyed, "valid": period}
    digest = digest or _digest(told, rows or ())
    text = json.dumps({"lookup": {**told, "digest": digest}})
    listed = tuple(Column(column, kind) for column, kind in columns.items())
    quoted = tuple(f'"{column}"' for column in columns)
    read = Rows(keys=quoted, where=None, terms=(Term(),))
    return View(
        name=name,
        text=text,
        sql=f"LOOKUP {digest}",
        misread=(),
        zones=(),
        source=SOURCE,
        keys=listed,
        partials=(Column(ROWS, "BIGINT"),),
        outputs=listed,
        additive=(Partial(Column(ROWS, "BIGINT"), "count"),),
        aggregates=(),
        rows=MappingProxyType({"duckdb": read, "spark": read}),
        derived=quoted,
        columns=columns,
        lookup=Lookup(keyed, period, digest, rows),
    )


def with_content(view: View, rows: Sequence[tuple[Any, ...]]) -> View | None:
    """The lookup with rows that a base holds; None if they are not those that it had."""
    lookup = view.lookup
    if lookup is None:
        return view
    made = lookup_view(view.name, view.columns, lookup.key, lookup.valid, rows=rows)
    return made if made.sql == view.sql else None


def is_lookup(text: str) -> bool:
    """Whether a stored text is that of a lookup, not of a view."""
    return text.startswith('{"lookup"')


def stored_lookup(name: str, text: str) -> View:
    """The lookup again from its text; its content lies in a base."""
    told = json.loads(text)["lookup"]
    return lookup_view(name, told["columns"], told["key"], told["valid"], digest=told["digest"])


def content_sql(view: View) -> str:
    """A SELECT of the rows of a lookup that was read from a file.

    Raises:
        ViewError: only its digest is known.
    """
    lookup = view.lookup
    names = ", ".join(f'"{c.name}"' for c in view.outputs)
    kinds = [c.type for c in view.outputs]
    nulls = ", ".join(f'CAST(NULL AS {c.type}) AS "{c.name}"' for c in view.outputs)
    if lookup is None or lookup.rows is None:
        raise ViewError(f"the content of the lookup {view.name} is not known")
    if not lookup.rows:
        return f"SELECT {nulls} WHERE false"
    listed = ", ".join(
        f"({', '.join(_literal(v, kind) for v, kind in zip(row, kinds, strict=True))})"
        for row in lookup.rows
    )
    return f"SELECT * FROM (VALUES {listed}) AS content({names})"


def held_digest(con: duckdb.DuckDBPyConnection, view: View, relation: str) -> str:
    """The digest of rows that a base holds of a lookup."""
    lookup = view.lookup
    assert lookup is not None  # noqa: S101 - who asks has a lookup
    told = {"columns": dict(view.columns), "key": lookup.key, "valid": lookup.valid}
    listed = ", ".join(f'"{c.name}"' for c in view.outputs)
    return _digest(told, con.execute(f"SELECT {listed} FROM {relation}").fetchall())


def _digest(told: Mapping[str, Any], rows: Iterable[tuple[Any, ...]]) -> str:
    listed = sorted(json.dumps([None if v is None else str(v) for v in row]) for row in rows)
    text = "\n".join([json.dumps(told), *listed])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _literal(value: object, kind: str) -> str:
    if value is None:
        return f"CAST(NULL AS {kind})"
    text = str(value).replace("'", "''")
    return f"CAST('{text}' AS {kind})"
