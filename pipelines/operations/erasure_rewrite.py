"""Which files and rows of a lake name a customer, and the same ones without.

A value is changed where it is the customer's id and stands in a column of customers' ids; an event
loses what else could identify. Nothing is recomputed: the fold and every sum give the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from headrace.pipelines.errors import ViewError
from headrace.pipelines.generations import registry
from headrace.pipelines.lake import data_files, rewritten
from headrace.pipelines.lake.connect import literal
from headrace.pipelines.log.erased import redacted
from headrace.pipelines.operations.erasure_texts import TEXTS, Person, changed
from headrace.pipelines.views.stacked import lookups, over_tables, over_views
from headrace.pipelines.views.view import Aggregate, View
from headrace.schemas.tables import TABLES

if TYPE_CHECKING:
    from headrace.pipelines.lake.data_files import DataFile
    from headrace.pipelines.lake.lake import Lake
    from headrace.pipelines.lake.rewritten import Kept, Rewritten

_EVENTS: Final = ("sys", "events")


@dataclass(frozen=True)
class Found:
    """What of a home names a customer.

    `own` are the orders that name nobody else; `mixed` name others too: of those, only the events
    that name the customer are rewritten.
    """

    name: str | None
    own: frozenset[str]
    mixed: frozenset[str]
    events: int

    @property
    def orders(self) -> int:
        """How many orders."""
        return len(self.own) + len(self.mixed)


def id_columns(lake: Lake, customer: str | None = None) -> dict[tuple[str, str], frozenset[str]]:
    """Table of a generation to its columns that hold customers' ids.

    Raises:
        ViewError: a view computes with them, or a lookup names the customer.
    """
    found: dict[tuple[str, str], frozenset[str]] = {}
    for number in registry.numbers(lake):
        held = {name: frozenset({"customer_id"}) for name in TABLES}
        views = registry.stored_views(lake, number)
        for view in lookups(views).values():
            _refuse_named(lake, number, view, customer)
        for name, view in {**over_tables(views), **over_views(views)}.items():
            held[name] = _keys(view, number, held)
        found |= {(f"g{number}", name): columns for name, columns in held.items()}
    return found


def _refuse_named(lake: Lake, number: int, view: View, customer: str | None) -> None:
    """Refuse where a lookup, whose content is a part of the logic, names the customer."""
    texts = [c.name for c in view.outputs if c.type == "VARCHAR"]
    if customer is None or not texts or number not in registry.with_tables(lake):
        return
    (base,) = lake.row(f"SELECT max(base) FROM sys.bases WHERE generation = {number}")
    named = " OR ".join(f'"{c}" = {literal(customer)}' for c in texts)
    table = f'g{number}."b{base}_{view.name}"'
    if lake.row(f"SELECT count(*) FROM {table} WHERE {named}")[0]:
        raise ViewError(
            f"the lookup {view.name} of generation {number} names the customer; nothing was "
            f"changed. Take the customer out of {lake.home.lookups}/{view.name}, run `headrace "
            "replay --from beginning` and `headrace promote`, let `headrace maintain` drop the old "
            "generations, then erase"
        )


def _keys(view: View, number: int, held: Mapping[str, frozenset[str]]) -> frozenset[str]:
    """The keys and kept values of a view that are the customer's id as it is.

    Args:
        view: which.
        number: of its generation.
        held: what it reads, to the columns there that hold ids.
    """
    names = set(held.get(view.source, ()))
    if view.join is not None:
        names |= {f"{view.join.alias}.{c}" for c in held.get(view.join.view, ())}
    if not names:
        return frozenset()
    one = f'"(?:{"|".join(map(re.escape, sorted(names)))})"'
    plain = re.compile(rf"{one}|COALESCE\(\s*{one}\s*,\s*'[^']*'\s*\)", re.IGNORECASE)
    harmless = re.compile(rf"{one}\s+IS\s+(NOT\s+)?NULL", re.IGNORECASE)
    rows = view.rows["duckdb"]
    texts = [*rows.keys, *(str(term.value) for term in rows.values)]
    named = {c.name: plain.fullmatch(t) for c, t in zip(view.places, texts, strict=True)}
    keys = [name for name, found in named.items() if found]
    others = [text for text in texts if not plain.fullmatch(text)]
    others += [term.condition or "" for term in (*rows.values, *rows.terms)]
    others += [rows.where or ""]
    others += [t.value or "" for t in rows.terms if not re.fullmatch(one, t.value or "", re.I)]
    computed = [view.having or "", *(t for t in view.derived if not re.fullmatch(r'"\w+"', t))]
    if (
        any(re.search(one, harmless.sub("", text), re.IGNORECASE) for text in others)
        or any(_by_size(each) in keys for each in view.aggregates)
        or any(f'"{key}"' in text for text in computed for key in keys)
    ):
        raise ViewError(
            f"the view {view.name} of generation {number} computes with customer_id, so its "
            "numbers would change with the id; nothing was changed. Take it out of the views, run "
            "`headrace replay --from beginning` and `headrace promote`, let `headrace maintain` "
            "drop the old generations, then erase"
        )
    return frozenset(keys)


def _by_size(aggregate: Aggregate) -> str:
    """The column of kept values of which an aggregate takes one by its size, if it does."""
    to = aggregate.reduction
    return "" if to is None or to.kind in {"distinct", "mode"} else f"_x{to.value}"


def _view_of(schema: str, table: str) -> tuple[str, str]:
    """The generation's table (`b2_orders`) as its columns are listed."""
    return schema, table.partition("_")[2]


def touches(
    lake: Lake,
    file: DataFile,
    found: Found,
    person: Person,
    columns: Mapping[tuple[str, str], frozenset[str]],
) -> bool:
    """Whether a file holds rows that have to change: a look at the columns that can say it."""
    path = lake.home.data / file.path
    if (file.schema, file.table) == _EVENTS:
        rows = pq.read_table(path, columns=["order_id", "customer_id"])
        return bool(pc.any(_of(rows, found)).as_py())
    if file.schema == "sys":
        if file.table not in TEXTS:
            return False
        rows = pq.read_table(path)
        return changed(file.table, rows, person) is not None
    named = columns.get(_view_of(file.schema, file.table), frozenset())
    if not named or found.name is None:
        return False
    rows = pq.read_table(path, columns=sorted(named))
    return any(pc.any(pc.equal(rows.column(c), found.name)).as_py() for c in named)


def _of(rows: pa.Table, found: Found) -> pa.ChunkedArray:
    """Which events have to change."""
    own = pc.is_in(rows.column("order_id"), value_set=pa.array(sorted(found.own), pa.string()))
    if found.name is None:
        return own
    return pc.or_(
        own, pc.fill_null(pc.equal(rows.column("customer_id"), found.name), fill_value=False)
    )


def written_anew(
    lake: Lake,
    file: DataFile,
    found: Found,
    person: Person,
    columns: Mapping[tuple[str, str], frozenset[str]],
) -> Rewritten | None:
    """A file written again without the customer; None if it does not name one."""
    if not touches(lake, file, found, person, columns):
        return None
    if (file.schema, file.table) == _EVENTS:
        return rewritten.write(
            lake, file, lambda rows: _events(rows, found, person), ("customer_id", "raw", "digest")
        )
    if file.schema == "sys":
        return rewritten.write(
            lake, file, lambda rows: changed(file.table, rows, person), TEXTS[file.table]
        )
    named = sorted(columns[_view_of(file.schema, file.table)])
    return rewritten.write(lake, file, lambda rows: _renamed(rows, named, person), named)


def _events(rows: pa.Table, found: Found, person: Person) -> pa.Table | None:
    touched = pc.indices_nonzero(_of(rows, found)).to_pylist()
    if not touched:
        return None
    return redacted(rows, dict.fromkeys(touched, person.pseudonym))


def _renamed(rows: pa.Table, named: list[str], person: Person) -> pa.Table | None:
    """Rows with the pseudonym where the customer's id stood in these columns."""
    touched = False
    for name in named:
        held = rows.column(name)
        hit = pc.fill_null(pc.equal(held, person.name), fill_value=False)
        if pc.any(hit).as_py():
            touched = True
            place = rows.schema.get_field_index(name)
            fresh = pc.if_else(hit, pa.scalar(person.pseudonym, held.type), held)
            rows = rows.set_column(place, rows.schema.field(place), fresh)
    return rows if touched else None


def in_catalog(
    lake: Lake,
    kept: Kept,
    person: Person,
    columns: Mapping[tuple[str, str], frozenset[str]],
    number: int,
) -> tuple[list[str], list[str]]:
    """Statements for the rows that the catalog keeps itself, and the columns they change."""
    if (kept.schema, kept.table) == ("sys", "erasures"):
        return [f"UPDATE {kept.sql} SET state = 'done' WHERE erasure_no = {number}"], ["state"]
    if kept.schema != "sys":
        known = columns.get(_view_of(kept.schema, kept.table), frozenset({"customer_id"}))
        named = [c for c in kept.columns if c in known] if person.name is not None else []
        return [
            f'UPDATE {kept.sql} SET "{c}" = {literal(person.pseudonym)} '
            f'WHERE "{c}" = {literal(person.name)}'
            for c in named
        ], named
    texts = TEXTS.get(kept.table, ())
    if not texts or kept.table == "quarantine":
        return [], []
    rows = lake.side.execute(f"SELECT * FROM {kept.sql}").to_arrow_table()
    fresh = changed(kept.table, rows, person)
    if fresh is None:
        return [], []
    pairs = zip(rows.to_pylist(), fresh.to_pylist(), strict=True)
    return [_row_set(kept, old, new, texts) for old, new in pairs if old != new], list(texts)


def _row_set(
    kept: Kept, old: dict[str, object], new: dict[str, object], texts: tuple[str, ...]
) -> str:
    values = ", ".join(f'"{name}" = {literal(new[name])}' for name in texts)
    return (
        f"UPDATE {kept.sql} SET {values} WHERE row_id = {old['row_id']} "
        f"AND begin_snapshot = {old['begin_snapshot']}"
    )


def forgotten_bounds(person: Person) -> list[str]:
    """Statements that take the id out of all bounds that the catalog keeps."""
    if person.name is None:
        return []
    name = literal(person.name)
    return [
        f"UPDATE {data_files.METADATA}.{table} SET min_value = NULL, max_value = NULL "
        f"WHERE contains(min_value, {name}) OR contains(max_value, {name})"
        for table in ("ducklake_file_column_stats", "ducklake_table_column_stats")
    ]
