"""The files of a folder: each lands once, through kills, copies, changes and half-written ones."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from headrace.pipelines import settings
from headrace.pipelines.bootstrap import open_lake
from headrace.pipelines.errors import LockError
from headrace.pipelines.generator.generator import generate
from headrace.pipelines.ingest.landing import land
from headrace.pipelines.quality.verify import verify
from tests.e2e.command import Headrace, lock_holder
from tests.halves import first


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    """Three files of order events; every line is good."""
    folder = tmp_path / "inbox"
    folder.mkdir()
    lines = list(generate(30, 5))
    for number in range(3):
        part = lines[number * 30 : (number + 1) * 30]
        (folder / f"{number}.ndjson").write_bytes(b"".join(line + b"\n" for line in part))
    return folder


@pytest.fixture
def headrace(tmp_path: Path) -> Headrace:
    return Headrace(tmp_path / "home")


def ingest(headrace: Headrace, folder: Path, *more: object, code: int = 0) -> Any:
    done = headrace.run("ingest", folder, *more, "--json", ingest_settle=0)
    assert done.code == code, done
    return {**headrace_json(done.out), "events": headrace.json("status")["events"]}


def headrace_json(text: str) -> Any:
    import json

    return json.loads(text)


def test_a_second_look_at_a_folder_adds_nothing(headrace: Headrace, inbox: Path) -> None:
    first = ingest(headrace, inbox)
    assert (first["files"], first["accepted"], first["events"]) == (3, 90, 90)
    second = ingest(headrace, inbox)
    assert (second["files"], second["known"], second["events"]) == (0, 3, 90)
    for file in inbox.iterdir():
        os.utime(file)  # touched, not changed: its content is looked at
    third = ingest(headrace, inbox)
    assert (third["files"], third["known"], third["events"]) == (0, 3, 90)


def test_the_same_content_under_another_name_lands_once(headrace: Headrace, inbox: Path) -> None:
    shutil.copy(inbox / "0.ndjson", inbox / "3.ndjson")
    first = ingest(headrace, inbox)
    assert (first["files"], first["copies"], first["events"]) == (3, 1, 90)
    shutil.copytree(inbox, inbox.parent / "moved")
    moved = ingest(headrace, inbox.parent / "moved")
    assert (moved["files"], moved["copies"], moved["events"]) == (0, 4, 90)


def test_a_file_that_changed_after_it_landed_is_told_and_not_read(
    headrace: Headrace, inbox: Path
) -> None:
    ingest(headrace, inbox)
    changed = inbox / "1.ndjson"
    changed.write_bytes(changed.read_bytes() + next(iter(generate(1, 99))) + b"\n")
    again = ingest(headrace, inbox, code=1)
    assert (again["changed"], again["events"]) == ([str(changed)], 90)
    assert "another name" in headrace.run("ingest", inbox, ingest_settle=0).out


def test_names_of_unfinished_files_are_left_alone_until_they_are_renamed(
    headrace: Headrace, inbox: Path
) -> None:
    part = (inbox / "2.ndjson").rename(inbox / "2.ndjson.part")
    (inbox / "1.ndjson").rename(inbox / ".1.ndjson.x7")
    first = ingest(headrace, inbox)
    assert (first["files"], first["unfinished"]) == (1, [str(part)])
    part.rename(inbox / "2.ndjson")
    assert ingest(headrace, inbox)["events"] == 60


def test_a_file_that_grows_between_two_looks_is_left_alone(
    headrace: Headrace, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    growing = inbox / "1.ndjson"

    def pause(seconds: float) -> None:
        assert seconds == 60
        with growing.open("ab") as file:
            file.write(b'{"half":')

    clock = SimpleNamespace(sleep=pause, time_ns=time.time_ns)  # for this module only
    monkeypatch.setattr("headrace.pipelines.ingest.landing_zone.time", clock)
    chosen = settings.load(headrace.home, ingest_settle=60)
    with open_lake(chosen) as lake:
        found = land(lake, inbox)
    assert (found.files, found.unfinished) == (2, [str(growing)])


def test_a_file_that_cannot_be_read_does_not_hold_up_the_others(
    headrace: Headrace, inbox: Path
) -> None:
    (inbox / "1.csv").write_text("this,is,no,shop\n1,2,3,4\n")
    for file in inbox.glob("*.ndjson"):
        file.unlink()
    header = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
    row = "536365,85123A,HOLDER,6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom"
    bad = "536366,85123A,HOLDER,x,2010-12-01 08:26:00,2.55,17850.0,United Kingdom"
    (inbox / "2.csv").write_text(f"{header}\n{row}\n{bad}\n")
    found = ingest(headrace, inbox, "--format", "uci-online-retail", code=1)
    assert (found["files"], found["accepted"], found["quarantined"]) == (1, 2, 1)
    assert list(found["failed"]) == [str(inbox / "1.csv")]
    again = ingest(headrace, inbox, "--format", "uci-online-retail", code=1)
    assert (again["files"], again["events"], again["quarantined"]) == (0, 2, 0)


@pytest.mark.parametrize(
    "point",
    first(2, ["append.ready:2", "append.committed:2", "append.begun", "append.synced:2",
              "append.done:3", "append.done:7"]),
)  # fmt: skip
def test_a_kill_anywhere_loses_no_line_of_a_file_and_doubles_none(
    headrace: Headrace, inbox: Path, point: str
) -> None:
    headrace.json("init")
    small = {"append_events": 13, "ingest_settle": 0}
    killed = headrace.process("ingest", inbox, crash_at=point, **small)
    assert killed.code == -9, killed
    done = headrace.run("ingest", inbox, "--json", **small)
    assert done.code == 0, done
    with open_lake(settings.load(headrace.home)) as lake:
        raws = [row[0] for row in lake.rows("SELECT raw FROM sys.events ORDER BY raw")]
        assert verify(lake).equal
    expected = [line for f in inbox.iterdir() for line in f.read_text().splitlines()]
    assert raws == sorted(expected)
    assert ingest(headrace, inbox)["files"] == 0


def test_two_that_land_files_at_once_do_not_land_one_twice(headrace: Headrace, inbox: Path) -> None:
    headrace.json("init")
    with lock_holder(headrace.home, "ingest") as pid:
        headrace.run("ingest", inbox).refused(1, "ingest lock", str(pid))
    with open_lake(settings.load(headrace.home)) as lake:
        with lake.home.lock("ingest", wait=0), pytest.raises(LockError):
            land(lake, inbox)
        assert lake.rows("SELECT * FROM sys.landed") == []


def test_a_format_or_folder_that_is_none_is_refused_in_one_line(
    headrace: Headrace, inbox: Path
) -> None:
    headrace.run("ingest", inbox / "nowhere").refused(2, "nowhere", "name a folder")
    headrace.run("ingest", inbox, "--format", "csv").refused(2, "mapping")
