"""Damaged files are found, located and refused; what can be restored is, the rest is said."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest

from headrace.pipelines import settings
from headrace.pipelines.bootstrap import open_lake
from headrace.pipelines.errors import DamageError, HomeError, LogError
from headrace.pipelines.lake import backups, data_files, durable
from headrace.pipelines.lake import home as homes
from headrace.pipelines.speed.layer import Speed
from tests.e2e.command import Headrace
from tests.e2e.orders import events, write
from tests.faults import damage
from tests.faults.crashing import kill_at
from tests.faults.damage import Figures, Home
from tests.halves import first


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home with a base, deltas, merged and young segments, quarantine and backups."""
    return damage.make(tmp_path_factory.mktemp("damage"))


@pytest.fixture
def home(template: Home, tmp_path: Path) -> Home:
    """A copy of it, to be damaged."""
    return template.copy(tmp_path / "home")


def repeat(what: str, kind: str, seed: int) -> str:
    return f"damage.play(home, {what!r}, {kind!r}, random.Random({seed}), Figures())"


@pytest.mark.parametrize(
    ("what", "kind"),
    first(
        2,
        [
            ("base", "flip data"),
            ("segment", "truncate"),
            ("delta", "swap"),
            ("segment", "flip magic"),
            ("segment", "flip footer"),
            ("segment", "swap"),
            ("base", "delete"),
            ("base", "zero"),
            ("delta", "flip footer"),
            ("quarantine", "delete"),
        ],
    ),
)
def test_a_damaged_data_file_is_found_and_never_gives_a_wrong_number(
    home: Home, what: str, kind: str
) -> None:
    chance, figures = random.Random(f"{what} {kind} 7"), Figures()
    path = damage.damage(home, what, kind, chance)
    damage.ask(home, figures)
    damage.examined(home, path, figures)
    assert (figures.wrong, figures.found, figures.located) == (0, 1, 1), repeat(what, kind, 7)
    assert figures.refused + figures.answered == len(damage.NAMES)
    assert (figures.refused > 0) == (what in ("base", "delta"))


@pytest.mark.parametrize(
    ("what", "kind", "seed"),
    first(
        2,
        [
            ("delta", "zero", 2),
            ("catalog", "zero header", 1),
            ("segment", "flip data", 3),
            ("index", "flip data", 1),
        ],
    ),
)
def test_what_can_be_restored_is_exact_again_and_what_cannot_is_said(
    home: Home, what: str, kind: str, seed: int
) -> None:
    figures = Figures()
    damage.play(home, what, kind, random.Random(seed), figures, more=False)
    assert figures.wrong == 0, repeat(what, kind, seed)
    assert figures.repaired + figures.unrepairable == 1
    assert figures.repaired or what in ("segment", "quarantine")


def flipped(path: Path) -> Path:
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 4
    path.write_bytes(data)
    return path


def segment(home: Home, nth: int) -> Path:
    """A segment of the log: 0 is the merged one, the last the youngest."""
    with damage.opened(home.headrace) as at:
        found = sorted(
            data_files.files(at, [("sys", "events")]), key=lambda f: (f.first_row or 0, f.path)
        )
    return home.headrace.home / "lake" / found[nth].path


# Every path refuses to read what is damaged


@pytest.mark.parametrize(
    "command",
    [
        ["batch", "--engine", "duckdb"],
        ["replay", "--from", "beginning"],
        ["query", "SELECT 1", "--at", "2026-03-02"],
        ["log", "tail"],
        ["maintain"],
    ],
)
def test_a_damaged_segment_is_read_by_nobody(home: Home, command: list[str]) -> None:
    path = flipped(segment(home, 0))
    outcome = home.headrace.run(*command)
    assert outcome.code == 1
    assert outcome.out == ""
    said = outcome.err.splitlines()[-1]
    for word in (path.name, "partition 0 offsets 0-", "has other content", "headrace doctor"):
        assert word in said


def test_a_damaged_new_segment_is_not_folded_into_the_views(home: Home) -> None:
    headrace = home.headrace
    headrace.json("append", home.more)
    before = headrace.rows("SELECT * FROM revenue_by_day ORDER BY ALL")
    whole = segment(home, -1).read_bytes()
    path = flipped(segment(home, -1))
    headrace.run("speed", "--once").refused(1, path.name, "partition", "has other content")
    assert headrace.rows("SELECT * FROM revenue_by_day ORDER BY ALL") == before
    path.write_bytes(whole)
    headrace.json("speed", "--once")
    assert headrace.json("verify")["equal"] is True


def test_damaged_deltas_are_not_merged_into_a_file_that_looks_whole(home: Home) -> None:
    path = flipped(damage.target(home, "delta", random.Random(5)))
    home.headrace.run("maintain").refused(1, path.name, "deltas on base")


def test_a_damaged_quarantine_file_is_not_listed(home: Home) -> None:
    path = flipped(damage.target(home, "quarantine", random.Random(5)))
    home.headrace.run("quarantine", "ls").refused(1, path.name, "quarantine")


def test_a_run_of_the_index_that_was_changed_is_built_again(home: Home) -> None:
    run = flipped(damage.target(home, "index", random.Random(5)))
    home.headrace.json("append", home.more)
    home.headrace.json("speed", "--once")
    assert home.headrace.json("verify")["equal"] is True
    assert not run.exists() or run.name not in (run.parent / "manifest.json").read_text()


def test_an_open_reader_notices_damage_at_the_next_commit(home: Home) -> None:
    sql = "SELECT * FROM revenue_by_day"
    with damage.serving.connect(home.headrace.home, threads=1) as served:
        served.query(sql)
        for path in (home.headrace.home / "lake").glob("g1/b*_revenue_by_day/**/*.parquet"):
            flipped(path)
        home.headrace.json("append", home.more)
        home.headrace.json("speed", "--once")
        with pytest.raises(DamageError, match="revenue_by_day"):
            served.query(sql)
        assert served.query("SELECT count(*) FROM order_funnel").rows


def test_a_file_that_was_never_recorded_is_refused(home: Home) -> None:
    chosen = settings.load(home.headrace.home, environ={}, threads=1)
    with open_lake(chosen) as at:
        name = segment(home, -1).relative_to(at.home.data).as_posix()
        at.con.execute(f"DELETE FROM sys.files WHERE path = '{name}'")
    home.headrace.run("verify").refused(1, name, "was never recorded")


# Homes, catalogs and logs that do not belong together


def test_a_home_whose_marker_is_gone_is_not_begun_anew(home: Home) -> None:
    catalog = home.headrace.home / "catalog.sqlite"
    (home.headrace.home / "home.json").unlink()
    before = catalog.read_bytes()
    for command in (["status"], ["append", home.more], ["init"]):
        home.headrace.run(*command).refused(1, "no home.json", "headrace doctor --repair")
    assert catalog.read_bytes() == before
    assert home.headrace.run("doctor", "--repair").code == 0
    assert home.headrace.json("verify")["equal"] is True


def test_a_marker_with_other_partitions_is_refused(home: Home) -> None:
    marker = home.headrace.home / "home.json"
    marker.write_text(marker.read_text().replace('"partitions": 2', '"partitions": 3'))
    home.headrace.run("append", home.more).refused(1, "other content", "headrace doctor")


def test_a_home_of_the_format_before_is_refused_with_the_remedy(home: Home) -> None:
    marker = home.headrace.home / "home.json"
    marker.write_text(marker.read_text().replace('"format": 2', '"format": 1'))
    home.headrace.run("status").refused(1, "format 1", "import the events into a new home")


def older(home: Home) -> Path:
    """Put back a copy of the catalog over the present one, as somebody might by hand."""
    catalog = home.headrace.home / "catalog.sqlite"
    copy = sorted((home.headrace.home / "backups").glob("catalog-*.sqlite"))[-1]
    shutil.copy(copy, catalog)
    return catalog


def test_an_older_copy_of_the_catalog_is_refused_and_what_came_after_it_restored(
    home: Home,
) -> None:
    catalog = older(home)
    for command in (["status"], ["append", home.more], ["speed", "--once"], ["maintain"]):
        home.headrace.run(*command).refused(1, str(catalog), "older than the lake", "doctor")
    damage.repair(home, Figures(), lost=False, more=False)


@pytest.mark.thorough
def test_of_two_segments_that_claim_the_same_offsets_the_later_written_is_taken(
    home: Home, tmp_path: Path
) -> None:
    """The earlier one is of an append that was killed before it committed."""
    headrace = home.headrace
    dead = write(tmp_path / "dead.ndjson", events(3, seed=500))
    kill_at("append.ready", headrace, "append", dead)
    headrace.json("append", home.more)
    headrace.json("speed", "--once")
    expected = headrace.rows("SELECT * FROM orders ORDER BY ALL")
    older(home)
    assert headrace.run("doctor", "--repair").code == 0
    headrace.json("speed", "--once")
    assert headrace.rows("SELECT * FROM orders ORDER BY ALL") == expected
    assert headrace.json("verify")["equal"] is True


@pytest.mark.thorough
def test_the_catalog_of_another_home_is_refused_and_our_own_put_back(
    home: Home, tmp_path: Path
) -> None:
    other = Headrace(tmp_path / "other")
    other.json("append", home.more)
    shutil.copy(other.home / "catalog.sqlite", home.headrace.home / "catalog.sqlite")
    home.headrace.run("status").refused(1, "is not the one this home was made with")
    damage.repair(home, Figures(), lost=False, more=False)


def test_a_catalog_without_any_copy_is_said_to_be_lost(home: Home) -> None:
    shutil.rmtree(home.headrace.home / "backups")
    (home.headrace.home / "catalog.sqlite").unlink()
    home.headrace.run("status").refused(1, "is missing", "headrace doctor")
    home.headrace.run("doctor", "--repair").refused(1, "no whole copy", "--from")
    assert not (home.headrace.home / "catalog.sqlite").exists()


@pytest.mark.thorough
def test_a_file_is_taken_from_a_folder_that_is_named(template: Home, home: Home) -> None:
    path = segment(home, -1)
    path.unlink()
    lost = home.headrace.run("doctor", "--repair", "--json")
    (said,) = [r["what"] for r in json.loads(lost.out)["repairs"] if not r["restored"]]
    assert lost.code == 1
    assert all(word in said for word in (path.name, "partition 0 offsets", "rows"))
    done = home.headrace.run("doctor", "--repair", "--from", template.headrace.home)
    assert done.code == 0, done.out
    assert home.headrace.json("verify")["equal"] is True


def test_a_position_beyond_the_logs_end_is_refused(home: Home) -> None:
    end = home.headrace.json("status")["end"]
    beyond = json.dumps({**end, "0": end["0"] + 1})
    outcome = home.headrace.run("query", "SELECT 1", "--at", beyond)
    outcome.refused(2, "the log has no position", "it ends at")


# What holds it


def test_every_data_file_has_its_digest_and_those_of_files_that_are_gone_are_dropped(
    home: Home,
) -> None:
    home.headrace.json("maintain", keep_snapshots=0)
    with damage.opened(home.headrace) as at:
        named = data_files.files(at)
        recorded = {path for (path,) in at.rows("SELECT path FROM sys.files")}
    assert all(f.digest == durable.digest(home.headrace.home / "lake" / f.path) for f in named)
    on_disk = {
        p.relative_to(home.headrace.home / "lake").as_posix()
        for p in (home.headrace.home / "lake").rglob("*.parquet")
    }
    assert {f.path for f in named} <= recorded <= on_disk


def test_a_merge_that_dies_before_its_digests_are_recorded_leaves_nothing_damaged(
    home: Home,
) -> None:
    kill_at("maintenance.done:3", home.headrace, "maintain")
    assert (home.headrace.home / "merged.json").exists()
    figures = Figures()
    damage.ask(home, figures)
    assert (figures.answered, figures.wrong) == (len(damage.NAMES), 0)
    home.headrace.json("maintain")
    assert not (home.headrace.home / "merged.json").exists()
    assert home.headrace.run("doctor").code == 0


@pytest.mark.thorough
def test_the_newest_two_copies_of_the_catalog_are_kept_and_whole(home: Home) -> None:
    at = homes.open_home(home.headrace.home)
    for _ in range(2):
        home.headrace.json("append", home.more)
        home.headrace.json("maintain")
    kept = backups.kept(at)
    assert len(kept) == 2
    assert kept[0].snapshot > kept[1].snapshot
    assert home.headrace.run("doctor").code == 0


def test_files_that_were_checked_at_a_snapshot_are_not_looked_at_again(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[Path] = []
    digest = durable.digest
    monkeypatch.setattr(durable, "digest", lambda path: hashed.append(path) or digest(path))
    with damage.serving.connect(home.headrace.home, threads=1) as served:
        served.query("SELECT count(*) FROM country_sales")
        first = len(hashed)
        served.query("SELECT sum(net) FROM country_sales")
    assert first > 0
    assert len(hashed) == first


def test_the_speed_layer_hashes_new_segments_only(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.headrace.json("append", home.more)
    hashed: list[Path] = []
    digest = durable.digest
    monkeypatch.setattr(durable, "digest", lambda path: hashed.append(path) or digest(path))
    chosen = settings.load(home.headrace.home, environ={}, threads=1)
    newest = segment(home, -1)
    with open_lake(chosen) as at, Speed.open(at) as speed:
        hashed.clear()
        speed.run()
    assert [p for p in hashed if p.parent.name == "events"] == [newest]


def test_a_shorter_log_under_the_same_views_is_refused(home: Home) -> None:
    chosen = settings.load(home.headrace.home, environ={}, threads=1)
    with open_lake(chosen) as at:
        at.con.execute("DELETE FROM sys.appends WHERE append_no > 2")
        with Speed.open(at) as speed, pytest.raises(LogError, match="truncated or replaced"):
            speed.run()
    found = json.loads(home.headrace.run("doctor", "--json").out)["findings"]
    assert any(f["check"] == "log" and f["state"] == "wrong" for f in found)


def test_a_home_that_is_no_home_has_no_doctor(tmp_path: Path) -> None:
    Headrace(tmp_path / "nowhere").run("doctor").refused(1, "no directory", "--home")
    with pytest.raises(HomeError):
        homes.open_home(tmp_path)
