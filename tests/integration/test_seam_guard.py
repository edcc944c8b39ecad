"""The seam's guards: a gap or overlap gives no answer, whoever lost its turn commits nothing."""

from __future__ import annotations

import contextlib
from random import Random
from typing import TYPE_CHECKING

import duckdb
import pytest

from headrace.pipelines.batch import run as batch
from headrace.pipelines.cli import app as cli
from headrace.pipelines.errors import HeadraceError, SeamError
from headrace.pipelines.generations import registry
from headrace.pipelines.lake.lake import Lake
from headrace.pipelines.log.embedded import Log
from headrace.pipelines.position import Position
from headrace.pipelines.quality import verify
from headrace.pipelines.replay import build, promote
from headrace.pipelines.serving import query as serving
from headrace.pipelines.speed.layer import Speed
from tests.conformance.paths import BUILT_IN, append, assert_exact, run_speed, served
from tests.conformance.streams import Shop, placed
from tests.halves import first

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from headrace.pipelines.lake.home import Home
    from headrace.pipelines.lake.transaction import Transaction
    from headrace.pipelines.settings import Settings
    from tests.conftest import MakeLake


class Interleaved(Lake):
    """A lake where something else happens just before the first unit of work of a kind begins."""

    def __init__(self, home: Home, settings: Settings, what: str, then: Callable[[], object]):
        super().__init__(home, settings)
        self._what = what
        self._then: Callable[[], object] | None = then

    @contextlib.contextmanager
    def writing(self, what: str) -> Iterator[Transaction]:
        if what == self._what and self._then is not None:
            then, self._then = self._then, None
            then()
        with super().writing(what) as tx:
            yield tx


def commits(lake: Lake) -> list[tuple[int, int]]:
    """The commits of the live generation, as (events before, events after)."""
    rows = lake.rows(
        "SELECT from_position, to_position FROM sys.commits "
        f"WHERE generation = {registry.live_number(lake)} ORDER BY commit_no"
    )
    return [(Position.parse(a).total, Position.parse(b).total) for a, b in rows]


TAMPERINGS = {
    "gap": """UPDATE sys.commits SET from_position = '{"0": 5}' WHERE commit_no = 2""",
    "overlap": """UPDATE sys.commits SET from_position = '{"0": 3}' WHERE commit_no = 2""",
    "first commit gone": "DELETE FROM sys.commits WHERE commit_no = 1",
    "middle commit gone": "DELETE FROM sys.commits WHERE commit_no = 2",
    "commit twice": "INSERT INTO sys.commits SELECT * FROM sys.commits WHERE commit_no = 2",
    "base elsewhere": """UPDATE sys.bases SET cut = '{"0": 2}'""",
}


@pytest.mark.parametrize("tampering", first(2, TAMPERINGS))
def test_a_seam_that_does_not_meet_gives_no_answer_anywhere(
    make_lake: MakeLake, tampering: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lake = make_lake(partitions=1)
    append(lake, [placed(f"o{n}") for n in range(12)])
    assert run_speed(lake, 4) == 3
    with lake.writing("tampering") as tx:
        tx.execute(TAMPERINGS[tampering])

    with serving.connect(lake.home.path) as readers, pytest.raises(SeamError):
        readers.query("SELECT sum(net) FROM revenue_by_day")
    assert cli.run(["--home", str(lake.home.path), "query", "SELECT * FROM country_sales"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "seam" in said.err
    for name in BUILT_IN:
        with pytest.raises(duckdb.Error, match="SeamError"):
            lake.con.execute(f'SELECT count(*) FROM main."{name}"')
    append(lake, [placed("o99")])
    with pytest.raises(SeamError):
        run_speed(lake)
    with pytest.raises(SeamError):
        verify.verify(lake)

    # The remedy that every one of these errors names.
    assert cli.run(["--home", str(lake.home.path), "batch", "--engine", "duckdb"]) == 0
    assert_exact(lake, names=BUILT_IN)


def test_a_view_of_a_base_that_was_replaced_behind_its_back_gives_no_answer(lake: Lake) -> None:
    append(lake, [placed("o1")])
    batch.run(lake, engine="duckdb")
    with lake.writing("tampering") as tx:
        tx.execute("UPDATE sys.bases SET base = base + 1 WHERE base = 2")
    with pytest.raises(duckdb.Error, match="SeamError"):
        lake.con.execute("SELECT * FROM main.orders")


def test_a_view_of_a_generation_that_is_not_live_gives_no_answer(lake: Lake) -> None:
    append(lake, [placed("o1")])
    other = build.replay(lake, None).generation
    with lake.writing("tampering") as tx:
        tx.record("live", 99, lake.clock(), other, "without its views")
    with pytest.raises(duckdb.Error, match="SeamError"):
        lake.con.execute("SELECT * FROM main.orders")


@pytest.mark.thorough
def test_a_base_published_below_newer_commits_keeps_them(make_lake: MakeLake) -> None:
    lake, other = make_lake(partitions=2), make_lake()
    lines = Shop(Random(31), orders=5).events(60)
    append(lake, lines[:20])
    run_speed(lake, 8)

    def meanwhile(step: str) -> None:
        if step.startswith("cut at"):
            append(other, lines[20:])
            run_speed(other, 15)

    done = batch.run(lake, engine="duckdb", report=meanwhile)
    assert done is not None
    line = registry.read(lake)
    assert (done.cut.total, line.cut.total, line.position.total) == (20, 20, 60)
    assert line.last_commit > line.after_commit
    assert_exact(lake, names=BUILT_IN)
    append(lake, lines[:5])
    run_speed(lake)
    assert_exact(lake, names=BUILT_IN)


def test_a_commit_ends_at_the_cut_that_a_batch_asks_for(make_lake: MakeLake) -> None:
    lake, other = make_lake(partitions=2), make_lake()
    lines = Shop(Random(32), orders=5).events(50)
    append(lake, lines[:20])

    def meanwhile(step: str) -> None:
        if step.startswith("cut at"):
            append(other, lines[20:])
            run_speed(other)  # one commit could take all 50

    batch.run(lake, engine="duckdb", report=meanwhile)
    assert commits(lake) == [(0, 20), (20, 50)]
    assert registry.read(lake).cut.total == 20
    assert_exact(lake, names=BUILT_IN)


def test_a_cut_asked_for_in_the_middle_of_a_commit_splits_it(
    make_lake: MakeLake,
) -> None:
    lake = make_lake(partitions=1)
    append(lake, Shop(Random(33), orders=4).events(30))

    def ask() -> None:
        with lake.writing("cut") as tx:
            registry.ask_for_cut(tx, 1, Position((11,)))

    with Interleaved(lake.home, lake.settings, "commit", ask) as late:
        run_speed(late)
    assert commits(lake) == [(0, 11), (11, 30)]
    assert_exact(lake, names=BUILT_IN)


def test_commits_go_on_below_a_cut_that_is_far_ahead(make_lake: MakeLake) -> None:
    lake = make_lake(partitions=3)
    append(lake, Shop(Random(34), orders=7).events(90))
    with lake.writing("cut") as tx:
        registry.ask_for_cut(tx, 1, Log(lake).end())
    run_speed(lake, 7)
    assert len(commits(lake)) >= 7
    assert_exact(lake, names=BUILT_IN)


@pytest.mark.parametrize(("elsewhere", "expected"), [(None, [(0, 30)]), (1, [(0, 10), (10, 30)])])
def test_a_writer_whose_generation_moved_does_not_commit_what_it_prepared(
    make_lake: MakeLake, elsewhere: int | None, expected: list[tuple[int, int]]
) -> None:
    lake = make_lake(partitions=1)
    append(lake, Shop(Random(35), orders=4).events(30))

    def overtake() -> None:
        run_speed(lake, 100 if elsewhere is None else 10, commits=elsewhere)

    with Interleaved(lake.home, lake.settings, "commit", overtake) as late:
        with contextlib.suppress(SeamError):  # to refuse is right too; to commit twice is not
            run_speed(late)
        run_speed(late)
    assert commits(lake) == expected
    assert_exact(lake, names=BUILT_IN)


def test_a_commit_prepared_on_an_old_base_lands_on_the_new_one(make_lake: MakeLake) -> None:
    lake = make_lake(partitions=2)
    lines = Shop(Random(36), orders=4).events(40)
    append(lake, lines[:20])
    run_speed(lake)

    def publish() -> None:
        build.consolidate(lake, 1)

    append(lake, lines[20:])
    with Interleaved(lake.home, lake.settings, "commit", publish) as late:
        run_speed(late)
    line = registry.read(lake)
    assert (line.base, line.cut.total, line.position.total) == (2, 20, 40)
    assert_exact(lake, names=BUILT_IN)


def test_a_speed_layer_that_stays_open_sees_what_others_did(make_lake: MakeLake) -> None:
    lake, other = make_lake(partitions=2), make_lake()
    lines = Shop(Random(37), orders=4).events(50)
    with Speed.open(lake, commit_events=9) as speed:
        append(other, lines[:20])
        speed.run()
        batch.run(other, engine="duckdb")
        append(other, lines[20:30])
        speed.run()
        assert_exact(lake, names=BUILT_IN)
        append(other, lines[30:])
        batch.run(other, engine="duckdb", incremental=True)
        speed.run()
        assert_exact(lake, names=BUILT_IN)
        built = build.replay(other, None).generation
        promote.promote(other, built)
        append(other, lines[:7])
        speed.run()
    assert registry.read(lake).number == built
    assert_exact(lake, names=BUILT_IN)


def test_a_base_that_meets_no_commit_is_not_published(make_lake: MakeLake) -> None:
    lake = make_lake(partitions=1)
    append(lake, Shop(Random(38), orders=4).events(30))
    run_speed(lake, 20)
    before = registry.read(lake)
    with lake.writing("publish") as tx, pytest.raises(SeamError):
        registry.publish(tx, 1, cut=Position((7,)), filling={}, engine="none")
    assert registry.read(lake) == before
    assert_exact(lake, names=BUILT_IN)


def test_two_queries_in_one_transaction_see_one_position(make_lake: MakeLake) -> None:
    lake, readers = make_lake(partitions=2), make_lake(read_only=True)
    lines = Shop(Random(39), orders=4).events(40)
    append(lake, lines[:20])
    run_speed(lake)
    position = "SELECT position FROM sys.served"
    with readers.reading():
        before, tables = readers.row(position), _all(readers)
        append(lake, lines[20:])
        run_speed(lake)
        batch.run(lake, engine="duckdb")
        assert readers.row(position) == before
        assert _all(readers) == tables
    assert readers.row(position) != before
    assert_exact(readers, names=BUILT_IN)


def _all(lake: Lake) -> list[list[tuple[object, ...]]]:
    return [sorted(lake.rows(f'SELECT * FROM main."{n}"'), key=repr) for n in BUILT_IN]


@pytest.mark.thorough
def test_a_changed_view_starts_a_generation_and_leaves_the_live_one_alone(
    make_lake: MakeLake,
) -> None:
    view = "SELECT customer_id, count(*) AS movements FROM ledger GROUP BY customer_id"
    lake = make_lake(partitions=2, views={"mine": view})
    lines = Shop(Random(40), orders=4).events(40)
    append(lake, lines[:20])
    run_speed(lake)
    before, mine = served(lake, BUILT_IN), lake.rows("SELECT * FROM mine ORDER BY ALL")
    changed = view.replace("count(*) AS movements", "sum(amount) AS net")
    (lake.home.views / "mine.sql").write_text(changed, encoding="utf-8")

    done = batch.run(lake, engine="duckdb")
    assert done is not None
    assert (done.live, done.generation) == (False, 2)
    assert registry.live_number(lake) == 1
    assert served(lake, BUILT_IN) == before
    assert lake.rows("SELECT * FROM mine ORDER BY ALL") == mine

    append(lake, lines[20:])
    run_speed(lake)
    assert_exact(lake, names=BUILT_IN)
    promote.promote(lake, 2)
    assert_exact(lake, names=BUILT_IN)
    sums = "SELECT customer_id, sum(amount) AS net FROM ledger GROUP BY customer_id ORDER BY ALL"
    assert lake.rows("SELECT * FROM mine ORDER BY ALL") == lake.rows(sums)


def test_a_replay_with_the_same_logic_and_other_numbers_is_not_promoted(lake: Lake) -> None:
    append(lake, [placed("o1"), placed("o2")])
    run_speed(lake)
    built = build.replay(lake, None).generation
    with lake.writing("tampering") as tx:
        line = registry.read(lake, built)
        column = line.views["country_sales"].partials[-1].name
        tx.execute(f'UPDATE {line.base_table("country_sales")} SET "{column}" = "{column}" + 1')
    with pytest.raises(HeadraceError):
        promote.promote(lake, built)
    assert registry.live_number(lake) == 1
