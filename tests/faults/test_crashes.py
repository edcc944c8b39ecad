"""Kills the real command at each crash point and checks that it may as well have been asked to.

Each test goes through the points of one command in one home, crash after crash: what is served
stays right in between, and running the command again finishes the work.
"""

from __future__ import annotations

import json
import random
import re
import signal
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from headrace.pipelines.lake import failpoints
from tests.e2e.command import Headrace, stopped_at_end
from tests.e2e.orders import FIRST_DAY, Truth, write
from tests.faults import crashing
from tests.faults.crashing import Story, counts, kill_at

POISON = [b"not json", b'{"specversion": "1.0"}', b"\xff\xfe\x00"]


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """A home with a base, deltas on it, and nothing unread; for copying only."""
    folder = tmp_path_factory.mktemp("past")
    story = Story(Headrace(folder / "home"), folder)
    story.append(30)
    story.headrace.json("batch", "--engine", "duckdb")
    story.append()
    story.catch_up()
    return story


@pytest.fixture
def story(past: Story, tmp_path: Path) -> Story:
    """A copy of that home and of what is known of it."""
    return past.copy(tmp_path)


def test_an_append_that_is_killed_is_in_the_log_whole_or_not_at_all(story: Story) -> None:
    headrace = story.headrace
    path, lines = story.more()
    write(path, [*lines[:20], *POISON, *lines[20:]])
    known = False
    for point in crashing.APPEND:
        before = counts(headrace)
        kill_at(point, headrace, "append", path)
        done, after = point in {"append.committed", "append.done"}, counts(headrace)
        assert after.events == before.events + done * len(lines), point
        known = known or done
        assert after.quarantined == known * len(POISON), f"{point}: listed once"
        story.acknowledged += lines * done
    told = headrace.json("append", path)
    assert (told["accepted"], told["quarantined"]) == (len(lines), len(POISON))
    assert told["quarantined_known"] == len(POISON)
    story.acknowledged += lines
    story.catch_up()
    story.check()


def test_a_long_append_that_is_killed_keeps_the_batches_that_were_durable(story: Story) -> None:
    path, lines = story.more(40)
    before = len(story.acknowledged)
    kill_at("append.synced:3", story.headrace, "append", path, append_events=30)
    assert counts(story.headrace).events == before + 60
    story.acknowledged += lines[:60]
    assert story.headrace.json("append", path)["accepted"] == len(lines)
    story.acknowledged += lines
    story.catch_up()
    story.check()


def test_a_speed_layer_that_is_killed_serves_the_last_commit_and_goes_on_from_there(
    story: Story,
) -> None:
    headrace = story.headrace
    for point in crashing.COMMIT:
        old, position = story.truth(), len(story.acknowledged)
        story.append()
        kill_at(point, headrace, "speed", "--once", commit_events=30)
        reached = counts(headrace).served
        if point in {"commit.committed", "commit.done", "commit.ready:2"}:
            assert position < reached < len(story.acknowledged), point
            assert not old.holds(headrace), point
        else:
            assert reached == position, point
            old.check(headrace)
        story.catch_up()
        story.truth().check(headrace)
    story.check()


@pytest.mark.thorough
def test_a_batch_that_is_killed_leaves_the_old_base_or_the_new_one(story: Story) -> None:
    headrace, served = story.headrace, story.truth()
    for point in crashing.BATCH:
        base = counts(headrace).base
        story.append(5)
        kill_at(point, headrace, "batch", "--engine", "duckdb")
        done = point in {"publish.committed", "publish.done"}
        assert counts(headrace).base == base + done, point
        (story.truth() if done else served).check(headrace)
        if point == "cut.done" or done:  # a cut that nobody makes a base for holds nothing up
            story.catch_up()
            served = story.truth()
            served.check(headrace)
    assert headrace.json("batch", "--engine", "duckdb")["published"] is True
    story.check()
    headrace.json("maintain")
    assert not list((headrace.home / "staging").iterdir())


@pytest.mark.thorough
def test_a_replay_that_is_killed_changes_nothing_that_is_served(story: Story) -> None:
    headrace = story.headrace
    for point in crashing.REPLAY:
        kill_at(point, headrace, "replay", "--from", "2026-03-20", replay_events=40)
        story.truth().check(headrace)
        assert counts(headrace).generation == 1, point
    story.append()
    story.catch_up()
    done = headrace.json("replay", "--from", FIRST_DAY.isoformat(), "--promote")
    assert (done["equal"], done["promoted"]) == (True, True)
    story.check()


@pytest.mark.thorough
def test_a_switch_that_is_killed_serves_one_generation_whole(story: Story) -> None:
    headrace = story.headrace
    made = headrace.json("replay", "--from", "beginning")["generation"]
    for command, live, other in (("promote", 1, made), ("rollback", made, 1)):
        for point in crashing.SWITCH:
            kill_at(point, headrace, command)
            assert counts(headrace).generation == (other if point == "switch.done" else live), (
                command,
                point,
            )
            story.truth().check(headrace)
    story.append()
    story.catch_up()
    story.check()


@pytest.mark.thorough
def test_a_retry_that_is_killed_takes_each_entry_in_once(story: Story) -> None:
    headrace = story.headrace
    path, lines = story.more()
    assert headrace.json("append", path, max_event_bytes=1024)["quarantined"] == 0
    long = [line[:-1] + b', "note": "' + b"x" * 2_000 + b'"}' for line in story.more()[1][:-3]]
    write(path, [*long, *POISON])
    story.acknowledged += lines
    outcome = headrace.run("append", path, "--json", max_event_bytes=1024, reject_limit=1)
    told = json.loads(outcome.out)
    assert (outcome.code, told["accepted"]) == (1, 0)
    assert told["quarantined"] == len(long) + len(POISON)
    for point in crashing.RETRY:
        before = counts(headrace)
        kill_at(point, headrace, "quarantine", "retry")
        moved = len(long) * (point == "quarantine.done")
        after = counts(headrace)
        assert after.events == before.events + moved, point
        assert after.quarantined == before.quarantined - moved, point
    again = headrace.json("quarantine", "retry")
    assert again == {"accepted": 0, "still_quarantined": len(POISON)}
    story.acknowledged += long
    story.catch_up()
    story.check()


def test_a_correction_or_a_discard_that_is_killed_happens_once_or_not_at_all(story: Story) -> None:
    headrace = story.headrace
    path, lines = story.more()
    wrong = [line.replace(b'"specversion"', b'"specversions"') for line in lines[:3]]
    headrace.json("append", write(path, [*lines[3:], *wrong, *POISON]))
    story.acknowledged += lines[3:]
    file = path.with_name("to fix.ndjson")
    headrace.json("quarantine", "export", file, "--reason-like", "specversion is missing%")
    told = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    told = [entry for entry in told if "specversions" in entry["raw"]]
    for entry in told:
        entry["raw"] = entry["raw"].replace("specversions", "specversion")
    write(file, [json.dumps(entry).encode() for entry in told])
    for point in crashing.CORRECT:
        before = counts(headrace)
        kill_at(point, headrace, "quarantine", "retry", "--file", file)
        done, after = len(told) * (point == "quarantine.done"), counts(headrace)
        assert after.events == before.events + done, point
        assert after.quarantined == before.quarantined - done, point
    again = headrace.json("quarantine", "retry", "--file", file)
    assert (again["accepted"], again["closed_before"]) == (0, len(told))
    story.acknowledged += [entry["raw"].encode() for entry in told]
    for point in crashing.DISCARD:
        kill_at(point, headrace, "quarantine", "discard", "--reason-like", "%", "--reason", "x")
        left = 0 if point == "quarantine.done" else len(POISON)
        assert counts(headrace).quarantined == left, point
    story.catch_up()
    story.check()


def test_a_verify_that_is_killed_stores_its_certificate_or_none(story: Story) -> None:
    headrace = story.headrace
    for point in crashing.VERIFY:
        kill_at(point, headrace, "verify")
        stored = headrace.json("status")["certificate"]
        assert (stored is not None) == (point == "certificate.done"), point
    story.check()


@pytest.mark.thorough
def test_maintenance_that_is_killed_changes_nothing_that_anybody_can_see(story: Story) -> None:
    headrace = story.headrace
    for point in crashing.MAINTAIN:
        story.append(5)
        story.catch_up()
        kill_at(point, headrace, "maintain", keep_snapshots=0)
        story.truth().check(headrace)
    headrace.json("maintain", keep_snapshots=0)
    story.check()


@pytest.mark.thorough
def test_an_erasure_that_is_killed_names_all_of_a_customer_or_nothing_and_is_finished(
    story: Story,
) -> None:
    headrace = story.headrace
    sql = "SELECT customer_id, count(*) AS n FROM orders WHERE customer_id[1] = 'c' GROUP BY 1"
    people = dict(headrace.json("query", f"{sql} ORDER BY 1")["rows"])
    assert len(people) >= len(crashing.ERASE)
    for nth, (point, who) in enumerate(zip(crashing.ERASE, people, strict=False)):
        call = ("erase", "customer", who, "--reason", "asked by letter")
        kill_at(point, headrace, *call)
        left = dict(headrace.json("query", sql)["rows"]).get(who, 0)
        assert left in {0, people[who]}, point
        unfinished = (headrace.home / "erasing.json").exists()
        assert unfinished == (point not in {"erase.finished", "erase.cleaned"}) or left == 0, point
        if left or nth % 2:
            headrace.run(*call)
        else:
            headrace.json("maintain")
        assert not (headrace.home / "erasing.json").exists(), point
        assert who not in dict(headrace.json("query", sql)["rows"]), point
        found = {f for f in headrace.home.rglob("*") if f.is_file() and _names(f, who)}
        assert found == set(), point
        assert headrace.json("verify")["equal"], point
    assert headrace.json("doctor")["wrong"] == 0


def _names(file: Path, who: str) -> bool:
    """Whether a file holds a name, in its bytes or as a value of its columns."""
    raw = file.read_bytes()
    if file.suffix == ".parquet":  # compressed, three bytes may stand there by chance
        bounds = pq.read_metadata(file).to_dict()
        raw = json.dumps([pq.read_table(file).to_pylist(), bounds], default=repr).encode()
    return re.search(rb"(?<![\w-])" + who.encode() + rb"(?![\w-])", raw) is not None


@pytest.mark.thorough
def test_a_home_whose_making_was_killed_is_made_by_the_next_command(tmp_path: Path) -> None:
    for point in crashing.INIT:
        (tmp_path / point).mkdir()
        story = Story(Headrace(tmp_path / point / "home"), tmp_path / point)
        kill_at(point, story.headrace, "init")
        made = (story.headrace.home / "home.json").exists()
        assert made == (point == "init.marked"), point
        story.append()
        story.catch_up()
        story.check()


def test_a_crash_point_that_a_command_does_not_pass_fails_the_test(story: Story) -> None:
    with pytest.raises(AssertionError, match=r"was not killed at commit\.begun"):
        kill_at("commit.begun", story.headrace, "verify")


@pytest.mark.thorough
def test_every_crash_point_that_the_commands_pass_is_one_we_kill_at(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    headrace, passed = story.headrace, set[str]()
    path, lines = story.more()
    write(path, [*lines, *POISON])
    calls: dict[str, tuple[tuple[object, ...], ...]] = {
        "APPEND": (("append", path),),
        "COMMIT": (("speed", "--once"),),
        "BATCH": (("batch", "--engine", "duckdb"),),
        "REPLAY": (("replay", "--from", "2026-03-20"),),
        "SWITCH": (("promote",), ("rollback",)),
        "RETRY": (("quarantine", "retry"),),
        "VERIFY": (("verify",),),
        "MAINTAIN": (("maintain",),),
        "ERASE": (("erase", "customer", "c-1", "--reason", "letter"),),
    }
    commit = {point.split(":")[0] for point in crashing.COMMIT}
    monkeypatch.setattr(failpoints, "here", passed.add)
    for name, commands in calls.items():
        if name == "REPLAY":
            story.append()
        passed.clear()
        for command in commands:
            headrace.json(*command)
        known = {point.split(":")[0] for point in getattr(crashing, name)}
        # Around each COMMIT the same lines run: we kill there in an append, a commit, a publish.
        known |= {p for p in passed if p.endswith((".held", ".committed"))}
        known |= {"erase.begun"} if name == "ERASE" else set()
        if name in {"BATCH", "MAINTAIN"}:
            known |= set(crashing.BACKUP)
        if name in {"REPLAY", "SWITCH"}:  # its commits and publishes are those of the others
            known |= commit | {"publish.begun"}
        assert passed <= known, name


def test_an_order_counts_once_after_its_append_was_killed_and_sent_again_and_again(
    story: Story,
) -> None:
    path, lines = story.more()
    for _ in range(2):
        kill_at("append.done", story.headrace, "append", path)
    assert story.headrace.json("append", path)["accepted"] == len(lines)
    story.catch_up()
    once = Truth.of([*story.acknowledged, *lines])
    once.check(story.headrace)
    assert story.headrace.json("status")["repeats"] == len(story.acknowledged) + 3 * len(
        lines
    ) - len(set(story.acknowledged) | set(lines))


@pytest.mark.thorough
def test_a_speed_layer_killed_at_random_times_while_events_come_in_counts_each_once(
    tmp_path: Path,
) -> None:
    seed = 20_260_301
    print(f"seed {seed}")
    chance = random.Random(seed)
    story = Story(Headrace(tmp_path / "home"), tmp_path)
    story.append(1)
    kills = commits = 0
    while kills < 10:
        follow = story.headrace.start("speed", "--follow", commit_events=20, poll=0.02)
        with stopped_at_end(follow):
            assert follow.stderr is not None
            story.append(3)  # so that there is something to commit, whenever it starts
            first = follow.stderr.readline()
            assert first.startswith("commit "), first
            enough = time.monotonic() + chance.uniform(0, 0.6)
            while time.monotonic() < enough:
                story.append(3)
            follow.kill()
            commits += 1 + follow.stderr.read().count("commit ")
        assert follow.returncode == -signal.SIGKILL
        kills += 1
    assert counts(story.headrace).events == len(story.acknowledged)
    assert commits > kills
    story.catch_up()
    story.check()
