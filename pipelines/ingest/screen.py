"""Is it what it was said to be? Told from the start of an input, before anything is recorded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import TYPE_CHECKING, Final

from headrace.pipelines.errors import ContractError

if TYPE_CHECKING:
    from headrace.pipelines.ingest.delimited import ImportedFile
    from headrace.pipelines.ingest.ndjson import Line
    from headrace.pipelines.settings import Settings

_LOOKED_AT: Final = 1_000
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
    first = list(islice(coming, _LOOKED_AT))
    if len(first) >= _ENOUGH and settings.reject_limit < 1:
        from headrace.schemas.decode import decode

        raws = [line.raw for line in first]
        bad = decode(raws, max_event_bytes=settings.max_event_bytes).rejected
        if len(bad) > settings.reject_limit * len(first):
            raise ContractError(
                f"{len(bad):,} of the first {len(first):,} lines are no order events, such as "
                f"{first[bad[0].index].origin}: {bad[0].reason}. {_ALL_THE_SAME}"
            )
    return chain(first, coming)


def screened_file(file: ImportedFile, settings: Settings) -> ImportedFile:
    """The same file, unless most of its rows cannot be mapped.

    Raises:
        ContractError: more than `reject_limit` of them.
    """
    bad = file.rejected
    if file.rows >= _ENOUGH and len(bad) > settings.reject_limit * file.rows:
        raise ContractError(
            f"{len(bad):,} of the {file.rows:,} rows of {file.path} cannot be mapped, such as line "
            f"{bad[0].line_no}: {bad[0].reason}. {_ALL_THE_SAME}"
        )
    return file
