"""Into the log: append; and what it would do, without doing it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headrace.pipelines.ingest.append import Total
    from headrace.pipelines.ingest.scratch import Preview
    from headrace.pipelines.verbs.events import Events
    from headrace.pipelines.verbs.place import Place


def append(home: Place, events: Events, *, origin: str = "python", **given: Any) -> Total:
    """Append events to the home's log; the home is made if there is none.

    Good events are in the log, durably, when this returns; the others are in quarantine, each with
    its reason.

    Args:
        home: where.
        events: CloudEvents, as JSON text, dicts, files, an Arrow table or a Polars frame.
        origin: what the quarantine says of where they came from.
        given: settings, such as `append_events`.

    Returns:
        How many were `accepted` and `quarantined`, and the log's `position` after them.

    Raises:
        UsageError: a value has no exact form (a float), or it is no event of any known kind.
            Batches before it are in the log.
        ContractError: most of the first lines are no events, or a file is no text; nothing was
            recorded.
        LockError, StorageError, BrokerError: a batch was refused; those before it are in the log.
    """
    from headrace.pipelines.ingest.append import append_lines
    from headrace.pipelines.ingest.screen import screened
    from headrace.pipelines.verbs.events import lines_of
    from headrace.pipelines.verbs.place import opened, settings_of

    lines = screened(lines_of(events, origin), settings_of(home, **given))
    with opened(home, make=True, **given) as lake:
        return append_lines(lake, lines)


def preview(home: Place, events: Events, *, origin: str = "python", **given: Any) -> Preview:
    """What `append` would do with these events; nothing is written, and no home is made.

    Args:
        home: whose log is looked into, if it is there.
        events: as of `append`.
        origin: what is said of where they came from.
        given: settings, such as `memory_limit`.

    Returns:
        What would be `accepted` and `quarantined`, the totals by month and currency, samples, and
        how many of the events are in the log already.

    Raises:
        UsageError, ContractError: as of `append`; but an input that `append` would refuse for its
            many bad lines is looked at all the same, and `refused` says why.
    """
    from headrace.pipelines.ingest.preview import preview_lines
    from headrace.pipelines.verbs.events import lines_of
    from headrace.pipelines.verbs.place import if_there, settings_of

    settings = settings_of(home, **given)
    with if_there(home, **given) as lake:
        return preview_lines(lines_of(events, origin), settings, lake)
