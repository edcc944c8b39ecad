"""Where a lake's catalog is: a SQLite file in the home, or a PostgreSQL database of its own.

One machine needs no server: SQLite. Where several machines work on one lake, its data lie in a
directory that all of them mount, and its catalog in PostgreSQL. The address is kept in home.json;
the password never is.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from headrace.pipelines.errors import HomeError, UsageError

if TYPE_CHECKING:
    from headrace.pipelines.lake.home import Home
    from headrace.pipelines.settings import Settings

_SCHEMES = ("postgresql", "postgres")


def checked(url: str) -> str:
    """An address of a PostgreSQL database, if it is one and holds no password.

    Raises:
        UsageError: it is not.
    """
    parts = urlsplit(url)
    if parts.scheme not in _SCHEMES or not parts.hostname or not parts.path.strip("/"):
        raise UsageError(
            "catalog is no address of a database; write postgresql://USER@HOST:PORT/DATABASE, or "
            "leave it out for a catalog in the home"
        )
    if parts.password is not None or "password=" in parts.query:
        raise UsageError(
            "catalog holds a password; put that into HEADRACE_CATALOG_PASSWORD or ~/.pgpass, and "
            "only user, host, port and database into the address"
        )
    return url


def placed(home: Home, settings: Settings) -> Home:
    """A home with its catalog where the settings say that it is now; it may have moved.

    Raises:
        HomeError: the home has a catalog of its own, and the settings name a database.
    """
    if settings.catalog is None:
        return home
    if home.catalog_url is None:
        raise HomeError(
            f"the home {home.path} has its catalog in {home.catalog}, not in a database; leave "
            "the setting catalog out, or name another home"
        )
    return replace(home, catalog_url=checked(settings.catalog))


def target(home: Home, settings: Settings) -> tuple[str, str]:
    """DuckDB's extension for the catalog, and what to attach."""
    if home.catalog_url is None:
        return "sqlite_scanner", f"sqlite:{home.catalog}"
    if settings.catalog_password is not None:
        # PostgreSQL's library reads it there, and no statement or message can repeat it.
        os.environ["PGPASSWORD"] = settings.catalog_password.get_secret_value()
    os.environ.setdefault("PGCONNECT_TIMEOUT", "10")
    return "postgres_scanner", f"postgres:{home.catalog_url}"
