"""The log under the seam: conflicts met once, an empty log, a log that is not the one known."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from random import Random
from typing import TYPE_CHECKING

import pytest

from headrace.pipelines.batch import run as batch
from headrace.pipelines.bootstrap import open_lake
from headrace.pipelines.errors import HomeError, LogError
from headrace.pipelines.generations import registry
from headrace.pipelines.lake.lake import Lake
from headrace.pipelines.log import quarantine
from headrace.pipelines.position import Position
from headrace.pipelines.quality import verify
from headrace.pipelines.replay import build, promote
from headrace.pipelines.serving import query as serving
from tests.conformance.paths import (
    BUILT_IN,
    append,
    assert_exact,
    conflicts,
    run_speed,
    served,
)
from tests.conformance.streams import Shop, paid, placed, shipped
from tests.halves import first

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import MakeLake

FIRST = [placed("o1"), paid("o1", "7.50")]
AGAIN = [
    placed("o1", ("lamp", 9, "99")),
    placed("o1"),
    paid("o1", "1"),
    placed("o1", ("tea", 1, "2")),
]
AT = Counter([f"log partition 0 offset {offset}" for offset in (2, 4, 5)])


def speed(lake: Lake) -> None:
    run_speed(lake, 2)


def full(lake: Lake) -> None:
    batch.run(lake, engine="duckdb")


def incremental(lake: Lake) -> None:
    batch.run(lake, engine="duckdb", incremental=True)


def replayed(lake: Lake) -> None:
    promote.promote(lake, build.replay(lake, None).generation)


WORKS: dict[str, list[Callable[[Lake], None]]] = {
    "speed, then batch": [speed, full, incremental],
    "batch, then speed": [full, speed],
    "incremental, then speed": [incremental, speed],
    "speed, then replay": [speed, replayed, speed],
    "batch, then replay": [full, replayed, full],
}


@pytest.mark.parametrize("works", first(2, WORKS))
@pytest.mark.parametrize("base", [False, True], ids=["all at once", "across the cut"])
def test_a_conflict_is_quarantined_once_whoever_meets_it_first(
    make_lake: MakeLake, works: str, base: bool
) -> None:
    lake = make_lake(partitions=1)
    append(lake, FIRST)
    if base:
        full(lake)
    append(lake, AGAIN)
    for work in WORKS[works]:
        work(lake)
    assert conflicts(lake) == AT
    assert_exact(lake, names=BUILT_IN)


def test_a_conflict_is_quarantined_with_its_own_bytes(make_lake: MakeLake) -> None:
    lake = make_lake(partitions=1)
    append(lake, [*FIRST, AGAIN[0]])
    speed(lake)
    (entry,) = quarantine.entries(lake)
    assert entry.raw == AGAIN[0]
    assert quarantine.retry(lake).accepted == 0
    assert len(quarantine.entries(lake)) == 1


def test_the_same_event_written_otherwise_is_no_conflict(make_lake: MakeLake) -> None:
    lake = make_lake(partitions=1)
    pretty = json.dumps(json.loads(FIRST[0]), indent=1, sort_keys=True).replace("\n", " ")
    assert pretty.encode() != FIRST[0]
    append(lake, [*FIRST, pretty.encode()])
    speed(lake)
    full(lake)
    assert conflicts(lake) == Counter()
    assert_exact(lake, names=BUILT_IN)


@pytest.mark.thorough
def test_a_conflict_among_many_repeats_is_found_by_batch_and_by_speed_alike(
    make_lake: MakeLake,
) -> None:
    lines = Shop(Random(50), orders=3).events(80)
    found = []
    for name, work in (("a", speed), ("b", full)):
        lake = make_lake(name, partitions=2)
        append(lake, lines)
        work(lake)
        found.append(conflicts(lake))
    assert found[0] == found[1]
    assert sum(found[0].values()) > 10


def test_an_empty_log_serves_empty_views_and_proves_them(lake: Lake) -> None:
    assert run_speed(lake) == 0
    assert batch.run(lake, engine="duckdb") is None
    assert batch.run(lake, engine="duckdb", incremental=True) is None
    assert all(not table.rows for table in served(lake, BUILT_IN).values())
    certificate = verify.verify(lake)
    assert (certificate.equal, certificate.events) == (True, 0)
    with serving.connect(lake.home.path) as readers:
        answer = readers.query("SELECT count(*), sum(net) FROM revenue_by_day")
    assert answer.rows == ((0, None),)
    assert answer.position == Position((0, 0))


@pytest.mark.thorough
def test_an_empty_log_can_be_replayed_and_goes_on_from_there(lake: Lake) -> None:
    done = build.replay(lake, None)
    assert (done.events, done.diff.equal) == (0, True)
    promote.promote(lake, done.generation)
    append(lake, FIRST)
    assert run_speed(lake) == 1
    assert_exact(lake, names=BUILT_IN)


def truncated(lake: Lake) -> None:
    """Forget the last append, as a catalog restored from yesterday's copy would."""
    with lake.writing("tampering") as tx:
        tx.execute(
            "DELETE FROM sys.appends WHERE append_no = (SELECT max(append_no) FROM sys.appends)"
        )


@pytest.mark.parametrize("work", [speed, full, incremental, replayed])
def test_a_truncated_log_is_refused(lake: Lake, work: Callable[[Lake], None]) -> None:
    append(lake, FIRST)
    append(lake, [shipped("o1")])
    speed(lake)
    truncated(lake)
    before = registry.read(lake)
    with pytest.raises(LogError):
        work(lake)
    assert registry.read(lake) == before


def test_a_truncated_log_is_refused_even_where_the_seam_is_broken_too(lake: Lake) -> None:
    append(lake, Shop(Random(52), orders=3).events(30))
    run_speed(lake, 10)
    lake.con.execute("DELETE FROM sys.commits WHERE commit_no = 2")
    lake.con.execute("DELETE FROM sys.appends")
    with pytest.raises(LogError, match="truncated or replaced"):
        batch.run(lake, engine="duckdb")
    assert registry.live_number(lake) == 1


def test_a_log_that_was_truncated_and_grew_again_is_refused(lake: Lake) -> None:
    append(lake, FIRST)
    append(lake, [placed(f"o{n}") for n in range(9)])
    speed(lake)
    truncated(lake)
    append(lake, [placed("x1")])
    with pytest.raises(LogError):
        speed(lake)


def test_another_log_under_the_same_home_is_refused(make_lake: MakeLake) -> None:
    ours, theirs = make_lake("ours", partitions=2), make_lake("theirs", partitions=2)
    for lake in (ours, theirs):
        append(lake, FIRST)
        speed(lake)
        lake.close()
    for file in ours.home.path.glob("catalog.sqlite*"):
        file.unlink()
    for file in theirs.home.path.glob("catalog.sqlite*"):
        shutil.copy(file, ours.home.path)
    with pytest.raises(LogError):
        open_lake(ours.settings)


def test_a_home_without_its_catalog_is_refused(make_lake: MakeLake) -> None:
    lake = make_lake(partitions=2)
    append(lake, FIRST)
    lake.close()
    for file in lake.home.path.glob("catalog.sqlite*"):
        file.unlink()
    with pytest.raises((HomeError, LogError)):
        open_lake(lake.settings)


@pytest.mark.parametrize("loss", first(1, ["torn manifest", "gone", "run gone"]))
def test_a_lost_or_damaged_order_index_changes_nothing(lake: Lake, loss: str) -> None:
    lines = Shop(Random(51), orders=4).events(60)
    append(lake, lines[:40])
    run_speed(lake, 10)
    index = lake.home.index
    if loss == "gone":
        shutil.rmtree(index)
    elif loss == "torn manifest":
        manifest = index / "manifest.json"
        manifest.write_bytes(manifest.read_bytes()[:20])
    else:
        next(index.glob("*.arrow")).unlink()
    append(lake, lines[40:])
    run_speed(lake, 10)
    assert_exact(lake, names=BUILT_IN)
