"""What an import tells: identical rows, whoever brings the file in, and senseless calls."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from tests.e2e.command import Headrace

ROW = "o-1;2026-03-01;mug;2;7.50"
TWINS = f"Order;Date;SKU;Qty;Unit price\n{ROW}\n{ROW}\n"
MAPPING = """
delimiter = ";"
[columns]
order_id = "Order"
time = "Date"
product_id = "SKU"
quantity = "Qty"
unit_price = "Unit price"
[constants]
currency = "EUR"
"""


@pytest.fixture
def headrace(tmp_path: Path) -> Headrace:
    return Headrace(tmp_path / "home")


def shop(folder: Path, top: str = "") -> tuple[Path, Path]:
    """A mapping, and a folder with a compressed file of twins."""
    (folder / "files").mkdir()
    (folder / "files/twins.csv.gz").write_bytes(gzip.compress(TWINS.encode()))
    (folder / "shop.toml").write_text(top + MAPPING, encoding="utf-8")
    return folder / "shop.toml", folder / "files"


def test_an_import_warns_of_identical_rows_until_the_mapping_says_what_they_are(
    headrace: Headrace, tmp_path: Path
) -> None:
    toml, files = shop(tmp_path)
    told = headrace.run("import", "csv", "--mapping", toml, files)
    first, warning = told.out.splitlines()
    assert "1 identical rows counted again" in first
    assert warning.startswith("warning: ")
    assert "twins.csv.gz: 1 rows are identical to an earlier one; they count again" in warning
    toml.write_text('identical_rows = "sum"' + MAPPING, encoding="utf-8")
    again = headrace.run("import", "csv", "--mapping", toml, files)
    assert "1 identical rows counted again" in again.out
    assert "warning" not in again.out


@pytest.mark.parametrize("how", ["sum", "once", "reject"])
def test_a_folder_that_is_landed_counts_identical_rows_too(
    headrace: Headrace, tmp_path: Path, how: str
) -> None:
    toml, files = shop(tmp_path, f'identical_rows = "{how}"')
    landed = headrace.json("ingest", files, "--format", "csv", "--mapping", toml, ingest_settle=0)
    assert landed["identical_rows"] == {how: 1}
    assert (landed["accepted"], landed["quarantined"]) == (1, int(how == "reject"))
    assert landed["warnings"] == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["FILE"], "--mapping is missing; `headrace import csv --guess FILE`"),
        (["--guess", "FILE", "FILE"], "--guess takes one file"),
        (["--guess", "--mapping", "TOML", "FILE"], "--guess takes one file and no --mapping"),
        (["--guess", "--replace", "b1d6bb87c4bf", "FILE"], "neither --replace"),
        (["--guess", "/nowhere.csv"], "/nowhere.csv cannot be read"),
    ],
)
def test_a_call_that_makes_no_sense_is_bad_usage(
    headrace: Headrace, tmp_path: Path, arguments: list[str], words: str
) -> None:
    toml, files = shop(tmp_path)
    named = {"FILE": files / "twins.csv.gz", "TOML": toml}
    headrace.run("import", "csv", *(named.get(a, a) for a in arguments)).refused(2, words)
    assert not headrace.home.exists()


def test_a_guess_as_json_says_what_is_open(headrace: Headrace, tmp_path: Path) -> None:
    _, files = shop(tmp_path)
    told = headrace.json("import", "csv", "--guess", files / "twins.csv.gz")
    assert told["fill_in"] == ["constants.currency", "identical_rows"]
    assert told["mapping"].startswith("# A mapping to start from")
    assert not headrace.home.exists()
