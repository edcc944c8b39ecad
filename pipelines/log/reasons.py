"""Classes of reasons and of origins: what differs only in a value, or in a line, is one. Pure."""

from __future__ import annotations

import re

ANY = "…"
"""Stands for a value in a class; in a pattern it is anything, and so is `%`."""

_QUOTED = r"""(?:"(?:[^"\\]|\\.)*(?:"|$)|'(?:[^'\\]|\\.)*(?:'|$))"""
_VALUES = re.compile(rf"{_QUOTED}|(?<![\w^-])-?[0-9]+(?:[.,][0-9]+)*(?!\w)")
_IS = re.compile(
    rf"^(?P<what>[^\"';]*?) is (?P<value>{_QUOTED}|[^;]*)(?P<rule>(?:;| and ).*|)$", re.S
)
_CUSTOMER = re.compile(r"^customer .* in .* differs from .* in .* (in earlier rows of invoice) .*$")
_SAME_ORDER = re.compile(
    r"^(customer, currency, country, channel) .* differ from .* of line .*, which"
)
_IN_FILE = re.compile(r"^order .* has (sales|returns at this time) in .* already;")
_NOT_A_VALUE = frozenset({"missing", "null", "missing or null", "empty", "given more than once"})
_PLACE = re.compile(r"(?::\d+| event \d+| partition \d+ offset \d+)$")


def reason_class(reason: str) -> str:
    """The reason with `…` in place of its values.

    `currency is "eur"; it must be …` and `currency is "usd"; …` are one class; the rule itself is
    kept as it is written, and so is what is missing.
    """
    if reason.startswith("the line is "):  # the rule tells the place in it
        head, mark, rule = reason.rpartition("; ")
        return f"the line is {ANY}; {_blank(rule)}" if mark else _blank(head or rule)
    for special, to in (
        (_CUSTOMER, rf"customer {ANY} in {ANY} differs from {ANY} in {ANY} \1 {ANY}"),
        (_SAME_ORDER, rf"\1 {ANY} differ from {ANY} of line {ANY}, which"),
        (_IN_FILE, rf"order {ANY} has \1 in {ANY} already;"),
    ):
        if special.match(reason):
            return special.sub(to, reason)
    found = _IS.match(reason)
    if found is None:
        head, mark, rule = reason.partition("; ")
        return _blank(head) + mark + rule
    value = found["value"] if found["value"] in _NOT_A_VALUE else ANY
    return f"{_blank(found['what'])} is {value}{found['rule']}"


def origin_class(origin: str) -> str:
    """The origin without line, event or offset: the file, topic or call that it came from."""
    return _PLACE.sub("", origin)


def matches(pattern: str, reason: str) -> bool:
    """Whether a whole reason is as a pattern says: `%` and `…` are anything, the rest is itself.

    A class is a pattern for its own reasons.
    """
    parts = [re.escape(part) for part in re.split(f"[%{ANY}]", pattern)]
    return re.fullmatch(".*".join(parts), reason, re.DOTALL) is not None


def _blank(text: str) -> str:
    return _VALUES.sub(ANY, text)
