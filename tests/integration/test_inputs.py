"""What people give as input: compressed, cut, binary, or something else altogether."""

from __future__ import annotations

import gzip
import io
import zipfile
from pathlib import Path

import polars as pl
import pytest
import zstandard

from headrace.pipelines.errors import ContractError
from headrace.pipelines.ingest.inputs import read_all
from tests.e2e.command import Headrace
from tests.e2e.orders import events

GOOD = events(8, seed=2)
TEXT = b"\n".join(GOOD) + b"\n"
CSV = b"order,time,product,units,price\n" + b"".join(
    f"o-{n},2026-03-01T09:30:00,mug,1,7.50\n".encode() for n in range(30)
)
MAPPING = """
[columns]
order_id = "order"
time = "time"
product_id = "product"
quantity = "units"
unit_price = "price"
[constants]
currency = "EUR"
"""


@pytest.fixture
def headrace(tmp_path: Path) -> Headrace:
    return Headrace(tmp_path / "home")


def zipped(content: bytes) -> bytes:
    into = io.BytesIO()
    with zipfile.ZipFile(into, "w") as archive:
        archive.writestr("events.ndjson", content)
    return into.getvalue()


def parquet() -> bytes:
    into = io.BytesIO()
    pl.DataFrame({"a": range(100)}).write_parquet(into)
    return into.getvalue()


PACKED = {
    "gzip": gzip.compress(TEXT),
    "gzip of two parts": gzip.compress(TEXT[: len(TEXT) // 2])
    + gzip.compress(TEXT[len(TEXT) // 2 :]),
    "zstd": zstandard.compress(TEXT),
    "zstd of two frames": zstandard.compress(TEXT[:99]) + zstandard.compress(TEXT[99:]),
}


@pytest.mark.parametrize("kind", PACKED)
def test_compressed_events_go_in_whatever_the_name(
    headrace: Headrace, tmp_path: Path, kind: str
) -> None:
    file = tmp_path / "events.ndjson"
    file.write_bytes(PACKED[kind])
    told = headrace.json("append", file)
    assert (told["accepted"], told["quarantined"]) == (len(GOOD), 0)


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_a_compressed_file_that_was_cut_keeps_what_was_whole_and_says_so(
    headrace: Headrace, tmp_path: Path, kind: str
) -> None:
    file = tmp_path / "cut.gz"
    file.write_bytes(PACKED[kind][:-20])
    headrace.run("append", file).refused(1, "cut.gz ends in the middle of its compressed data")


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_compressed_csv_is_imported(headrace: Headrace, tmp_path: Path, pack: object) -> None:
    (tmp_path / "shop.toml").write_text(MAPPING, encoding="utf-8")
    file = tmp_path / "export.csv.gz"
    file.write_bytes(pack(CSV))  # type: ignore[operator]
    told = headrace.json("import", "csv", "--mapping", tmp_path / "shop.toml", file)
    assert told["accepted"] == 30


BINARY = {
    "zip": (zipped(TEXT), "is a ZIP archive or an Excel workbook; unpack it"),
    "parquet": (parquet(), "is a Parquet file; read it with Polars"),
    "old Excel": (b"\xd0\xcf\x11\xe0" + bytes(99), "is an old Excel workbook"),
    "bzip2": (b"BZh91AY&SY" + bytes(99), "is compressed with bzip2"),
    "noise": (bytes(range(256)) * 8 + bytes(400), "is no text: byte 0 is 0"),
    "UTF-16": ("\ufeff".encode("utf-16-le") + TEXT.decode().encode("utf-16-le"), "text in UTF-16"),
    "gzip of a zip": (gzip.compress(zipped(TEXT)), "is a ZIP archive or an Excel"),
}


@pytest.mark.parametrize("kind", BINARY)
@pytest.mark.parametrize("way", ["append", "import"])
def test_what_is_no_text_is_refused_and_makes_no_home(
    headrace: Headrace, tmp_path: Path, kind: str, way: str
) -> None:
    content, said = BINARY[kind]
    (tmp_path / "shop.toml").write_text(MAPPING, encoding="utf-8")
    file = tmp_path / "export.bin"
    file.write_bytes(content)
    call = ["append"] if way == "append" else ["import", "csv", "--mapping", tmp_path / "shop.toml"]
    headrace.run(*call, file).refused(1, "export.bin", said, "Nothing of it was recorded")
    assert not headrace.home.exists()


def test_a_folder_with_a_binary_file_lands_the_others(headrace: Headrace, tmp_path: Path) -> None:
    folder = tmp_path / "landing"
    folder.mkdir()
    (folder / "a.ndjson").write_bytes(TEXT)
    (folder / "b.ndjson").write_bytes(BINARY["parquet"][0])
    (folder / "c.ndjson.gz").write_bytes(PACKED["gzip"] + gzip.compress(b""))
    outcome = headrace.run("ingest", folder)
    assert outcome.code == 1
    assert "b.ndjson: " in outcome.out
    assert "is a Parquet file" in outcome.out
    assert headrace.json("status")["quarantined"] == 0


def test_lines_that_are_no_events_are_refused_before_anything_is_recorded(
    headrace: Headrace, tmp_path: Path
) -> None:
    file = tmp_path / "access.log"
    file.write_bytes(b'10.0.0.1 - - "GET / HTTP/1.1" 200\n' * 500)
    headrace.run("append", file).refused(
        1, "500 of the first 500 lines are no order events, such as", "access.log:1", "Nothing"
    )
    assert not headrace.home.exists()


def test_a_csv_of_which_most_rows_cannot_be_mapped_is_refused(
    headrace: Headrace, tmp_path: Path
) -> None:
    (tmp_path / "shop.toml").write_text(MAPPING, encoding="utf-8")
    file = tmp_path / "export.csv"
    file.write_bytes(CSV.replace(b",7.50", b",seven"))
    call = ("import", "csv", "--mapping", tmp_path / "shop.toml", file)
    headrace.run(*call).refused(1, "30 of the 30 rows of", "line 2: unit_price is 'seven'")
    assert not headrace.home.exists()


def test_whoever_wants_them_in_quarantine_gets_them_there(
    headrace: Headrace, tmp_path: Path
) -> None:
    file = tmp_path / "access.log"
    file.write_bytes(b"GET /\n" * 50)
    outcome = headrace.run("append", file, reject_limit="1")
    assert outcome.code == 1  # nothing was accepted
    assert headrace.json("status")["quarantined"] == 50


def test_few_bad_lines_go_to_quarantine_and_a_run_without_a_good_one_ends_with_1(
    headrace: Headrace, tmp_path: Path
) -> None:
    file = tmp_path / "few.ndjson"
    file.write_bytes(b"no\n" * 3)
    assert headrace.run("append", file).code == 1
    assert headrace.json("status")["quarantined"] == 3
    file.write_bytes(b"no\n" * 3 + TEXT)
    assert headrace.run("append", file).code == 0


def test_a_bad_byte_in_a_text_spoils_its_line_alone(headrace: Headrace, tmp_path: Path) -> None:
    file = tmp_path / "nul.ndjson"
    file.write_bytes(b'{"id": "\0"}\n' + TEXT)
    told = headrace.json("append", file)
    assert (told["accepted"], told["quarantined"]) == (len(GOOD), 1)


def test_utf_16_is_read_where_it_is_said(tmp_path: Path) -> None:
    file = tmp_path / "wide.csv"
    file.write_bytes("a;b\n".encode("utf-16"))
    assert read_all(file, "utf-16").decode("utf-16") == "a;b\n"
    with pytest.raises(ContractError, match="text in UTF-16, and utf-8 is expected"):
        read_all(file, "utf-8")
