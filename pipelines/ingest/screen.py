"""Is it what it was said to be? Told from the start of an input, before anything is recorded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import TYPE_CHECKING, Final

from headrace.pipelines.errors import ContractError

if TYPE_CHECKING:
    from headrace.pipelines.ingest.delimited import ImportedFile
    from headrace.pipelines.ingest.ndjson import Line
    from headrace.pipelines.settings import Settings

LOOKED_AT: Final = 1_000
"""Lines at the start of an input that are judged."""
_ENOUGH: Final = 20
"""Lines from which a share can be told."""
_ALL_THE_SAME: Final = (
    "Nothing of it was recorded. If it is to be quarantined all the same, set "
    "HEADRACE_REJECT_LIMIT=1"
)


def screened(lines: Iterable[Line], settings: Settings) -> Iterator[Line]:
    """The same lines, unless the first of them show that they are no events at all.

    Raises:
        ContractError: more than `reject_limit` of them would be quarantined.
    """
    coming = iter(lines)
    first = list(islice(coming, LOOKED_AT))
    why = problem(first, settings)
    if why is not None:
        raise ContractError(why)
    return chain(first, coming)


def problem(first: Sequence[Line], settings: Settings) -> str | None:
    """Why an input that begins with these lines is not taken; None if it is."""
    if len(first) < _ENOUGH or settings.reject_limit >= 1:
        return None
    from headrace.schemas.decode import decode

    raws = [line.raw for line in first]
    bad = decode(raws, max_event_bytes=settings.max_event_bytes).rejected
    if len(bad) <= settings.reject_limit * len(first):
        return None
    return (
        f"{len(bad):,} of the first {len(first):,} lines are no order events, such as "
        f"{first[bad[0].index].origin}: {bad[0].reason}. {_ALL_THE_SAME}"
    )


def screened_file(file: ImportedFile, settings: Settings) -> ImportedFile:
    """The same file, unless most of its rows cannot be mapped.

    Raises:
        ContractError: more than `reject_limit` of them.
    """
    why = file_problem(file, settings)
    if why is not None:
        raise ContractError(why)
    return file


def file_problem(file: ImportedFile, settings: Settings) -> str | None:
    """Why a file is not taken; None if it is."""
    bad = file.rejected
    if file.rows < _ENOUGH or len(bad) <= settings.reject_limit * file.rows:
        return None
    return (
        f"{len(bad):,} of the {file.rows:,} rows of {file.path} cannot be mapped, such as line "
        f"{bad[0].line_no}: {bad[0].reason}. {_ALL_THE_SAME}"
    )
