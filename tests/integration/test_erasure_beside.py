"""An erasure beside Spark, Kafka, a backup and a proof that is under way."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from headrace.pipelines.batch import run as batch
from headrace.pipelines.errors import LogError, StorageError
from headrace.pipelines.log.erased import erasures
from headrace.pipelines.operations import erasure_leftovers, maintenance
from headrace.pipelines.operations.backup import save
from headrace.pipelines.operations.erasure import erase
from headrace.pipelines.quality.verify import verify
from tests.e2e.command import Headrace
from tests.e2e.orders import write
from tests.integration.test_erasure import FIRST, LATER, WHO, holding, numbers, put, speed
from tests.kafka.running import fresh_topic

if TYPE_CHECKING:
    from headrace.pipelines.lake.lake import Lake
    from tests.conftest import MakeLake
    from tests.kafka.broker import Cluster

pytestmark = pytest.mark.thorough


@pytest.fixture
def lake(make_lake: MakeLake) -> Lake:
    made = make_lake(partitions=2)
    put(made, *FIRST)
    speed(made)
    return made


@pytest.mark.spark
@pytest.mark.xdist_group("spark")
def test_spark_adds_to_a_base_that_was_rewritten(lake: Lake) -> None:
    batch.run(lake, engine="duckdb")
    erase(lake, WHO, "asked by letter")
    put(lake, *LATER)
    speed(lake)
    before = numbers(lake)
    batch.run(lake, engine="spark", incremental=True)
    assert numbers(lake) == before
    assert verify(lake).equal
    assert holding(lake.home.path, WHO) == []


@pytest.mark.kafka
@pytest.mark.xdist_group("kafka")
def test_what_a_topic_brings_again_stays_erased(kafka: Cluster, tmp_path: Path) -> None:
    headrace, url = Headrace(tmp_path / "home"), fresh_topic(kafka)
    headrace.json("--log", url, "init", "--partitions", "2")
    headrace.json("append", write(tmp_path / "1.ndjson", [*FIRST, *LATER]))
    headrace.json("speed", "--once")
    before = headrace.rows("FROM revenue_by_day ORDER BY ALL")

    done = headrace.json("erase", "customer", WHO, "--reason", "asked by letter")

    assert (done["orders"], done["events"]) == (2, 7)
    assert holding(headrace.home, WHO) == []
    headrace.json("append", write(tmp_path / "again.ndjson", [*FIRST, *LATER]))
    headrace.json("speed", "--once")
    assert headrace.json("batch", "--engine", "duckdb")["published"] is True
    assert headrace.rows("FROM revenue_by_day ORDER BY ALL") == before
    assert headrace.json("verify")["equal"] is True
    assert holding(headrace.home, WHO) == []


def test_the_next_backup_into_a_folder_takes_the_customer_out_of_it(
    lake: Lake, tmp_path: Path
) -> None:
    folder = tmp_path / "kept"
    save.save(lake, folder)
    assert holding(folder, WHO)
    erase(lake, WHO, "asked by letter")
    save.save(lake, folder)
    assert holding(folder, WHO) == []


def test_no_backup_is_made_of_what_an_erasure_has_not_deleted_yet(
    lake: Lake, tmp_path: Path
) -> None:
    erasure_leftovers.begin(lake.home)
    with pytest.raises(StorageError, match=r"`headrace maintain` finishes it"):
        save.save(lake, tmp_path / "kept")
    maintenance.maintain(lake)
    save.save(lake, tmp_path / "kept")


def test_a_proof_that_was_under_way_is_not_recorded(lake: Lake, make_lake: MakeLake) -> None:
    other = make_lake(lock_wait=timedelta(milliseconds=200))

    def meanwhile(_done: int, _all: int) -> None:
        if not erasures(other):
            with pytest.raises(StorageError, match="a reader still holds the journal"):
                erase(other, WHO, "asked by letter")

    with pytest.raises(LogError, match="was erased while this was compared"):
        verify(lake, progress=meanwhile)
    assert lake.rows("SELECT * FROM sys.certificates") == []
    assert verify(lake).equal


def test_a_trial_finishes_nothing(lake: Lake) -> None:
    erasure_leftovers.begin(lake.home)
    assert erase(lake, WHO, "asked by letter", dry_run=True).events == 5
    assert lake.home.erasing.is_file()
