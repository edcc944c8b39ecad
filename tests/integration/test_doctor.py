"""The doctor looks everywhere, changes nothing unless it is told to, and says what to do."""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from headrace.pipelines import settings
from headrace.pipelines.bootstrap import open_lake
from headrace.pipelines.lake import data_files, home
from headrace.pipelines.lake.lake import Lake
from headrace.pipelines.operations.doctor import examine
from tests.e2e.command import REPOSITORY, Headrace, lock_holder
from tests.e2e.orders import events, write
from tests.integration.conftest import nothing_lost

CHECKS = {
    "home", "catalog", "backups", "leftovers", "space", "java", "extensions", "permissions",
    "locks", "data files", "footers", "orphans", "log", "generations", "index", "clock",
    "producers", "erasure",
}  # fmt: skip


def findings(headrace: Headrace, check: str | None = None) -> list[dict[str, Any]]:
    """What the doctor says, of one check or of all."""
    found = json.loads(headrace.run("doctor", "--json").out)["findings"]
    return [f for f in found if check in (None, f["check"])]


def lake_of(headrace: Headrace) -> Lake:
    return open_lake(settings.load(headrace.home, environ={}, threads=1))


def contents(home: Path) -> dict[str, bytes]:
    """All that a reader could see of a home; locks, and what SQLite keeps beside, apart."""
    return {
        str(p.relative_to(home)): p.read_bytes()
        for p in home.rglob("*")
        if p.is_file() and p.parent.name != "locks" and not p.name.endswith(("-wal", "-shm"))
    }


def test_a_whole_home_has_nothing_wrong_and_is_left_as_it_is(filled: Headrace) -> None:
    before = contents(filled.home)
    found = findings(filled)
    assert {f["check"] for f in found} == CHECKS
    assert [f for f in found if f["state"] == "wrong"] == []
    assert filled.run("doctor").code == 0
    assert contents(filled.home) == before


def test_repairing_a_whole_home_does_nothing(filled: Headrace) -> None:
    before = contents(filled.home)
    done = filled.json("doctor", "--repair")
    assert (done["repairs"], done["wrong"]) == ([], 0)
    assert contents(filled.home) == before
    nothing_lost(filled)


def test_each_finding_that_is_wrong_says_what_where_and_what_to_do(filled: Headrace) -> None:
    path = next((filled.home / "lake" / "sys" / "events").glob("*.parquet"))
    path.unlink()
    (wrong,) = [f for f in findings(filled) if f["state"] == "wrong"]
    assert wrong["check"] == "data files"
    assert "is missing: log, partition " in wrong["what"]
    assert " offsets 0-" in wrong["what"]
    assert wrong["where"] == str(path)
    assert wrong["remedy"] == "headrace doctor --repair"
    outcome = filled.run("doctor")
    assert outcome.code == 1
    assert outcome.out.endswith("1 wrong\n")


@pytest.mark.parametrize("name", home.LOCKS)
def test_each_lock_that_is_held_is_told(filled: Headrace, name: str) -> None:
    with home.open_home(filled.home).lock(name, wait=0):
        (note,) = findings(filled, "locks")
    assert (note["state"], note["where"]) == ("note", name)
    assert f"the {name} lock" in note["what"]
    (fine,) = findings(filled, "locks")
    assert fine["state"] == "ok"


def test_the_list_of_locks_is_that_of_those_that_are_taken(filled: Headrace) -> None:
    taken = {
        name
        for folder in ("pipelines", "jobs", "flows")
        for file in (REPOSITORY / folder).rglob("*.py")
        for name in re.findall(r"\.lock\(\s*\"(\w+)\"", file.read_text("utf-8"))
    }
    assert taken == set(home.LOCKS)
    with (
        pytest.raises(ValueError, match="no lock 'bach'"),
        home.open_home(filled.home).lock("bach", wait=0),
    ):
        pass
    assert not list((filled.home / "locks").glob("bach*"))


def test_who_holds_a_lock_is_named_and_nothing_is_repaired_meanwhile(filled: Headrace) -> None:
    with lock_holder(filled.home, "speed") as pid:
        (note,) = findings(filled, "locks")
        assert note["state"] == "note"
        assert f"process {pid} since" in note["what"]
        filled.run("doctor", "--repair").refused(1, "speed lock", f"process {pid}")


def test_a_segment_beyond_the_logs_end_is_a_note(filled: Headrace, tmp_path: Path) -> None:
    more = write(tmp_path / "more.ndjson", events(2, seed=77))
    assert filled.process("append", more, crash_at="append.ready").code < 0
    (note,) = findings(filled, "orphans")
    assert note["state"] == "note"
    assert "holds events beyond the log's end: partition" in note["what"]
    assert filled.json("doctor", "--repair")["repairs"] == []  # nobody was told that it is in
    nothing_lost(filled)


def test_a_record_from_the_future_is_a_note(filled: Headrace, tmp_path: Path) -> None:
    with lake_of(filled) as at:
        now = at.clock()
        at.clock = lambda: now + timedelta(hours=3)
        with at.writing("append") as tx:
            tx.record("cuts", 1, at.clock(), '{"0": 0}', 1)
            tx.execute(f"UPDATE sys.appends SET recorded_at = TIMESTAMP '{at.clock()}'")
    (note,) = findings(filled, "clock")
    assert note["state"] == "note"
    assert "the newest record is of" in note["what"]


def test_scratch_of_a_dead_process_is_a_note(filled: Headrace) -> None:
    (filled.home / "staging" / "left").mkdir(parents=True)
    (note,) = findings(filled, "leftovers")
    assert (note["state"], note["remedy"]) == ("note", "headrace maintain")


def test_a_number_of_rows_that_is_not_the_files_own_is_found(filled: Headrace) -> None:
    with lake_of(filled) as at:
        at.side.execute(
            f"UPDATE {data_files.METADATA}.ducklake_data_file SET record_count = record_count + 1 "
            "WHERE path LIKE 'append-%'"
        )
    (wrong, *_) = findings(filled, "footers")
    assert wrong["state"] == "wrong"
    assert "rows, the catalog says" in wrong["what"]


def test_bounds_that_are_not_the_files_own_are_found(filled: Headrace) -> None:
    with lake_of(filled) as at:
        at.side.execute(
            f"UPDATE {data_files.METADATA}.ducklake_file_column_stats SET max_value = '1' WHERE "
            f"column_id = (SELECT column_id FROM {data_files.METADATA}.ducklake_column "
            "WHERE column_name = 'offset') AND data_file_id IN (SELECT data_file_id FROM "
            f"{data_files.METADATA}.ducklake_data_file WHERE path LIKE 'append-%')"
        )
    (wrong, *_) = findings(filled, "footers")
    assert wrong["state"] == "wrong"
    assert "has offset 0 to" in wrong["what"]


def test_a_broken_seam_is_repaired_from_the_log(filled: Headrace) -> None:
    with lake_of(filled) as at:
        at.con.execute("UPDATE sys.commits SET from_position = to_position")
    assert [f["state"] for f in findings(filled, "generations")] == ["wrong"]
    (done,) = filled.json("doctor", "--repair")["repairs"]
    assert "seam is broken" in done["what"]
    nothing_lost(filled)
    assert filled.json("verify")["equal"] is True


@pytest.mark.thorough
def test_a_damaged_generation_that_is_not_live_is_dropped(filled: Headrace) -> None:
    filled.json("replay", "--from", "beginning", "--promote")
    with lake_of(filled) as at:
        at.con.execute("UPDATE sys.commits SET from_position = to_position WHERE generation = 1")
    done = filled.json("doctor", "--repair")
    assert [r["what"] for r in done["repairs"]] == ["generation 1: damaged, and not live; dropped"]
    assert [g["generation"] for g in filled.json("generations")["generations"]] == [2]
    nothing_lost(filled)


def test_a_check_that_cannot_look_says_so_and_the_others_go_on(filled: Headrace) -> None:
    with lake_of(filled) as at:
        at.con.execute("DROP TABLE sys.bases")
    found = findings(filled)
    assert {f["check"] for f in found} == CHECKS
    blind = [f for f in found if f["what"].startswith("could not be looked at")]
    assert {f["check"] for f in blind} == {"generations", "clock"}


def test_the_checks_are_a_list_that_can_be_added_to() -> None:
    from headrace.pipelines.operations.doctor.home_checks import HOME_CHECKS
    from headrace.pipelines.operations.doctor.kafka_checks import KAFKA_CHECKS
    from headrace.pipelines.operations.doctor.lake_checks import LAKE_CHECKS

    checks = (*HOME_CHECKS, *LAKE_CHECKS, *KAFKA_CHECKS)
    assert {check.__name__ for check in checks} == {
        f"check_{name.replace(' ', '_')}" for name in {*CHECKS, "broker", "topic"}
    }
    assert examine.wrong([]) == []


def test_a_catalog_that_was_put_back_lets_readers_and_writers_be(filled: Headrace) -> None:
    filled.json("maintain")  # which keeps a copy
    for file in filled.home.glob("catalog.sqlite*"):
        file.unlink()
    filled.json("doctor", "--repair")
    with contextlib.closing(sqlite3.connect(filled.home / "catalog.sqlite")) as catalog:
        assert catalog.execute("PRAGMA journal_mode").fetchone() == ("wal",)
