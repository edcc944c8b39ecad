"""Orders whose customer was erased: what comes of them again is made unreadable at the edge.

An arriving event is known by its order, so nothing has to be remembered of the customer. What is
stored of it is what is stored of the first delivery: a redelivery, and no conflict.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import duckdb

from headrace.pipelines.lake.unchanged import remembered

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from headrace.pipelines.lake.connection import Connection
    from headrace.pipelines.log.port import Fetched

GONE: Final = b"erased"
"""What stands in quarantine in the place of bytes that were erased."""
WHY: Final = "belongs to an order whose customer was erased; its bytes are not kept"


@dataclass(frozen=True)
class Erasure:
    """That and when somebody was erased; not who."""

    erasure_no: int
    recorded_at: datetime
    reason: str
    pseudonym: str
    position: str
    events: int
    orders: int
    entries: int
    files: int


def erasures(lake: Connection) -> list[Erasure]:
    """All erasures of a home, oldest first."""
    found = _rows(
        lake,
        "SELECT erasure_no, recorded_at, reason, pseudonym, position, events, orders, entries, "
        "files FROM sys.erasures WHERE state = 'done' ORDER BY erasure_no",
    )
    return [Erasure(*row) for row in found]


def newest(lake: Connection) -> int:
    """The number of the last erasure; 0 if there was none. Whoever remembers events, asks."""

    def ask() -> int:
        found = _rows(lake, "SELECT max(erasure_no) FROM sys.erasures WHERE state = 'done'")
        return int(found[0][0] or 0) if found else 0

    return remembered(lake, "newest erasure", ("erasures",), ask)


def orders(lake: Connection) -> dict[str, str]:
    """Each order whose customer was erased, and the customer's pseudonym."""
    if not newest(lake):
        return {}
    return dict(
        _rows(
            lake,
            "SELECT order_id, pseudonym FROM sys.erased_orders WHERE erasure_no IN "
            "(SELECT erasure_no FROM sys.erasures WHERE state = 'done') ORDER BY erasure_no",
        )
    )


def without_erased(lake: Connection, fetched: Fetched) -> tuple[Fetched, bool]:
    """What was read, without what identifies an erased customer; and whether that changed it."""
    known = orders(lake)
    if not known:
        return fetched, False
    events = redacted(fetched.events, _rows_of(fetched.events, known))
    rejected = [
        replace(r, raw=GONE, reason=WHY) if names_any(r.raw, known) else r for r in fetched.rejected
    ]
    changed = events is not fetched.events or rejected != list(fetched.rejected)
    return replace(fetched, events=events, rejected=rejected), changed


def is_stored_as(lake: Connection, sent: bytes, stored: str) -> bool:
    """Whether a line is what is stored, or was before the customer of its order was erased."""
    from headrace.schemas.redact import redacted as written
    from headrace.schemas.strict_json import NotJsonError

    if sent == stored.encode():
        return True
    pseudonym = orders(lake).get(json.loads(stored)["subject"])
    try:
        return pseudonym is not None and written(sent.decode(), pseudonym) == stored
    except (UnicodeDecodeError, NotJsonError):
        return False


def _rows_of(events: pa.Table, known: Mapping[str, str]) -> dict[int, str]:
    """The rows of events of known orders, each with its pseudonym."""
    import pyarrow as pa
    import pyarrow.compute as pc

    order = events.column("order_id")
    hits = pc.indices_nonzero(pc.is_in(order, value_set=pa.array(list(known), pa.string())))
    return {row: known[order[row].as_py()] for row in hits.to_pylist()}


def redacted(events: pa.Table, rows: Mapping[int, str]) -> pa.Table:
    """Events of the log, some rows under a pseudonym: customer, original line, digest."""
    import pyarrow as pa

    from headrace.schemas.redact import redacted as written
    from headrace.schemas.strict_json import fingerprint

    if not rows:
        return events
    names = ("customer_id", "raw", "digest")
    columns = {name: events.column(name).to_pylist() for name in names}
    for row, pseudonym in rows.items():
        line = written(columns["raw"][row], pseudonym)
        columns["raw"][row], columns["digest"][row] = line, fingerprint(line.encode())
        if columns["customer_id"][row] is not None:
            columns["customer_id"][row] = pseudonym
    for name in names:
        place = events.schema.get_field_index(name)
        field = events.schema.field(place)
        events = events.set_column(place, field, pa.array(columns[name], field.type))
    return events


def names_any(raw: bytes, names: Mapping[str, str] | set[str]) -> bool:
    """Whether some bytes name one of these: as a text of JSON, or standing alone in other text."""
    try:
        return any(text in names for text in texts(json.loads(raw)))
    except (ValueError, RecursionError):
        return any(stands_in(name.encode(), raw) for name in names)


def texts(value: object) -> Sequence[str]:
    """All texts in a JSON value, keys of objects apart."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for each in value.values() for text in texts(each)]
    if isinstance(value, list):
        return [text for each in value for text in texts(each)]
    return []


def stands_in(name: bytes, raw: bytes) -> bool:
    """Whether bytes hold a name that is not a part of a longer one: c-1 is not in c-10."""
    at = raw.find(name)
    while at >= 0:
        before, after = raw[max(0, at - 1) : at], raw[at + len(name) : at + len(name) + 1]
        if not _of_a_name(before) and not _of_a_name(after):
            return True
        at = raw.find(name, at + 1)
    return False


def _of_a_name(byte: bytes) -> bool:
    return byte.isalnum() or byte in {b"-", b"_"} or byte >= b"\x80"


def _rows(lake: Connection, sql: str) -> list[tuple[Any, ...]]:
    try:
        return lake.rows(sql)
    except duckdb.CatalogException:  # of a home that has never erased anybody
        return []
