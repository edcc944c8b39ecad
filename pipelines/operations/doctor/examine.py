"""Runs all checks of the doctor over a home; what one finds keeps no other from looking."""

from __future__ import annotations

from collections.abc import Iterable

import duckdb

from headrace.pipelines.errors import HeadraceError
from headrace.pipelines.operations.doctor.case import REPAIR, Case, Check, Finding, opened
from headrace.pipelines.settings import Settings


def examine(settings: Settings) -> list[Finding]:
    """Run all checks on a home.

    Raises:
        HomeError: there is no directory.
    """
    from headrace.pipelines.operations.doctor.home_checks import HOME_CHECKS
    from headrace.pipelines.operations.doctor.kafka_checks import KAFKA_CHECKS
    from headrace.pipelines.operations.doctor.lake_checks import LAKE_CHECKS

    found: list[Finding] = []
    with opened(settings) as case:
        for check in (*HOME_CHECKS, *LAKE_CHECKS, *KAFKA_CHECKS):
            found += _run(check, case)
    return found


def _run(check: Check, case: Case) -> list[Finding]:
    """One check; if it cannot look, that is what it found."""
    name = check.__name__.removeprefix("check_").replace("_", " ")
    try:
        return list(check(case))
    except (HeadraceError, duckdb.Error, OSError, ValueError, KeyError, TypeError) as e:
        first = (str(e).splitlines() or [type(e).__name__])[0]
        return [Finding(name, "wrong", f"could not be looked at: {first}", remedy=REPAIR)]


def wrong(found: Iterable[Finding]) -> list[Finding]:
    """Those findings that something is wrong."""
    return [f for f in found if f.state == "wrong"]
