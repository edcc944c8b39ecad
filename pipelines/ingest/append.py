"""From lines of any source into the log, in durable batches, with a total of what happened."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from headrace.pipelines.errors import BrokerError, LockError, StorageError
from headrace.pipelines.ingest import import_runs
from headrace.pipelines.ingest.delimited import ImportedFile
from headrace.pipelines.ingest.ndjson import Line, chunks
from headrace.pipelines.ingest.voids import find_voids
from headrace.pipelines.lake.lake import Lake
from headrace.pipelines.log.binding import open_log
from headrace.pipelines.log.embedded import Log
from headrace.pipelines.position import Position
from headrace.schemas.decode import Rejected


@dataclass
class Total:
    """What came in: every line is in one of the first two counts. `imports`: file to import run.

    `quarantined_known` of the quarantined ones were in quarantine already.
    """

    accepted: int = 0
    quarantined: int = 0
    quarantined_known: int = 0
    position: Position = field(default_factory=lambda: Position(()))
    skipped: dict[str, int] = field(default_factory=dict)
    imports: dict[str, str] = field(default_factory=dict)
    identical_rows: dict[str, int] | None = None
    """Of an import: by what was done with them. None: nobody looked."""
    warnings: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, object]:
        """For `--json`."""
        twins = {"identical_rows": self.identical_rows, "warnings": self.warnings}
        return {
            "accepted": self.accepted,
            "quarantined": self.quarantined,
            "quarantined_known": self.quarantined_known,
            "skipped": self.skipped,
            "imports": self.imports,
            **(twins if self.identical_rows is not None else {}),
            "position": self.position.as_dict(),
        }

    def count_twins(self, file: ImportedFile) -> None:
        """Add what a file has of identical rows."""
        if file.identical_rows is not None:
            known = self.identical_rows or {}
            new = {what: known.get(what, 0) + n for what, n in file.identical_rows.items()}
            self.identical_rows = known | new
            self.warnings += file.warnings


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
            total.quarantined_known += done.quarantined_known
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


def import_files(
    lake: Lake, files: Iterable[ImportedFile], *, replaces: str | None = None, reason: str = ""
) -> Total:
    """Append the events of imported files; rows that could not be mapped go to quarantine.

    With `replaces`, the events of that import run are taken back first, in the same batches, for
    `reason`, and those of the files come in under ids of their own.

    Raises:
        UsageError: events of a file were taken back before, or there is no such run to replace.
        ContractError: a file cannot be read. The files before it are in the log.
        LockError, StorageError, BrokerError: a batch was refused. Those before it are in the log.
    """
    skipped: dict[str, int] = {}
    imports: dict[str, str] = {}
    seen = Total()
    rejected: list[tuple[str, bytes, str]] = []
    voids: Sequence[Line] = ()
    if replaces is not None:
        voids = find_voids(lake, import_id=replaces).lines(reason, lake.clock())

    def lines() -> Iterator[Line]:
        yield from voids
        for found in files:
            file = import_runs.marked(found, replaces)
            import_runs.check_not_void(lake, file)
            if file.import_id is not None:
                imports[str(file.path)] = file.import_id
            seen.count_twins(file)
            for what, count in file.skipped.items():
                skipped[what] = skipped.get(what, 0) + count
            rejected.extend((f"{file.path}:{r.line_no}", r.raw, r.reason) for r in file.rejected)
            for number, raw in enumerate(file.lines, start=1):
                yield Line(raw, f"{file.path} event {number}")

    total = append_lines(lake, lines())
    total.skipped, total.imports = skipped, imports
    total.identical_rows, total.warnings = seen.identical_rows, seen.warnings
    if rejected:
        from headrace.schemas.decode import EVENTS_SCHEMA

        rows = [Rejected(i, raw, reason) for i, (_, raw, reason) in enumerate(rejected)]
        with lake.writing("quarantine") as tx:
            nothing = EVENTS_SCHEMA.empty_table()
            done = Log(lake).record(tx, nothing, rows, [r[0] for r in rejected])
        total.quarantined += done.quarantined
        total.quarantined_known += done.quarantined_known
    return total
