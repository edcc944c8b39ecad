"""Upcasters: one pure function per old version, from its data to the next version's.

An old event is lifted step by step when it is read; the log keeps what arrived.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from headrace.schemas.events import NEWEST, SHAPES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Data = dict[str, Any]


def order_placed_1_to_2(data: Mapping[str, Any]) -> Data:
    """Give version 1's short names their full ones. Version 1 knows no discount."""
    lifted = {key: value for key, value in data.items() if key not in {"customer", "lines"}}
    lifted["customer_id"] = data["customer"]
    lifted["lines"] = [_line_1_to_2(line) for line in data["lines"]]
    return lifted


def _line_1_to_2(line: Mapping[str, Any]) -> Data:
    renamed = {"sku": "product_id", "qty": "quantity", "price": "unit_price"}
    return {renamed.get(key, key): value for key, value in line.items()}


UPCASTERS: Final[dict[tuple[str, int], Callable[[Mapping[str, Any]], Data]]] = {
    ("OrderPlaced", 1): order_placed_1_to_2,
}
"""Keyed by type and the version it lifts from, always to the next one."""


def missing_upcasters() -> list[tuple[str, int]]:
    """List the old versions nothing lifts. Anything in it is a mistake of ours."""
    old = ((shape.type, shape.version) for shape in SHAPES if shape is not NEWEST[shape.type])
    return [key for key in old if key not in UPCASTERS]


def upcast(event_type: str, version: int, data: Mapping[str, Any]) -> Data:
    """Lift the data of one event to the newest version of its type.

    Raises:
        LookupError: An upcaster is missing: a mistake in this package, not in the event.
    """
    lifted = dict(data)
    for step in range(version, NEWEST[event_type].version):
        if (event_type, step) not in UPCASTERS:
            raise LookupError(
                f"no upcaster for {event_type} version {step}; add one to schemas/upcast.py"
            )
        lifted = UPCASTERS[event_type, step](lifted)
    return lifted
