"""The audit of a staged base, before anybody reads it.

Two ways: `core` is a little SQL (complete, unique, in itself consistent); `full` adds what
is expected of a base, judged by Great Expectations, with Data Docs and the rows that are wrong.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from headrace.pipelines.errors import DamageError, SeamError
from headrace.pipelines.generations import registry
from headrace.pipelines.generations.generation import Generation
from headrace.pipelines.generations.staged import Staged
from headrace.pipelines.lake import checksums
from headrace.pipelines.lake.lake import Lake
from headrace.pipelines.lake.transaction import Transaction
from headrace.pipelines.log.embedded import Log
from headrace.pipelines.position import Position
from headrace.pipelines.quality import judge as checks
from headrace.pipelines.quality import suites
from headrace.pipelines.quality.judge import Finding
from headrace.pipelines.quality.relations import Stored, prepare
from headrace.pipelines.settings import Settings

LEVELS = ("full", "core")


@dataclass(frozen=True)
class Audited:
    """What an audit found. `rows` are the staged base's rows by table."""

    suite: str
    passed: bool
    rows: Mapping[str, int]
    failures: tuple[Finding, ...]
    warnings: tuple[Finding, ...]
    report: Path | None
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return {
            "suite": self.suite,
            "passed": self.passed,
            "failures": [f.as_json() for f in self.failures],
            "warnings": [f.as_json() for f in self.warnings],
            "report": None if self.report is None else str(self.report),
            "seconds": round(self.seconds, 3),
        }


Judgement = Callable[[Staged], Audited]


class Auditor(Protocol):
    """A way to audit."""

    def ready(self, lake: Lake) -> contextlib.AbstractContextManager[Judgement]:
        """Get ready, beside whatever else is done; gives what judges a staged base."""


class Core:
    """Structural checks alone: no process is started."""

    @contextlib.contextmanager
    def ready(self, lake: Lake) -> Iterator[Judgement]:
        """Nothing has to be got ready."""

        def judge(staged: Staged) -> Audited:
            started = time.monotonic()
            rows, failures = structural(lake, staged)
            return Audited(
                "core", not failures, rows, failures, (), None, time.monotonic() - started
            )

        yield judge


class Full:
    """Structural checks, and the suite `base` in Great Expectations."""

    @contextlib.contextmanager
    def ready(self, lake: Lake) -> Iterator[Judgement]:
        """Start Great Expectations, which takes seconds, while the base is made.

        Raises:
            UsageError: the home's own expectations cannot be used.
            JobError: Great Expectations could not judge.
        """
        wanted = suites.definition("base", lake.home.path / "expectations")
        with checks.judge(lake.home) as judge:

            def full(staged: Staged) -> Audited:
                started = time.monotonic()
                rows, failures = structural(lake, staged)
                stored = Stored(
                    staged.views, staged.tables, staged.cut, staged.repeats, unique=True
                )
                live = _live(lake)
                with lake.reading():  # its end undoes the temporary views
                    prepare(lake.con, lake, stored, live)
                    found, report = judge.run(lake.con, "base", wanted)
                blocking = tuple(f for f in found if f.severity == "blocking")
                warnings = tuple(f for f in found if f.severity == "warning")
                failures += blocking
                seconds = time.monotonic() - started
                return Audited("base", not failures, rows, failures, warnings, report, seconds)

            yield full


def chosen(settings: Settings) -> Auditor:
    """The auditor that the settings name; by default the full one where it can run."""
    if settings.audit is None:
        return Full() if find_spec("great_expectations") is not None else Core()
    return Full() if settings.audit == "full" else Core()


def structural(lake: Lake, staged: Staged) -> tuple[dict[str, int], tuple[Finding, ...]]:
    """Check a staged base for what can be seen in moments; gives its rows by table."""
    files = staged.tables
    rows = {n: int(lake.row(f"SELECT count(*) FROM {file}")[0]) for n, file in files.items()}
    events, distinct = lake.row(
        f"SELECT coalesce(sum(event_count), 0), count(DISTINCT order_id) FROM {files['orders']}"
    )
    problems = []
    held = Log(lake).events_below(staged.cut)
    if events + staged.repeats != held:
        text = f"it counts {events:,} events and {staged.repeats:,} repeats, the log holds {held:,}"
        problems.append(_problem("complete", "orders", text, abs(held - events - staged.repeats)))
    if rows["orders"] != distinct:
        more = rows["orders"] - distinct
        text = f"it has {more:,} orders more than once"
        problems.append(_problem("unique", "orders", text, more))
    for name, view in staged.views.items():
        unsound = int(lake.row(f"SELECT count(*) FROM ({view.unsound_sql(files[name])})")[0])
        if unsound:
            text = f"view {name} has {unsound:,} groups that cannot be"
            problems.append(_problem("sound", name, text, unsound))
    return rows, tuple(problems)


def refusal(audited: Audited, cut: Position) -> str:
    """Why a base was not published, in one line."""
    found = "; ".join(_told(f) for f in audited.failures)
    return (
        f"the staged base at {cut} did not pass its audit: {found}. It was not published, the old "
        "base serves on"
    )


def record(
    tx: Transaction,
    audited: Audited,
    cut: Position,
    *,
    generation: int,
    base: int | None,
    forced: str | None = None,
) -> None:
    """Keep what an audit found, inside a unit of work. `base` is None if it was refused."""
    keep(
        tx,
        audited.suite,
        cut,
        passed=audited.passed,
        findings=(*audited.failures, *audited.warnings),
        report=audited.report,
        seconds=audited.seconds,
        generation=generation,
        base=base,
        forced=forced,
    )


def keep(
    tx: Transaction,
    suite: str,
    cut: Position,
    *,
    passed: bool,
    findings: tuple[Finding, ...],
    report: Path | None,
    seconds: float,
    generation: int,
    base: int | None,
    forced: str | None = None,
) -> None:
    """Append a row to `sys.audits`."""
    nth = tx.lake.next_number("audits", "audit_no")
    tx.record(
        "audits",
        tx.lake.clock(),
        generation,
        base,
        cut.text(),
        suite,
        passed,
        forced,
        json.dumps([f.as_json() for f in findings], default=str),
        None if report is None else report.relative_to(tx.lake.home.path).as_posix(),
        seconds,
        nth,
    )


def _live(lake: Lake) -> Generation | None:
    """The live generation, if its numbers can be relied on."""
    try:
        line = registry.read(lake)
        checksums.check(lake, line.stored("orders"))
    except (SeamError, DamageError):
        return None
    return line


def _problem(name: str, table: str, text: str, count: int) -> Finding:
    return Finding(name, table, "blocking", text, int(count), ())


def _told(finding: Finding) -> str:
    return finding.description if not finding.rows else str(finding)
