"""What is in quarantine already is counted as seen again, and not listed a second time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from headrace.pipelines.ingest.append import append_lines, import_files
from headrace.pipelines.ingest.delimited import ImportedFile, RejectedRow
from headrace.pipelines.ingest.ndjson import Line
from headrace.pipelines.log import quarantine
from headrace.pipelines.log.embedded import Log
from tests.conformance.paths import append, conflicts, run_speed
from tests.conformance.streams import placed
from tests.e2e.command import Headrace
from tests.e2e.orders import events, write

if TYPE_CHECKING:
    from pathlib import Path

    from headrace.pipelines.lake.lake import Lake
    from tests.conftest import MakeLake

POISON = [b"not json", b'{"specversion": "1.0"}', b"\xff\xfe\x00"]


def test_a_file_that_comes_again_leaves_one_entry_a_line_and_counts_all_that_came(
    tmp_path: Path,
) -> None:
    headrace = Headrace(tmp_path / "home")
    path = write(tmp_path / "it's one.ndjson", [*events(3, seed=1), *POISON])
    first, again = headrace.json("append", path), headrace.json("append", path)
    assert (first["quarantined"], first["quarantined_known"]) == (3, 0)
    assert (again["quarantined"], again["quarantined_known"]) == (3, 3)
    assert first["accepted"] == again["accepted"] > 0
    assert headrace.json("status")["quarantined"] == 3
    listed = headrace.json("quarantine", "ls")
    assert listed["total"] == 3
    assert [entry["seen"] for entry in listed["entries"]] == [2, 2, 2]
    text = headrace.run("append", path).out
    assert "3 quarantined (3 of them known)" in text


def test_another_byte_place_or_reason_is_another_entry(lake: Lake) -> None:
    log = Log(lake)
    log.append([b"not json"], ["a:1"])
    for line, origin in ((b"not json", "a:2"), (b"Not json", "a:1"), (b"not json ", "a:1")):
        assert log.append([line], [origin]).quarantined_known == 0, (line, origin)
    long = b'{"x": "' + b"y" * 2_000 + b'"}'
    log.append([long], ["a:9"])
    lake.settings = lake.settings.model_copy(update={"max_event_bytes": 1024})
    assert log.append([long], ["a:9"]).quarantined_known == 0, "it is too long now, too"
    assert quarantine.count(lake) == 6


@pytest.mark.thorough
def test_the_same_line_twice_in_one_batch_at_one_place_is_one_entry(lake: Lake) -> None:
    done = Log(lake).append([b"bad", b"bad", b"bad"], ["python:1", "python:1", "python:2"])
    assert (done.quarantined, done.quarantined_known) == (3, 1)
    assert [entry.seen for entry in quarantine.entries(lake)] == [2, 1]


@pytest.mark.thorough
def test_rows_of_an_import_that_cannot_be_mapped_are_listed_once(
    lake: Lake, tmp_path: Path
) -> None:
    row = RejectedRow(7, b"a;b;\xe9", "price is 'x'; it must be a number")
    files = [ImportedFile(tmp_path / "a.csv", [], rejected=[row], rows=1)]
    assert import_files(lake, files).quarantined_known == 0
    again = import_files(lake, files)
    assert (again.quarantined, again.quarantined_known) == (1, 1)
    assert [entry.raw for entry in quarantine.entries(lake)] == [b"a;b;\xe9"]


@pytest.mark.thorough
def test_what_comes_again_after_its_entry_was_closed_opens_nothing(lake: Lake) -> None:
    line = placed("o1")[:-1] + b', "note": "' + b"x" * 2_000 + b'"}'
    generous = lake.settings
    lake.settings = generous.model_copy(update={"max_event_bytes": 1024})
    Log(lake).append([line], ["a:1"])
    lake.settings = generous
    assert quarantine.retry(lake).accepted == 1
    lake.settings = generous.model_copy(update={"max_event_bytes": 1024})
    assert Log(lake).append([line], ["a:1"]).quarantined_known == 1
    assert quarantine.count(lake) == 0


@pytest.mark.thorough
def test_a_redelivery_of_the_same_other_content_is_one_conflict_seen_again(
    make_lake: MakeLake,
) -> None:
    lake = make_lake(partitions=1)
    other = placed("o1", ("lamp", 9, "99"))
    append(lake, [placed("o1"), other])
    run_speed(lake, 10)
    (entry,) = quarantine.entries(lake)
    for run in (b"aaaaaaaaaaaa", b"bbbbbbbbbbbb"):
        marked = b'{"importid":"' + run + b'",' + other[1:]
        append(lake, [placed("o1"), other, marked])
        run_speed(lake, 10)
    (now,) = quarantine.entries(lake)
    assert (now.id, now.seen) == (entry.id, 5)
    assert set(conflicts(lake).values()) == {1}
    assert sorted(conflicts(lake)) == sorted(
        f"log partition 0 offset {offset}" for offset in (1, 3, 4, 6, 7)
    )


@pytest.mark.thorough
@pytest.mark.parametrize("table", ["quarantine_sightings", "quarantine_decisions"])
def test_a_home_of_an_earlier_version_opens_and_gets_what_it_lacks(
    make_lake: MakeLake, table: str
) -> None:
    old = make_lake()
    append_lines(old, [Line(b"bad", "a:1")])
    old.con.execute(f"DROP TABLE sys.{table}")
    old.close()
    with_reader = make_lake(read_only=True)
    assert [entry.seen for entry in quarantine.entries(with_reader)] == [1]
    lake = make_lake()
    assert append_lines(lake, [Line(b"bad", "a:1")]).quarantined_known == 1
    assert [entry.seen for entry in quarantine.entries(lake)] == [2]
    quarantine.discard(lake, [quarantine.entries(lake)[0].id], by="anna", reason="a test")
    assert quarantine.count(lake) == 0
