"""Readers beside writers: whole answers, always forward, never waiting, never stale."""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from datetime import timedelta
from pathlib import Path

import duckdb
import pytest

from headrace.pipelines import bootstrap, settings
from headrace.pipelines.batch import run as batch
from headrace.pipelines.errors import QueryError, SeamError, UsageError
from headrace.pipelines.lake import lake
from headrace.pipelines.lake.lake import Lake
from headrace.pipelines.log.embedded import Log
from headrace.pipelines.quality import verify
from headrace.pipelines.replay import build, promote
from headrace.pipelines.serving import query as serving
from headrace.pipelines.speed.layer import Speed
from tests.e2e.command import Headrace, lock_holder
from tests.e2e.orders import Truth, events

COUNT = "SELECT count(*), sum(event_count) FROM orders"
PAST = events(30, seed=31)


def opened(home: Path) -> Lake:
    return bootstrap.open_lake(settings.load(home, environ={}, threads=1))


def append(at: Lake, lines: list[bytes]) -> None:
    Log(at).append(lines, ["test"] * len(lines))


def commit(at: Lake) -> None:
    with Speed.open(at, commit_events=60) as speed:
        speed.run()


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a base and deltas on it."""
    home = tmp_path_factory.mktemp("past") / "home"
    with opened(home) as at:
        append(at, PAST[:40])
        batch.run(at, engine="duckdb")
        append(at, PAST[40:])
        commit(at)
    return home


@pytest.fixture
def home(past: Path, tmp_path: Path) -> Path:
    """A copy of that home."""
    return shutil.copytree(past, tmp_path / "home")


def test_a_reader_does_not_wait_for_a_writer_that_holds_the_commit_lock(home: Path) -> None:
    with serving.connect(home, threads=1) as served, lock_holder(home, "commit"):
        started = time.monotonic()
        before = served.query(COUNT)
        fresh = serving.connect(home, threads=1)
        with fresh:
            assert fresh.query(COUNT).rows == before.rows
        waited = time.monotonic() - started
    assert waited < 15  # the lock is held until after the readers are done; waiting takes 30 s


def test_a_reader_does_not_wait_for_a_transaction_that_is_open(home: Path) -> None:
    with serving.connect(home, threads=1) as served, opened(home) as at:
        before = served.query(COUNT)
        with at.writing("commit") as tx:
            tx.execute("DELETE FROM g1.d2_orders")
            assert served.query(f"{COUNT} ").rows == before.rows
            tx.execute("INSERT INTO g1.d2_orders BY NAME FROM g1.d2_orders")
        assert served.query(COUNT).position == before.position


def test_a_cached_answer_is_never_stale(home: Path) -> None:
    with serving.connect(home, threads=1) as served, opened(home) as at:
        before = served.query(COUNT)
        assert served.query(COUNT) is before
        more = events(4, seed=32)
        append(at, more)
        assert served.query(COUNT).rows == before.rows  # in the log, not yet in the views
        commit(at)
        after = served.query(COUNT)
        truth = Truth.of([*PAST, *more])
        assert after.rows == ((len(truth.by_order), truth.distinct),)
        assert after.position.total == truth.events
        batch.run(at, engine="duckdb")
        published = served.query(COUNT)
        assert (published.rows, published.cut) == (after.rows, after.position)


def test_a_reader_forgets_what_a_catalog_said_that_was_replaced(home: Path, tmp_path: Path) -> None:
    other = shutil.copytree(home, tmp_path / "other")
    for at_home, seed in ((home, 32), (other, 33)):  # as many snapshots, other events
        with opened(at_home) as at:
            append(at, events(20, seed=seed))
            commit(at)
    money = "SELECT sum(net) FROM orders"
    with serving.connect(home, threads=1) as served, serving.connect(other, threads=1) as apart:
        before, expected = served.query(money), apart.query(money)
        assert before.rows != expected.rows
        home.rename(tmp_path / "before")
        shutil.copytree(other, home)  # restored from a copy that went another way
        assert served.query(money) == expected


def test_an_answer_says_which_generation_gave_it(home: Path) -> None:
    with serving.connect(home, threads=1) as served, opened(home) as at:
        before = served.query(COUNT)
        made = build.replay(at, None)
        assert served.query(COUNT).generation == 1
        promote.promote(at, made.generation)
        promoted = served.query(COUNT)
        assert (promoted.generation, promoted.rows) == (made.generation, before.rows)
        promote.rollback(at)
        assert served.query(COUNT).generation == 1


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ('{"0": 0, "1": 0, "2": 0, "3": 0}', "overlap"),
        ('{"0": 90, "1": 90, "2": 90, "3": 90}', "gap"),
    ],
    ids=["overlap", "gap"],
)
def test_a_seam_that_does_not_hold_gives_no_answer(home: Path, wrong: str, word: str) -> None:
    with opened(home) as at:
        with at.writing("test") as tx:
            last = "(SELECT max(commit_no) FROM sys.commits)"
            tx.execute(f"UPDATE sys.commits SET from_position = '{wrong}' WHERE commit_no = {last}")
        for name in ("revenue_by_day", "orders"):  # whoever reads the lake with a client of theirs
            with pytest.raises(duckdb.Error, match="SeamError"):
                at.rows(f"SELECT count(*) FROM {name}")
    with serving.connect(home, threads=1) as served, pytest.raises(SeamError, match=word):
        served.query(COUNT)
    headrace = Headrace(home)
    headrace.run("query", COUNT).refused(1, f"{word} at the seam")
    headrace.run("speed", "--once").refused(1, f"{word} at the seam")


def test_a_query_that_takes_too_long_is_interrupted_and_the_next_one_answered(home: Path) -> None:
    endless = "SELECT count(*) FROM range(100_000_000) AS a, range(100_000_000) AS b"
    with serving.connect(home, threads=1) as served:
        with pytest.raises(QueryError, match="longer than"):
            served.query(endless, timeout=timedelta(seconds=0.3))
        assert served.query(COUNT).rows[0][0] > 0


def test_a_home_that_is_not_there_is_not_made_by_reading(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no home"):
        serving.connect(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_connection_that_was_made_anew_is_guarded_as_the_first(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lake, "_RENEWED", 2)
    with serving.connect(home, threads=1) as served:
        connections = [served._lake.con]
        first = served.query(COUNT)
        for nth in range(5):
            answer = served.query(f"{COUNT} -- {nth}")
            assert (answer.rows, answer.position) == (first.rows, first.position)
            with pytest.raises(QueryError):
                served.query(f"SELECT * FROM read_text('{home}/home.json')")
            connections.append(served._lake.con)
        assert len({id(con) for con in connections}) > 1


def test_writers_go_on_over_connections_that_are_made_anew(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lake, "_RENEWED", 3)
    with opened(home) as at, Speed.open(at) as speed:
        first = at.con
        for nth in range(4):
            append(at, events(2, seed=300 + nth))
            speed.run()
        assert at.con is not first
        assert verify.verify(at).equal


@pytest.mark.thorough
def test_the_catalogs_journal_stays_short_where_readers_never_pause(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lake, "_LONG_JOURNAL", 200_000)
    over, asked = threading.Event(), []

    def read() -> None:
        with serving.connect(home, threads=1) as served:
            while not over.is_set():
                asked.append(served.query(f"{COUNT} -- {len(asked)}").position)

    readers = [threading.Thread(target=read) for _ in range(2)]
    longest = 0
    with opened(home) as at:
        for reader in readers:
            reader.start()
        try:
            for seed in range(60):
                append(at, events(2, seed=200 + seed))
                with contextlib.suppress(FileNotFoundError):  # whoever closes last removes it
                    longest = max(longest, at.home.journal.stat().st_size)
        finally:
            over.set()
            for reader in readers:
                reader.join()
    assert 0 < longest < 600_000, "it began anew, again and again"
    assert len(asked) > 20
    with serving.connect(home, threads=1) as served:
        assert served.query("SELECT 1").rows == ((1,),)
