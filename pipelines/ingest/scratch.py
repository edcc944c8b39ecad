"""What a dry run has seen: events, refused lines and what they add up to, in a temporary file.

The file is a DuckDB database, about as large as the input, that is gone at the end. DuckDB takes
`memory_limit` of memory for it, 1 GB by default, and spills the rest beside that file.
"""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from headrace.pipelines.lake import checksums
from headrace.pipelines.lake.connect import literal
from headrace.pipelines.log.reasons import reason_class
from headrace.schemas.decode import Rejected, same_content

if TYPE_CHECKING:
    from headrace.pipelines.lake.lake import Lake
    from headrace.pipelines.settings import Settings

_MEMORY = "1GB"
_SAMPLES = 10
_COLUMNS = (
    "order_id", "source", "id", "type", "time", "currency", "goods", "shipping", "discount",
    "amount", "digest", "raw",
)  # fmt: skip
_SAME = "a.order_id = b.order_id AND a.source = b.source AND a.id = b.id"


@dataclass(frozen=True)
class Month:
    """What the events of a month (UTC) say, each counted once: money as it is written in them.

    `gross` is goods, shipping and discount of what was placed, whatever became of it later.
    """

    month: str
    currency: str
    orders: int
    gross: Decimal
    returns: Decimal
    adjustments: Decimal


@dataclass
class Reason:
    """Lines or rows that are refused for one reason: how many, where the first is, what it says."""

    reason: str
    lines: int
    first: str
    example: str


@dataclass(frozen=True)
class Sample:
    """An event, or a refused line with its `reason`; `raw` as text."""

    origin: str
    type: str | None
    reason: str | None
    raw: str


@dataclass(frozen=True)
class Again:
    """Events whose source and id were there before, and how many of them say something else."""

    events: int
    other_content: int


@dataclass
class Preview:
    """What an append or an import of this input would do. Nothing was recorded.

    `twins` are lines that are identical to an earlier one, `repeats` events of a source and id that
    came earlier in the input; `in_log` is None where there is no home yet. `refused` says why
    nothing of the input, or of a file, would be taken.
    """

    accepted: int = 0
    quarantined: int = 0
    orders: int = 0
    types: dict[str, int] = field(default_factory=dict)
    months: list[Month] = field(default_factory=list)
    reasons: list[Reason] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    twins: int = 0
    repeats: Again = field(default_factory=lambda: Again(0, 0))
    identical_rows: int | None = None
    warnings: list[str] = field(default_factory=list)
    skipped: dict[str, int] = field(default_factory=dict)
    in_log: Again | None = None
    refused: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether it would be taken, and something in it be accepted."""
        return not self.refused and (self.accepted > 0 or not self.quarantined)

    def as_json(self) -> dict[str, Any]:
        """For `--json`: money as text."""
        return {
            "dry_run": True,
            **vars(self),
            "months": [
                {k: format(v, "f") if isinstance(v, Decimal) else v for k, v in vars(m).items()}
                for m in self.months
            ],
            "reasons": [vars(r) for r in self.reasons],
            "samples": [vars(s) for s in self.samples],
            "repeats": vars(self.repeats),
            "in_log": None if self.in_log is None else vars(self.in_log),
        }


class Scratch:
    """The temporary file: the events, the digests of refused lines, and the first of each kind."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self._file = folder / "dry-run.duckdb"
        config = {
            "memory_limit": settings.memory_limit or _MEMORY,
            "temp_directory": str(folder / "spilled"),
            "preserve_insertion_order": "false",
        }
        if settings.threads is not None:
            config["threads"] = str(settings.threads)
        self._con = duckdb.connect(str(self._file), config=config)
        self._con.execute(
            "CREATE TABLE events (n BIGINT, order_id VARCHAR, source VARCHAR, id VARCHAR, "
            "type VARCHAR, time TIMESTAMP, currency VARCHAR, goods DECIMAL(18,4), "
            "shipping DECIMAL(18,4), discount DECIMAL(18,4), amount DECIMAL(18,4), "
            "digest BIGINT, raw VARCHAR)"
        )
        self._con.execute("CREATE TABLE refused (digest BLOB)")
        self._reasons: dict[str, Reason] = {}
        self._kinds: dict[str, Sample] = {}
        self._bad: dict[str, Sample] = {}
        self._others: list[Sample] = []

    @classmethod
    @contextlib.contextmanager
    def opened(cls, settings: Settings) -> Iterator[Scratch]:
        """One that is gone at the end."""
        with tempfile.TemporaryDirectory(prefix="headrace-dry-run-") as folder:
            made = cls(Path(folder), settings)
            try:
                yield made
            finally:
                made.close()

    def close(self) -> None:
        """Give back the file."""
        self._con.close()

    def accept(self, found: Preview, events: pa.Table, origins: Sequence[str]) -> None:
        """Take in events that would be accepted."""
        if not events.num_rows:
            return
        numbers = pa.array(range(found.accepted, found.accepted + events.num_rows), pa.int64())
        coming = events.select(list(_COLUMNS)).add_column(0, "n", numbers)
        self._con.register("coming", coming)
        self._con.execute("INSERT INTO events SELECT * FROM coming")
        self._con.unregister("coming")
        found.accepted += events.num_rows
        for row, kind in enumerate(events.column("type").to_pylist()):
            if kind in self._kinds and len(self._others) == _SAMPLES:
                continue
            sample = Sample(origins[row], kind, None, events.column("raw")[row].as_py())
            if self._kinds.setdefault(kind, sample) is not sample:
                self._others.append(sample)

    def reject(self, found: Preview, rejected: Sequence[Rejected], origins: Sequence[str]) -> None:
        """Take in lines that would be refused."""
        if not rejected:
            return
        digests = [hashlib.blake2b(r.raw, digest_size=16).digest() for r in rejected]
        self._con.register("coming", pa.table({"digest": pa.array(digests, pa.binary())}))
        self._con.execute("INSERT INTO refused SELECT * FROM coming")
        self._con.unregister("coming")
        found.quarantined += len(rejected)
        for one in rejected:
            name, origin = reason_class(one.reason), origins[one.index]
            known = self._reasons.setdefault(name, Reason(name, 0, origin, one.reason))
            known.lines += 1
            if name not in self._bad:
                text = one.raw.decode("utf-8", "backslashreplace")
                self._bad[name] = Sample(origin, None, one.reason, text)

    def finish(self, found: Preview, lake: Lake | None) -> Preview:
        """Add up, and compare with the log."""
        found.reasons = sorted(self._reasons.values(), key=lambda r: (-r.lines, r.reason))
        found.samples = [*self._kinds.values(), *self._bad.values(), *self._others][:_SAMPLES]
        self._con.execute(
            "CREATE TABLE firsts AS SELECT order_id, source, id, min(n) AS n, "
            "arg_min(digest, n) AS digest FROM events GROUP BY order_id, source, id"
        )
        (found.twins,) = self._row(
            "SELECT (SELECT count(*) FROM events) - (SELECT count(*) FROM (SELECT DISTINCT "
            "order_id, source, id, digest FROM events)) + (SELECT count(*) - "
            "count(DISTINCT digest) FROM refused)"
        )
        (found.orders,) = self._row("SELECT count(DISTINCT order_id) FROM events")
        found.types = dict(
            self._con.execute(
                "SELECT type, count(*) FROM events GROUP BY type ORDER BY 2 DESC, 1"
            ).fetchall()
        )
        found.months = [Month(*row) for row in self._con.execute(_MONTHS).fetchall()]
        found.repeats = self._repeats(found)
        self._con.close()
        if lake is not None:
            found.in_log = _in_log(lake, self._file)
        return found

    def _repeats(self, found: Preview) -> Again:
        (distinct,) = self._row("SELECT count(*) FROM firsts")
        pairs = self._con.execute(
            f"SELECT a.raw, c.raw FROM events AS a JOIN firsts AS b ON {_SAME} "
            "JOIN events AS c ON c.n = b.n WHERE a.digest <> b.digest"
        )
        return Again(found.accepted - distinct, _different(pairs))

    def _row(self, sql: str) -> tuple[Any, ...]:
        row: tuple[Any, ...] | None = self._con.execute(sql).fetchone()
        assert row is not None  # noqa: S101 - an aggregate without groups has one row
        return row


_MONTHS = """
    SELECT strftime(e.time, '%Y-%m') AS month, e.currency,
      count(DISTINCT e.order_id) FILTER (WHERE e.type = 'OrderPlaced') AS orders,
      coalesce(sum(e.goods + coalesce(e.shipping, 0) - coalesce(e.discount, 0))
        FILTER (WHERE e.type = 'OrderPlaced'), 0)::DECIMAL(38, 4) AS gross,
      coalesce(sum(e.goods) FILTER (WHERE e.type = 'ItemsReturned'), 0)::DECIMAL(38, 4) AS returns,
      coalesce(sum(e.amount) FILTER (WHERE e.type = 'AdjustmentBooked'), 0)::DECIMAL(38, 4)
    FROM events AS e JOIN firsts AS f ON e.n = f.n
    WHERE e.type IN ('OrderPlaced', 'ItemsReturned', 'AdjustmentBooked')
    GROUP BY 1, 2 ORDER BY 1, 2"""


def _in_log(lake: Lake, file: Path) -> Again:
    """How many of the events are in the home's log, and how many of them with other content.

    Of a home that is bound to a topic, the log is what the speed layer has taken from it.
    """
    lake.con.execute(f"ATTACH {literal(file)} AS dry (READ_ONLY)")
    try:
        with lake.reading():
            checksums.check(lake, {("sys", "events")})
            lake.con.execute(
                "CREATE TEMP TABLE met AS SELECT b.n, a.order_id, a.source, a.id, "
                'min(a."offset") AS "offset", arg_min(a.digest, a."offset") <> any_value(b.digest) '
                f"AS suspect FROM sys.events AS a JOIN dry.firsts AS b ON {_SAME} "
                "GROUP BY b.n, a.order_id, a.source, a.id"
            )
            (met,) = lake.row("SELECT count(*) FROM met")
            pairs = lake.con.execute(
                f"SELECT a.raw, c.raw FROM sys.events AS a JOIN met AS b ON {_SAME} "
                'AND a."offset" = b."offset" JOIN dry.events AS c ON c.n = b.n WHERE b.suspect'
            )
            return Again(int(met), _different(pairs))
    finally:
        lake.con.execute("DETACH dry")


def _different(pairs: duckdb.DuckDBPyConnection) -> int:
    """How many pairs of texts do not say the same; one that is only written otherwise does."""
    number = 0
    while some := pairs.fetchmany(1_000):
        number += sum(not same_content(a, b) for a, b in some)
    return number
