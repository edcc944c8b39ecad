"""A connection to a lake: what it may load, and from where."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import pytest

from headrace.pipelines.lake import connect

if TYPE_CHECKING:
    from headrace.pipelines.lake.lake import Lake
    from tests.conftest import MakeLake


def unsigned(con: duckdb.DuckDBPyConnection) -> bool:
    """Whether the connection loads what nobody signed."""
    return bool(con.execute("SELECT current_setting('allow_unsigned_extensions')").fetchall()[0][0])


def test_once_the_lake_is_open_nothing_is_loaded_that_is_not_signed(
    lake: Lake, tmp_path: Path
) -> None:
    real = connect.packaged("postgres_scanner")
    assert real is not None
    changed = bytearray(real.read_bytes())
    changed[-1] ^= 1  # of the signature
    (tmp_path / real.name).write_bytes(changed)
    assert not unsigned(lake.con)
    with pytest.raises(duckdb.Error, match="while database is running"):
        lake.con.execute("SET allow_unsigned_extensions = true")
    with pytest.raises(duckdb.IOException, match="signature"):
        lake.con.execute(f"LOAD '{tmp_path / real.name}'")


def test_an_extension_that_is_no_package_has_its_signature_checked(
    make_lake: MakeLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []
    real, packaged = connect.load_extension, connect.packaged

    def load(con: duckdb.DuckDBPyConnection, name: str) -> None:
        seen.append(unsigned(con))
        monkeypatch.setattr(connect, "packaged", packaged)
        real(con, name)

    monkeypatch.setattr(connect, "load_extension", load)
    make_lake()
    assert seen
    assert all(seen)
    seen.clear()
    monkeypatch.setattr(connect, "packaged", lambda _: None)
    make_lake()
    assert seen
    assert not any(seen)


ADDRESSES = {
    "postgresql://me@db/lake": "user='me' host='db' dbname='lake' connect_timeout='10'",
    "postgres://db:6432/a%20b?connect_timeout=3": (
        "host='db' port='6432' dbname='a b' connect_timeout='3'"
    ),
    "postgresql://o%27hara@[::1]:6432,[::2]/l%5C?sslmode=require": (
        r"user='o\'hara' host='::1,::2' port='6432,' dbname='l\\' connect_timeout='10' "
        "sslmode='require'"
    ),
}


@pytest.mark.parametrize("url", ADDRESSES)
def test_an_address_of_postgresql_means_the_same_in_keywords(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PGCONNECT_TIMEOUT", raising=False)
    assert connect.keywords(url) == ADDRESSES[url]
    monkeypatch.setenv("PGCONNECT_TIMEOUT", "5")
    assert connect.keywords(url) == ADDRESSES[url].replace(" connect_timeout='10'", "")


def test_an_extension_is_found_in_its_package_only_for_this_duckdb(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert connect.packaged("ducklake") is not None
    assert connect.packaged("nobody_made_this") is None
    monkeypatch.setattr(duckdb, "__version__", "0.0.0")
    assert connect.packaged("ducklake") is None
