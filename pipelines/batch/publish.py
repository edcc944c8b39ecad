"""The last step of a batch: a staged base is judged, refused and kept aside, or goes live.

Base, audit and restatements are recorded in one transaction. What is refused changes nothing
that anybody reads: the old base serves on, and deltas go on growing on it.
"""

from __future__ import annotations

import shutil
import uuid
from dataclasses import dataclass, replace

from headrace.pipelines import notify
from headrace.pipelines.batch import rejected
from headrace.pipelines.batch.rejected import Candidate
from headrace.pipelines.errors import DamageError, JobError, SeamError, UsageError
from headrace.pipelines.generations import registry, restatements
from headrace.pipelines.generations.generation import Generation
from headrace.pipelines.generations.restatements import Changed
from headrace.pipelines.lake import checksums
from headrace.pipelines.lake.lake import Lake
from headrace.pipelines.log import conflicts
from headrace.pipelines.log.embedded import Log
from headrace.pipelines.position import Position
from headrace.pipelines.progress import Report, quiet
from headrace.pipelines.quality import audit
from headrace.pipelines.quality.audit import Audited, Auditor, Judgement
from headrace.pipelines.quality.judge import Finding

_NAMED = 20
"""Cells that a finding names."""


@dataclass(frozen=True)
class Published:
    """A base that was published, what its audit found, and what it changed."""

    generation: Generation
    live: bool
    audited: Audited
    restated: Changed | None
    revised: Changed | None


def settle(
    lake: Lake,
    candidate: Candidate,
    judge: Judgement,
    report: Report = quiet,
    *,
    forced: str | None = None,
) -> Published:
    """Audit a staged base and publish it, or keep it aside. The batch lock is held.

    Args:
        lake: where.
        candidate: the base.
        judge: what audits it.
        report: told about each step.
        forced: why it is published whatever the audit finds; None if it is not.

    Raises:
        JobError: it did not pass; it is kept, and the old base serves on.
        SeamError: it does not meet the deltas, or another base is live.
    """
    staged = candidate.staged
    audited = judge(staged)
    restated = revised = None
    if candidate.generation is not None:
        line = _still(lake, candidate)
        restated = restatements.at_cut(lake, line.number, staged)
        audited = _with_restated(audited, restated)
    if not audited.passed and forced is None:
        _refuse(lake, candidate, audited)
    if candidate.generation is not None:
        revised = restatements.revised(lake, line, staged)
    report("audited; publishing" if forced is None else "publishing against its audit")
    made, live = _publish(lake, candidate, audited, restated, revised, forced)
    return Published(made, live, audited, restated, revised)


def again(
    lake: Lake, auditor: Auditor, *, forced: str | None = None, report: Report = quiet
) -> tuple[Candidate, Published]:
    """Publish the refused base, after auditing it again. The batch lock is taken.

    Args:
        lake: where.
        auditor: how to audit.
        forced: why it is published even if it does not pass; recorded.
        report: told about each step.

    Raises:
        UsageError: no base is kept, or the reason is empty.
        JobError: it still does not pass.
        SeamError: it does not meet the deltas any more, or another base is live.
        LockError: a batch runs.
    """
    if forced is not None and not forced.strip():
        raise UsageError("the reason is empty; say why with --reason, it is recorded")
    with lake.home.lock("batch", wait=0):
        kept = rejected.load(lake.home)
        log = Log(lake)
        log.check(kept.staged.cut)
        place = lake.home.staging / uuid.uuid4().hex
        place.mkdir(parents=True)
        candidate = replace(kept, staged=rejected.copy(kept.staged, place))
        try:
            if candidate.generation is not None:
                _still(lake, candidate)
            with auditor.ready(lake) as judge:
                done = settle(lake, candidate, judge, report, forced=forced)
        finally:
            shutil.rmtree(place, ignore_errors=True)
        rejected.discard(lake.home)
    return kept, done


def _still(lake: Lake, candidate: Candidate) -> Generation:
    """The generation that a base was made for, if it is live and on the same base as then.

    Raises:
        SeamError: it is not.
    """
    live = registry.live_number(lake)
    if live != candidate.generation:
        raise SeamError(
            f"generation {candidate.generation} is no longer live; the base was not published. Run "
            "the batch again"
        )
    line = registry.read(lake, live)
    if line.base != candidate.base:
        raise SeamError(
            f"a newer base is live: base {line.base} of generation {live}, at {line.cut}; this one "
            f"is at {candidate.staged.cut} and was not published. Run the batch again"
        )
    return line


def _with_restated(audited: Audited, restated: Changed) -> Audited:
    """The audit's result; on unchanged logic, a base that restates anything does not pass."""
    if restated.total == 0:
        return audited
    finding = Finding(
        "restates_nothing",
        "served",
        "blocking",
        "on unchanged logic, a base changes nothing that is served at its own cut",
        restated.total,
        tuple(str(cell) for cell in restated.cells[:_NAMED]),
    )
    return replace(audited, passed=False, failures=(*audited.failures, finding))


def _refuse(lake: Lake, candidate: Candidate, audited: Audited) -> None:
    """Keep the base aside, record it, tell whom it concerns, and raise."""
    cut = candidate.staged.cut
    rejected.keep(lake.home, candidate, audited)
    number = candidate.generation or registry.live_number(lake)
    with lake.writing("audit") as tx:
        audit.record(tx, audited, cut, generation=number, base=None)
    text = audit.refusal(audited, cut)
    details = {
        "cut": cut.as_dict(),
        "generation": number,
        "report": None if audited.report is None else str(audited.report),
        "failures": [f.as_json() for f in audited.failures],
    }
    notify.send(lake.settings, "audit", text, details)
    raise JobError(text)


def _publish(
    lake: Lake,
    candidate: Candidate,
    audited: Audited,
    restated: Changed | None,
    revised: Changed | None,
    forced: str | None,
) -> tuple[Generation, bool]:
    """Put the base under a generation, or begin a new one with it; says whether it is live."""
    staged = candidate.staged
    filling = {name: sorted((staged.folder / name).glob("*.parquet")) for name in staged.tables}
    start = Position.zero(len(staged.cut.offsets))
    if candidate.generation is not None:
        start = registry.read(lake, candidate.generation).position
    suspects = conflicts.in_log(lake, start, staged.cut)
    with lake.writing("publish") as tx:
        conflicts.record(tx, suspects)
        engine, cause, live = f"{candidate.engine} {candidate.mode}", None, True
        if candidate.generation is None:
            number = registry.create(
                tx,
                staged.views,
                origin=f"batch ({candidate.engine})",
                cut=staged.cut,
                filling=filling,
                engine=engine,
                seconds=candidate.seconds,
            )
            cause = _unserved(lake)
            live = cause is not None
            if cause is not None:
                registry.switch(tx, number, reason=cause)
            made = registry.read(lake, number)
        else:
            number = _still(lake, candidate).number
            made = registry.publish(
                tx,
                number,
                cut=staged.cut,
                filling=filling,
                engine=engine,
                seconds=candidate.seconds,
            )
        audit.record(tx, audited, staged.cut, generation=number, base=made.base, forced=forced)
        for changed in (restated, revised):
            if changed is not None:
                restatements.record(tx, changed, generation=number, base=made.base)
        if cause is not None and cause.startswith("repair"):
            nothing = Changed(0, (), staged.cut, staged.cut, compared=False)
            restatements.record(tx, nothing, generation=number, base=made.base, cause=cause)
    return made, live


def _unserved(lake: Lake) -> str | None:
    """Why a new generation may go live at once: nobody could read a number from the live one."""
    try:
        live = registry.trusted(registry.read(lake))
        checksums.check(lake, live.stored())
    except (SeamError, DamageError) as e:
        return f"repair: {e}"
    return "the live generation had not read any event" if live.position.total == 0 else None
