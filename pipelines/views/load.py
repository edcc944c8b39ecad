"""Views from files: the built-in ones and a project's own, and the version of their logic.

A folder either loads as a whole or not at all. A file with the name of a built-in view replaces it,
or switches it off.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from headrace import schemas
from headrace.pipelines.errors import ViewError
from headrace.pipelines.views.filling import filled
from headrace.pipelines.views.parse import parse_view
from headrace.pipelines.views.trial import try_view
from headrace.pipelines.views.types import reserved_word
from headrace.pipelines.views.view import ROWS, Column, Dialect, View
from headrace.pipelines.views.zone_trial import try_zone
from headrace.schemas.tables import TABLES
from headrace.schemas.zones import DEFAULT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "BUILTIN_VIEWS",
    "ROWS",
    "Column",
    "Dialect",
    "View",
    "load_views",
    "logic_version",
    "parse_view",
]

BUILTIN_VIEWS: Final = Path(schemas.__file__).parent / "views"
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")
# Raise when the same text of a view comes to mean something else (the rounding of `/`, say):
# what was computed before must then be computed again.
_OFF: Final = re.compile(r"\s*--\s*off\s*", re.IGNORECASE)
"""All that the file of a built-in view says which a home switches off."""
_MEANING: Final = "2"
"""Raised when the compiler gives a text another meaning: then bases by the old one are replayed."""


def load_views(*folders: Path, zone: str = DEFAULT, lookups: Path | None = None) -> dict[str, View]:
    """All views of the folders, ordered by name.

    Args:
        folders: searched for `*.sql`, not deeper. A folder that does not exist has no views.
            Usually `BUILTIN_VIEWS` and the `views` folder of a project's home. A file of the
            latter replaces the built-in view of its name; one that says `-- off` takes it away.
        zone: what `$business_zone` stands for in a text.
        lookups: the folder of lookups that views may join.

    Returns:
        Name to view; lookups are among them.

    Raises:
        ViewError: a file is not a view, what was compiled of it differs from its text, or two
            files have the same name.
    """
    paths, tables = _paths(folders), _lookups(lookups)
    loading = _Loading(paths, zone, tables)
    found = {name: loading.view(name) for name in sorted({*paths, *tables})}
    return {name: view for name, view in found.items() if view is not None}


def _lookups(folder: Path | None) -> dict[str, View]:
    if folder is None or not folder.is_dir():
        return {}
    from headrace.pipelines.views.lookup_files import load_lookups

    return load_lookups(folder)


def load_view(
    path: Path, *folders: Path, zone: str = DEFAULT, lookups: Path | None = None
) -> tuple[View, dict[str, View]]:
    """One view of a file, and those that it reads from the folders, which may hold it as well.

    Args:
        path: the file; its name says what the view is called.
        folders: as for `load_views`. Files that the view does not need are not looked at.
        zone: what `$business_zone` stands for in a text.
        lookups: the folder of lookups that it may join.

    Raises:
        ViewError: it is not a view, or one that it reads is none.
    """
    name = _view_name(path)
    loading = _Loading({**_paths(folders), name: path}, zone, _lookups(lookups))
    view = loading.view(name)
    if view is None:
        raise ViewError(f"{path}: holds no SELECT; write one")
    return view, loading.done


def _paths(folders: Iterable[Path]) -> dict[str, Path]:
    """The files of the folders, by the names of the views."""
    paths: dict[str, Path] = {}
    for folder in folders:
        for path in sorted(folder.glob("*.sql")):
            if path.name.startswith("."):
                continue
            name = _view_name(path)
            if name in paths and paths[name].parent != BUILTIN_VIEWS:
                raise ViewError(
                    f"{path}: the view {name} is there already, from {paths[name]}; rename the file"
                )
            paths[name] = path
    return paths


class _Loading:
    """The views of some files, each after those that it reads."""

    def __init__(self, paths: Mapping[str, Path], zone: str, lookups: Mapping[str, View]) -> None:
        for name in lookups:
            if name in paths or name in TABLES or name == "restatements" or reserved_word(name):
                raise ViewError(
                    f"{name} is the name of a lookup and of something else that can be queried; "
                    f"rename {name}.toml and the file beside it"
                )
        self._paths = paths
        self._zone = zone
        self._done: dict[str, View | None] = dict(lookups)
        self._begun: list[str] = []

    @property
    def done(self) -> dict[str, View]:
        """Those that were loaded, each after those that it reads."""
        return {name: view for name, view in self._done.items() if view is not None}

    def view(self, name: str) -> View | None:
        """The view, tried; None if there is none, or the file switches off a built-in one."""
        if name not in self._paths and name not in self._done:
            return None
        if name not in self._done:
            if name in self._begun:
                circle = " reads ".join([*self._begun[self._begun.index(name) :], name])
                raise ViewError(f"{self._paths[name]}: {circle}: a circle; take one of them out")
            self._begun.append(name)
            self._done[name] = self._from_file(self._paths[name])
            self._begun.pop()
        return self._done[name]

    def _from_file(self, path: Path) -> View | None:
        text, built_in = _read(path), path.parent == BUILTIN_VIEWS
        if not text.strip() or _OFF.fullmatch(text):
            _check_off(path, text)
            return None
        where = str(path)
        replaced: list[Path] = []

        def known(name: str) -> View | None:
            other = self._paths.get(name)
            if built_in and other is not None and other.parent != BUILTIN_VIEWS:
                replaced.append(other)
            return self.view(name)

        try:
            view = parse_view(path.stem, filled(text, self._zone), where=where, known=known)
        except ViewError as error:
            if not replaced:
                raise
            raise ViewError(
                f"{replaced[-1]}: changes what the built-in view {path.stem} reads: {error}; keep "
                f"its columns, or switch {path.stem} off with a file {path.name} that says `-- off`"
            ) from error
        for rules in view.zones:
            try_zone(rules, where)
        if not built_in:  # those the tests try
            try_view(view, where)
        return view


def _check_off(path: Path, text: str) -> None:
    """See that a file without a SELECT switches off a built-in view, and says so."""
    if not (BUILTIN_VIEWS / path.name).is_file():
        raise ViewError(f"{path}: holds no SELECT; write one, or remove the file")
    if not text.strip():
        raise ViewError(
            f"{path}: is empty; write a SELECT that replaces the built-in view, the line `-- off` "
            "to have none of that name, or remove the file to have the built-in one"
        )


def logic_version(views: Mapping[str, View] | Iterable[View], fold_version: str) -> str:
    """12 hex digits that change when the meaning of a view or of the fold changes.

    Whitespace, comments, quoting, and the way in which GROUP BY names a key do not matter. The
    rules of time zones do, of those that the views use.
    """
    each = views.values() if hasattr(views, "values") else views
    meanings = sorted(
        (view.name, view.sql, *view.misread, *(f"{z.name} {z.version}" for z in view.zones))
        for view in each
    )
    text = repr((_MEANING, fold_version, meanings))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _view_name(path: Path) -> str:
    name = path.stem
    if not _NAME.fullmatch(name):
        raise ViewError(
            f"{path}: {name!r} cannot be the name of a view; rename the file to lower-case "
            "letters, digits and _, at most 63, a letter first"
        )
    if name in TABLES or name == "restatements" or reserved_word(name):
        raise ViewError(f"{path}: {name} has a meaning of its own in queries; rename the file")
    return name


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ViewError(
            f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8"
        ) from error
    except OSError as error:
        raise ViewError(f"{path}: cannot be read: {error.strerror}; check its rights") from error
