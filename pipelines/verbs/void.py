"""Take back what is in the log by mistake: void, and the import runs that it can name."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from headrace.pipelines.errors import UsageError

if TYPE_CHECKING:
    from headrace.pipelines.ingest.import_runs import ImportRun
    from headrace.pipelines.verbs.place import Place


@dataclass(frozen=True)
class Voided:
    """What was taken back: `events` of `orders`.

    `known` events of the import had been in the log before it and stay; `gone` ones had been taken
    back before.
    """

    events: int
    orders: int
    known: int
    gone: int

    def as_json(self) -> dict[str, int]:
        """For `--json`."""
        return asdict(self)


def void(
    home: Place,
    *,
    import_id: str | None = None,
    order_id: str | None = None,
    source: str | None = None,
    reason: str,
    dry_run: bool = False,
    **given: Any,
) -> Voided:
    """Take back the events of an import run, or what a source said of an order.

    Nothing leaves the log: an `EventsVoided` for each order names the events that count no longer.
    They are durable when this returns. The views follow with the speed layer.

    Args:
        home: where.
        import_id: of an import run. Events that had been there before it stay.
        order_id: else, with `source`: of this order.
        source: whose events.
        reason: why; it stands in the log for good.
        dry_run: only count.
        given: settings.

    Raises:
        UsageError: it is not said what, or there is nothing of the kind in the log.
        LockError, StorageError, BrokerError: a batch was refused. Do the same again.
    """
    from headrace.pipelines.ingest.append import append_lines
    from headrace.pipelines.ingest.delimited import text_problem
    from headrace.pipelines.ingest.voids import find_voids
    from headrace.pipelines.verbs.place import opened

    if (import_id is None) == (order_id is None) or (order_id is None) != (source is None):
        raise UsageError("name either an import run, or an order and a source")
    problem = text_problem(reason)
    if problem is not None:
        raise UsageError(f"the reason {problem}; say in a few words why")
    with opened(home, read_only=dry_run, **given) as lake:
        found = find_voids(lake, import_id=import_id, order_id=order_id, source=source)
        if not dry_run:
            append_lines(lake, found.lines(reason, lake.clock()))
        return Voided(found.count, found.orders, found.known, found.gone)


def imports(home: Place, **given: Any) -> list[ImportRun]:
    """The import runs of the log, the newest first.

    Raises:
        UsageError: there is no home.
        DamageError: the log's files are not as they were written.
    """
    from headrace.pipelines.ingest.import_runs import runs
    from headrace.pipelines.lake import checksums
    from headrace.pipelines.verbs.place import opened

    with opened(home, read_only=True, **given) as lake:
        checksums.check(lake, {("sys", "events")})
        return runs(lake)
