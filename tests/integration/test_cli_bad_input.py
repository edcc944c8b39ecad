"""Everything a person, a disk or another process can do wrong: one clear line, and nothing lost."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipelines import lake, quarantine, settings
from tests.e2e.command import (
    SCRIPT,
    Headrace,
    Outcome,
    environment,
    lock_holder,
    stopped_at_end,
)
from tests.e2e.orders import Truth, events, write

GOOD = events(8, seed=11)


@pytest.fixture
def headrace(tmp_path: Path) -> Headrace:
    """The command on a home that is not there yet."""
    return Headrace(tmp_path / "home")


@pytest.fixture(scope="module")
def filled_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a few orders in log and views."""
    folder = tmp_path_factory.mktemp("filled")
    headrace = Headrace(folder / "home")
    headrace.json("append", write(folder / "good.ndjson", GOOD))
    headrace.json("speed", "--once")
    return headrace.home


@pytest.fixture
def filled(filled_home: Path, tmp_path: Path) -> Headrace:
    """The command on a copy of that home."""
    return Headrace(shutil.copytree(filled_home, tmp_path / "copy"))


def nothing_lost(headrace: Headrace) -> None:
    """Check that log and views are as the filled home had them."""
    assert headrace.json("status")["events"] == len(GOOD)
    Truth.of(GOOD).check(headrace)


# Files that are no events


def test_a_directory_is_no_input(headrace: Headrace, tmp_path: Path) -> None:
    headrace.run("append", tmp_path).refused(2, str(tmp_path), "is a directory")


def test_one_missing_file_stops_an_append_before_it_begins(
    headrace: Headrace, tmp_path: Path
) -> None:
    good = write(tmp_path / "good.ndjson", GOOD)
    headrace.run("append", good, tmp_path / "none.ndjson").refused(
        2, "none.ndjson", "No such file", "check the name"
    )
    assert headrace.json("status")["events"] == 0


def test_an_empty_file_is_no_error_and_no_event(headrace: Headrace, tmp_path: Path) -> None:
    outcome = headrace.run("append", write(tmp_path / "empty.ndjson", []))
    assert (outcome.code, outcome.err) == (0, "")
    assert "there was no event in it" in outcome.out


def test_binary_garbage_is_kept_byte_by_byte_and_good_events_around_it_go_in(
    headrace: Headrace, tmp_path: Path
) -> None:
    noise = random.Random(5).randbytes(60_000)
    path = tmp_path / "noise.ndjson"
    path.write_bytes(GOOD[0] + b"\n" + noise + b"\n" + GOOD[1] + b"\n")
    lines = [line.removesuffix(b"\r") for line in noise.split(b"\n")]
    expected = [line for line in lines if line.strip()]
    told = headrace.json("append", path)
    assert (told["accepted"], told["quarantined"]) == (2, len(expected))
    with lake.open_lake(settings.load(headrace.home, environ={}), read_only=True) as at:
        assert [entry.raw for entry in quarantine.entries(at)] == expected


def test_a_line_of_50_mb_is_quarantined_with_its_size_and_the_next_event_goes_in(
    headrace: Headrace, tmp_path: Path
) -> None:
    path = tmp_path / "long.ndjson"
    path.write_bytes(b'{"x": "' + b"y" * 50_000_000 + b'"}\n' + GOOD[0] + b"\n")
    told = headrace.json("append", path)
    assert (told["accepted"], told["quarantined"]) == (1, 1)
    (entry,) = headrace.json("quarantine", "ls")["entries"]
    assert entry["origin"] == f"{path}:1"
    assert "50000009" in entry["reason"].replace(",", "").replace("_", "")


def test_windows_line_ends_and_a_byte_order_mark_are_no_part_of_an_event(
    headrace: Headrace, tmp_path: Path
) -> None:
    path = tmp_path / "windows.ndjson"
    path.write_bytes(b"\xef\xbb\xbf" + b"\r\n".join(GOOD) + b"\r\n\r\n")
    told = headrace.json("append", path)
    assert (told["accepted"], told["quarantined"]) == (len(GOOD), 0)
    headrace.json("speed", "--once")
    nothing_lost(headrace)


def test_text_in_utf_16_is_quarantined_and_not_dropped(headrace: Headrace, tmp_path: Path) -> None:
    path = tmp_path / "utf16.ndjson"
    path.write_text(GOOD[0].decode() + "\n", encoding="utf-16")
    told = headrace.json("append", path)
    assert told["accepted"] == 0
    assert told["quarantined"] >= 1


# A full disk


class SmallDisk:
    """A place that takes few bytes, and how a command is run in it."""

    def __init__(self, folder: Path, limit: int | None) -> None:
        self.folder = folder
        self._limit = limit
        self._ballast = folder / "ballast"

    def fill(self) -> None:
        """Leave next to nothing free."""
        if self._limit is None:
            free = os.statvfs(self.folder).f_bavail * os.statvfs(self.folder).f_frsize
            self._ballast.write_bytes(bytes(free - 96 * 1024))

    def free(self) -> None:
        """Give the space back."""
        self._ballast.unlink(missing_ok=True)
        self._limit = None

    def run(self, headrace: Headrace, *arguments: object) -> Outcome:
        """Run the command as a process, under the limit if that is what makes the disk small."""
        if self._limit is None:
            return headrace.process(*arguments)
        limited = f'ulimit -f {self._limit}; exec "$0" "$@"'
        command = ["bash", "-c", limited, SCRIPT, "--home", headrace.home, *arguments]
        done = subprocess.run(
            [str(part) for part in command],
            env=environment({}), capture_output=True, text=True, check=False,
        )  # fmt: skip
        return Outcome(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A file system of 8 MiB of its own; where none can be mounted, a limit on file sizes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "headrace-test", str(folder)]
    mounted = (
        os.geteuid() == 0
        and shutil.which("mount") is not None
        and subprocess.run(mount, capture_output=True, check=False).returncode == 0
    )
    if not mounted and shutil.which("bash") is None:
        pytest.skip("no file system can be mounted here, and there is no bash to limit file sizes")
    yield SmallDisk(folder, None if mounted else 128)
    if mounted:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_refuses_an_append_and_loses_nothing_that_was_acknowledged(
    small_disk: SmallDisk, tmp_path: Path, filled_home: Path
) -> None:
    headrace = Headrace(shutil.copytree(filled_home, small_disk.folder / "home"))
    more = events(3_000, seed=12)
    path = write(tmp_path / "more.ndjson", more)
    small_disk.fill()
    outcome = small_disk.run(headrace, "append", path)
    outcome.refused(1, "nothing of it was recorded", "Free space")
    small_disk.free()
    nothing_lost(headrace)
    log = headrace.home / "lake" / "sys" / "events"
    assert len(list(log.iterdir())) == 1, "a half-written segment was left"
    assert headrace.json("append", path)["accepted"] == len(more)
    headrace.json("speed", "--once")
    Truth.of([*GOOD, *more]).check(headrace)
    assert headrace.json("verify")["equal"] is True


def test_a_full_disk_refuses_a_commit_and_a_batch_and_what_is_served_stays(
    small_disk: SmallDisk, tmp_path: Path, filled_home: Path
) -> None:
    headrace = Headrace(shutil.copytree(filled_home, small_disk.folder / "home"))
    more = events(1_500, seed=15)
    headrace.json("append", write(tmp_path / "more.ndjson", more))
    small_disk.fill()
    for command in (["speed", "--once"], ["batch", "--engine", "duckdb"]):
        outcome = small_disk.run(headrace, *command)
        assert outcome.code == 1, outcome
        assert outcome.err.splitlines()[-1].startswith("headrace: ")
        assert "Traceback" not in outcome.err
        assert "HEADRACE_DEBUG" not in outcome.err, outcome.err
    small_disk.free()
    Truth.of(GOOD).check(headrace)
    headrace.json("speed", "--once")
    Truth.of([*GOOD, *more]).check(headrace)
    assert headrace.json("verify")["equal"] is True


# Two at once


def test_a_second_writer_waits_no_longer_than_told_and_names_the_first(
    filled: Headrace, tmp_path: Path
) -> None:
    path = write(tmp_path / "more.ndjson", events(2, seed=13))
    with lock_holder(filled.home, "commit") as pid:
        filled.run("append", path, lock_wait=0.2).refused(
            1, "commit lock", f"process {pid} ", "try again"
        )
        nothing_lost(filled)  # readers need no lock
    assert filled.json("append", path)["accepted"] > 0


def test_a_second_speed_layer_is_refused_and_the_first_goes_on(
    filled: Headrace, tmp_path: Path
) -> None:
    more = events(2, seed=14)
    with stopped_at_end(filled.start("speed", "--follow", poll=0.05)) as first:
        assert first.stderr is not None
        filled.json("append", write(tmp_path / "a.ndjson", more))
        assert first.stderr.readline().startswith("commit ")
        for mode in ("--follow", "--once"):
            filled.run("speed", mode).refused(1, "speed lock", f"process {first.pid} ")
        assert filled.json("status")["speed"] == "running"
        Truth.of([*GOOD, *more]).check(filled)
        first.terminate()
        assert first.wait(20) != 0
    assert filled.json("status")["speed"] == "not running"


# Homes that cannot be used


def test_a_home_of_a_newer_version_is_refused_untouched(filled: Headrace) -> None:
    marker = filled.home / "home.json"
    newer = json.dumps({**json.loads(marker.read_text()), "format": 999, "made_by": "9.0"})
    before = marker.read_text()
    marker.write_text(newer)
    for command in (["status"], ["append", "-"], ["speed", "--once"], ["init"]):
        filled.run(*command).refused(1, "format 999", "headrace 9.0", "install a newer headrace")
    assert marker.read_text() == newer
    marker.write_text(before)
    nothing_lost(filled)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": "x"}', '{"format": 1}'])
def test_a_damaged_marker_is_refused(filled: Headrace, content: str) -> None:
    marker = filled.home / "home.json"
    before = marker.read_text()
    marker.write_text(content)
    filled.run("status").refused(1, "home.json", "restore")
    marker.write_text(before)
    nothing_lost(filled)


def test_a_file_is_no_home(tmp_path: Path) -> None:
    path = write(tmp_path / "file", [b"mine"])
    Headrace(path).run("init").refused(1, str(path), "is not a directory", "--home")
    assert path.read_bytes() == b"mine\n"


def test_a_directory_with_other_things_in_it_is_not_made_a_home(tmp_path: Path) -> None:
    write(tmp_path / "thesis.txt", [b"mine"])
    Headrace(tmp_path).run("append", "-").refused(1, "not empty", "'thesis.txt'", "--home")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def _garbage(catalog: Path) -> None:
    catalog.write_bytes(random.Random(1).randbytes(20_000))


def _cut_short(catalog: Path) -> None:
    catalog.write_bytes(catalog.read_bytes()[:5_000])


def _emptied(catalog: Path) -> None:
    catalog.write_bytes(b"")


def _missing(catalog: Path) -> None:
    catalog.unlink()


@pytest.mark.parametrize("damage", [_garbage, _cut_short, _emptied, _missing])
@pytest.mark.parametrize("command", ["status", "speed --once"])
def test_a_damaged_catalog_is_refused_and_a_copy_brings_everything_back(
    filled: Headrace, tmp_path: Path, damage: Callable[[Path], None], command: str
) -> None:
    catalog = filled.home / "catalog.sqlite"
    copy = shutil.copy(catalog, tmp_path / "backup.sqlite")
    damage(catalog)
    filled.run(*command.split()).refused(1, "catalog.sqlite", "restore it from a copy")
    for leftover in filled.home.glob("catalog.sqlite*"):
        leftover.unlink()
    shutil.copy(copy, catalog)
    nothing_lost(filled)


def test_a_catalog_of_another_home_is_refused(filled: Headrace, tmp_path: Path) -> None:
    other = Headrace(tmp_path / "other")
    other.json("init")
    catalog = filled.home / "catalog.sqlite"
    copy = shutil.copy(catalog, tmp_path / "backup.sqlite")
    shutil.copy(other.home / "catalog.sqlite", catalog)
    filled.run("append", "-").refused(1, "is not the one this home was made with", "restore")
    shutil.copy(copy, catalog)
    nothing_lost(filled)


# Queries


@pytest.mark.parametrize(
    ("sql", "word"),
    [
        ("SELECT nope FROM revenue_by_day", "nope"),
        ("SELECT * FROM revenue_by_year", "revenue_by_year"),
        ("SELEC 1", "SELEC"),
        ("", "exactly one SELECT"),
        ("SELECT 1; SELECT 2", "not 2 statements"),
        ("DELETE FROM sys.events", "not DELETE"),
        ("DROP TABLE sys.events", "not DROP"),
        ("CREATE TEMP TABLE t AS SELECT 1", "not CREATE"),
        ("INSERT INTO sys.appends SELECT * FROM sys.appends", "not INSERT"),
        ("COPY orders TO '/tmp/headrace-test-copy.csv'", "not COPY"),
        ("ATTACH '/tmp/headrace-test.db' AS other", "not ATTACH"),
        ("SET threads = 1", "not "),
        ("PRAGMA enable_profiling", "not PRAGMA"),
        ("INSTALL httpfs", "not "),
        ("CALL ducklake_expire_snapshots('lake', older_than => now())", "not CALL"),
        ("SELECT * FROM read_text('/etc/hostname')", "/etc/hostname"),
        ("SELECT * FROM read_csv('/etc/passwd')", "/etc/passwd"),
        ("SELECT * FROM '/etc/passwd'", "/etc/passwd"),
        ("SELECT * FROM glob('/etc/*')", "disabled"),
        ("SELECT * FROM sqlite_scan('/tmp/headrace-test.db', 't')", "headrace-test.db"),
    ],
)
@pytest.mark.parametrize("at", [(), ("--at", "2026-03-20")], ids=["live", "at"])
def test_sql_that_is_wrong_or_reaches_too_far_is_refused(
    filled_home: Path, sql: str, word: str, at: tuple[str, ...]
) -> None:
    Headrace(filled_home).run("query", sql, *at).refused(1, word)
    assert not Path("/tmp/headrace-test-copy.csv").exists()  # noqa: S108 - nobody may write it
    assert not Path("/tmp/headrace-test.db").exists()  # noqa: S108


@pytest.mark.parametrize("sql", ["SELECT sum(net) FROM revenue_by_day", "FROM orders"])
def test_refused_sql_has_changed_nothing(filled_home: Path, sql: str) -> None:
    headrace = Headrace(filled_home)
    assert headrace.run("query", sql).code == 0
    nothing_lost(headrace)


# Arguments


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["query", "SELECT 1", "--at", "yesterday"], "'yesterday' is no time"),
        (["query", "SELECT 1", "--at", "{"], "is no position"),
        (["query", "SELECT 1", "--at", '{"0": -1}'], "cannot be negative"),
        (["query", "SELECT 1", "--at", '{"0": "x"}'], "is no position"),
        (["query", "SELECT 1", "--at", '{"0": 1}'], "no position {0: 1}: it ends at {0: 0, 1: 2"),
        (["query", "SELECT 1", "--at", '{"0": 9, "1": 2, "2": 9, "3": 7}'], "it ends at {0: 0"),
        (["query"], "SQL"),
        (["replay", "--from", "2026-13-01"], "'2026-13-01' is no time"),
        (["replay"], "--from"),
        (["replay", "--from", "beginning", "--views", "/nowhere"], "/nowhere"),
        (["promote", "7"], "no generation 7"),
        (["promote", "x"], "'x'"),
        (["verify", "--generation", "7"], "no generation 7"),
        (["speed"], "--once or --follow"),
        (["append"], "FILE"),
        (["append", "--nope"], "--nope"),
        (["nope"], "nope"),
        (["batch", "--engine", "abacus"], "abacus"),
        (["log", "show"], "--order"),
        (["log", "show", "--order", "none"], "no such event"),
        (["quarantine", "show", "none"], "'none'"),
        (["quarantine", "retry", "none"], "'none'"),
        (["import", "uci-online-retail", "/nowhere"], "/nowhere does not exist"),
        (["init", "--partitions", "0"], "--partitions"),
        (["init", "--partitions", "9"], "4 partitions"),
        (["generate", "--orders", "1", "--seed", "1", "--late", "2"], "--late"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_a_wrong_call_is_told_so_and_does_nothing(
    filled_home: Path, arguments: list[str], word: str
) -> None:
    Headrace(filled_home).run(*arguments).refused(2, word)


def test_a_mapping_that_cannot_be_read_is_named(filled_home: Path) -> None:
    arguments = ("import", "csv", "--mapping", "/nowhere.toml", "/nowhere.csv")
    Headrace(filled_home).run(*arguments).refused(1, "/nowhere.toml", "docs/guides/csv-import.md")


def test_nothing_to_switch_to_is_said(filled_home: Path) -> None:
    headrace = Headrace(filled_home)
    headrace.run("rollback").refused(1, "no earlier generation")
    headrace.run("promote").refused(1, "live already")
    nothing_lost(headrace)


# Settings


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (b"commit_events = ", "is not TOML"),
        (b"\xff\xfe", "is not TOML"),
        (b"commit_event = 5", "'commit_event'"),
        (b"commit_events = 0", "'commit_events' is 0"),
        (b"commit_events = 'many'", "'commit_events' is 'many'"),
        (b"lock_wait = -1", "'lock_wait' is -1"),
        (b"memory_limit = 'lots'", "memory_limit"),
    ],
)
def test_a_bad_setting_is_named_with_its_value(filled: Headrace, text: bytes, word: str) -> None:
    file = filled.home / "headrace.toml"
    file.write_bytes(text)
    filled.run("status").refused(2, word)
    file.unlink()
    nothing_lost(filled)


def test_a_bad_setting_in_the_environment_is_named(filled_home: Path) -> None:
    headrace = Headrace(filled_home)
    headrace.run("status", append_events="few").refused(
        2, "'append_events' is 'few'", "HEADRACE_APPEND_EVENTS"
    )


def test_a_duration_in_the_environment_may_be_plain_seconds(filled_home: Path) -> None:
    assert Headrace(filled_home).run("status", lock_wait="2.5").code == 0


# Views


@pytest.mark.parametrize(
    ("sql", "word"),
    [
        ("SELECT customer_id, sum(nope) AS n FROM ledger GROUP BY customer_id", "nope"),
        ("SELECT customer_id, max(amount) AS n FROM ledger GROUP BY customer_id", "max"),
        ("SELECT 1", "mine.sql"),
        ("SELEC", "mine.sql"),
    ],
)
def test_a_view_that_cannot_be_kept_is_refused_with_its_file_and_what_is_served_stays(
    filled: Headrace, sql: str, word: str
) -> None:
    file = filled.home / "views" / "mine.sql"
    file.write_text(sql)
    for command in (["speed", "--once"], ["batch", "--engine", "duckdb"]):
        filled.run(*command).refused(1, "mine.sql", word)
    file.unlink()
    nothing_lost(filled)
