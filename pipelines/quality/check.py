"""Checks of what arrived and of what is served, on request: `headrace check`, and the flow.

A failed check changes nothing that anybody reads; it is recorded, shown and told.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.pipelines import notify
from headrace.pipelines.errors import LogError, UsageError
from headrace.pipelines.generations import registry
from headrace.pipelines.generations.generation import Generation
from headrace.pipelines.lake import checksums
from headrace.pipelines.lake.connect import literal
from headrace.pipelines.lake.lake import Lake
from headrace.pipelines.log import erased
from headrace.pipelines.log.embedded import Log
from headrace.pipelines.log.scan import between
from headrace.pipelines.position import Position
from headrace.pipelines.quality import audit, suites
from headrace.pipelines.quality import judge as checks
from headrace.pipelines.quality.judge import Finding
from headrace.pipelines.quality.relations import Stored, prepare

if TYPE_CHECKING:
    from headrace.pipelines.quality.judge import Judge
    from headrace.schemas.expectations import Definition

__all__ = ["Checked", "Finding", "check"]

ON_REQUEST = ("events", "served")


@dataclass(frozen=True)
class Checked:
    """What a suite found. `passed`: no blocking expectation failed. `report`: its Data Docs."""

    suite: str
    passed: bool
    failures: tuple[Finding, ...]
    warnings: tuple[Finding, ...]
    report: Path
    position: Position
    seconds: float


def check(lake: Lake, suite: str = "served") -> Checked:
    """Check `events` or `served` with Great Expectations, in a process of its own.

    `events` looks at what arrived since its last check that passed. The result is recorded in
    `sys.audits`; an alert is sent if it did not pass.

    Raises:
        UsageError: there is no such suite, or the home's own expectations cannot be used.
        JobError: Great Expectations could not judge.
        SeamError: what is served does not fit together.
        DamageError: a data file is not as it was written.
        LogError: a customer was erased meanwhile; nothing was recorded.
    """
    if suite not in ON_REQUEST:
        raise UsageError(
            f"suite {suite!r} cannot be checked on request; name one of {', '.join(ON_REQUEST)}"
        )
    started = time.monotonic()
    wanted = suites.definition(suite, lake.home.path / "expectations")
    with checks.judge(lake.home) as judge, lake.reading():  # its end undoes the temporary views
        known = erased.newest(lake)
        line, position, found, report = _run(lake, judge, suite, wanted)
    failures = tuple(f for f in found if f.severity == "blocking")
    warnings = tuple(f for f in found if f.severity == "warning")
    seconds = time.monotonic() - started
    with lake.writing("audit") as tx:
        if erased.newest(lake) != known:
            report.unlink(missing_ok=True)
            raise LogError(
                "a customer was erased while this was checked, and what was found may name that "
                "customer; nothing was recorded. Check again"
            )
        audit.keep(
            tx, suite, position, passed=not failures, findings=(*failures, *warnings),
            report=report, seconds=seconds, generation=line.number, base=line.base,
        )  # fmt: skip
    if failures:
        notify.send(
            lake.settings,
            "audit",
            f"the check of {suite} failed: {'; '.join(map(str, failures))}",
            {"suite": suite, "report": str(report), "failures": [f.as_json() for f in failures]},
        )
    return Checked(suite, not failures, failures, warnings, report, position, seconds)


def _run(
    lake: Lake, judge: Judge, suite: str, wanted: Definition
) -> tuple[Generation, Position, list[Finding], Path]:
    """Check one state of the lake."""
    line, end = registry.read(lake), Log(lake).end()
    checksums.check(lake, line.stored())
    if suite == "events":
        position, start = end, _checked_up_to(lake, end)
        checksums.check_log(lake, start, end)
        _prepare_events(lake, line, start, end)
    else:
        position = registry.trusted(line).position
        tables = {name: f"({line.select(name)})" for name in ("orders", "ledger")}
        tables |= {name: f"({line.partial_rows(view)})" for name, view in line.views.items()}
        prepare(lake.con, lake, Stored(line.views, tables, position, None, unique=False), None)
    found, report = judge.run(lake.con, suite, wanted)
    return line, position, found, report


def _checked_up_to(lake: Lake, end: Position) -> Position:
    """Where the last check of events that passed ended."""
    found = lake.rows(
        "SELECT cut FROM sys.audits WHERE suite = 'events' AND passed "
        "ORDER BY audit_no DESC LIMIT 1"
    )
    zero = Position.zero(len(end.offsets))
    return Position.parse(found[0][0]).lowest(end) if found else zero


def _prepare_events(lake: Lake, line: Generation, start: Position, end: Position) -> None:
    zero = Position.zero(len(end.offsets))
    views = {
        "events": "SELECT * EXCLUDE (raw, lines), len(lines) AS line_count "
        f"FROM sys.events WHERE {between(start, end)}",
        "history": (
            f"SELECT source, type, time, appended_at FROM sys.events WHERE {between(zero, end)}"
        ),
        "orders": line.select("orders"),
        "_clock": f"SELECT {literal(lake.clock())} AS now",
    }
    for name, select in views.items():
        lake.con.execute(f'CREATE OR REPLACE TEMP VIEW "{name}" AS {select}')
