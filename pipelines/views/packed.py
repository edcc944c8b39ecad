"""Views as text and back: in the catalog, in plans of jobs, in what workers are asked.

Guarantees: what comes back means what went in, also on a machine with other rules of time zones:
those that the views use travel with them.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from headrace.schemas.zones import ZoneRules

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headrace.pipelines.views.view import View

_ZONES: Final = "$zones"
"""Key of the rules, as JSON, beside the texts; no view can have that name."""


def pack(views: Mapping[str, View]) -> dict[str, str]:
    """Name to text, and the rules of zones if there are any."""
    packed = {name: view.text for name, view in views.items()}
    zones = {table.name: table.as_json() for view in views.values() for table in view.zones}
    return {**packed, _ZONES: json.dumps(zones, sort_keys=True)} if zones else packed


def unpack(packed: Mapping[str, str], where: str) -> dict[str, View]:
    """The views again, compiled.

    Args:
        packed: from `pack`.
        where: what each is called in messages, before its name: `the stored view`.
    """
    texts, zones = parted(packed)
    return {name: _compiled(name, text, zones, where) for name, text in texts.items()}


def parted(packed: Mapping[str, str]) -> tuple[dict[str, str], tuple[ZoneRules, ...]]:
    """Name to text, and the rules apart."""
    zones = _rules(packed.get(_ZONES, "{}"))
    return {name: text for name, text in packed.items() if name != _ZONES}, zones


@lru_cache(maxsize=64)
def _rules(told: str) -> tuple[ZoneRules, ...]:
    return tuple(ZoneRules.of_json(name, each) for name, each in json.loads(told).items())


@lru_cache(maxsize=1024)
def _compiled(name: str, text: str, zones: tuple[ZoneRules, ...], where: str) -> View:
    """The same text with the same rules is the same view."""
    from headrace.pipelines.views.parse import parse_view

    return parse_view(name, text, where=f"{where} {name}", zones={z.name: z for z in zones})
