"""Headrace: order events in, exact numbers out, with proof. What is named here is the public API.

    import headrace

    headrace.append("shop", events)              # into the log, durably
    headrace.speed("shop")                       # views up to the log's end
    with headrace.connect("shop") as lake:
        answer = lake.query("SELECT * FROM revenue_by_day")
        answer.polars(), answer.position

Names are imported when they are used, so that this costs milliseconds. docs/api.md explains each.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headrace.pipelines.errors import (
        BrokerError,
        ContractError,
        DamageError,
        HeadraceError,
        HomeError,
        JobError,
        LockError,
        LogError,
        PromotionError,
        QueryError,
        SeamError,
        StorageError,
        UsageError,
        ViewError,
    )
    from headrace.pipelines.generator.generator import generate
    from headrace.pipelines.position import Position
    from headrace.pipelines.quality.verify import Certificate
    from headrace.pipelines.serving.query import Answer, Serving, connect
    from headrace.pipelines.verbs.attach import Attachment, attach
    from headrace.pipelines.verbs.backups import backup, restore
    from headrace.pipelines.verbs.erase import erase
    from headrace.pipelines.verbs.layers import (
        batch,
        check,
        promote,
        publish,
        replay,
        rollback,
        speed,
        verify,
    )
    from headrace.pipelines.verbs.views import check_view, views
    from headrace.pipelines.verbs.void import imports, void
    from headrace.pipelines.verbs.write import append, preview
    from headrace.pipelines.views.load import load_views

_PLACES = {
    "errors": (
        "BrokerError", "ContractError", "DamageError", "HeadraceError", "HomeError", "JobError",
        "LockError", "LogError", "PromotionError", "QueryError", "SeamError", "StorageError",
        "UsageError", "ViewError",
    ),
    "generator.generator": ("generate",),
    "position": ("Position",),
    "quality.verify": ("Certificate",),
    "serving.query": ("Answer", "Serving", "connect"),
    "verbs.attach": ("Attachment", "attach"),
    "verbs.backups": ("backup", "restore"),
    "verbs.erase": ("erase",),
    "verbs.layers": (
        "batch", "check", "promote", "publish", "replay", "rollback", "speed", "verify",
    ),
    "verbs.views": ("check_view", "views"),
    "verbs.void": ("imports", "void"),
    "verbs.write": ("append", "preview"),
    "views.load": ("load_views",),
}  # fmt: skip
_WHERE = {name: place for place, names in _PLACES.items() for name in names}

__all__ = [
    "Answer",
    "Attachment",
    "BrokerError",
    "Certificate",
    "ContractError",
    "DamageError",
    "HeadraceError",
    "HomeError",
    "JobError",
    "LockError",
    "LogError",
    "Position",
    "PromotionError",
    "QueryError",
    "SeamError",
    "Serving",
    "StorageError",
    "UsageError",
    "ViewError",
    "append",
    "attach",
    "backup",
    "batch",
    "check",
    "check_view",
    "connect",
    "erase",
    "generate",
    "imports",
    "load_views",
    "preview",
    "promote",
    "publish",
    "replay",
    "restore",
    "rollback",
    "speed",
    "verify",
    "views",
    "void",
]


def __getattr__(name: str) -> Any:
    """A public name, imported when it is first used."""
    place = _WHERE.get(name)
    if place is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(f"headrace.pipelines.{place}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
