"""Quarantined entries as a file that a person can edit, and that file read back.

NDJSON, an entry a line: `id`, `recorded_at`, `origin`, `reason`, and what came in: `raw` where it
is text, else `raw_base64`, so that every byte survives. Of a file that is read back, `id` and what
came in count; the rest may be left out.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace.pipelines.errors import ContractError, UsageError
from headrace.pipelines.ingest.ndjson import read_lines

if TYPE_CHECKING:
    from collections.abc import Iterable

    from headrace.pipelines.log.quarantine import Entry

_TEXT, _BYTES = "raw", "raw_base64"
_KEYS = ("id", "recorded_at", "origin", "reason", _TEXT, _BYTES)


@dataclass(frozen=True)
class Correction:
    """The line that is to be tried in the place of an entry, and where it stands."""

    id: str
    line: bytes
    place: str


def write(entries: Iterable[Entry], file: Path) -> int:
    """Write entries into a new file, whole or not at all; gives how many.

    Raises:
        UsageError: there is such a file already, or it cannot be written.
    """
    if file.exists():
        raise UsageError(f"{file} exists, and may hold somebody's corrections; name another file")
    fresh = file.with_name(f".{file.name}.part")
    number = 0
    try:
        with fresh.open("wb") as out:
            for entry in entries:
                out.write(_line(entry) + b"\n")
                number += 1
            out.flush()
            os.fsync(out.fileno())
        fresh.replace(file)
    except OSError as e:
        raise UsageError(f"{file} cannot be written: {e.strerror}; name another file") from e
    finally:
        with contextlib.suppress(OSError):
            fresh.unlink()
    return number


def read(file: Path) -> Iterator[Correction]:
    """The entries of a file, in its order.

    Raises:
        UsageError: the file cannot be opened.
        ContractError: a line of it is no entry, or an entry is there twice.
    """
    places: dict[str, str] = {}
    for line in read_lines([str(file)]):
        found = _correction(line.raw, line.origin)
        before = places.setdefault(found.id, line.origin)
        if before != line.origin:
            raise _wrong(line.origin, f"has the entry {found.id} of {before}; keep one of them")
        yield found


def _line(entry: Entry) -> bytes:
    told: dict[str, str] = {
        "id": entry.id,
        "recorded_at": f"{entry.recorded_at.isoformat()}Z",
        "origin": entry.origin,
        "reason": entry.reason,
    }
    try:
        told[_TEXT] = entry.raw.decode()
    except UnicodeDecodeError:
        told[_BYTES] = base64.b64encode(entry.raw).decode()
    return json.dumps(told, ensure_ascii=False).encode()


def _correction(raw: bytes, place: str) -> Correction:
    try:
        told = json.loads(raw, object_pairs_hook=_once)
    except (ValueError, RecursionError) as e:
        raise _wrong(place, f"is not JSON, or has a key twice ({e})") from e
    if not isinstance(told, dict) or not isinstance(told.get("id"), str) or not told["id"]:
        raise _wrong(place, 'has no "id"; keep the one that the export gave')
    unknown = sorted(set(told) - set(_KEYS))
    if unknown:
        raise _wrong(place, f"has {unknown[0]!r}; known are {', '.join(_KEYS)}")
    if (_TEXT in told) == (_BYTES in told):
        raise _wrong(place, f'needs either "{_TEXT}" (text) or "{_BYTES}"')
    value = told.get(_TEXT, told.get(_BYTES))
    if not isinstance(value, str):
        raise _wrong(place, f'has a "{_TEXT}" that is no text; write the event as text in quotes')
    try:
        line = value.encode() if _TEXT in told else base64.b64decode(value, validate=True)
    except (UnicodeEncodeError, binascii.Error) as e:
        raise _wrong(place, f"has bytes that cannot be read ({e})") from e
    return Correction(told["id"], line, place)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = next(key for key, _ in pairs if sum(key == k for k, _ in pairs) > 1)
        raise ValueError(f"{twice!r} is given twice")
    return found


def _wrong(place: str, what: str) -> ContractError:
    return ContractError(f"{place} {what}. Nothing of the file was recorded")
