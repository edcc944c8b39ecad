"""A topic that is not what it was is refused, and says what to do; nothing is read on from it."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from kafka import TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, NewPartitions, NewTopic

from headrace.pipelines import settings
from headrace.pipelines.bootstrap import open_lake
from headrace.pipelines.errors import LogError
from headrace.pipelines.log.binding import EXPIRED, open_log
from headrace.pipelines.log.kafka.client import Address
from headrace.pipelines.log.port import EventLog
from headrace.pipelines.position import Position
from tests.e2e.command import Headrace, stopped_at_end
from tests.e2e.orders import Truth, events
from tests.kafka.broker import Cluster, free_port
from tests.kafka.homes import Home, admin, expire, placed, produce
from tests.kafka.running import fresh_topic, need_kafka

pytestmark = [pytest.mark.kafka, pytest.mark.xdist_group("kafka")]

LINES = events(20, seed=29)
SECRET = "hush-hush"  # noqa: S105 - it is what must never be seen


@pytest.fixture
def home(kafka: Cluster, tmp_path: Path) -> Home:
    """A home that has read twenty events of its topic of two partitions."""
    made = Home(tmp_path / "home", fresh_topic(kafka), partitions=2)
    made.append(LINES[:20])
    assert made.once()["events"] == 20
    return made


def topic(home: Home) -> str:
    return Address.parse(home.url).topic


def make_anew(home: Home) -> None:
    """Delete the topic and make one under its name."""
    with admin(home.url) as client:
        client.delete_topics([topic(home)])
        for _ in range(100):
            told = client.create_topics([NewTopic(topic(home), 2, 1)], raise_errors=False)
            if told["topics"][0]["error_code"] == 0:
                break
            time.sleep(0.05)
        client.wait_for_topics([topic(home)])


def configure(home: Home, **values: str) -> None:
    asked = ConfigResource(
        ConfigResourceType.TOPIC,
        topic(home),
        configs={k.replace("_", "."): v for k, v in values.items()},
    )
    with admin(home.url) as client:
        client.alter_configs([asked])


def point_at(home: Home, identity: str) -> None:
    """Make a home believe that it was made with another topic."""
    with open_lake(settings.load(home.home, environ={}, threads=1)) as lake:
        lake.con.execute(f"UPDATE sys.kafka SET identity = '{identity}'")


def unchanged(home: Home) -> None:
    """What was read is still served, and nothing else."""
    assert sorted(home.events()) == sorted(LINES[:20])
    Truth.of(LINES[:20]).check(home)


def test_a_topic_made_anew_under_the_old_name_is_refused(home: Home) -> None:
    make_anew(home)
    produce(home.url, [placed(line, 2) for line in LINES])
    for command in (["speed", "--once"], ["append", "/dev/null"]):
        home.run(*command).refused(1, "is another topic now (kafka:", "was made with", "new home")
    unchanged(home)


def read_on(log: EventLog, position: Position) -> None:
    """Fetch on for some seconds; nothing may come of it."""
    for _ in range(20):
        found = log.fetch(position, 100, timedelta(seconds=0.2))
        assert found.empty, f"read {found.events.num_rows} events of another topic"


def test_a_topic_made_anew_while_it_is_read_is_never_read_on(home: Home) -> None:
    """A consumer asks for a name: only the topic's id tells that it is another topic now."""
    with (
        open_lake(settings.load(home.home, environ={}, threads=1)) as lake,
        open_log(lake) as log,
    ):
        position = log.end()
        assert log.fetch(position, 100, timedelta(seconds=0.1)).empty
        make_anew(home)
        produce(home.url, [placed(line, 2) for line in LINES * 3])
        with pytest.raises(LogError, match="was deleted and made anew"):
            read_on(log, position)
    unchanged(home)


@pytest.mark.thorough
def test_a_topic_that_is_gone_is_named(home: Home) -> None:
    with admin(home.url) as client:
        client.delete_topics([topic(home)])
    home.run("speed", "--once").refused(1, home.url, "is gone", "Bring that one back")
    unchanged(home)


def test_records_that_expired_before_they_were_read_are_refused(home: Home) -> None:
    home.append(LINES[20:])
    with home.lake() as lake:
        (position,) = lake.row("SELECT max_by(position, append_no) FROM sys.appends")
    expire(home.url, {0: -1})
    home.run("speed", "--once").refused(1, "have expired and were never read", "retention.ms")
    with home.lake() as lake:
        assert lake.row("SELECT max_by(position, append_no) FROM sys.appends") == (position,)
    unchanged(home)


@pytest.mark.thorough
def test_records_that_expired_after_they_were_read_are_no_matter(home: Home) -> None:
    expire(home.url, {0: -1, 1: -1})
    home.append(LINES[20:])
    assert home.once()["events"] == len(LINES) - 20
    Truth.of(LINES).check(home)
    replayed = home.json("replay", "--from", "beginning", "--promote")
    assert (replayed["equal"], replayed["promoted"]) == (True, True)
    home.check()


@pytest.mark.thorough
def test_a_topic_whose_beginning_expired_is_taken_only_by_somebody_who_says_so(
    home: Home, tmp_path: Path
) -> None:
    home.append(LINES[20:])
    first = {0: 5, 1: 3}
    expire(home.url, first)
    late = Home(tmp_path / "late", home.url)
    late.run("init").refused(1, "begins at", "HEADRACE_KAFKA_FROM_EARLIEST=1")
    assert late.json("init", kafka_from_earliest=1)["partitions"] == 2
    late.once()
    with late.lake() as lake:
        holes = lake.rows('SELECT "partition", first_offset, next_offset, reason FROM sys.holes')
    assert sorted(holes) == [(p, 0, o, EXPIRED) for p, o in first.items()]
    assert len(late.events()) == len(LINES) - sum(first.values())
    Truth.of(late.events()).check(late)
    late.json("batch", "--engine", "duckdb")
    assert late.json("replay", "--from", "beginning")["equal"] is True
    late.check()


@pytest.mark.thorough
def test_partitions_that_were_added_are_refused_also_while_the_topic_is_followed(
    home: Home,
) -> None:
    with stopped_at_end(home.start("speed", "--follow")) as follow:
        home.append([LINES[0]])
        assert follow.stderr is not None
        assert follow.stderr.readline().startswith("commit ")
        with admin(home.url) as client:
            client.create_partitions({topic(home): NewPartitions(3)})
        assert follow.wait(30) == 1
        assert "has 3 partitions, the home was made with 2" in follow.stderr.read()
    home.run("speed", "--once").refused(1, "has 3 partitions, the home was made with 2")
    home.run("append", "/dev/null").refused(1, "has 3 partitions")
    Truth.of([*LINES[:20], LINES[0]]).check(home)


@pytest.mark.thorough
def test_a_compacted_topic_is_refused(home: Home, tmp_path: Path) -> None:
    configure(home, cleanup_policy="compact")
    home.run("speed", "--once").refused(1, "cleanup.policy=compact", "cleanup.policy=delete")
    fresh = Home(tmp_path / "fresh", home.url)
    fresh.run("init").refused(1, "cleanup.policy=compact")
    assert not (fresh.home / "home.json").exists()
    unchanged(home)


@pytest.mark.thorough
def test_a_topic_with_another_last_record_than_the_archived_one_is_refused(
    home: Home, kafka: Cluster
) -> None:
    """As after a broker that lost its end and grew again: same topic, other records."""
    other = Home(home.home.with_name("other"), fresh_topic(kafka), partitions=2)
    other.json("init")
    produce(other.url, [placed(line, 2) for line in reversed(LINES[:20])])
    other.once()
    with other.lake() as lake:
        (identity,) = lake.row("SELECT identity FROM sys.kafka")
    point_at(home, identity)
    impostor = Home(home.home, other.url)
    impostor.run("speed", "--once").refused(1, "holds another record at partition", "new home")
    unchanged(home)


def test_a_topic_that_is_shorter_than_what_was_read_is_refused(home: Home, kafka: Cluster) -> None:
    other = Home(home.home.with_name("other"), fresh_topic(kafka), partitions=2)
    other.append(LINES[:3])
    with other.lake() as lake:
        (identity,) = lake.row("SELECT identity FROM sys.kafka")
    point_at(home, identity)
    Home(home.home, other.url).run("speed", "--once").refused(1, "before the position")


def test_a_home_with_a_log_of_its_own_takes_no_topic(kafka: Cluster, tmp_path: Path) -> None:
    own = Headrace(tmp_path / "own")
    own.json("init")
    url = fresh_topic(kafka)
    for command in (["speed", "--once"], ["append", "/dev/null"], ["status"]):
        own.run("--log", url, *command).refused(1, "has a log of its own", url)


@pytest.mark.thorough
def test_the_address_may_change_but_not_the_topic(home: Home) -> None:
    assert Headrace(home.home).json("speed", "--once")["events"] == 0, "the address is known"
    there = home.url.replace("127.0.0.1", "localhost")
    assert Headrace(home.home).json("--log", there, "speed", "--once")["events"] == 0


def test_a_broker_that_cannot_be_reached_is_named_soon(home: Home, tmp_path: Path) -> None:
    nowhere = f"kafka://127.0.0.1:{free_port()}/orders"
    lost = Home(tmp_path / "lost", nowhere, kafka_timeout=1)
    started = time.monotonic()
    lost.run("init").refused(1, nowhere, "did not let us connect", "see that the brokers run")
    assert not (lost.home / "home.json").exists()
    away = Home(home.home, nowhere, kafka_timeout=1)
    away.run("speed", "--once").refused(1, nowhere)
    away.run("append", "/dev/null").refused(1, nowhere)
    assert time.monotonic() - started < 20
    Truth.of(LINES[:20]).check(away)  # what was read is served without Kafka


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Cluster]:
    """A broker that talks TLS only, to whoever knows the password."""
    need_kafka()
    store = tmp_path / "broker.p12"
    subprocess.run(
        ["keytool", "-genkeypair", "-keystore", store, "-storepass", SECRET, "-keyalg", "EC",
         "-dname", "CN=broker", "-ext", "SAN=ip:127.0.0.1", "-alias", "broker"],
        check=True, capture_output=True,
    )  # fmt: skip
    subprocess.run(
        ["keytool", "-exportcert", "-rfc", "-keystore", store, "-storepass", SECRET,
         "-alias", "broker", "-file", tmp_path / "ca.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    made = Cluster(tmp_path / "kafka")
    (broker,) = made.brokers
    broker.settings = {
        "listeners": f"GUARDED://{broker.address},CONTROLLER://127.0.0.1:{broker.controller}",
        "advertised.listeners": f"GUARDED://{broker.address}",
        "listener.security.protocol.map": "GUARDED:SASL_SSL,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "GUARDED",
        "sasl.enabled.mechanisms": "PLAIN",
        "sasl.mechanism.inter.broker.protocol": "PLAIN",
        "listener.name.guarded.plain.sasl.jaas.config": (
            "org.apache.kafka.common.security.plain.PlainLoginModule required "
            f'username="shop" password="{SECRET}" user_shop="{SECRET}";'
        ),
        "ssl.keystore.type": "PKCS12",
        "ssl.keystore.location": str(store),
        "ssl.keystore.password": SECRET,
        "ssl.key.password": SECRET,
        "ssl.truststore.type": "PEM",  # it talks to itself as well
        "ssl.truststore.location": str(tmp_path / "ca.pem"),
    }
    with made:
        yield made


@pytest.mark.thorough
def test_a_guarded_broker_is_read_with_the_password_and_nobody_is_told_it(
    guarded: Cluster, tmp_path: Path
) -> None:
    given = {
        "kafka_security_protocol": "SASL_SSL", "kafka_sasl_mechanism": "PLAIN",
        "kafka_sasl_username": "shop", "kafka_sasl_password": SECRET,
        "kafka_ssl_cafile": tmp_path / "ca.pem", "log_level": "debug", "kafka_timeout": 10,
    }  # fmt: skip
    home = Home(tmp_path / "home", guarded.url("orders"), **given)
    said = [home.fed(b"\n".join(LINES), "append", "-"), home.run("speed", "--once")]
    said += [home.run("status"), home.run("status", "--json")]
    assert {outcome.code for outcome in said} == {0}
    Truth.of(LINES).check(home)
    for wrong in ({"kafka_sasl_password": f"not {SECRET}"}, {"kafka_ssl_cafile": "/nowhere"},
                  {"kafka_security_protocol": "SSL", "kafka_sasl_mechanism": ""},
                  {"kafka_sasl_mechanism": "SCRAM-SHA-256"}):  # fmt: skip
        said.append(home.run("speed", "--once", **wrong, kafka_timeout=3))
        assert said[-1].code in {1, 2}, wrong
        assert "HEADRACE_DEBUG" not in said[-1].err, wrong
    for outcome in said:
        assert SECRET not in outcome.out + outcome.err
    kept = [file.read_bytes() for file in home.home.rglob("*") if file.is_file()]
    assert not [content for content in kept if SECRET.encode() in content]


@pytest.mark.thorough
def test_the_lag_can_be_seen_in_a_consumer_group_that_we_never_read(home: Home) -> None:
    with home.lake() as lake:
        (read,) = lake.row("SELECT max_by(position, append_no) FROM sys.appends")
        name = f"headrace-home-{lake.home.log_id[:8]}"
    expected = {
        TopicPartition(topic(home), p): o for p, o in enumerate(Position.parse(read).offsets)
    }
    for _ in range(40):  # a new cluster makes its table of groups first
        if shown(home, name):
            break
        home.once()
    assert shown(home, name) == expected
    home.append(LINES[20:])
    home.once(kafka_group="dashboard")
    assert (shown(home, name), sum(shown(home, "dashboard").values())) == (expected, len(LINES))
    home.append(LINES[:5])
    assert home.once(kafka_group="")["events"] == 5
    assert sum(shown(home, "dashboard").values()) == len(LINES)


def shown(home: Home, group: str) -> dict[TopicPartition, int]:
    """What a consumer group says of the topic."""
    with admin(home.url) as client:
        told = client.list_group_offsets({group: None})[group]
    return {tp: found.offset for tp, found in told.items()}


# What status and doctor say


@pytest.mark.thorough
def test_status_shows_what_waits_in_the_topic_and_in_which_partition(home: Home) -> None:
    before = home.json("status")
    home.append(LINES[20:30])
    status = home.json("status")
    assert (
        status["topic"]["end"]
        == {str(p["partition"]): p["end"] for p in status["partitions"]}
        != before["end"]
    )
    assert status["topic"]["lag_events"] == status["lag_events"] == 10
    assert sum(p["lag_events"] for p in status["partitions"]) == 10
    assert before["lag_events"] == 0
    text = home.run("status").out
    assert "10 events behind" in text
    assert all(
        f"partition {p['partition']}" in text for p in status["partitions"] if p["lag_events"]
    )


def test_status_works_while_no_broker_answers_and_says_so(home: Home) -> None:
    nobody = f"kafka://127.0.0.1:{free_port()}/{topic(home)}"
    status = home.json("status", log=nobody, kafka_timeout=0.5)
    assert status["events"] == 20
    assert status["topic"]["end"] is None
    assert "did not let us" in status["topic"]["error"]


def findings(home: Home, check: str, **given: object) -> list[tuple[str, str]]:
    told = json.loads(home.run("doctor", "--json", **given).out)["findings"]
    return [(f["state"], f["what"]) for f in told if f["check"] == check]


@pytest.mark.thorough
def test_the_doctor_examines_broker_and_topic(home: Home) -> None:
    home.append(LINES[20:23])
    ((state, what),) = findings(home, "broker")
    assert (state, "3 records not read yet" in what) == ("ok", True)
    assert [state for state, _ in findings(home, "topic")] == ["note"]  # one copy: one broker
    configure(home, retention_ms="1000000", max_message_bytes="2000")
    said = " | ".join(what for _, what in findings(home, "topic"))
    assert "retention.ms=1000000" in said
    assert "takes events up to 2000 bytes" in said


@pytest.mark.thorough
def test_the_doctor_finds_that_the_broker_is_away_and_that_the_topic_is_another(
    home: Home,
) -> None:
    nobody = f"kafka://127.0.0.1:{free_port()}/{topic(home)}"
    ((state, what),) = findings(home, "broker", log=nobody, kafka_timeout=0.5)
    assert (state, "does not answer" in what) == ("wrong", True)
    make_anew(home)
    ((state, what),) = findings(home, "broker")
    assert (state, "is another topic" in what) == ("wrong", True)


def test_a_home_that_was_restored_reads_its_topic_on_from_its_own_position(
    home: Home, tmp_path: Path
) -> None:
    home.json("backup", tmp_path / "kept")
    home.append(LINES[20:])
    home.once()
    made = Home(tmp_path / "new", home.url, kafka_group="")
    told = made.json("restore", tmp_path / "kept")
    assert told["certificate"]["equal"] is True
    assert sum(told["position"].values()) == 20
    assert made.once()["events"] == len(LINES) - 20
    for each in (home, made):
        each.check()
    assert made.rows("FROM orders ORDER BY ALL") == home.rows("FROM orders ORDER BY ALL")
    home.json("backup", tmp_path / "kept")
    outcome = made.run("backup", tmp_path / "kept")
    outcome.refused(1, "holds appends that this home does not have")
