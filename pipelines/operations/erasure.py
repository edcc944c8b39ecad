"""Erasure: a customer's personal data becomes unreadable; every number stays.

One transaction of the catalog puts rewritten files, and rewritten rows of its own, in the place of
those that name the customer: a reader sees all before it, or all after it. Then the old ones go.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from headrace.pipelines.errors import HomeError, LogError, UsageError
from headrace.pipelines.lake import checksums, commit, data_files, failpoints, rewritten
from headrace.pipelines.lake.connect import literal
from headrace.pipelines.lake.tables import SYSTEM_TABLES
from headrace.pipelines.log.embedded import Log
from headrace.pipelines.log.erased import newest, stands_in
from headrace.pipelines.logs import logger
from headrace.pipelines.operations import erasure_leftovers as leftovers
from headrace.pipelines.operations.erasure_rewrite import (
    Found,
    forgotten_bounds,
    id_columns,
    in_catalog,
    touches,
    written_anew,
)
from headrace.pipelines.operations.erasure_texts import Person, changed, told

if TYPE_CHECKING:
    from headrace.pipelines.lake.lake import Lake

_PREFIXES: Final = ("erased-", "!erased-", "~erased-")


@dataclass(frozen=True)
class Erased:
    """What an erasure did, or with `dry_run` would do; never who it was.

    `keys` says how many orders and events have the customer's id in their own ids, which stay.
    `still_named` are files of the user's own in the home that name the customer. `finished` says
    that nobody was there, because an erasure that was interrupted had done it, and is finished now.
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
    finished: bool = False

    @property
    def nothing(self) -> bool:
        """Whether nobody of this name was there."""
        return not (self.events or self.entries)


def erase(
    lake: Lake,
    customer: str | None,
    reason: str,
    *,
    order: str | None = None,
    dry_run: bool = False,
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
    finished = not dry_run and leftovers.finish(lake)
    wait = lake.settings.lock_wait.total_seconds()
    with lake.home.lock("batch", wait), lake.alone():
        found = _find(lake, customer, order)
        columns = id_columns(lake, found.name)
        person = Person(
            found.name,
            _pseudonym(lake, found),
            found.own,
            frozenset({"customer_id"}.union(*columns.values())),
        )
        entries = _entries(lake, person)
        if dry_run:
            files = data_files.files(lake)
            files = [f for f in files if touches(lake, f, found, person, columns)]
            return _outcome(lake, found, entries, len(files), dry_run=True)
        if not found.events and not entries:
            return replace(_outcome(lake, found, 0, 0), finished=finished)
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
            f"the catalog of {lake.home.path} is in PostgreSQL, where erasure cannot reach what "
            "the database keeps; nothing was changed"
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
    fresh = [r for f in files if (r := written_anew(lake, f, found, person, columns)) is not None]
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
        some, named = in_catalog(lake, kept, person, columns, number)
        statements += some
        bounds |= {(kept.schema, kept.table, c) for c in named}
    statements += forgotten_bounds(person)
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
        checksums.check(lake, {("sys", "events")})
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
    folders = (home / "views", home / "lookups", home / "expectations")
    own = [home / "headrace.toml", *(f for folder in folders for f in folder.rglob("*"))]
    return tuple(
        str(Path(p).relative_to(home))
        for p in own
        if p.is_file() and told([p.read_text(encoding="utf-8", errors="replace")], name)
    )
