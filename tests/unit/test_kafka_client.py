"""Addresses, connection options, secrets, and how records are told apart; no broker is needed."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from headrace.pipelines import settings
from headrace.pipelines.errors import HeadraceError, LogError, UsageError
from headrace.pipelines.log.kafka.client import (
    Address,
    Topic,
    check_usable,
    options,
    reaching,
    topic_configs,
)
from headrace.pipelines.log.kafka.records import MARKER, QUARANTINED, Records, typed
from headrace.pipelines.position import Position
from headrace.pipelines.settings import Settings
from tests.e2e.command import Headrace
from tests.e2e.orders import events
from tests.kafka.homes import placed

HERE = Address(("h:1",), "orders")
SECRET = "hush-hush"  # noqa: S105 - it is what must never be seen
SASL = {
    "kafka_security_protocol": "SASL_SSL", "kafka_sasl_mechanism": "SCRAM-SHA-512",
    "kafka_sasl_username": "shop", "kafka_sasl_password": SECRET,
}  # fmt: skip


def chosen(**given: Any) -> Settings:
    return settings.load(Path("nowhere"), environ={}, **given)


@pytest.mark.parametrize(
    ("text", "servers", "topic"),
    [
        ("kafka://localhost:9092/orders", ("localhost:9092",), "orders"),
        ("kafka://a:1,b.example:65535/shop.o_v-2", ("a:1", "b.example:65535"), "shop.o_v-2"),
        ("kafka://[::1]:9092/o", ("[::1]:9092",), "o"),
    ],
)  # fmt: skip
def test_an_address_is_servers_and_a_topic(text: str, servers: tuple[str, ...], topic: str) -> None:
    assert Address.parse(text) == Address(servers, topic)
    assert str(Address.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "", "orders", "h:9092/orders", "http://h:9092/orders", "kafka://h:9092", "kafka://h:9092/",
        "kafka:///orders", "kafka://h/orders", "kafka://:9092/orders", "kafka://h:x/orders",
        "kafka://h:0/orders", "kafka://h:65536/orders", "kafka://h:9092,/orders",
        "kafka://h:9092/a/b", "kafka://h:9092/a b", "kafka://h:9092/..", "kafka://h:9092/o?x=1",
        "kafka://h:9092/" + "x" * 250, "kafka://h:9092/bestellungen-ü", "kafka://h:9092/orders\n",
    ],
)  # fmt: skip
def test_a_mistake_in_an_address_is_bad_usage(text: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="write kafka://host:port/topic"):
        Address.parse(text)
    home = tmp_path / "home"
    outcome = Headrace(home).run("--log", text, "init")
    outcome.refused(2, "write kafka://host:port/topic")
    assert not (home / "home.json").exists()


@pytest.mark.parametrize("text", [f"kafka://shop:{SECRET}@h:1/o", f"shop:{SECRET}@h:1/o"])
def test_a_password_in_an_address_is_refused_and_not_repeated(text: str, tmp_path: Path) -> None:
    outcome = Headrace(tmp_path / "home").run("--log", text, "init")
    outcome.refused(2, "Names and passwords belong into the settings")
    assert SECRET not in outcome.err


def test_encryption_and_credentials_are_passed_through(tmp_path: Path) -> None:
    files = {f"kafka_ssl_{name}": tmp_path / name for name in ("cafile", "certfile", "keyfile")}
    found = options(HERE, chosen(**SASL, **files, kafka_ssl_password="key", kafka_timeout=7))  # noqa: S106
    assert found["bootstrap_servers"] == ["h:1"]
    assert found["security_protocol"] == "SASL_SSL"
    assert (found["sasl_mechanism"], found["sasl_plain_username"]) == ("SCRAM-SHA-512", "shop")
    assert (found["sasl_plain_password"], found["ssl_password"]) == (SECRET, "key")
    assert found["ssl_cafile"] == str(tmp_path / "cafile")
    assert found["ssl_certfile"] == str(tmp_path / "certfile")
    assert found["ssl_keyfile"] == str(tmp_path / "keyfile")
    assert (found["bootstrap_timeout_ms"], found["request_timeout_ms"]) == (7000, 7000)


def test_without_credentials_none_are_passed() -> None:
    found = options(HERE, chosen())
    assert found["security_protocol"] == "PLAINTEXT"
    assert not [name for name in found if name.startswith(("ssl_", "sasl_"))]


@pytest.mark.parametrize("missing", ["mechanism", "username", "password"])
def test_credentials_that_are_not_whole_are_bad_usage(missing: str) -> None:
    given = {k: v for k, v in SASL.items() if k != f"kafka_sasl_{missing}"}
    with pytest.raises(UsageError, match=f"kafka_sasl_{missing}"):
        options(HERE, chosen(**given))


def test_credentials_that_would_not_be_sent_are_bad_usage() -> None:
    with pytest.raises(UsageError, match="sends no credentials"):
        options(HERE, chosen(**SASL | {"kafka_security_protocol": "SSL"}))


def test_a_secret_is_in_no_text_of_the_settings(tmp_path: Path) -> None:
    given = chosen(**SASL, kafka_ssl_password=SECRET)
    assert SECRET not in f"{given!r} {given} {given.model_dump()} {given.model_dump_json()}"


@pytest.mark.parametrize(
    "text",
    [
        f'kafka_sasl_password = ["{SECRET}"]', f'kafka_sasl_pasword = "{SECRET}"',
        f'kafka_ssl_password = {{ is = "{SECRET}" }}', f'kafka_sasl_password = "{SECRET}',
    ],
)  # fmt: skip
def test_a_wrong_setting_with_a_secret_is_named_and_not_shown(tmp_path: Path, text: str) -> None:
    (tmp_path / "headrace.toml").write_text(text)
    with pytest.raises(UsageError) as caught:
        settings.load(tmp_path, environ={})
    assert SECRET not in str(caught.value)
    assert "headrace.toml" in str(caught.value)


def test_an_error_of_the_client_says_what_was_tried_and_where() -> None:
    from kafka.errors import KafkaTimeoutError

    told = pytest.raises(
        HeadraceError, match=r"kafka://h:1/orders did not let us look \(Kafka.*away"
    )
    with told, reaching(HERE, "look"):
        raise KafkaTimeoutError("away")


def test_a_topic_that_we_make_keeps_everything_and_takes_any_event_time() -> None:
    made = topic_configs(chosen(kafka_replication=3, kafka_min_insync=2))
    assert (made["cleanup.policy"], made["retention.ms"], made["retention.bytes"]) == (
        "delete", "-1", "-1",
    )  # fmt: skip
    assert (made["min.insync.replicas"], made["unclean.leader.election.enable"]) == ("2", "false")
    assert made["message.timestamp.before.max.ms"] == str((1 << 63) - 1)
    assert int(made["max.message.bytes"]) > chosen().max_event_bytes
    assert topic_configs(chosen(kafka_min_insync=2))["min.insync.replicas"] == "1"


@pytest.mark.parametrize("topic_id", ["None", "00000000-0000-0000-0000-000000000000"])
def test_a_topic_without_an_id_is_refused(topic_id: str) -> None:
    with pytest.raises(LogError, match="older than Kafka"):
        check_usable(Topic("orders", "cluster", topic_id, 1, 1, {}), HERE)


@dataclass(frozen=True)
class Stored:
    """What of a record matters here."""

    offset: int
    value: bytes | None


@pytest.mark.parametrize("seed", range(5))
def test_each_offset_is_an_event_or_in_one_hole(seed: int) -> None:
    chance = random.Random(seed)
    lines = iter(events(60, seed))
    start, found, good = Position((7, 0, 0)), dict[int, list[Stored]](), set[tuple[int, int]]()
    ends = []
    for partition, first in enumerate(start.offsets):
        at = first
        for _ in range(chance.randrange(40)):
            at += chance.choice([0, 0, 0, 1, 3])
            record = placed(next(lines), 3)
            value = chance.choice([record.value, record.value, None, b"?"])
            if value == record.value and record.partition == partition:
                good.add((partition, at))
            found.setdefault(partition, []).append(Stored(at, value))
            at += 1
        ends.append(at + chance.randrange(3))
    told = typed(Records(start, Position(tuple(ends)), found), HERE, chosen().max_event_bytes)
    columns = (told.events.column(c).to_pylist() for c in ("partition", "offset"))
    events_at = set(zip(*columns, strict=True))
    holes = [(h.partition, o) for h in told.holes for o in range(h.first, h.next)]
    expected = {(p, o) for p, n in enumerate(ends) for o in range(start.offsets[p], n)}
    assert events_at == good
    assert len(holes) == len(set(holes))
    assert events_at | set(holes) == expected
    assert not events_at & set(holes)
    records = {(p, r.offset) for p, part in found.items() for r in part}
    assert {(h.partition, h.first) for h in told.holes if h.reason == QUARANTINED} == records - good
    unseen = [h for h in told.holes if h.reason == MARKER]
    assert sum(h.offsets for h in unseen) == len(expected - records)
    assert len(told.rejected) == len(told.origins) == len(records - good)
