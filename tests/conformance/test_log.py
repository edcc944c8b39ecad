"""Both logs, the lake's own and a Kafka topic, mean the same by append, end, fetch and time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest

from headrace.pipelines.bootstrap import open_lake
from headrace.pipelines.lake.lake import Lake
from headrace.pipelines.log import quarantine
from headrace.pipelines.log.binding import open_log
from headrace.pipelines.log.port import EventLog, Fetched
from headrace.pipelines.position import Position
from headrace.pipelines.settings import load
from headrace.schemas.tables import TYPED_COLUMNS
from tests.e2e.orders import FIRST_DAY, events
from tests.kafka.running import fresh_topic

LINES = events(30, seed=11)
NOTHING = timedelta(0)
SOON = timedelta(seconds=5)


KAFKA = [pytest.mark.kafka, pytest.mark.xdist_group("kafka")]


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=KAFKA)])
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lake]:
    """A home of two partitions whose log is empty."""
    chosen = load(tmp_path / "home", environ={}, threads=1, partitions=2)
    if request.param == "kafka":
        topic = fresh_topic(request.getfixturevalue("kafka"))
        chosen = chosen.model_copy(update={"log": topic})
    with open_lake(chosen) as made:
        yield made


@pytest.fixture
def log(lake: Lake) -> Iterator[EventLog]:
    """Its log."""
    with open_log(lake) as made:
        yield made


def put(log: EventLog, lines: list[bytes]) -> Position:
    """Append lines that must be accepted; gives the log's end."""
    done = log.append(lines, [f"test:{n}" for n in range(len(lines))])
    assert (done.accepted, done.quarantined) == (len(lines), 0)
    assert done.position == log.end()
    return done.position


def all_of(log: EventLog, start: Position, end: Position, limit: int = 1000) -> list[Fetched]:
    """Fetch from one position to another, however many portions that takes."""
    found = []
    while start != end:
        found.append(log.fetch(start, limit, SOON))
        assert found[-1].start == start
        start = found[-1].end
    return found


def columns(found: Fetched, *names: str) -> list[tuple[object, ...]]:
    return list(zip(*(found.events.column(c).to_pylist() for c in names), strict=True))


def raws(found: list[Fetched]) -> list[bytes]:
    return [raw.encode() for part in found for raw in part.events.column("raw").to_pylist()]


def test_an_empty_log_ends_at_zero_and_has_nothing_to_fetch(log: EventLog) -> None:
    zero = Position.zero(2)
    assert log.end() == zero
    assert log.fetch(zero, 10, NOTHING).empty


def test_what_was_appended_is_fetched_once_with_its_bytes(log: EventLog) -> None:
    end = put(log, LINES)
    assert end.total == len(LINES)
    assert sorted(raws(all_of(log, Position.zero(2), end))) == sorted(LINES)


def test_offsets_are_contiguous_from_zero_in_each_partition(log: EventLog) -> None:
    end = put(log, LINES)
    (part,) = all_of(log, Position.zero(2), end)
    assert columns(part, "partition", "offset") == [
        (p, o) for p in range(2) for o in range(end.offsets[p])
    ]


def test_an_order_has_one_partition_and_its_events_keep_their_order(log: EventLog) -> None:
    end = put(log, LINES)
    (part,) = all_of(log, Position.zero(2), end)
    orders = part.events.column("order_id").to_pylist()
    partitions = part.events.column("partition").to_pylist()
    assert len(set(zip(orders, partitions, strict=True))) == len(set(orders))
    fetched = raws([part])
    for order in set(orders):
        arrived = [line for line in LINES if json.loads(line)["subject"] == order]
        assert [line for line in fetched if json.loads(line)["subject"] == order] == arrived


def test_both_logs_place_orders_alike(log: EventLog) -> None:
    end = put(log, LINES)
    assert end.offsets == (36, 33), "murmur2 of these order ids, modulo two"


def test_small_portions_give_the_same_as_one_large_portion(log: EventLog) -> None:
    end = put(log, LINES)
    small = all_of(log, Position.zero(2), end, limit=7)
    assert len(small) > 3
    assert sorted(raws(small)) == sorted(LINES)


def test_fetching_from_the_middle_gives_the_rest(log: EventLog) -> None:
    middle = put(log, LINES[:40])
    end = put(log, LINES[40:])
    assert sorted(raws(all_of(log, middle, end))) == sorted(LINES[40:])


def test_fetched_events_are_typed(log: EventLog) -> None:
    end = put(log, LINES[:5])
    (part,) = all_of(log, Position.zero(2), end)
    assert set(TYPED_COLUMNS) <= set(part.events.column_names)
    assert dict(columns(part, "id", "type")) == {
        (e := json.loads(line))["id"]: e["type"] for line in LINES[:5]
    }


def test_position_at_a_time_has_no_event_of_that_time_or_later_before_it(log: EventLog) -> None:
    end = put(log, LINES)
    (part,) = all_of(log, Position.zero(2), end)
    rows = columns(part, "partition", "offset", "time")
    for days in (0, 1, 2, 3, 9):
        moment = FIRST_DAY + timedelta(days=days)
        lowest = [
            min((o for q, o, t in rows if q == p and t >= moment), default=end.offsets[p])
            for p in range(2)
        ]
        assert log.position_at(moment).offsets == tuple(lowest), days


def test_a_redelivery_is_an_event_of_the_log(log: EventLog) -> None:
    put(log, LINES[:3])
    assert put(log, LINES[:3]).total == 6


def test_bad_lines_go_to_quarantine_and_good_ones_around_them_in(lake: Lake, log: EventLog) -> None:
    bad = [b"not json", b'{"specversion": "1.0"}']
    done = log.append([LINES[0], *bad, LINES[1]], ["f:1", "f:2", "f:3", "f:4"])
    assert (done.accepted, done.quarantined) == (2, 2)
    assert [(e.origin, e.raw) for e in quarantine.entries(lake)] == [
        ("f:2", bad[0]), ("f:3", bad[1]),
    ]  # fmt: skip
    assert log.end().total == 2


def test_events_of_all_ages_are_taken(log: EventLog) -> None:
    times = ["1970-01-01T00:00:00Z", "2026-03-01T00:00:00.000001Z", "2099-12-31T23:59:59Z"]
    lines = []
    for n, time in enumerate(times):
        event = json.loads(LINES[0])
        lines.append(json.dumps(event | {"id": f"age-{n}", "time": time}).encode())
    end = put(log, lines)
    assert sorted(raws(all_of(log, Position.zero(2), end))) == sorted(lines)


def test_a_second_opening_sees_the_same_log(lake: Lake, log: EventLog) -> None:
    end = put(log, LINES[:10])
    with ExitStack() as stack:
        again = stack.enter_context(open_log(lake))
        assert (again.identity, again.end()) == (log.identity, end)
