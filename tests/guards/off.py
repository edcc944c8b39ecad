"""Turns one guard of the product off, to see which test notices: `HEADRACE_GUARD_OFF=NAME`.

A pytest plugin (`-p tests.guards.off`). Processes that a test starts have the guard off as well:
`children/sitecustomize.py` does it when they start. Nothing in the product knows of this.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any

VARIABLE = "HEADRACE_GUARD_OFF"


def turn_off(name: str) -> None:
    """Turn a guard off in this process."""
    GUARDS[name]()


def _nothing(*_: object, **__: object) -> None:
    """In place of a guard that checks or writes something."""


def _set(holder: Any, name: str, value: Any) -> None:
    """Replace something that must be there: a guard that was renamed is not tested silently."""
    assert hasattr(holder, name), f"{holder} has no {name} any more"
    setattr(holder, name, value)


def _sync() -> None:
    from headrace.pipelines.lake import durable, home

    for holder, name in (
        (durable, "sync_file"),
        (durable, "sync_directory"),
        (home, "sync_directory"),
    ):
        _set(holder, name, _nothing)


def _dedup() -> None:
    from headrace.pipelines.fold import fold

    real = fold.steps

    def steps(prefix: str, *, dialect: str) -> tuple[tuple[str, str], ...]:
        return tuple(
            (name, f"SELECT * FROM ({sql}) AS r WHERE false" if name == f"{prefix}repeats" else sql)
            for name, sql in real(prefix, dialect=dialect)
        )

    _set(fold, "steps", steps)


def _seam_in_python() -> None:
    from headrace.pipelines.generations import registry

    def last(cut: Any, commits: Any) -> Any:
        return [cut, *(end for _, end in commits)][-1]

    _set(registry, "check_chain", last)


def _seam_in_sql() -> None:
    from headrace.pipelines.generations import registry

    _set(registry, "seam_sql", lambda _: "SELECT true AS ok")


@contextlib.contextmanager
def _unlocked(*_: object, **__: object) -> Iterator[None]:
    yield


def _lock() -> None:
    from headrace.pipelines.lake.home import Home

    _set(Home, "lock", _unlocked)


def _fence() -> None:
    from headrace.pipelines.generations import registry
    from headrace.pipelines.speed.layer import Speed

    def anything(self: Any, line: Any, _target: Any) -> Any:
        return registry.read(self._lake, line.number)

    _set(Speed, "_still", anything)


def _cut_request() -> None:
    from headrace.pipelines.speed import layer as speed

    _set(speed, "_allowed", lambda _, goal: goal)


def _identity() -> None:
    from headrace.pipelines.lake import identity

    _set(identity, "check", _nothing)


def _length() -> None:
    from headrace.pipelines.log.embedded import Log

    _set(Log, "check", _nothing)


def _audit() -> None:
    from headrace.pipelines.quality import audit

    real = audit.structural
    _set(audit, "structural", lambda lake, staged: (real(lake, staged)[0], ()))


def _restated() -> None:
    from headrace.pipelines.batch import publish

    _set(publish, "_with_restated", lambda audited, _: audited)


def _digests() -> None:
    from headrace.pipelines.lake import checksums

    _set(checksums, "_refuse", _nothing)


def _quarantine() -> None:
    from headrace.pipelines.log import rejects

    _set(rejects, "quarantine", lambda *_: 0)


def _upcast() -> None:
    from headrace.schemas import upcast

    for key in list(upcast.UPCASTERS):
        upcast.UPCASTERS[key] = dict


def _parity() -> None:
    from headrace.pipelines.replay.promote import Diff

    _set(Diff, "promotable", True)


def _select_only() -> None:
    from headrace.pipelines.serving import query as serving

    _set(serving, "check_select", _nothing)


def _transaction() -> None:
    """Each statement is committed by itself."""
    from headrace.pipelines.lake import lake, transaction

    @contextlib.contextmanager
    def writing(self: Any, what: str) -> Iterator[Any]:
        from headrace.pipelines.lake import failpoints

        with self.home.lock("commit", self.settings.lock_wait.total_seconds()):
            tx = transaction.Transaction(self, what)
            yield tx
            failpoints.here(f"{what}.ready")
            failpoints.here(f"{what}.done")

    _set(lake.Lake, "writing", writing)


GUARDS: dict[str, Callable[[], None]] = {
    "sync": _sync,
    "dedup": _dedup,
    "seam in Python": _seam_in_python,
    "seam in SQL": _seam_in_sql,
    "writer lock": _lock,
    "fence": _fence,
    "cut request": _cut_request,
    "log identity": _identity,
    "log length": _length,
    "audit": _audit,
    "restatement": _restated,
    "digests": _digests,
    "quarantine": _quarantine,
    "upcasting": _upcast,
    "parity gate": _parity,
    "SELECT only": _select_only,
    "transaction": _transaction,
}
"""Every guard that can be turned off."""


def pytest_configure() -> None:
    """As a plugin: turn off the guard that the environment names."""
    turn_off(os.environ[VARIABLE])
