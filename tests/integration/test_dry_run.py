"""A dry run says what would come of an input, exactly, and writes nothing."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import headrace as api
from tests.e2e.command import Headrace
from tests.e2e.orders import amount, events, write
from tests.integration.test_cli import MAPPING

GOOD = list(dict.fromkeys(events(30, seed=41)))
POISON = [b"not json", b'{"specversion": "1.0"}', b"not json", b"\xff\xfe"]


@pytest.fixture
def headrace(tmp_path: Path) -> Headrace:
    return Headrace(tmp_path / "it's no home")


def content(folder: Path) -> dict[str, bytes]:
    """The files of a home, but for what SQLite keeps beside a catalog that is open for reading."""
    return {
        str(path): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith(("-wal", "-shm"))
    }


def dry(headrace: Headrace, *call: object, code: int = 0, **settings: object) -> Any:
    done = headrace.run(*call, "--dry-run", "--json", **settings)
    assert done.code == code, done
    return json.loads(done.out)


def test_a_dry_run_counts_what_an_append_would_take_and_makes_no_home(
    headrace: Headrace, tmp_path: Path
) -> None:
    path = write(tmp_path / "o'ne file.ndjson", [*GOOD, *POISON, *GOOD[:3]])
    told = dry(headrace, "append", path, append_events=7)
    assert not headrace.home.exists()
    assert (told["dry_run"], told["in_log"]) == (True, None)
    assert (told["accepted"], told["quarantined"]) == (len(GOOD) + 3, 4)
    assert told["twins"] == 3 + 1
    assert told["repeats"] == {"events": 3, "other_content": 0}
    assert sum(told["types"].values()) == told["accepted"]
    first = {(r["reason"], r["lines"], r["first"]) for r in told["reasons"]}
    assert ("the line is …; it is not JSON: Expecting value at character …", 2,
            f"{path}:{len(GOOD) + 1}") in first  # fmt: skip
    assert len(first) == 3
    real = headrace.json("append", path)
    assert (real["accepted"], real["quarantined"]) == (told["accepted"], told["quarantined"])
    text = headrace.run("append", path, "--dry-run").out
    assert "a dry run, nothing was written" in text
    assert f"in the log already    {len(GOOD)}\n" in text


def test_the_totals_are_the_sums_of_the_events_each_counted_once(
    headrace: Headrace, tmp_path: Path
) -> None:
    path = write(tmp_path / "a.ndjson", [*GOOD, *GOOD])
    expected: dict[tuple[str, str, str], Decimal] = {}
    kinds = {"OrderPlaced": "gross", "ItemsReturned": "returns", "AdjustmentBooked": "adjustments"}
    orders: dict[tuple[str, str], set[str]] = {}
    for line in GOOD:
        event = json.loads(line)
        if event["type"] not in kinds:
            continue
        month, currency = event["time"][:7], event["data"]["currency"]
        sign = -1 if event["type"] == "ItemsReturned" else 1
        key = (month, currency, kinds[event["type"]])
        expected[key] = expected.get(key, Decimal(0)) + sign * amount(event)
        if event["type"] == "OrderPlaced":
            orders.setdefault((month, currency), set()).add(event["subject"])
    told = dry(headrace, "append", path)
    found = {
        (m["month"], m["currency"], kind): Decimal(m[kind])
        for m in told["months"]
        for kind in kinds.values()
    }
    assert {key: value for key, value in found.items() if value} == expected
    assert {(m["month"], m["currency"]): m["orders"] for m in told["months"] if m["orders"]} == {
        key: len(names) for key, names in orders.items()
    }
    assert told["orders"] == len({json.loads(line)["subject"] for line in GOOD})
    assert all(isinstance(m["gross"], str) for m in told["months"])


@pytest.mark.thorough
def test_what_is_in_the_log_already_is_told_and_what_says_something_else(
    headrace: Headrace, tmp_path: Path
) -> None:
    headrace.json("append", write(tmp_path / "a.ndjson", GOOD[:20]))
    before = content(headrace.home)
    other = [json.loads(line) for line in GOOD[:3]]
    other[0]["extra"] = "another content"
    spelt = json.dumps(json.loads(GOOD[3]), indent=1, sort_keys=True).replace("\n", " ").encode()
    assert spelt != GOOD[3]
    again = [json.dumps(event).encode() for event in other]
    path = write(tmp_path / "b.ndjson", [*again, spelt, *GOOD[4:]])
    told = dry(headrace, "append", path)
    assert told["in_log"] == {"events": 20, "other_content": 1}
    assert content(headrace.home) == before
    path = write(tmp_path / "c.ndjson", [*GOOD[20:], again[0], GOOD[0], spelt, GOOD[3]])
    told = dry(headrace, "append", path)
    assert told["repeats"] == {"events": 2, "other_content": 1}
    assert content(headrace.home) == before


@pytest.mark.thorough
def test_the_samples_show_each_kind_and_each_reason_first(
    headrace: Headrace, tmp_path: Path
) -> None:
    path = write(tmp_path / "a.ndjson", [*GOOD, *POISON])
    told = dry(headrace, "append", path)
    samples = told["samples"]
    assert len(samples) == 10
    kinds = {sample["type"] for sample in samples if sample["type"]}
    assert kinds == set(told["types"])
    assert len([s for s in samples if s["reason"]]) == len(told["reasons"]) == 3
    assert [s["type"] for s in samples[: len(kinds)]] == list(dict.fromkeys(
        json.loads(line)["type"] for line in GOOD))  # fmt: skip


@pytest.mark.thorough
def test_what_an_append_would_refuse_whole_is_shown_and_ends_with_1(
    headrace: Headrace, tmp_path: Path
) -> None:
    path = write(tmp_path / "a.ndjson", [b"nonsense"] * 40 + GOOD[:5])
    told = dry(headrace, "append", path, code=1)
    assert (told["quarantined"], told["accepted"], told["twins"]) == (40, 5, 39)
    assert "40 of the first 45 lines are no order events" in told["refused"][0]
    assert dry(headrace, "append", path, reject_limit=1)["refused"] == []
    assert not headrace.home.exists()


@pytest.mark.thorough
def test_imports_in_every_format_can_be_tried(headrace: Headrace, tmp_path: Path) -> None:
    mapping = tmp_path / "map.toml"
    mapping.write_text(MAPPING, encoding="utf-8")
    rows = ["no,when,item,count,price,who", "1,2026-03-01 10:00:00,mug,2,7.50,c",
            "1,2026-03-01 10:00:00,mug,2,7.50,c", "2,never,mug,1,1.00,c"]  # fmt: skip
    path = tmp_path / "it's.csv"
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    told = dry(headrace, "import", "csv", "--mapping", mapping, path)
    assert (told["accepted"], told["quarantined"], told["orders"]) == (1, 1, 1)
    assert told["identical_rows"] == 1
    assert told["months"][0]["gross"] == "30.0000"
    assert told["reasons"][0]["first"] == f"{path}:4"
    assert not headrace.home.exists()
    headrace.json("import", "csv", "--mapping", mapping, path)
    before = content(headrace.home)
    told = dry(headrace, "import", "csv", "--mapping", mapping, path)
    assert told["in_log"] == {"events": 1, "other_content": 0}
    run = headrace.json("log", "imports")["imports"][0]["import_id"]
    headrace.json("log", "void", "--import", run, "--reason", "a test")
    before = content(headrace.home)
    told = dry(headrace, "import", "csv", "--mapping", mapping, path, code=1)
    assert "was taken back" in told["refused"][0]
    told = dry(headrace, "import", "csv", "--mapping", mapping, path, "--replace", run)
    assert (told["refused"], told["in_log"]["events"]) == ([], 0)
    assert content(headrace.home) == before
    uci = tmp_path / "uci.csv"
    uci.write_text(
        "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
        "9,A,x,2,2010-12-01 08:26:00,1.25,1.0,France\n9,B,x,-2,2010-12-01 08:26:00,0,,France\n",
        encoding="utf-8",
    )
    told = dry(headrace, "import", "uci-online-retail", uci)
    assert (told["accepted"], told["skipped"]) == (2, {"write-offs": 1})
    assert content(headrace.home) == before


@pytest.mark.thorough
def test_python_can_try_events_too(tmp_path: Path) -> None:
    placed = [line for line in GOOD if b"OrderPlaced" in line]
    found = api.preview(tmp_path / "none", [*placed[:2], "nonsense"])
    assert (found.accepted, found.quarantined, found.in_log) == (2, 1, None)
    assert isinstance(found.months[0].gross, Decimal)
    assert not (tmp_path / "none").exists()
    api.append(tmp_path / "home", GOOD[:2])
    again = api.preview(tmp_path / "home", GOOD[:3]).in_log
    assert again is not None
    assert again.events == 2


@pytest.mark.thorough
def test_a_dry_run_of_standard_input_and_of_nothing(headrace: Headrace) -> None:
    done = headrace.fed(b"\n".join(GOOD), "append", "-", "--dry-run", "--json")
    assert json.loads(done.out)["accepted"] == len(GOOD)
    done = headrace.fed(b"", "append", "-", "--dry-run")
    assert done.code == 0
    assert "would be accepted     0 events of 0 orders" in done.out
    assert not headrace.home.exists()
