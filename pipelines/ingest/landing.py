"""Lands the files of a folder in the log: each file once, also if the process dies half way.

What was taken of a file is recorded in the transaction that appends its events. A home whose log
is a topic cannot do that: there, a file that a crash interrupted may be sent twice; it counts once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from headrace.pipelines.errors import ContractError, LockError, UsageError
from headrace.pipelines.ingest import import_runs
from headrace.pipelines.ingest.delimited import ImportedFile, RejectedRow
from headrace.pipelines.ingest.landing_zone import Landed, Look, Record, new_files, settled
from headrace.pipelines.ingest.ndjson import Line, chunks, read_lines
from headrace.pipelines.ingest.screen import screened, screened_file
from headrace.pipelines.lake.connect import literal
from headrace.pipelines.lake.lake import Lake
from headrace.pipelines.lake.transaction import Transaction
from headrace.pipelines.log.binding import open_log
from headrace.pipelines.log.embedded import Log
from headrace.pipelines.logs import logger
from headrace.pipelines.progress import Progress, silent
from headrace.schemas.decode import Rejected, decode

FORMATS = ("cloudevents", "uci-online-retail", "csv")
_BATCH_BYTES = 64 << 20


@dataclass(frozen=True)
class _Piece:
    """Some lines of one file, the first of them after `start` others."""

    look: Look
    digest: str
    start: int
    lines: Sequence[Line]
    rejected: Sequence[RejectedRow] = ()
    last: bool = False


Reader = Callable[[Sequence[Path]], Iterable[ImportedFile]]


def reader(form: str, mapping: Path | None = None, days: str = "UTC") -> Reader | None:
    """How files of a format become events; None where they are events already.

    `days` is the zone of dates without a time.

    Raises:
        UsageError: there is no such format, or a mapping is missing or of no use.
        ContractError: the mapping cannot be used.
    """
    if form not in FORMATS:
        raise UsageError(f"format {form!r} is not known; name one of {', '.join(FORMATS)}")
    if (mapping is not None) != (form == "csv"):
        raise UsageError("format csv needs a mapping, and no other format takes one")
    if form == "uci-online-retail":
        from headrace.pipelines.ingest.uci_online_retail import uci_online_retail

        return uci_online_retail
    if mapping is not None:
        from headrace.pipelines.ingest.csv_mapping import CsvMapping
        from headrace.pipelines.ingest.csv_orders import csv_orders

        chosen = CsvMapping.load(mapping)
        return lambda paths: csv_orders(list(paths), chosen, days)
    return None


def land(
    lake: Lake,
    folder: Path,
    *,
    form: str = "cloudevents",
    mapping: Path | None = None,
    limit: int | None = None,
    progress: Progress = silent,
) -> Landed:
    """Land the folder's new files, in order of their names. Folders in it are left alone.

    Args:
        lake: where to.
        folder: where from.
        form: one of `FORMATS`.
        mapping: of the columns, for `csv`.
        limit: new files at most, for a caller that goes day by day.
        progress: told the files that were taken, and how many there are.

    Raises:
        UsageError: the folder cannot be listed, or the format is not known.
        LockError: another process lands files in this home.
        StorageError, BrokerError: a batch was refused. What came before it is recorded.
    """
    read = reader(form, mapping, lake.settings.business_zone)
    with lake.home.lock("ingest", wait=0):
        found = Landed()
        records = _records(lake, form)
        still = settled(folder, records, lake.settings.ingest_settle, found)
        fresh = list(islice(new_files(still, records, found), limit))
        pieces = _pieces(lake, fresh, read, records, found)
        for batch in _batches(pieces, lake.settings.append_events):
            _append(lake, form, batch, found)
            progress(found.files, len(fresh))
        if found.files or not found.clean:
            logger("ingest").info("land", **found.as_json())
    return found


def _records(lake: Lake, form: str) -> dict[str, Record]:
    """The newest record of each content, by digest."""
    with lake.reading():
        rows = lake.rows(
            "SELECT path, bytes, modified, sha256, done, finished FROM sys.landed "
            f"WHERE format = {literal(form)} ORDER BY done, finished"
        )
    return {row[3]: Record(*row) for row in rows}


def _pieces(
    lake: Lake,
    files: Iterable[tuple[Look, str]],
    read: Reader | None,
    records: dict[str, Record],
    found: Landed,
) -> Iterator[_Piece]:
    """The files, piece by piece, without what is in the log already."""
    for look, digest in files:
        done = records[digest].done if digest in records else 0
        try:
            rejected: Sequence[RejectedRow] = ()
            if read is None:
                lines: Iterable[Line] = read_lines([str(look.path)])
                if not done:
                    lines = screened(lines, lake.settings)
            else:
                (file,) = map(import_runs.marked, read([look.path]))
                if not done:
                    screened_file(file, lake.settings)
                    import_runs.check_not_void(lake, file)
                lines = [Line(x, f"{look.path} event {i}") for i, x in enumerate(file.lines, 1)]
                rejected = file.rejected
                found.count(file)
            for batch in chunks(islice(lines, done, None), lake.settings.append_events):
                if not look.holds():
                    raise ContractError("it changed while it was read")  # noqa: TRY301
                yield _Piece(look, digest, done, batch)
                done += len(batch)
            if not look.holds():
                raise ContractError("it changed while it was read")  # noqa: TRY301
            yield _Piece(look, digest, done, (), rejected, last=True)
        except (ContractError, UsageError) as e:
            found.failed[str(look.path)] = str(e)


def _batches(pieces: Iterable[_Piece], size: int) -> Iterator[list[_Piece]]:
    """Small files share a transaction: what it costs hardly depends on their number."""
    batch: list[_Piece] = []
    held = held_bytes = 0
    for piece in pieces:
        n, n_bytes = len(piece.lines), sum(len(line.raw) for line in piece.lines)
        if batch and (held + n > size or held_bytes + n_bytes > _BATCH_BYTES):
            yield batch
            batch, held, held_bytes = [], 0, 0
        batch.append(piece)
        held, held_bytes = held + n, held_bytes + n_bytes
    if batch:
        yield batch


def _append(lake: Lake, form: str, batch: Sequence[_Piece], found: Landed) -> None:
    """Append some pieces and record them, in one unit of work."""
    lines = [line for piece in batch for line in piece.lines]
    raws, origins = [line.raw for line in lines], [line.origin for line in lines]
    unmapped = [(p.look.path, row) for p in batch for row in p.rejected]
    accepted = quarantined = known = 0
    if lake.log_kind != "embedded" and raws:
        with open_log(lake) as topic:
            sent = topic.append(raws, origins)
        accepted, quarantined = sent.accepted, sent.quarantined
        known = sent.quarantined_known
        raws, origins = [], []
    decoded = decode(raws, max_event_bytes=lake.settings.max_event_bytes)
    rejected = [
        *decoded.rejected,
        *(Rejected(len(raws) + i, r.raw, r.reason) for i, (_, r) in enumerate(unmapped)),
    ]
    origins += [f"{path}:{row.line_no}" for path, row in unmapped]
    lake.refresh()
    with lake.writing("append") as tx:
        _check_alone(tx, form, batch)
        if decoded.events.num_rows or rejected:
            done = Log(lake).record(tx, decoded.events, rejected, origins)
            accepted += done.accepted
            quarantined += done.quarantined
            known += done.quarantined_known
        _record(tx, form, batch)
    found.accepted += accepted
    found.quarantined += quarantined
    found.quarantined_known += known
    found.files += sum(piece.last for piece in batch)


def _check_alone(tx: Transaction, form: str, batch: Sequence[_Piece]) -> None:
    """Refuse to go on where somebody else has gone on already."""
    first: dict[str, int] = {}
    for piece in batch:
        first.setdefault(piece.digest, piece.start)
    listed = ", ".join(literal(digest) for digest in first)
    known = {
        digest: (done, finished)
        for digest, done, finished in tx.lake.rows(
            "SELECT sha256, max(done), bool_or(finished) FROM sys.landed "
            f"WHERE format = {literal(form)} AND sha256 IN ({listed}) GROUP BY 1"
        )
    }
    for digest, start in first.items():
        if known.get(digest, (0, False)) != (start, False):
            raise LockError(
                f"another process lands the same files in {tx.lake.home.path}; nothing of this "
                "batch was recorded. Let one of you do it"
            )


def _record(tx: Transaction, form: str, batch: Sequence[_Piece]) -> None:
    """Record how far each file is."""
    newest = {piece.digest: piece for piece in batch}
    now = literal(tx.lake.clock())
    rows = ", ".join(
        f"({now}, {literal(str(p.look.path))}, {literal(form)}, {p.look.size}, {p.look.modified}, "
        f"{literal(digest)}, {p.start + len(p.lines)}, {literal(p.last)})"
        for digest, p in newest.items()
    )
    tx.insert("sys", "landed", f"VALUES {rows}")
