"""What a person does with the quarantine: an overview, discard, export, retry."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace.pipelines.verbs.place import opened

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headrace.pipelines.lake.lake import Lake
    from headrace.pipelines.log.outcomes import Attempt, Tried
    from headrace.pipelines.log.quarantine import Selection
    from headrace.pipelines.log.summary import Group
    from headrace.pipelines.verbs.place import Place

_AT_ONCE = 200
"""Corrections that are held in memory with their entries."""


def summary(home: Place, **given: Any) -> list[Group]:
    """The open entries by class of reason and origin, the largest group first."""
    from headrace.pipelines.log import summary as groups

    with opened(home, read_only=True, **given) as lake:
        return groups.summary(lake)


def discard(home: Place, selection: Selection, *, by: str, reason: str, **given: Any) -> int:
    """Close open entries without an event; their bytes stay. Gives how many.

    Raises:
        UsageError: nothing is selected, or no reason is given.
    """
    from headrace.pipelines.errors import UsageError
    from headrace.pipelines.log import outcomes, quarantine

    if selection.empty:
        raise UsageError("say which entries: ids, --reason-like or --origin")
    with opened(home, **given) as lake:
        return outcomes.discard(lake, quarantine.chosen(lake, selection), by=by, reason=reason)


def export(home: Place, file: Path, selection: Selection, **given: Any) -> int:
    """Write open entries (all, if nothing is selected) into a new file to be edited.

    Raises:
        UsageError: the file is there already, or cannot be written.
    """
    from headrace.pipelines.ingest import corrections
    from headrace.pipelines.log import quarantine

    with opened(home, read_only=True, **given) as lake:
        return corrections.write(quarantine.each(lake, quarantine.chosen(lake, selection)), file)


def retry(home: Place, ids: list[str], **given: Any) -> Tried:
    """Try open entries again (all, if none is named), as they came in."""
    from headrace.pipelines.log import quarantine

    with opened(home, **given) as lake:
        return quarantine.retry(lake, ids)


def correct(home: Place, file: Path, *, by: str, **given: Any) -> Tried:
    """Append the lines of an edited export, each once, in the place of its entry.

    An entry that is closed already is counted and left alone, so the same file can be given again
    after a crash. What nobody edited is tried as it came in.

    Raises:
        UsageError: the file cannot be opened, or names an entry that is not there.
        ContractError: a line of it is no entry. Nothing was recorded.
    """
    from headrace.pipelines.ingest import corrections
    from headrace.pipelines.log import outcomes
    from headrace.pipelines.log.outcomes import Tried

    tried = Tried()
    with opened(home, **given) as lake:
        known = _known(lake, [correction.id for correction in corrections.read(file)], file)
        tried.closed = sum(known.values())
        outcomes.try_all(lake, _attempts(lake, file, known), tried, by=by)
    return tried


def _known(lake: Lake, ids: list[str], file: Path) -> dict[str, bool]:
    """Which of the entries are closed; all must be there."""
    from headrace.pipelines.errors import UsageError
    from headrace.pipelines.log import quarantine

    found = quarantine.closed(lake, ids)
    for entry in ids:
        if entry not in found:
            raise UsageError(
                f"{file} has the entry {entry!r}, which is not in this quarantine; nothing was "
                "recorded. `headrace quarantine ls --all` lists what is"
            )
    return found


def _attempts(lake: Lake, file: Path, closed: dict[str, bool]) -> Iterator[Attempt]:
    from headrace.pipelines.ingest import corrections
    from headrace.pipelines.log import quarantine
    from headrace.pipelines.log.outcomes import Attempt

    coming = (c for c in corrections.read(file) if not closed.get(c.id, False))
    while some := {c.id: c for c in islice(coming, _AT_ONCE)}:
        for entry in quarantine.each(lake, list(some)):
            found = some[entry.id]
            yield Attempt(entry, found.line, f"corrected in {found.place}")
