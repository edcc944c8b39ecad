"""The quarantine of a home whose log is a topic: known lines, corrections, and a kill between."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.orders import Truth, events, write
from tests.faults.crashing import kill_at
from tests.kafka.broker import Cluster
from tests.kafka.homes import Home, Record, placed, produce
from tests.kafka.running import fresh_topic

pytestmark = [pytest.mark.kafka, pytest.mark.xdist_group("kafka")]

LINES = list(dict.fromkeys(events(6, seed=29)))


@pytest.fixture
def home(kafka: Cluster, tmp_path: Path) -> Home:
    """A home on a topic of two partitions, both empty."""
    made = Home(tmp_path / "home", fresh_topic(kafka), partitions=2)
    assert made.json("init")["partitions"] == 2
    return made


@pytest.mark.thorough
def test_a_correction_goes_to_the_topic_and_counts_once_though_it_was_killed_in_between(
    home: Home, tmp_path: Path
) -> None:
    wrong = [line.replace(b'"specversion"', b'"specversions"') for line in LINES[:2]]
    path = write(tmp_path / "a.ndjson", [*LINES[3:], wrong[0]])
    assert home.json("append", path)["quarantined_known"] == 0
    assert home.json("append", path)["quarantined_known"] == 1
    produce(home.url, [Record(wrong[1], b"k", 0), placed(LINES[2], 2)])
    home.once()
    assert len(home.quarantined()) == 2
    file = tmp_path / "to fix.ndjson"
    home.json("quarantine", "export", file)
    entries = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    for entry in entries:
        entry["raw"] = entry["raw"].replace("specversions", "specversion")
    write(file, [json.dumps(entry).encode() for entry in entries])
    kill_at("quarantine.begun", home, "quarantine", "retry", "--file", file)
    assert len(home.quarantined()) == 2, "sent, and not recorded as done"
    told = home.json("quarantine", "retry", "--file", file)
    assert (told["accepted"], told["corrected"], told["still_quarantined"]) == (2, 2, 0)
    assert home.json("quarantine", "retry", "--file", file)["closed_before"] == 2
    home.once()
    assert home.quarantined() == {}
    assert home.json("status")["repeats"] == len(LINES[3:]) + 2
    Truth.of(LINES).check(home)
    home.check()
