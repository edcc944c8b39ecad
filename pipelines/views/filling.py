"""The home's zone in the text of a view: what `$business_zone` stands for.

Guarantees: in UTC, a text that asks for local time is the text that asks for none, to the byte; so
homes in UTC have the logic that they had before there were zones.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from headrace.schemas.zones import DEFAULT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headrace.pipelines.views.view import View

_PARTS: Final = re.compile(
    r"""
    (?P<text> '(?:[^']|'')*' | "(?:[^"]|"")*" | \$\$.*?\$\$ )
    | (?P<comment> --[^\n]* | /\*.*?\*/ )
    | (?P<local> \s+AT\s+TIME\s+ZONE\s+'UTC'\s+AT\s+TIME\s+ZONE\s+\$business_zone\b )
    | (?P<alone> \$business_zone\b )
    """,
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
_NAME: Final = re.compile(r"\$business_zone\b", re.IGNORECASE)


def filled(text: str, zone: str) -> str:
    """A view's text with the zone in it, which is what a generation keeps and shows.

    In quotes where it is SQL, plain in comments, and not at all inside quoted text.
    """
    quoted = f"'{zone}'"

    def put(found: re.Match[str]) -> str:
        if found["text"] is not None:
            return found[0]
        if found["comment"] is not None:
            return _NAME.sub(lambda _: zone, found[0])
        if found["local"] is not None and zone == DEFAULT:
            return ""
        return _NAME.sub(lambda _: quoted, found[0])

    return _PARTS.sub(put, text)


def zones_of(views: Mapping[str, View]) -> dict[str, dict[str, Any]]:
    """The zones in which views read times: by name the version of its `rules`, and the `views`."""
    used = {table for view in views.values() for table in view.zones}
    return {
        table.name: {
            "rules": table.version,
            "views": [name for name in sorted(views) if table in views[name].zones],
        }
        for table in sorted(used, key=lambda each: each.name)
    }


def zones_moved(new: Mapping[str, Any], old: Mapping[str, Any]) -> str:
    """How the zones of some views (`zones_of`) differ from those of others; else empty."""
    if new.keys() != old.keys():
        return f"local time in {', '.join(new) or DEFAULT} instead of {', '.join(old) or DEFAULT}"
    changed = [name for name in new if new[name]["rules"] != old[name]["rules"]]
    return f"tzdata has other rules of {', '.join(changed)} now" if changed else ""
