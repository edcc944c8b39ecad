"""Verify: recompute everything that is served, from the log alone, and compare every cell.

The recompute shares the fold with the rest, and nothing else: no partial sums, no deltas, no
base; each view's text runs as it was written and as DuckDB reads it, over all rows at once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from headrace.pipelines.generations import registry
from headrace.pipelines.generations.generation import Generation
from headrace.pipelines.generations.recompute import recomputed
from headrace.pipelines.lake import checksums
from headrace.pipelines.lake.lake import Lake
from headrace.pipelines.log.embedded import Log
from headrace.pipelines.position import Position
from headrace.pipelines.progress import Progress, silent
from headrace.pipelines.quality import alerts
from headrace.pipelines.views.load import View
from headrace.pipelines.views.written import get_ready, written_sql

_SHOWN = 20
"""Differing cells that are listed; all of them are counted."""


@dataclass(frozen=True)
class Cell:
    """One cell that differs: its row's key, its column, and both values."""

    view: str
    key: Mapping[str, Any]
    column: str
    served: Any
    expected: Any


@dataclass(frozen=True)
class Comparison:
    """What a comparison of all views found."""

    rows: int
    cells: int
    wrong: int
    shown: tuple[Cell, ...] = ()
    by_view: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Certificate:
    """Stored proof that served == recomputed at one position, or that it is not."""

    at: datetime
    generation: int
    logic: str
    cut: Position
    position: Position
    events: int
    repeats: int
    comparison: Comparison
    fingerprint: str

    @property
    def equal(self) -> bool:
        """Whether every cell was equal."""
        return self.comparison.wrong == 0


def verify(lake: Lake, number: int | None = None, *, progress: Progress = silent) -> Certificate:
    """Recompute at the served position, compare each cell of each view, store the certificate.

    Readers and writers go on meanwhile; what is compared is one snapshot of the lake.
    """
    log = Log(lake)
    with lake.reading():
        line = registry.read(lake, number)
        if line.number != registry.live_number(lake):
            registry.trusted(line)
        checksums.check(lake, line.stored())
        with recomputed(lake, log, line.position, "proof_", progress) as repeats:
            pairs = {"orders": (line.select("orders"), "SELECT * FROM proof_orders")}
            pairs["ledger"] = (line.select("ledger"), "SELECT * FROM proof_ledger")
            for name, view in line.views.items():
                pairs[name] = (registry.as_served(line, name), _expected(lake, view))
            found = compare(lake, line, pairs)
            fingerprint = _fingerprint(lake, line, found)
        events = log.events_below(line.position)
    certificate = Certificate(
        lake.clock(),
        line.number,
        line.logic,
        line.cut,
        line.position,
        events,
        repeats,
        found,
        fingerprint,
    )
    _store(lake, certificate)
    if not certificate.equal:
        first = found.shown[0]
        alerts.send(
            lake.settings,
            "verify",
            f"generation {line.number} differs from a recompute in {found.wrong:,} cells",
            {"position": line.position.as_dict(), "cells": found.wrong, "first": vars(first)},
        )
    return certificate


def _expected(lake: Lake, view: View) -> str:
    """The view's text as it was written, over what was recomputed.

    Where that fails on a value for which DuckDB has no room (it keeps `amount * 1.19` at 18
    digits), the compiled form, which has.
    """
    import duckdb

    get_ready(lake.con)
    table = f"proof_{view.source}"
    text = written_sql(view.text, table)
    try:
        lake.con.execute(f"SELECT count(COLUMNS(*)) FROM ({text})").fetchall()
    except (duckdb.OutOfRangeException, duckdb.ConversionException):
        return view.full_sql(table)
    return text


def compare(lake: Lake, line: Generation, pairs: Mapping[str, tuple[str, str]]) -> Comparison:
    """Compare two SELECTs for each name, as bags of rows, cell by cell.

    Args:
        lake: where to run.
        line: the generation whose views they are; it knows the keys.
        pairs: name to (served, expected).
    """
    rows = cells = wrong = 0
    shown: list[Cell] = []
    by_view = {}
    for name, (served, expected) in pairs.items():
        keys = keys_of(line, name)
        described = lake.rows(f"DESCRIBE {expected}")
        columns = [row[0] for row in described]
        count = int(lake.row(f"SELECT count(*) FROM ({expected})")[0])
        rows += count
        cells += count * len(columns)
        by_view[name], first = _differing(lake, name, keys, columns, served, expected)
        wrong += by_view[name]
        shown += first[: _SHOWN - len(shown)]
    return Comparison(rows, cells, wrong, tuple(shown), by_view)


def keys_of(line: Generation, name: str) -> list[str]:
    """The columns that identify a row; for the ledger, which has no key, all of them."""
    if name == "orders":
        return ["order_id"]
    if name == "ledger":
        return list(line.tables["ledger"])
    return [c.name for c in line.views[name].keys]


def _differing(
    lake: Lake, name: str, keys: list[str], columns: list[str], served: str, expected: str
) -> tuple[int, list[Cell]]:
    """The cells of rows that one side has more often than the other, paired by key.

    Gives how many there are, counted where they lie, and the first of them.
    """
    listed, key = (", ".join(f'"{c}"' for c in names) for names in (columns, keys))
    lake.con.execute(f"""
        CREATE OR REPLACE TEMP TABLE _surplus AS
        SELECT _side, row_number() OVER (PARTITION BY _side, {key} ORDER BY {listed}) AS _nth,
          {listed}
        FROM (
          SELECT _side, {listed}, unnest(range(_times))
          FROM (
            SELECT sign(sum(_side)) AS _side, abs(sum(_side))::BIGINT AS _times, {listed}
            FROM (SELECT 1 AS _side, * FROM ({served})
                  UNION ALL SELECT -1 AS _side, * FROM ({expected}))
            GROUP BY {listed} HAVING sum(_side) <> 0))""")
    same = " AND ".join(f'a."{k}" IS NOT DISTINCT FROM b."{k}"' for k in ("_nth", *keys))
    unequal = " + ".join(f'(a."{c}" IS DISTINCT FROM b."{c}")::INT' for c in columns)
    both = f"""
        FROM (FROM _surplus WHERE _side = 1) AS a
        FULL JOIN (FROM _surplus WHERE _side = -1) AS b ON {same}"""
    missing = "a._side IS NULL OR b._side IS NULL"
    cells_of = f"CASE WHEN {missing} THEN {len(columns)} ELSE {unequal} END"
    wrong = lake.row(f"SELECT coalesce(sum({cells_of}), 0) {both}")[0]
    first = ", ".join(f'coalesce(a."{k}", b."{k}")' for k in keys)
    pairs = lake.rows(
        f"SELECT a._side, b._side, a.* EXCLUDE (_side, _nth), b.* EXCLUDE (_side, _nth) {both} "
        f"ORDER BY {first} LIMIT {_SHOWN}"
    )
    lake.con.execute("DROP TABLE temp._surplus")
    cells = []
    for ours, theirs, *values in pairs:
        a = dict(zip(columns, values[: len(columns)], strict=True)) if ours else {}
        b = dict(zip(columns, values[len(columns) :], strict=True)) if theirs else {}
        shared = {k: (a or b)[k] for k in keys}
        cells += [
            Cell(name, shared, c, a.get(c), b.get(c))
            for c in columns
            if not a or not b or a[c] != b[c]
        ]
    return int(wrong), cells[:_SHOWN]


def _fingerprint(lake: Lake, line: Generation, found: Comparison) -> str:
    """A digest of what was proved: position, logic and the sums of all views."""
    parts = [line.position.text(), line.logic, str(found.rows), str(found.wrong)]
    for name, view in line.views.items():
        if name in line.misread:
            continue  # whose stored sums have another meaning
        sums = ", ".join(f'sum("{c.name}")' for c in view.partials)
        parts.append(f"{name}: {lake.row(f'SELECT {sums} FROM ({line.partial_rows(view)})')}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _store(lake: Lake, certificate: Certificate) -> None:
    c = certificate.comparison
    report = json.dumps(
        {"by_view": dict(c.by_view), "cells": [vars(x) for x in c.shown]}, default=str
    )
    with lake.writing("certificate") as tx:
        nth = lake.row("SELECT coalesce(max(certificate_no), 0) + 1 FROM sys.certificates")[0]
        tx.record(
            "certificates",
            certificate.at,
            certificate.generation,
            certificate.logic,
            certificate.cut.text(),
            certificate.position.text(),
            certificate.events,
            c.rows,
            c.cells,
            c.wrong,
            certificate.fingerprint,
            report,
            nth,
        )
