"""The quarantine: what could not be accepted, with its bytes, its origin and the reason.

Nothing leaves it. An entry is open until it gets an outcome: it was accepted on a retry, a
corrected line was accepted in its place, or a person discarded it. The bytes stay in any case.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from headrace.pipelines.log import outcomes
from headrace.pipelines.log.entries import (
    Entry,
    Selection,
    chosen,
    closed,
    count,
    each,
    entries,
    find,
    older,
    oldest,
    rows,
)

if TYPE_CHECKING:
    from headrace.pipelines.lake.lake import Lake
    from headrace.pipelines.log.outcomes import Tried

__all__ = [
    "Entry",
    "Selection",
    "chosen",
    "closed",
    "count",
    "discard",
    "each",
    "entries",
    "find",
    "older",
    "oldest",
    "retry",
    "rows",
]


def retry(lake: Lake, ids: list[str] | None = None) -> Tried:
    """Decode open entries again and append those that are accepted now.

    Args:
        lake: where they are.
        ids: which entries; all that are open by default. Conflicts are never retried: their
            event is in the log already.
    """
    return outcomes.retry(lake, chosen(lake, Selection(ids or ())))


def discard(lake: Lake, ids: Iterable[str], *, by: str, reason: str) -> int:
    """Close open entries, for good: somebody has looked at them, and nothing more is to be done.

    Their bytes stay. Gives how many were closed now, all of them in one unit of work.

    Raises:
        UsageError: an entry is not open, or the reason is empty.
    """
    return outcomes.discard(lake, list(ids), by=by, reason=reason)
