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

from headrace.pipelines import bootstrap, settings
from headrace.pipelines.log import quarantine
from tests.e2e.command import (
    SCRIPT,
    Headrace,
    Outcome,
    environment,
    lock_holder,
    stopped_at_end,
)
from tests.e2e.orders import Truth, events, write
from tests.integration.conftest import GOOD, nothing_lost


@pytest.fixture
def headrace(tmp_path: Path) -> Headrace:
    """The command on a home that is not there yet."""
    return Headrace(tmp_path / "home")


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
    assert not headrace.home.exists()


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
    told = headrace.json("append", path, reject_limit=1)
    assert (told["accepted"], told["quarantined"]) == (2, len(expected))
    with bootstrap.open_lake(settings.load(headrace.home, environ={}), read_only=True) as at:
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


def test_text_in_utf_16_is_refused_and_not_dropped(headrace: Headrace, tmp_path: Path) -> None:
    path = tmp_path / "utf16.ndjson"
    path.write_text(GOOD[0].decode() + "\n", encoding="utf-16")
    headrace.run("append", path).refused(1, "UTF-16", "save it as UTF-8", "Nothing of it was")


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


@pytest.mark.thorough
def test_a_disk_that_fills_up_under_a_commit_or_a_batch_leaves_whole_answers(
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
    old, new = Truth.of(GOOD), Truth.of([*GOOD, *more])
    assert old.holds(headrace) or new.holds(headrace)
    headrace.json("speed", "--once")
    new.check(headrace)
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
        assert first.wait(20) == 0
        assert "stopped; what is committed stays" in first.stderr.read()
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
