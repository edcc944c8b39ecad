"""Erasure: a customer's personal data becomes unreadable; every number stays.

One transaction of the catalog puts rewritten files, and rewritten rows of its own, in the place of
those that name the customer: a reader sees all before it, or all after it. Then the old ones go.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from headrace.pipelines.errors import HomeError, LogError, UsageError, ViewError
from headrace.pipelines.generations import registry
from headrace.pipelines.lake import checksums, commit, data_files, failpoints, rewritten
from headrace.pipelines.lake.connect import literal
from headrace.pipelines.lake.tables import SYSTEM_TABLES
from headrace.pipelines.log.embedded import Log
from headrace.pipelines.log.erased import newest, redacted, stands_in
from headrace.pipelines.logs import logger
from headrace.pipelines.operations import erasure_leftovers as leftovers
from headrace.pipelines.operations.erasure_texts import TEXTS, Person, changed, told
from headrace.pipelines.views.view import View
from headrace.schemas.tables import TABLES

if TYPE_CHECKING:
    from headrace.pipelines.lake.data_files import DataFile
    from headrace.pipelines.lake.lake import Lake
    from headrace.pipelines.lake.rewritten import Kept, Rewritten

_EVENTS: Final = ("sys", "events")
_PREFIXES: Final = ("erased-", "!erased-", "~erased-")
_ID: Final = r'(?:"?\w+"?\.)?"?customer_id"?'


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


@dataclass(frozen=True)
class Erased:
    """What an erasure did, or with `dry_run` would do; never who it was.

    `keys` says how many orders and events have the customer's id in their own ids, which stay.
    `still_named` are files of the user's own in the home that name the customer.
    """

    events: int
    orders: int
    entries: int
    files: int
    dry_run: bool = False
    erasure: int | None = None
    pseudonym: str | None = None
    mixed_orders: int = 0
    keys: int = 0
    still_named: tuple[str, ...] = field(default=())

    @property
    def nothing(self) -> bool:
        """Whether nobody of this name was there."""
        return not (self.events or self.entries)


def erase(
    lake: Lake, customer: str | None, reason: str, *, order: str | None = None, dry_run: bool = False
) -> Erased:
    """Make a customer, or the guest of an order, unreadable in all of a home.

    Raises:
        UsageError: the reason names the customer, or there is none.
        LogError: the order has a customer, or its customer cannot be told from another.
        ViewError: a view computes with the id, so its numbers would change.
        HomeError: the catalog is in PostgreSQL.
        DamageError: a file of the lake is not as it was written; nothing was changed.
        LockError: a writer or a batch did not finish in time; nothing was changed.
        StorageError: it is done, but a reader keeps the journal of the catalog.
    """
    _check_call(lake, customer or order or "", reason)
    leftovers.finish(lake)
    wait = lake.settings.lock_wait.total_seconds()
    with lake.home.lock("batch", wait), lake.alone():
        found = _find(lake, customer, order)
        columns = _columns(lake)
        person = Person(
            found.name,
            _pseudonym(lake, found),
            found.own,
            frozenset({"customer_id"}.union(*columns.values())),
        )
        if dry_run:
            touched = [f for f in data_files.files(lake) if _touches(lake, f, found, person, columns)]
            entries = _entries(lake, person)
            return _outcome(lake, found, entries, len(touched), dry_run=True)
        entries = _entries(lake, person)
        if not found.events and not entries:
            return _outcome(lake, found, 0, 0)
        return _erase(lake, found, person, columns, entries, reason)


def _check_call(lake: Lake, name: str, reason: str) -> None:
    if not name:
        raise UsageError("whose data? give the customer's id")
    if not reason.strip():
        raise UsageError("--reason is empty; say why, without naming the customer")
    if name.casefold() in reason.casefold():
        raise UsageError(
            "the reason names the id that is to be erased, and would be kept; say why without it"
        )
    if lake.home.catalog_url is not None:
        raise HomeError(
            f"the catalog of {lake.home.path} is in PostgreSQL, where erasure cannot reach what the "
            "database keeps; nothing was changed"
        )


def _erase(
    lake: Lake,
    found: Found,
    person: Person,
    columns: Mapping[tuple[str, str], frozenset[str]],
    entries: int,
    reason: str,
) -> Erased:
    """Write, swap, delete; under the locks."""
    leftovers.begin(lake.home)
    leftovers.forget_past(lake)
    files = data_files.files(lake)
    damaged = checksums.damages(lake, files)
    if damaged:
        raise checksums.refusal(lake, damaged)
    fresh = [r for f in files if (r := _rewritten(lake, f, found, person, columns)) is not None]
    failpoints.here("erase.rewritten")
    number = newest(lake) + 1
    position = Log(lake).end().text()
    with lake.writing("erase") as tx:
        for name in ("erasures", "erased_orders"):
            tx.execute(f"CREATE TABLE IF NOT EXISTS sys.{name} ({SYSTEM_TABLES[name]})")
            tx.execute(f"DELETE FROM sys.{name} WHERE erasure_no >= {number}")
        counts = (found.events, found.orders, entries, len(fresh))
        now = lake.clock()
        tx.record("erasures", number, "ready", now, reason, person.pseudonym, position, *counts)
        if found.own:
            listed = ", ".join(
                f"({number}, {literal(o)}, {literal(person.pseudonym)})" for o in sorted(found.own)
            )
            tx.insert("sys", "erased_orders", f"VALUES {listed}")
    bounds = {(r.file.schema, r.file.table, c) for r in fresh for c in r.columns}
    bounds |= {("sys", "erasures", "state")}
    statements = []
    for kept in rewritten.kept(lake):
        some, named = _in_catalog(lake, kept, person, columns, number)
        statements += some
        bounds |= {(kept.schema, kept.table, c) for c in named}
    statements += _forgotten_bounds(person)
    failpoints.here("erase.noted")
    rewritten.swap(lake, fresh, statements, bounds)
    failpoints.here("erase.swapped")
    commit.mark(lake)
    leftovers.delete(lake)
    failpoints.here("erase.finished")
    logger("erase").info("done", erasure=number, events=found.events, orders=found.orders)
    return _outcome(lake, found, entries, len(fresh), number=number, pseudonym=person.pseudonym)


def _find(lake: Lake, customer: str | None, order: str | None) -> Found:
    """The events and orders of a customer, or of a guest's order."""
    with lake.reading():
        checksums.check(lake, {_EVENTS})
        if order is not None:
            return _guest(lake, order)
        wanted = f"customer_id = {literal(customer)}"
        rows = lake.rows(f"""
            SELECT order_id, count(DISTINCT customer_id), count(*),
              count(*) FILTER (WHERE {wanted})
            FROM sys.events
            WHERE order_id IN (SELECT order_id FROM sys.events WHERE {wanted}) GROUP BY order_id""")
    own = frozenset(o for o, people, *_ in rows if people == 1)
    events = sum(named if people > 1 else count for _, people, count, named in rows)
    return Found(customer, own, frozenset(o for o, *_ in rows) - own, events)


def _guest(lake: Lake, order: str) -> Found:
    events, named = lake.row(
        f"SELECT count(*), count(customer_id) FROM sys.events WHERE order_id = {literal(order)}"
    )
    if named:
        raise LogError(
            f"the order {order} has a customer, who may have others; erase the customer. "
            f"`headrace log show --order {order}` shows whom"
        )
    return Found(None, frozenset({order} if events else ()), frozenset(), int(events))


def _pseudonym(lake: Lake, found: Found) -> str:
    """A random name that sorts, among those of an order, where the customer's does.

    Of returns without a placement, the fold takes the lowest name: it must stay the same one.

    Raises:
        LogError: there is none such.
    """
    random = uuid.uuid4().hex
    if not found.mixed or found.name is None:
        return f"{_PREFIXES[0]}{random}"
    listed = ", ".join(map(literal, sorted(found.mixed)))
    others = [
        name
        for (name,) in lake.rows(
            "SELECT DISTINCT customer_id FROM sys.events WHERE type = 'ItemsReturned' "
            f"AND order_id IN ({listed}) AND customer_id <> {literal(found.name)}"
        )
    ]
    for prefix in _PREFIXES:
        if all((o < prefix) == (o < found.name) for o in others):
            return f"{prefix}{random}"
    raise LogError(
        f"the returns of the orders {listed} name several customers, between whom no pseudonym "
        "keeps its place, so numbers would move; nothing was changed"
    )


def _columns(lake: Lake) -> dict[tuple[str, str], frozenset[str]]:
    """Table of a generation to its columns that hold customers' ids.

    Raises:
        ViewError: a view computes with them.
    """
    found: dict[tuple[str, str], frozenset[str]] = {}
    for number in registry.numbers(lake):
        for name in TABLES:
            found[f"g{number}", name] = frozenset({"customer_id"})
        for name, view in registry.stored_views(lake, number).items():
            found[f"g{number}", name] = _keys(view, number)
    return found


def _keys(view: View, number: int) -> frozenset[str]:
    """The keys of a view that are the customer's id as it is."""
    plain = re.compile(rf"{_ID}|COALESCE\(\s*{_ID}\s*,\s*'[^']*'\s*\)", re.IGNORECASE)
    harmless = re.compile(rf"{_ID}\s+IS\s+(NOT\s+)?NULL", re.IGNORECASE)
    rows = view.rows["duckdb"]
    keys = [c.name for c, text in zip(view.keys, rows.keys, strict=True) if plain.fullmatch(text)]
    others = [text for text in rows.keys if not plain.fullmatch(text)]
    others += [rows.where or "", *(term.condition or "" for term in rows.terms)]
    others += [t.value or "" for t in rows.terms if not re.fullmatch(_ID, t.value or "", re.I)]
    if any("customer_id" in harmless.sub("", text).lower() for text in others):
        raise ViewError(
            f"the view {view.name} of generation {number} computes with customer_id, so its numbers "
            "would change with the id; nothing was changed. Take it out of the views, run `headrace "
            "replay --from beginning` and `headrace promote`, let `headrace maintain` drop the old "
            "generations, then erase"
        )
    return frozenset(keys)


def _view_of(schema: str, table: str) -> tuple[str, str]:
    """The generation's table (`b2_orders`) as its columns are listed."""
    return schema, table.partition("_")[2]


def _touches(
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
    return pc.or_(own, pc.fill_null(pc.equal(rows.column("customer_id"), found.name), False))


def _rewritten(
    lake: Lake,
    file: DataFile,
    found: Found,
    person: Person,
    columns: Mapping[tuple[str, str], frozenset[str]],
) -> Rewritten | None:
    """A file written again without the customer; None if it does not name one."""
    if not _touches(lake, file, found, person, columns):
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
        hit = pc.fill_null(pc.equal(held, person.name), False)
        if pc.any(hit).as_py():
            touched = True
            place = rows.schema.get_field_index(name)
            fresh = pc.if_else(hit, pa.scalar(person.pseudonym, held.type), held)
            rows = rows.set_column(place, rows.schema.field(place), fresh)
    return rows if touched else None


def _in_catalog(
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


def _row_set(kept: Kept, old: dict[str, object], new: dict[str, object], texts: tuple[str, ...]) -> str:
    values = ", ".join(f'"{name}" = {literal(new[name])}' for name in texts)
    return (
        f"UPDATE {kept.sql} SET {values} WHERE row_id = {old['row_id']} "
        f"AND begin_snapshot = {old['begin_snapshot']}"
    )


def _forgotten_bounds(person: Person) -> list[str]:
    """Statements that take the id out of all bounds that the catalog keeps."""
    if person.name is None:
        return []
    name = literal(person.name)
    return [
        f"UPDATE {data_files.METADATA}.{table} SET min_value = NULL, max_value = NULL "
        f"WHERE contains(min_value, {name}) OR contains(max_value, {name})"
        for table in ("ducklake_file_column_stats", "ducklake_table_column_stats")
    ]


def _entries(lake: Lake, person: Person) -> int:
    """How many entries of the quarantine name the person, or one of the orders."""
    rows = lake.con.execute("SELECT origin, reason, raw FROM sys.quarantine").to_arrow_table()
    fresh = changed("quarantine", rows, person)
    if fresh is None:
        return 0
    pairs = zip(rows.column("raw").to_pylist(), fresh.column("raw").to_pylist(), strict=True)
    return sum(old != new for old, new in pairs)


def _outcome(
    lake: Lake,
    found: Found,
    entries: int,
    files: int,
    *,
    number: int | None = None,
    pseudonym: str | None = None,
    dry_run: bool = False,
) -> Erased:
    keys = 0
    if found.name is not None and found.orders:
        listed = ", ".join(map(literal, sorted(found.own | found.mixed)))
        ids = lake.rows(f"SELECT order_id, id, source FROM sys.events WHERE order_id IN ({listed})")
        keys = sum(any(stands_in(found.name.encode(), i.encode()) for i in row) for row in ids)
    return Erased(
        found.events,
        found.orders,
        entries,
        files,
        dry_run,
        number,
        pseudonym,
        len(found.mixed),
        keys,
        _still_named(lake, found.name),
    )


def _still_named(lake: Lake, name: str | None) -> tuple[str, ...]:
    """The user's own files in the home that name the customer: only the user can change them."""
    if name is None:
        return ()
    home = lake.home.path
    own = [home / "headrace.toml", *(home / "views").rglob("*"), *(home / "expectations").rglob("*")]
    return tuple(
        str(Path(p).relative_to(home))
        for p in own
        if p.is_file() and told([p.read_text(encoding="utf-8", errors="replace")], name)
    )
