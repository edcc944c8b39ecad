"""Maintenance changes nothing that anybody can see, and removes what nobody needs."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from headrace.pipelines.generations import registry
from headrace.pipelines.generator.generator import generate
from headrace.pipelines.log.embedded import Log
from headrace.pipelines.operations import maintenance
from headrace.pipelines.quality.verify import verify
from headrace.pipelines.replay import build, promote
from headrace.pipelines.speed.layer import Speed

if TYPE_CHECKING:
    from tests.conftest import MakeLake


def test_small_files_become_few_and_every_answer_stays(make_lake: MakeLake) -> None:
    lake = make_lake(partitions=2, keep_snapshots=timedelta(0))
    log, lines = Log(lake), list(generate(60, 3))
    with Speed.open(lake) as speed:
        for i in range(0, len(lines), 40):
            portion = lines[i : i + 40]
            log.append(portion, ["test"] * len(portion))
            speed.run()
    orphan = lake.folder("sys", "events") / "left-by-a-dead-writer.parquet"
    orphan.write_bytes(b"half a file")
    before = lake.rows("SELECT * FROM revenue_by_minute ORDER BY ALL")
    places = lake.rows('SELECT "partition", "offset", id FROM sys.events ORDER BY ALL')
    files = len(list(lake.home.data.rglob("*.parquet")))

    done = maintenance.maintain(lake)

    assert done.files_merged > 0
    assert len(list(lake.home.data.rglob("*.parquet"))) < files / 2
    assert not orphan.exists()
    assert lake.rows("SELECT * FROM revenue_by_minute ORDER BY ALL") == before
    assert lake.rows('SELECT "partition", "offset", id FROM sys.events ORDER BY ALL') == places
    assert verify(lake).equal


def test_files_stay_as_long_as_a_reader_may_lag(make_lake: MakeLake) -> None:
    lake = make_lake(partitions=2, keep_snapshots=timedelta(hours=1))
    log, lines = Log(lake), list(generate(60, 3))
    with Speed.open(lake) as speed:
        for i in range(0, len(lines), 40):
            portion = lines[i : i + 40]
            log.append(portion, ["test"] * len(portion))
            speed.run()
    files = set(lake.home.data.rglob("*.parquet"))
    snapshots = lake.rows("SELECT snapshot_id FROM ducklake_snapshots('lake')")

    done = maintenance.maintain(lake)

    assert done.files_merged > 0
    assert files <= set(lake.home.data.rglob("*.parquet"))
    assert set(snapshots) <= set(lake.rows("SELECT snapshot_id FROM ducklake_snapshots('lake')"))


@pytest.mark.thorough
def test_generations_nobody_can_return_to_are_dropped(make_lake: MakeLake) -> None:
    lake = make_lake(partitions=2, keep_generations=1)
    lines = list(generate(20, 4))
    Log(lake).append(lines, ["test"] * len(lines))
    with Speed.open(lake) as speed:
        speed.run()
    for _ in range(3):
        build.replay(lake, None)
    promote.promote(lake, 3)
    done = maintenance.maintain(lake)
    assert done.generations_dropped == (2,)
    assert registry.live_number(lake) == 3
    assert promote.rollback(lake).number == 1
    assert verify(lake).equal
