"""What people really put into topics: each record is an event, in quarantine, or a hole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from headrace.pipelines.log.kafka.records import MARKER, NO_VALUE
from tests.e2e.command import money
from tests.e2e.orders import Truth, events
from tests.kafka.broker import Cluster
from tests.kafka.homes import Home, Record, origin, placed, produce, producer, send
from tests.kafka.running import fresh_topic

pytestmark = [pytest.mark.kafka, pytest.mark.xdist_group("kafka")]

LINES = events(20, seed=23)
POISON = (
    b"",
    b"not json",
    b"\x00\xff\xfe binary \x1f\x8b",
    b"[]",
    b"null",
    b'{"specversion": "1.0"}',
)


@pytest.fixture
def home(kafka: Cluster, tmp_path: Path) -> Home:
    """A home on a topic of two partitions, both empty."""
    made = Home(tmp_path / "home", fresh_topic(kafka), partitions=2)
    assert made.json("init")["partitions"] == 2
    return made


def good(lines: list[bytes]) -> list[Record]:
    return [placed(line, 2) for line in lines]


def holes(home: Home) -> list[tuple[object, ...]]:
    with home.lake() as lake:
        return sorted(
            lake.rows('SELECT "partition", first_offset, next_offset, reason FROM sys.holes')
        )


def test_events_of_another_producer_are_read_whatever_their_key_headers_and_time(
    home: Home,
) -> None:
    plain = good(LINES)
    records = [
        Record(
            r.value, None if n % 3 == 0 else r.key, r.partition,
            [("trace", b"\xff\x00"), ("empty", b"")] if n % 2 else [], n * 1000 if n % 5 else None,
        )
        for n, r in enumerate(plain)
    ]  # fmt: skip
    produce(home.url, records)
    assert home.once()["events"] == len(LINES)
    assert sorted(home.events()) == sorted(LINES)
    assert home.quarantined() == {}
    Truth.of(LINES).check(home)


def test_what_is_no_event_is_in_quarantine_with_its_place_and_bytes(home: Home) -> None:
    records = good(LINES[:10]) + [Record(p, b"k", n % 2) for n, p in enumerate(POISON)]
    records += [Record(None, b"k", 0), *good(LINES[10:20])]
    places = produce(home.url, records)
    told = home.once()
    assert told["events"] == 20
    reasons = home.quarantined()
    bad = places[10:17]
    assert set(reasons) == {origin(home.url, place) for place in bad}
    assert reasons[origin(home.url, bad[-1])] == NO_VALUE
    with home.lake() as lake:
        kept = dict(lake.rows("SELECT origin, raw FROM sys.quarantine"))
    assert kept == {
        origin(home.url, p): r.value or b"" for p, r in zip(bad, records[10:17], strict=True)
    }
    assert holes(home) == [(p, o, o + 1, "in quarantine") for p, o in sorted(bad)]
    Truth.of(LINES[:20]).check(home)
    home.check()


def test_a_record_in_another_partition_than_its_order_is_quarantined_and_a_retry_places_it(
    home: Home,
) -> None:
    astray = placed(LINES[0], 2)
    assert astray.partition is not None
    (place,) = produce(home.url, [Record(astray.value, astray.key, 1 - astray.partition)])
    home.once()
    (reason,) = home.quarantined().values()
    assert f"belongs to partition {astray.partition} by murmur2" in reason
    assert f"this record is in partition {place[0]}" in reason
    assert home.json("quarantine", "retry") == {"accepted": 1, "still_quarantined": 0}
    home.once()
    assert (home.events(), home.quarantined()) == ([LINES[0]], {})


@pytest.mark.thorough
def test_poison_between_events_leaves_all_paths_exact(home: Home, tmp_path: Path) -> None:
    first, second = LINES[:30], LINES[30:]
    produce(home.url, [r for line in first for r in (*good([line]), Record(b"?", None, 0))])
    home.once(commit_events=7)
    base = home.json("batch", "--engine", "duckdb")
    assert base["events"] == len(first)
    produce(home.url, [r for line in second for r in (Record(b"!", None, 1), *good([line]))])
    home.once(commit_events=9)
    assert home.json("batch", "--engine", "duckdb", "--incremental")["published"] is True
    home.check()
    status = home.json("status")
    truth = Truth.of(LINES)
    assert (status["events"], status["repeats"]) == (truth.events, truth.events - truth.distinct)
    assert (status["quarantined"], status["lag_events"]) == (len(LINES), 0)
    replayed = home.json("replay", "--from", "2026-03-03", "--promote")
    assert (replayed["equal"], replayed["promoted"]) == (True, True)
    replayed = home.json("replay", "--from", "beginning", "--promote")
    assert (replayed["equal"], replayed["promoted"]) == (True, True)
    truth.check(home)
    home.check()


@pytest.mark.thorough
def test_a_query_at_a_position_between_holes_counts_what_lies_below_it(home: Home) -> None:
    produce(home.url, [r for line in LINES[:20] for r in (*good([line]), Record(b"?", None, 0))])
    home.once()
    middle = json.dumps(home.json("status")["position"])
    produce(home.url, [r for line in LINES[20:] for r in (*good([line]), Record(b"?", None, 1))])
    home.once()
    sql = "SELECT CAST(day AS VARCHAR), currency, net FROM revenue_by_day"
    then = home.json("query", sql, "--at", middle)["rows"]
    assert money(then) == Truth.of(LINES[:20]).net
    assert money(home.rows(sql)) == Truth.of(LINES).net


@pytest.mark.thorough
def test_a_retry_on_a_home_with_holes_takes_in_what_the_rules_now_allow(home: Home) -> None:
    long = LINES[0][:-1] + b', "note": "' + b"x" * 2000 + b'"}'
    produce(home.url, [*good(LINES[1:9]), *good([long]), Record(None, b"k", 0), *good(LINES[9:12])])
    told = home.once(max_event_bytes=1024)
    assert told["events"] == 11
    assert home.json("quarantine", "retry") == {"accepted": 1, "still_quarantined": 1}
    home.once()
    Truth.of([*LINES[1:9], long, *LINES[9:12]]).check(home)
    home.check()


@pytest.mark.thorough
def test_compressed_topics_are_read(home: Home) -> None:
    for codec, part in (("gzip", LINES[:15]), ("lz4", LINES[15:30]), ("zstd", LINES[30:])):
        produce(home.url, good(part), compression_type=codec)
    assert home.once(commit_events=10)["events"] == len(LINES)
    Truth.of(LINES).check(home)


def test_committed_transactions_come_in_and_aborted_ones_are_holes(home: Home) -> None:
    with producer(home.url, transactional_id="t-1") as writer:
        writer.init_transactions()
        for n, part in enumerate((LINES[:10], LINES[10:20], LINES[20:30], LINES[30:40])):
            writer.begin_transaction()
            send(writer, home.url, good(part))
            writer.abort_transaction() if n % 2 else writer.commit_transaction()
    told = home.once(commit_events=7)
    kept = LINES[:10] + LINES[20:30]
    assert told["events"] == 20
    assert sorted(home.events()) == sorted(kept)
    found = holes(home)
    assert {reason for *_, reason in found} == {MARKER}
    markers = sum(int(after) - int(first) for _, first, after, _ in found) - 20  # type: ignore[call-overload]
    assert 4 <= markers <= 8, "one for each transaction and partition that it touched"
    Truth.of(kept).check(home)
    home.check()
    again = home.once()
    assert (again["commits"], again["events"]) == (0, 0)
    home.json("batch", "--engine", "duckdb")
    home.check()


@pytest.mark.thorough
def test_a_topic_of_nothing_but_aborted_records_is_read_to_its_end(home: Home) -> None:
    with producer(home.url, transactional_id="t-2") as writer:
        writer.init_transactions()
        writer.begin_transaction()
        send(writer, home.url, good(LINES))
        writer.abort_transaction()
    assert home.once()["events"] == 0
    assert home.events() == []
    home.check()
    produce(home.url, good(LINES[:5]))
    assert home.once()["events"] == 5
    Truth.of(LINES[:5]).check(home)
    home.check()


@pytest.mark.thorough
def test_an_open_transaction_holds_up_what_lies_behind_it_until_it_ends(home: Home) -> None:
    produce(home.url, good(LINES[:10]))
    with producer(home.url, transactional_id="t-3") as writer:
        writer.init_transactions()
        writer.begin_transaction()
        send(writer, home.url, good(LINES[10:20]))
        produce(home.url, good(LINES[20:40]))
        assert home.once()["events"] >= 10
        seen = home.events()
        assert not set(seen) & set(LINES[10:20]) - set(LINES[:10] + LINES[20:40])
        assert len(seen) < 30, "nothing was held up"
        home.check()
        writer.commit_transaction()
    home.once()
    assert sorted(home.events()) == sorted(LINES[:40])
    Truth.of(LINES[:40]).check(home)
    home.check()


@pytest.mark.thorough
def test_an_event_with_space_around_it_is_still_known_at_the_next_start(home: Home) -> None:
    lines = [b"  " + LINES[0] + b" \r\n", LINES[1].replace(b'"shop/test"', '"shöp/test"'.encode())]
    produce(home.url, good(lines))
    assert home.once()["events"] == 2
    assert sorted(home.events()) == sorted(line.strip() for line in lines)
    assert home.once()["events"] == 0
