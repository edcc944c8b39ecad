"""Verify: recompute everything that is served, from the log alone, and compare every cell.

The recompute shares the fold with the rest, and nothing else: no partial sums, no deltas, no
base; each view's text runs as it was written and as DuckDB reads it, over all rows at once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from headrace.pipelines import notify
from headrace.pipelines.errors import DamageError, LogError
from headrace.pipelines.generations import registry, served_sql
from headrace.pipelines.generations.data_diff import Comparison, compare
from headrace.pipelines.generations.generation import Generation
from headrace.pipelines.generations.recompute import recomputed
from headrace.pipelines.lake import checksums
from headrace.pipelines.lake.lake import Lake
from headrace.pipelines.log.embedded import Log
from headrace.pipelines.log.erased import erasures
from headrace.pipelines.position import Position
from headrace.pipelines.progress import Progress, silent
from headrace.pipelines.views.load import View
from headrace.pipelines.views.lookups import held_digest
from headrace.pipelines.views.stacked import (
    lookups,
    over_tables,
    over_views,
    read_by_views,
    rows_of,
)
from headrace.pipelines.views.written import get_ready, written_sql
from headrace.schemas.tables import TABLES


@dataclass(frozen=True)
class Certificate:
    """Stored proof that served == recomputed at one position, or that it is not.

    `compiled` names views that were recomputed from what was compiled of them, and not from their
    text: DuckDB has no room for what the text computes. `erasures` are the numbers of those that
    rewrote events of the log before it. `zones` are those in which views read times, each with the
    version of its `rules` and the `views`; all other times are UTC.
    """

    at: datetime
    generation: int
    logic: str
    cut: Position
    position: Position
    events: int
    repeats: int
    comparison: Comparison
    fingerprint: str
    compiled: tuple[str, ...] = ()
    erasures: tuple[int, ...] = ()
    zones: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def equal(self) -> bool:
        """Whether every cell was equal."""
        return self.comparison.wrong == 0


def verify(lake: Lake, number: int | None = None, *, progress: Progress = silent) -> Certificate:
    """Recompute at the served position, compare each cell of each view, store the certificate.

    Readers and writers go on meanwhile; what is compared is one snapshot of the lake.

    Raises:
        SeamError, DamageError: what is stored does not fit together, or is damaged.
        LogError: a customer was erased meanwhile; nothing was recorded.
    """
    compiled: list[str] = []
    while True:
        try:
            certificate = _compared(lake, number, compiled, progress)
        except _NoRoomError as e:  # its transaction is over: all is compared once more
            compiled.append(e.view)
        else:
            break
    _store(lake, certificate)
    if not certificate.equal:
        found, which = certificate.comparison, f"generation {certificate.generation}"
        notify.send(
            lake.settings,
            "verify",
            f"{which} differs from a recompute in {found.wrong:,} cells",
            {
                "position": certificate.position.as_dict(),
                "cells": found.wrong,
                "first": vars(found.shown[0]),
            },
        )
    return certificate


class _NoRoomError(Exception):
    """DuckDB has no room for the values of a view's text."""

    def __init__(self, view: str) -> None:
        super().__init__(view)
        self.view = view


def _compared(
    lake: Lake, number: int | None, compiled: Sequence[str], progress: Progress
) -> Certificate:
    """Compare all at one snapshot: each view with its text, or with what was `compiled` of it."""
    log = Log(lake)
    with lake.reading():
        line = registry.read(lake, number)
        if line.number != registry.live_number(lake):
            registry.trusted(line)
        checksums.check(lake, line.stored())
        with recomputed(lake, log, line.position, "proof_", progress) as repeats:
            pairs = {}
            for name in TABLES:
                listed = ", ".join(f'"{c}"' for c in line.columns(name))
                pairs[name] = (line.select(name), f"SELECT {listed} FROM proof_{name}")
            for name in lookups(line.views):
                _held(lake, line, name)
            for name, view in {**over_tables(line.views), **over_views(line.views)}.items():
                expected = (
                    view.full_sql(rows_of(view, "proof_{}".format))
                    if name in compiled
                    else _as_written(lake, view)
                )
                if name in read_by_views(line.views):  # once, however many read it
                    lake.con.execute(f'CREATE OR REPLACE TEMP TABLE "proof_{name}" AS {expected}')
                    expected = f'SELECT * FROM "proof_{name}"'
                pairs[name] = (served_sql.as_served(line, name), expected)
            found = compare(lake, line, pairs)
            fingerprint = _fingerprint(lake, line, found)
            for name in read_by_views(line.views):
                lake.con.execute(f'DROP TABLE IF EXISTS temp."proof_{name}"')
        events = log.events_below(line.position)
        erased = tuple(each.erasure_no for each in erasures(lake))
    return Certificate(
        lake.clock(),
        line.number,
        line.logic,
        line.cut,
        line.position,
        events,
        repeats,
        found,
        fingerprint,
        tuple(compiled),
        erased,
        line.views.zones,
    )


def _held(lake: Lake, line: Generation, name: str) -> None:
    """Take a lookup as it is held, if that is what the logic version names.

    Raises:
        DamageError: it is something else.
    """
    view = line.views[name]
    lake.con.execute(f'CREATE OR REPLACE TEMP TABLE "proof_{name}" AS {line.select(name)}')
    held = held_digest(lake.con, view, f'"proof_{name}"')
    if view.lookup is not None and held != view.lookup.digest:
        raise DamageError(
            f"the lookup {name} of generation {line.number} holds other rows than those that its "
            "logic version names; `headrace replay --from beginning` makes a new generation"
        )


def _as_written(lake: Lake, view: View) -> str:
    """The view's text over what was recomputed: `proof_orders`, and so on.

    Raises:
        _NoRoomError: DuckDB has no room for its values: it keeps `amount * 1.19` at 18 digits,
            for example. What is compiled has more.
    """
    import duckdb

    get_ready(lake.con, view.zones)
    text = written_sql(view.text, "proof_{}".format)
    try:
        lake.con.execute(f"SELECT count(COLUMNS(*)) FROM ({text})").fetchall()
    except (duckdb.OutOfRangeException, duckdb.ConversionException) as e:
        raise _NoRoomError(view.name) from e
    return text


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
        {
            "by_view": dict(c.by_view),
            "cells": [vars(x) for x in c.shown],
            "compiled": certificate.compiled,
            "erasures": certificate.erasures,
            "zones": certificate.zones,
        },
        default=str,
    )
    with lake.writing("certificate") as tx:
        if erasures(lake)[len(certificate.erasures) :]:
            raise LogError(
                "a customer was erased while this was compared, and what was found may name that "
                "customer; nothing was recorded. Run `headrace verify` again"
            )
        nth = lake.next_number("certificates", "certificate_no")
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
