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
    listed = tuple(texts.items())
    return {name: stored_view(name, listed, zones, where) for name in texts}


def parted(packed: Mapping[str, str]) -> tuple[dict[str, str], tuple[ZoneRules, ...]]:
    """Name to text, and the rules apart."""
    zones = _rules(packed.get(_ZONES, "{}"))
    return {name: text for name, text in packed.items() if name != _ZONES}, zones


@lru_cache(maxsize=64)
def _rules(told: str) -> tuple[ZoneRules, ...]:
    return tuple(ZoneRules.of_json(name, each) for name, each in json.loads(told).items())


@lru_cache(maxsize=1024)
def stored_view(
    name: str,
    texts: tuple[tuple[str, str], ...],
    zones: tuple[ZoneRules, ...],
    where: str,
    *,
    stored: bool = False,
) -> View:
    """A view of some that belong together; the same texts with the same rules are the same view.

    Args:
        name: which.
        texts: name and text of all of them, because one may read another.
        zones: the rules that they were made with.
        where: what each is called in messages, before its name.
        stored: whether a lake holds them (`parse_view`).
    """
    from headrace.pipelines.views.lookups import is_lookup, stored_lookup
    from headrace.pipelines.views.parse import parse_view

    every = dict(texts)
    if is_lookup(every[name]):
        return stored_lookup(name, every[name])

    def known(other: str) -> View | None:
        if other not in every:
            return None
        return stored_view(other, texts, zones, where, stored=stored)

    rules = {table.name: table for table in zones}
    said = f"{where} {name}"
    return parse_view(name, every[name], where=said, stored=stored, zones=rules, known=known)
