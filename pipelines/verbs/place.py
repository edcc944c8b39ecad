"""The home that a verb works on: a path, or a lake that is open already."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

from headrace.pipelines import bootstrap, settings
from headrace.pipelines.lake import home as homes
from headrace.pipelines.lake.lake import Lake

Place: TypeAlias = str | Path | Lake
"""Where the lake is: the home's directory, or its open lake."""


def settings_of(home: Place, **given: Any) -> settings.Settings:
    """The settings of a home that is there, or that is to be made."""
    return home.settings if isinstance(home, Lake) else settings.load(Path(home), **given)


@contextlib.contextmanager
def opened(
    home: Place, *, make: bool = False, read_only: bool = False, **given: Any
) -> Iterator[Lake]:
    """The lake of a home; closed at the end if it was opened here.

    Args:
        home: where.
        make: make the home if there is none.
        read_only: nothing will be written.
        given: settings for a home that is opened here, such as `threads`.

    Raises:
        UsageError: there is no home, and none is to be made.
        HomeError: the home cannot be used.
    """
    if isinstance(home, Lake):
        yield home
        return
    chosen = settings_of(home, **given)
    if not make:
        bootstrap.require(chosen.home)
    with bootstrap.open_lake(chosen, read_only=read_only) as lake:
        yield lake


@contextlib.contextmanager
def if_there(home: Place, **given: Any) -> Iterator[Lake | None]:
    """The lake of a home for reading; None where there is no home, and none is made."""
    if not isinstance(home, Lake) and not homes.exists(settings_of(home, **given).home):
        yield None
        return
    with opened(home, read_only=True, **given) as lake:
        yield lake
