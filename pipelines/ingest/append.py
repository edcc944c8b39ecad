"""From lines of any source into the log, in durable batches, with a total of what happened."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from headrace.pipelines.errors import BrokerError, LockError, StorageError
from headrace.pipelines.ingest.delimited import ImportedFile
from headrace.pipelines.ingest.ndjson import Line, chunks
from headrace.pipelines.lake.lake import Lake
from headrace.pipelines.log.binding import open_log
from headrace.pipelines.log.embedded import Log
from headrace.pipelines.position import Position
from headrace.schemas.decode import Rejected


@dataclass
class Total:
    """What came in: every line is in one of the two counts."""

    accepted: int = 0
    quarantined: int = 0
    position: Position = field(default_factory=lambda: Position(()))
    skipped: dict[str, int] = field(default_factory=dict)

    def as_json(self) -> dict[str, object]:
        """For `--json`."""
        return {
            "accepted": self.accepted,
            "quarantined": self.quarantined,
            "skipped": self.skipped,
            "position": self.position.as_dict(),
        }


def append_lines(lake: Lake, lines: Iterable[Line]) -> Total:
    """Append lines in batches; each batch is durable before the next is read.

    Raises:
        LockError, StorageError, BrokerError: a batch was refused. Those before it are in the log.
    """
    with open_log(lake) as log:
        total = Total(position=log.end())
        for batch in chunks(lines, lake.settings.append_events):
            try:
                done = log.append([line.raw for line in batch], [line.origin for line in batch])
            except (LockError, StorageError, BrokerError) as e:
                raise type(e)(f"{e}{_so_far(total)}") from e
            total.accepted += done.accepted
            total.quarantined += done.quarantined
            total.position = done.position
    return total


def _so_far(total: Total) -> str:
    """What a batch that was refused leaves behind, and how to go on."""
    lines = total.accepted + total.quarantined
    if not lines:
        return ""
    return (
        f". The {lines:,} lines before it are recorded ({total.accepted:,} events, "
        f"{total.quarantined:,} in quarantine), up to {total.position}; give the same input again: "
        "an event that is there already counts once"
    )


def import_files(lake: Lake, files: Iterable[ImportedFile]) -> Total:
    """Append the events of imported files; rows that could not be mapped go to quarantine.

    Raises:
        ContractError: a file cannot be read. The files before it are in the log.
        LockError, StorageError, BrokerError: a batch was refused. Those before it are in the log.
    """
    skipped: dict[str, int] = {}
    rejected: list[tuple[str, bytes, str]] = []

    def lines() -> Iterator[Line]:
        for file in files:
            for what, count in file.skipped.items():
                skipped[what] = skipped.get(what, 0) + count
            rejected.extend((f"{file.path}:{r.line_no}", r.raw, r.reason) for r in file.rejected)
            for number, raw in enumerate(file.lines, start=1):
                yield Line(raw, f"{file.path} event {number}")

    total = append_lines(lake, lines())
    total.skipped = skipped
    if rejected:
        from headrace.schemas.decode import EVENTS_SCHEMA

        rows = [Rejected(i, raw, reason) for i, (_, raw, reason) in enumerate(rejected)]
        with lake.writing("quarantine") as tx:
            Log(lake).record(tx, EVENTS_SCHEMA.empty_table(), rows, [r[0] for r in rejected])
        total.quarantined += len(rows)
    return total
