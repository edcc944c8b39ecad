"""What survives a power loss: synced files and folders, and the digests that say so."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def sum_of(info: Mapping[str, Any]) -> str:
    """A digest of what a small JSON file says, but for its own `sum`.

    A changed number of partitions in home.json, say, would put orders elsewhere.
    """
    held = {name: value for name, value in info.items() if name != "sum"}
    return hashlib.sha256(json.dumps(held, sort_keys=True).encode()).hexdigest()[:16]


def noted(file: Path) -> dict[str, tuple[int, str]]:
    """Digests that a file says: path to bytes, SHA-256. None, if there is no such file."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return {str(path): (int(size), str(sha)) for path, (size, sha) in found.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def note(file: Path, digests: Mapping[str, tuple[int, str]]) -> None:
    """Write digests into a file, durably; none at all removes it."""
    if not digests:
        file.unlink(missing_ok=True)
        return
    fresh = file.with_suffix(".new")
    fresh.write_text(json.dumps(dict(digests)), encoding="utf-8")
    sync_file(fresh)
    fresh.replace(file)
    sync_directory(file.parent)


def digest(path: Path) -> str:
    """The SHA-256 of a file's content."""
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def sync_directory(path: Path) -> None:
    """Make the names in a directory survive a power loss."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_file(path: Path) -> None:
    """Make a file's content survive a power loss."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
