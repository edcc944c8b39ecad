"""DuckDB as everything here uses it: bounded by the settings, extensions loaded, lake attached."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import duckdb

from headrace.pipelines.errors import HomeError, UsageError
from headrace.pipelines.lake.duckdb_errors import before_a_copy, first_line, out_of_memory
from headrace.pipelines.lake.home import Home
from headrace.pipelines.settings import Settings

if TYPE_CHECKING:
    from headrace.pipelines.lake.home import Home
    from headrace.pipelines.settings import Settings


_loading = threading.Lock()


def engine(
    home: Home, settings: Settings, *, unsigned: bool = False, scratch: Path | None = None
) -> duckdb.DuckDBPyConnection:
    """An in-memory DuckDB, bounded as the settings say, that spills into the home or `scratch`.

    `unsigned` lets it load extensions without checking their signature, until somebody forbids it.
    """
    config = {
        "allow_unsigned_extensions": str(unsigned).lower(),
        "temp_directory": str(scratch or home.scratch),
        "preserve_insertion_order": "false",
        "autoinstall_known_extensions": "false",
    }
    if settings.threads is not None:
        config["threads"] = str(settings.threads)
    if settings.memory_limit is not None:
        config["memory_limit"] = settings.memory_limit
    try:
        return duckdb.connect(":memory:", config=config)
    except duckdb.Error as e:
        raise UsageError(
            f"DuckDB does not take these settings ({first_line(e)}); memory_limit is "
            f"{settings.memory_limit!r}: write one such as '4GB'"
        ) from e


def halves(home: Home, settings: Settings) -> list[duckdb.DuckDBPyConnection]:
    """Two engines of one thread for two Python threads, which share the memory of one.

    Only one where the settings give one thread. Two connections to one engine would not do: they
    wait for each other's tasks.
    """
    if settings.threads == 1:
        return [engine(home, settings)]
    made = [engine(home, settings.model_copy(update={"threads": 1})) for _ in range(2)]
    (limit,) = made[0].execute("SELECT current_setting('memory_limit')").fetchall()[0]
    number, unit = limit.split()
    for con in made:
        con.execute(f"SET memory_limit = {literal(f'{float(number) / 2:.3f} {unit}')}")
    return made


def connect(
    home: Home, settings: Settings, *, read_only: bool, copy: Path | None = None
) -> duckdb.DuckDBPyConnection:
    """An in-memory DuckDB with the lake attached as `lake` and chosen as default.

    Args:
        home: whose lake.
        settings: the bounds of DuckDB, and the catalog's password.
        read_only: nothing can be written.
        copy: a folder with a copy of the catalog, to be read in its place.
    """
    names = extensions(home)
    # What pip installed beside DuckDB is trusted like DuckDB. To hash its 67 MB for a signature
    # took each connection 0.27 s, most of a short command (docs/decisions/0011).
    con = engine(home, settings, unsigned=all(packaged(name) for name in names), scratch=copy)
    with _loading:
        for name in names:
            load_extension(con, name)
    con.execute("SET allow_unsigned_extensions = false")  # nobody can turn it on again
    try:
        with password(con, home, settings) as named:
            con.execute(attach_sql(home, read_only=read_only, copy=copy, named=named))
    except duckdb.Error as e:
        con.close()
        if out_of_memory(e):
            raise
        if home.catalog_url is not None:
            raise HomeError(
                f"the catalog {home.catalog_url} cannot be opened ({first_line(e)}); see that "
                "PostgreSQL runs, and that address, user and password are right"
            ) from e
        raise HomeError(
            f"the catalog {home.catalog} cannot be opened ({first_line(e)}); "
            f"{before_a_copy(e)}restore it from a copy: `headrace doctor --repair`"
        ) from e
    con.execute("USE lake")
    return con


def attach_sql(
    home: Home,
    *,
    read_only: bool,
    copy: Path | None = None,
    alias: str = "lake",
    named: str = "",
) -> str:
    """The ATTACH of a home's lake.

    Args:
        home: whose lake.
        read_only: nothing can be written.
        copy: a folder with a copy of the catalog, to be read in its place.
        alias: an identifier of SQL.
        named: another option of ATTACH, such as the one that `password` gives.
    """
    attached = target(home)[1] if copy is None else f"sqlite:{copy / home.catalog.name}"
    mode = f"DATA_PATH {literal(home.data)}, OVERRIDE_DATA_PATH true"  # a home can be moved
    mode += ", READ_ONLY" if read_only else ""
    return f"ATTACH {literal(f'ducklake:{attached}')} AS {alias} ({mode}{named})"


def extensions(home: Home) -> tuple[str, str]:
    """The extensions of DuckDB that read a home's lake, in the order to load them."""
    return target(home)[0], "ducklake"


def loading(name: str) -> list[str]:
    """The statements that load an extension: from its Python package, if there is one."""
    file = packaged(name)
    if file is not None:
        return [f"LOAD {literal(file)}"]
    return [f"INSTALL {name}", f"LOAD {name}"]


def load_extension(con: duckdb.DuckDBPyConnection, name: str) -> None:
    """Load an extension from its Python package; where there is none, let DuckDB install it."""
    for statement in loading(name):
        con.execute(statement)


def packaged(name: str) -> Path | None:
    """The file of an extension that came as a Python package, for this version of DuckDB."""
    spec = importlib.util.find_spec(f"duckdb_extension_{name}")
    for root in (spec.submodule_search_locations or ()) if spec else ():
        for file in Path(root).glob(f"extensions/v{duckdb.__version__}/*.duckdb_extension"):
            return file
    return None


def exactly(*files: str | Path, inside: bool = False) -> str:
    """Parquet files, or all those `inside` folders, as `read_parquet` takes them, by their names.

    In a file's name DuckDB takes `[`, `*` and `?` for a pattern, unless they stand in brackets.
    """
    exact = [re.sub(r"[\[*?]", r"[\g<0>]", str(file)) for file in files]
    wanted = [f"{each}/*.parquet" if inside else each for each in exact]
    return literal(wanted)


def literal(value: object) -> str:
    """A value as a SQL literal: a path, a name, a number, a time, or a list of them.

    Used instead of bound parameters: to bind one, DuckDB imports pandas where it is installed,
    which takes a second of every command.
    """
    if value is None:
        return "NULL"
    if isinstance(value, bool | int | float):
        return str(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(literal, value))}]"
    if isinstance(value, datetime):
        return f"TIMESTAMP '{value.isoformat(sep=' ')}'"
    return "'" + str(value).replace("'", "''") + "'"


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


def target(home: Home) -> tuple[str, str]:
    """DuckDB's extension for the catalog, and what to attach."""
    if home.catalog_url is None:
        return "sqlite_scanner", f"sqlite:{home.catalog}"
    return "postgres_scanner", f"postgres:{keywords(home.catalog_url)}"


def keywords(url: str) -> str:
    """The other form of an address of PostgreSQL's: the one that DuckDB adds a secret to.

    Ten seconds to connect, if neither the address nor PGCONNECT_TIMEOUT says otherwise.
    """
    parts = urlsplit(url)
    user, _, places = parts.netloc.rpartition("@")
    hosts = [re.fullmatch(r"\[?(.*?)\]?(?::(\d*))?", place) for place in places.split(",")]
    ports = [host[2] or "" for host in hosts if host]
    found = {
        "user": user,
        "host": ",".join(host[1] for host in hosts if host),
        "port": ",".join(ports) if any(ports) else "",  # PGPORT, or PostgreSQL's own
        "dbname": parts.path.strip("/"),
    }
    if "PGCONNECT_TIMEOUT" not in os.environ:
        found["connect_timeout"] = "10"
    found |= {key: value for key, _, value in (p.partition("=") for p in parts.query.split("&"))}
    written = {
        key: unquote(value).replace("\\", r"\\").replace("'", r"\'") for key, value in found.items()
    }
    return " ".join(f"{key}='{value}'" for key, value in written.items() if value)


@contextlib.contextmanager
def password(con: duckdb.DuckDBPyConnection, home: Home, settings: Settings) -> Iterator[str]:
    """The option of ATTACH that names the password. There is a secret only while it attaches.

    So no statement, message, list or environment holds it. It is bound, which loads pandas where
    that is not kept out; in a statement's text, a log of statements would have it.
    """
    if home.catalog_url is None or settings.catalog_password is None:
        yield ""
        return
    con.execute(
        "CREATE TEMPORARY SECRET of_catalog (TYPE postgres, PASSWORD $1)",
        [settings.catalog_password.get_secret_value()],
    )
    yield ", META_SECRET 'of_catalog'"
    con.execute("DROP SECRET of_catalog")
