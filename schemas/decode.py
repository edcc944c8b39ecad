"""Decodes many events at once: a typed Arrow table, and a reason for every line not in it.

Fast where a line can be proved good; everything else goes through the reference validator,
which decides. Both give the same events, and no line is ever lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from headrace.schemas.block_check import Check
from headrace.schemas.block_read import read_block
from headrace.schemas.columns import MONEY
from headrace.schemas.events import MAX_EVENT_BYTES, Event
from headrace.schemas.line_screen import screen
from headrace.schemas.strict_json import WHITESPACE, canonical, hashed, same_content
from headrace.schemas.validate import Rejection, validate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = [
    "EVENTS_SCHEMA",
    "Decoded",
    "Rejected",
    "canonical",
    "decode",
    "decode_by_reference",
    "same_content",
]

EVENTS_SCHEMA: Final = pa.schema(
    [
        ("source", pa.string()),
        ("id", pa.string()),
        ("type", pa.string()),
        ("version", pa.int16()),
        ("time", pa.timestamp("us")),
        ("order_id", pa.string()),
        ("sequence", pa.int64()),
        ("customer_id", pa.string()),
        ("currency", pa.string()),
        ("country", pa.string()),
        ("channel", pa.string()),
        ("amount", MONEY),
        ("shipping", MONEY),
        ("discount", MONEY),
        ("goods", MONEY),
        ("units", pa.int64()),
        (
            "lines",
            pa.list_(
                pa.struct(
                    [("product_id", pa.string()), ("quantity", pa.int64()), ("amount", MONEY)]
                )
            ),
        ),
        ("digest", pa.int64()),
        ("raw", pa.string()),
    ]
)
"""One row an event. Fields a type does not have are null; `time` is UTC without a zone."""

# Offsets into an Arrow text column have 31 bits.
_MOST_BYTES: Final = 1 << 30
# Longer lines are rare, and one of them must fit into a block of Arrow's reader.
_LONGEST_FAST: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Rejected:
    """A line that is not an acceptable event: its place, its bytes as given, and why."""

    index: int
    raw: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class Decoded:
    """What became of the lines: every one is either in `events` or in `rejected`.

    Attributes:
        events: The accepted events in the order of the lines, of `EVENTS_SCHEMA`.
        indices: For each event, which line it came from; ascending.
        rejected: The others, ascending.
    """

    events: pa.Table
    indices: NDArray[np.int64]
    rejected: list[Rejected]


def decode(lines: Sequence[bytes], *, max_event_bytes: int = MAX_EVENT_BYTES) -> Decoded:
    """Decode lines of CloudEvents JSON.

    Args:
        lines: One event each; whitespace around it is ignored.
        max_event_bytes: Longest line accepted.

    Returns:
        Events and rejections; together as many as there are lines.

    Raises:
        ValueError: The lines have more than 1 GiB together. Pass fewer at once.
    """
    total_bytes = sum(map(len, lines))
    if total_bytes > _MOST_BYTES:
        raise ValueError(
            f"{len(lines)} lines have {total_bytes} bytes; at most {_MOST_BYTES} are decoded "
            "at once: pass fewer lines"
        )
    stripped = [line.strip(WHITESPACE) for line in lines]
    kept = screen(stripped, min(max_event_bytes, _LONGEST_FAST))
    likely = np.flatnonzero(kept)
    fast, proved = _decode_block(
        stripped if kept.all() else [stripped[row] for row in likely.tolist()]
    )
    rows = likely[proved]
    others = np.setdiff1d(np.arange(len(lines), dtype=np.int64), rows, assume_unique=True)
    if not len(others):
        return Decoded(fast, rows, [])
    slow = _decode_rows(lines, others, max_event_bytes)
    if not len(slow.indices):
        return Decoded(fast, rows, slow.rejected)
    indices = np.concatenate((rows, slow.indices))
    order = np.argsort(indices)
    events = pa.concat_tables([fast, slow.events]).take(pa.array(order))
    return Decoded(events, indices[order], slow.rejected)


def decode_by_reference(
    lines: Sequence[bytes], *, max_event_bytes: int = MAX_EVENT_BYTES
) -> Decoded:
    """Do the same as `decode`, one line at a time: the yardstick for it, and for its tests."""
    return _decode_rows(lines, np.arange(len(lines), dtype=np.int64), max_event_bytes)


def _decode_block(lines: Sequence[bytes]) -> tuple[pa.Table, NDArray[np.int64]]:
    """Decode what can be proved good; return its table and its places among the lines."""
    if not lines:
        return EVENTS_SCHEMA.empty_table(), np.empty(0, dtype=np.int64)
    blob = b"\n".join(lines)
    block = read_block(lines, blob)
    raw = lines if not len(block.unread) else [lines[row] for row in block.rows]
    check = Check(block.table, raw, escapes=b"\\" in blob or b"\x7f" in blob)
    columns = check.columns()
    columns["digest"] = pa.array(_digests(raw))
    columns["raw"] = _texts(raw)
    table = pa.table([columns[name] for name in EVENTS_SCHEMA.names], schema=EVENTS_SCHEMA)
    good = ~check.doubt
    if good.all():
        return table, block.rows
    return table.filter(pa.array(good)), block.rows[good]


def _digests(lines: Sequence[bytes]) -> NDArray[np.int64]:
    """Return `strict_json.fingerprint` of every line."""
    joined = b"".join(map(hashed, lines))
    return np.frombuffer(joined, dtype=">i8").astype(np.int64)


def _texts(lines: Sequence[bytes]) -> pa.Array:
    lengths = np.fromiter(map(len, lines), dtype=np.int64, count=len(lines))
    offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int32)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(lines))]
    return pa.Array.from_buffers(pa.string(), len(lines), buffers)


def _decode_rows(lines: Sequence[bytes], rows: NDArray[np.int64], max_event_bytes: int) -> Decoded:
    events: list[Event] = []
    indices: list[int] = []
    rejected: list[Rejected] = []
    for row in rows.tolist():
        try:
            events.append(validate(lines[row], max_event_bytes=max_event_bytes))
        except Rejection as rejection:
            rejected.append(Rejected(row, bytes(lines[row]), rejection.reason))
        else:
            indices.append(row)
    return Decoded(_table(events), np.array(indices, dtype=np.int64), rejected)


def _table(events: Sequence[Event]) -> pa.Table:
    columns = []
    for field in EVENTS_SCHEMA:
        if field.name == "lines":
            values: list[object] = [_line_dicts(event) for event in events]
        else:
            values = [getattr(event, field.name) for event in events]
        columns.append(pa.array(values, type=field.type))
    return pa.table(columns, schema=EVENTS_SCHEMA)


def _line_dicts(event: Event) -> list[dict[str, object]] | None:
    if event.lines is None:
        return None
    return [
        {"product_id": line.product_id, "quantity": line.quantity, "amount": line.amount}
        for line in event.lines
    ]
