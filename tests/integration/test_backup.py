"""`headrace backup` and `headrace restore`: a whole home, proven before it is there."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from headrace.pipelines import bootstrap, settings
from headrace.pipelines.lake import backups
from headrace.pipelines.lake import home as homes
from tests.e2e.command import Headrace, lock_holder, stopped_at_end
from tests.e2e.orders import Truth, events, write
from tests.faults.crashing import kill_at
from tests.halves import first
from tests.integration.conftest import GOOD, nothing_lost

MORE = events(6, seed=31)
SAVE = ("save.ready", "save.begun", "save.written", "save.synced")
"""Until then, what the folder held before is what it holds."""
SAVED = ("save.done", "save.cleaned")
RESTORE = (
    "restore.begun", "restore.written", "restore.written:4", "restore.synced", "certificate.done",
    "restore.ready",
)  # fmt: skip


def rest_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "backup.json").read_text("utf-8"))
    return found


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def grow(headrace: Headrace, scratch: Path, lines: list[bytes]) -> None:
    headrace.json("append", write(scratch / "more.ndjson", lines))
    headrace.json("speed", "--once")


def restored(folder: Path, home: Path) -> Headrace:
    """The home that a backup gives; it must be proven."""
    made = Headrace(home)
    told = made.json("restore", folder)
    assert told["certificate"]["equal"] is True
    assert told["home"] == str(home)
    return made


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_home_that_was_restored_is_the_home_and_goes_on(filled: Headrace, tmp_path: Path) -> None:
    poison = write(tmp_path / "poison.ndjson", [*MORE[:3], b'{"specversion": "1.0"}'])
    filled.json("append", poison)
    filled.json("speed", "--once")
    (filled.home / "views").mkdir(exist_ok=True)
    view = "SELECT country, count(*) AS n FROM orders WHERE country IS NOT NULL GROUP BY country"
    (filled.home / "views" / "mine.sql").write_text(view, "utf-8")
    (filled.home / "expectations").mkdir()
    (filled.home / "expectations" / "served.toml").write_text("", "utf-8")
    (filled.home / "headrace.toml").write_text("commit_events = 7\n", "utf-8")
    (filled.home / "headrace.toml").chmod(0o600)
    folder = tmp_path / "a b" / "it's"
    told = filled.json("backup", folder)
    assert (told["end"], told["position"]) == (told["position"], filled.json("status")["position"])
    made = restored(folder, tmp_path / "c 'd'" / "new home")
    for name in ("views/mine.sql", "expectations/served.toml", "headrace.toml", "home.json"):
        assert (made.home / name).read_bytes() == (filled.home / name).read_bytes()
    assert (made.home / "headrace.toml").stat().st_mode & 0o777 == 0o600
    for each in ("quarantine", "log"):
        arguments = (each, "ls" if each == "quarantine" else "tail")
        assert made.run(*arguments).out == filled.run(*arguments).out
    assert made.json("status")["quarantined"] == 1
    grow(made, tmp_path, MORE[3:])
    assert made.json("batch", "--engine", "duckdb")["generation"] == 2  # with the view of its own
    Truth.of([*GOOD, *MORE]).check(made)
    assert made.json("verify")["equal"] is True
    assert made.json("doctor")["wrong"] == 0
    assert homes.open_home(made.home).log_id == homes.open_home(filled.home).log_id


def test_the_next_backup_copies_only_what_is_new_and_keeps_no_more_than_it_names(
    filled: Headrace, tmp_path: Path
) -> None:
    folder = tmp_path / "kept"
    first = filled.json("backup", folder)
    again = filled.json("backup", folder)
    assert (again["copied"], again["kept"]) == (0, first["copied"])
    grow(filled, tmp_path, MORE)
    filled.json("batch", "--engine", "duckdb")
    filled.json("maintain", keep_snapshots=0)
    third = filled.json("backup", folder)
    assert third["copied"] > 0
    assert third["removed"] > 0  # the deltas that are in the base now
    names = {kept["at"] for kind in ("data", "rest") for kept in rest_of(folder)[kind].values()}
    assert set(content(folder)) == {*names, "backup.json", "lock"}
    Truth.of([*GOOD, *MORE]).check(restored(folder, tmp_path / "new"))


@pytest.mark.thorough
def test_no_file_of_a_backup_is_a_second_name_so_damage_is_not_shared(
    filled: Headrace, tmp_path: Path
) -> None:
    folder = tmp_path / "kept"
    filled.json("backup", folder)
    assert {p.stat().st_nlink for p in folder.rglob("*") if p.is_file()} == {1}
    for file in filled.home.rglob("*.parquet"):
        flip(file)
    nothing_lost(restored(folder, tmp_path / "new"))
    # And of the damaged home there is no new backup, while the old one stays.
    before = content(folder)
    for file in (folder / "lake").rglob("*.parquet"):
        flip(file)
    filled.run("backup", folder).refused(1, "has other content than was recorded", "an earlier one")
    assert rest_of(folder)["snapshot"] == json.loads(before["backup.json"])["snapshot"]


@pytest.mark.thorough
def test_a_damaged_backup_gives_no_home_and_the_next_backup_mends_it(
    filled: Headrace, tmp_path: Path
) -> None:
    folder, made = tmp_path / "kept", Headrace(tmp_path / "new")
    filled.json("backup", folder)
    for kind in ("data", "rest"):
        kept = next(iter(rest_of(folder)[kind].values()))
        flip(folder / kept["at"])
        outcome = made.run("restore", folder)
        outcome.refused(1, "the backup is damaged", kept["at"], "nothing was restored")
        assert not made.home.exists()
        assert not list(tmp_path.glob(".new*"))
        assert filled.json("backup", folder)["copied"] == (kind == "data")
    (folder / rest_of(folder)["rest"]["home.json"]["at"]).unlink()
    made.run("restore", folder).refused(1, "is missing")
    flip(folder / "backup.json")
    made.run("restore", folder).refused(1, "backup.json")


@pytest.mark.thorough
def test_a_backup_of_a_later_format_is_not_guessed_at(filled: Headrace, tmp_path: Path) -> None:
    filled.json("backup", tmp_path / "kept")
    file = tmp_path / "kept" / "backup.json"
    file.write_text(file.read_text("utf-8").replace('"format": 1', '"format": 9'), "utf-8")
    made = Headrace(tmp_path / "new")
    made.run("restore", tmp_path / "kept").refused(1, "format 9", "install a newer one")


@pytest.mark.thorough
def test_what_is_there_is_never_touched_by_a_restore(filled: Headrace, tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    filled.json("backup", folder)
    before = content(filled.home)
    filled.run("restore", folder).refused(1, "there is something at", "another home with --home")
    assert content(filled.home) == before
    (tmp_path / "file").write_text("mine", "utf-8")
    (tmp_path / "full.unproven").mkdir()
    (tmp_path / "full.unproven" / "x").write_text("mine", "utf-8")
    Headrace(tmp_path / "file").run("restore", folder).refused(1, "is there and no folder")
    Headrace(tmp_path / "full").run("restore", folder).refused(1, "full.unproven already")
    Headrace(folder / "in").run("restore", folder).refused(1, "lies in the backup")
    (tmp_path / "empty").mkdir()
    nothing_lost(restored(folder, tmp_path / "empty"))


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("copy/kept", "lie in each other"),
        (".", "lie in each other"),
        ("file", "is a file; name a folder"),
        ("full", "is not empty and no backup (it holds 'mine')"),
    ],
)
def test_a_folder_that_cannot_hold_a_backup_is_refused(
    filled: Headrace, tmp_path: Path, place: str, said: str
) -> None:
    (tmp_path / "file").write_text("x", "utf-8")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("x", "utf-8")
    (tmp_path / "full" / "lock").write_text("x", "utf-8")
    filled.run("backup", tmp_path / place).refused(2, said)
    assert not (tmp_path / "copy" / "kept").exists()
    assert {p.name for p in (tmp_path / "full").iterdir()} == {"mine", "lock"}


@pytest.mark.thorough
def test_what_is_no_backup_is_not_restored(tmp_path: Path) -> None:
    made = Headrace(tmp_path / "new")
    made.run("restore", tmp_path / "none").refused(2, "there is no folder")
    (tmp_path / "some").mkdir()
    made.run("restore", tmp_path / "some").refused(2, "is no backup (it has no backup.json)")
    made.run("backup", tmp_path / "kept").refused(2, "there is no home at")
    assert not (tmp_path / "kept").exists()


@pytest.mark.thorough
def test_a_backup_is_not_overwritten_by_another_log_or_another_way_of_the_same(
    filled: Headrace, tmp_path: Path
) -> None:
    folder = tmp_path / "kept"
    other = Headrace(tmp_path / "other")
    other.json("append", write(tmp_path / "other.ndjson", GOOD))
    other.json("backup", tmp_path / "of another")
    filled.run("backup", tmp_path / "of another").refused(1, "holds a backup of another log")
    filled.json("backup", folder)
    fork = restored(folder, tmp_path / "fork")
    grow(filled, tmp_path, MORE)
    filled.json("backup", folder)
    kept = content(folder)
    fork.run("backup", folder).refused(1, "holds appends that this home does not have")
    grow(fork, tmp_path, MORE)  # the same events, and yet another append
    fork.run("backup", folder).refused(1, "went another way", "Name another folder")
    assert content(folder) == kept
    fork.json("backup", tmp_path / "of its own")


@pytest.mark.thorough
def test_a_number_that_is_wrong_in_the_backup_is_not_put_into_place(
    filled: Headrace, tmp_path: Path
) -> None:
    with bootstrap.open_lake(settings.load(filled.home)) as lake:
        # Small tables are rows of the catalog, where no digest looks.
        lake.con.execute("UPDATE sys.commits SET events = events")
        lake.con.execute("INSERT INTO g1.d1_country_sales FROM g1.d1_country_sales LIMIT 1")
        backups.mark(lake.home, lake.snapshot())
    filled.json("backup", tmp_path / "kept")
    made = Headrace(tmp_path / "new")
    outcome = made.run("restore", tmp_path / "kept", "--json")
    assert outcome.code == 1
    told = json.loads(outcome.out)
    assert told["certificate"]["equal"] is False
    assert told["home"] == f"{made.home}.unproven"
    assert not made.home.exists()
    assert Headrace(tmp_path / "new.unproven").run("verify").code == 1  # to be looked at
    made.run("restore", tmp_path / "kept").refused(1, "new.unproven already")


@pytest.mark.thorough
def test_a_backup_beside_writers_is_one_moment_and_whole(filled: Headrace, tmp_path: Path) -> None:
    done, failed = threading.Event(), list[str]()

    def write_on() -> None:
        for seed in range(100, 400):
            if done.is_set():
                return
            lines = write(tmp_path / "stream.ndjson", events(3, seed))
            outcome = Headrace(filled.home).process("append", lines, lock_wait=60)
            failed.extend([outcome.err] * (outcome.code != 0))

    running = filled.start("speed", "--follow", poll=0.01, lock_wait=60)
    with stopped_at_end(running):
        writer = threading.Thread(target=write_on)
        writer.start()
        try:
            told = [filled.json("backup", tmp_path / "kept 0")]
            while len(told) < 4 or (told[0]["end"] == told[-1]["end"] and len(told) < 100):
                told.append(filled.json("backup", tmp_path / f"kept {len(told) % 2}"))
        finally:
            done.set()
            writer.join()
    assert failed == []
    assert told[0]["end"] != told[-1]["end"], "events came in meanwhile"
    for nth in (len(told) - 2, len(told) - 1):
        number, last = nth % 2, told[nth]
        made = restored(tmp_path / f"kept {number}", tmp_path / f"new {number}")
        assert made.json("status")["end"] == last["end"]
        assert made.json("speed", "--once")["events"] == sum(last["end"].values()) - sum(
            last["position"].values()
        )


@pytest.mark.thorough
def test_maintenance_deletes_nothing_while_a_backup_is_made(
    filled: Headrace, tmp_path: Path
) -> None:
    grow(filled, tmp_path, MORE)
    filled.json("batch", "--engine", "duckdb")
    with lock_holder(filled.home, "backup"):
        before = set(filled.home.rglob("*.parquet"))
        assert filled.json("maintain", keep_snapshots=0)["files_deleted"] == 0
        assert set(filled.home.rglob("*.parquet")) >= before
        filled.run("backup", tmp_path / "kept", lock_wait=0).refused(1, "the backup lock of")
    assert filled.json("maintain", keep_snapshots=0)["files_deleted"] > 0


@pytest.mark.thorough
@pytest.mark.parametrize("point", first(1, SAVE))
def test_a_backup_that_was_killed_is_none_and_the_one_before_it_is_whole(
    filled: Headrace, tmp_path: Path, point: str
) -> None:
    folder = tmp_path / "kept"
    kill_at(point, filled, "backup", folder)
    made = Headrace(tmp_path / "new")
    made.run("restore", folder).refused(1, "holds no finished backup", "interrupted")
    filled.json("backup", folder)
    grow(filled, tmp_path, MORE)
    kill_at(point, filled, "backup", folder)
    outcome = made.run("restore", folder)
    assert outcome.code == 0, outcome.err
    assert "a later backup was interrupted, so this is the one of" in outcome.err
    nothing_lost(made)
    filled.json("backup", folder)
    Truth.of([*GOOD, *MORE]).check(restored(folder, tmp_path / "newer"))


@pytest.mark.thorough
@pytest.mark.parametrize("point", first(1, SAVED))
def test_a_backup_that_was_killed_after_its_end_is_whole(
    filled: Headrace, tmp_path: Path, point: str
) -> None:
    folder = tmp_path / "kept"
    filled.json("backup", folder)
    grow(filled, tmp_path, MORE)
    kill_at(point, filled, "backup", folder)
    Truth.of([*GOOD, *MORE]).check(restored(folder, tmp_path / "new"))
    assert filled.json("backup", folder)["copied"] == 0


@pytest.mark.thorough
def test_a_restore_that_was_killed_leaves_no_home_and_is_simply_done_again(
    filled: Headrace, tmp_path: Path
) -> None:
    folder, made = tmp_path / "kept", Headrace(tmp_path / "new")
    filled.json("backup", folder)
    for point in RESTORE:
        kill_at(point, made, "restore", folder)
        assert not made.home.exists(), point
        made.run("status").refused(2, "there is no home at")
    restored(folder, made.home)
    nothing_lost(made)
    assert not list(tmp_path.glob(".new*"))
    kill_at("restore.done", Headrace(tmp_path / "other"), "restore", folder)
    nothing_lost(Headrace(tmp_path / "other"))


@pytest.mark.thorough
def test_a_restored_catalog_is_in_the_mode_that_lets_readers_and_writers_be(
    filled: Headrace, tmp_path: Path
) -> None:
    import sqlite3
    from contextlib import closing

    filled.json("backup", tmp_path / "kept")
    made = restored(tmp_path / "kept", tmp_path / "new")
    with closing(sqlite3.connect(made.home / "catalog.sqlite")) as catalog:
        assert catalog.execute("PRAGMA journal_mode").fetchone() == ("wal",)


@pytest.mark.thorough
def test_an_older_catalog_put_into_a_restored_home_is_refused(
    filled: Headrace, tmp_path: Path
) -> None:
    filled.json("backup", tmp_path / "kept")
    made = restored(tmp_path / "kept", tmp_path / "new")
    (catalog,) = (tmp_path / "kept").glob("state-*/catalog.sqlite")
    for file in made.home.glob("catalog.sqlite*"):
        file.unlink()
    shutil.copyfile(catalog, made.home / "catalog.sqlite")
    made.run("status").refused(1, "is older than the lake")
