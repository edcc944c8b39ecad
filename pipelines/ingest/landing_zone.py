"""A folder that others put files into: which are new, which are known, which are not done yet."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from headrace.pipelines.errors import UsageError
from headrace.pipelines.ingest.delimited import ImportedFile

UNFINISHED = (".tmp", ".part")
"""Ends of names whose writer is not done. Names that begin with a dot are left alone as well."""
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Look:
    """How a file looked at one moment."""

    path: Path
    size: int
    modified: int

    @classmethod
    def at(cls, path: Path) -> Look:
        """Look at a file now."""
        found = path.stat()
        return cls(path, found.st_size, found.st_mtime_ns)

    def holds(self) -> bool:
        """Whether the file still looks like that."""
        try:
            return Look.at(self.path) == self
        except OSError:
            return False


@dataclass(frozen=True)
class Record:
    """What the lake knows of a file: `done` of its events are in the log, or all of it."""

    path: str
    size: int
    modified: int
    digest: str
    done: int
    finished: bool


@dataclass
class Landed:
    """What one look at a folder did; every file of it is in one of the counts or lists.

    `known` files landed before, `copies` have the content of one that did. `changed` ones are not
    what landed under their name, `unfinished` ones are still written, `failed` ones cannot be read.
    """

    files: int = 0
    accepted: int = 0
    quarantined: int = 0
    quarantined_known: int = 0
    known: int = 0
    copies: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    identical_rows: dict[str, int] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    unfinished: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def clean(self) -> bool:
        """Whether no file needs a person."""
        return not self.changed and not self.failed

    def count(self, file: ImportedFile) -> None:
        """Add what a file has besides events and rejected rows."""
        _add(self.skipped, file.skipped)
        _add(self.identical_rows, file.identical_rows or {})
        self.warnings += file.warnings

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return dict(vars(self))


def _add(counts: dict[str, int], more: dict[str, int]) -> None:
    for what, count in more.items():
        counts[what] = counts.get(what, 0) + count


def settled(
    folder: Path, records: dict[str, Record], pause: timedelta, found: Landed
) -> list[Look]:
    """The files that nobody writes any more: two looks, `pause` apart, show the same.

    Raises:
        UsageError: the folder cannot be listed.
    """
    try:
        paths = sorted(p for p in folder.absolute().iterdir() if not p.name.startswith("."))
        looks = [Look.at(p) for p in paths if p.suffix not in UNFINISHED and p.is_file()]
    except OSError as e:
        raise UsageError(f"{folder} cannot be looked at: {e.strerror}; name a folder") from e
    found.unfinished += [str(p) for p in paths if p.suffix in UNFINISHED]
    finished = {(r.path, r.size, r.modified) for r in records.values() if r.finished}
    fresh = [k for k in looks if (str(k.path), k.size, k.modified) not in finished]
    found.known += len(looks) - len(fresh)
    # Files that were left alone for so long have been looked at twice, as it were.
    left_alone = time.time_ns() - int(pause.total_seconds() * 1e9)
    if any(look.modified > left_alone for look in fresh):
        time.sleep(pause.total_seconds())
    still = [look for look in fresh if look.holds()]
    found.unfinished += [str(look.path) for look in fresh if look not in still]
    return still


def new_files(
    looks: Iterable[Look], records: dict[str, Record], found: Landed
) -> Iterator[tuple[Look, str]]:
    """Files whose content has not landed yet, with its digest."""
    names = {record.path for record in records.values()}
    seen: set[str] = set()
    for look in looks:
        try:
            digest = _digest(look.path)
        except OSError as e:
            found.failed[str(look.path)] = f"cannot be read: {e.strerror}"
            continue
        record = records.get(digest)
        if digest in seen or (record is not None and record.finished):
            same = record is not None and record.path == str(look.path)
            found.known += same
            found.copies += not same
        elif record is None and str(look.path) in names:
            found.changed.append(str(look.path))
        else:
            seen.add(digest)
            yield look, digest


def _digest(path: Path) -> str:
    seen = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            seen.update(block)
    return seen.hexdigest()
