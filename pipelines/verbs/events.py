"""Events of a caller as lines for the log: text, dicts, Arrow tables, Polars frames, files.

Guarantees: what goes in is what was given, to the last digit. A float is refused: nobody knows
which decimal it was meant to be. So is a time without a zone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from headrace.pipelines.errors import UsageError
from headrace.pipelines.ingest.ndjson import Line, read_lines

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

Events: TypeAlias = (
    "str | bytes | Path | Mapping[str, Any] | pa.Table | pl.DataFrame | "
    "Iterable[str | bytes | Path | Mapping[str, Any]]"
)
"""NDJSON text, a file of it, one event as a dict, a frame with a row an event, or many of them."""


def lines_of(events: Events, origin: str) -> Iterator[Line]:
    """The events as lines of NDJSON, each with where it came from.

    Args:
        events: CloudEvents 1.0. In frames, columns are the envelope's fields and `data` is a
            struct (or JSON text); null is the same as not there.
        origin: what the quarantine says of where they came from; a number is added.

    Raises:
        UsageError: a value has no exact form, or it is no event of any known kind.
    """
    for number, event in enumerate(_each(events), start=1):
        if isinstance(event, Path):
            yield from read_lines([str(event)])
        elif isinstance(event, bytes | str):
            raw = event.encode() if isinstance(event, str) else event
            for part in raw.splitlines():
                if part.strip():
                    yield Line(part, f"{origin}:{number}")
        elif isinstance(event, Mapping):
            yield Line(_json(event, f"event {number}"), f"{origin}:{number}")
        else:
            raise UsageError(
                f"event {number} is a {type(event).__name__}; give CloudEvents as JSON text, "
                "dicts, files, an Arrow table or a Polars frame"
            )


def _each(events: Any) -> Iterable[Any]:
    if isinstance(events, str | bytes | Path | Mapping):
        return [events]
    if hasattr(events, "to_arrow"):  # a Polars frame
        events = events.to_arrow()
    if hasattr(events, "to_batches") and hasattr(events, "schema"):  # an Arrow table
        return _rows(events)
    return events  # type: ignore[no-any-return]


def _rows(table: pa.Table) -> Iterator[Mapping[str, Any]]:
    for batch in table.to_batches():
        for row in batch.to_pylist():
            kept = _without_nulls(row)
            if isinstance(kept.get("data"), str):
                import json

                kept["data"] = json.loads(kept["data"], parse_float=Decimal)
            yield kept


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_nulls(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [_without_nulls(each) for each in value]
    return value


def _json(event: Mapping[str, Any], where: str) -> bytes:
    import orjson

    return orjson.dumps(_exact(event, where))


def _exact(value: Any, where: str) -> Any:
    """The value as JSON says it without loss: decimals and times as text."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, Mapping):
        return {str(k): _exact(v, f"{where}, {k}") for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_exact(each, f"{where}[{n}]") for n, each in enumerate(value)]
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise UsageError(
                f"{where} is {value.isoformat()} without a zone; give it one, such as "
                "datetime(…, tzinfo=UTC)"
            )
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, float):
        raise UsageError(
            f"{where} is the float {value!r}, which is not exact; give a Decimal, or text"
        )
    kind = "date" if isinstance(value, date) else type(value).__name__
    raise UsageError(f"{where} is a {kind}, which JSON has no form for; give text")
