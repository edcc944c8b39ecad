"""Where a statement ends: at a `;` outside of strings, names in quotes, and comments."""

from __future__ import annotations

import re
from typing import Final

_PART: Final = re.compile(
    r"""
    (?P<end>;)
    | (?P<string>(?:(?<![A-Za-z0-9_])[eE]'(?:[^'\\]|\\.|'')*'?) | '(?:[^']|'')*'?)
    | (?P<name>"(?:[^"]|"")*"?)
    | (?P<line>--[^\n]*\n?)
    | (?P<comment>/\*)
    | (?P<dollars>(?<![A-Za-z0-9_$])\$(?:[A-Za-z_][A-Za-z0-9_]*)?\$)
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT: Final = re.compile(r"/\*|\*/")


def split(text: str) -> tuple[list[str], str]:
    """The statements that are finished, without their `;`, and what is left, still to be ended.

    What is nothing but blanks and comments is no statement.
    """
    found: list[str] = []
    start = at = 0
    while (part := _PART.search(text, at)) is not None:
        at = part.end()
        if part.lastgroup == "end":
            found.append(text[start : part.start()])
            start = at
        elif part.lastgroup == "comment":
            at = _end_of_comment(text, at)
        elif part.lastgroup == "dollars":
            end = text.find(part[0], at)
            at = len(text) if end < 0 else end + len(part[0])
    return [each.strip() for each in found if says_something(each)], text[start:]


def says_something(text: str) -> bool:
    """Whether there is more in it than blanks and comments."""
    at = 0
    while at < len(text):
        part = _PART.match(text, at)
        if part is not None and part.lastgroup == "line":
            at = part.end()
        elif part is not None and part.lastgroup == "comment":
            at = _end_of_comment(text, part.end())
        elif text[at].isspace():
            at += 1
        else:
            return True
    return False


def _end_of_comment(text: str, at: int) -> int:
    """Where a comment ends whose `/*` was just before; they stand in each other."""
    depth = 1
    while depth:
        mark = _COMMENT.search(text, at)
        if mark is None:
            return len(text)
        depth += 1 if mark[0] == "/*" else -1
        at = mark.end()
    return at
