"""Kafka: addresses, connection options, and what a topic must be before it can be trusted.

Secrets go from the settings into the client and nowhere else: no message and no log line has them.
"""

from __future__ import annotations

import contextlib
import logging
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self
from uuid import UUID

from headrace.pipelines.errors import BrokerError, LogError, UsageError
from headrace.pipelines.logs import logger
from headrace.pipelines.settings import Settings

if TYPE_CHECKING:
    from kafka.admin import KafkaAdminClient

_PAUSE = 0.2
"""Seconds until a cluster of several brokers is asked again."""
_SCHEME = "kafka://"
_ADDRESS = re.compile(
    r"kafka://(?P<servers>[^/@\s?#]+)/(?P<topic>[A-Za-z0-9._-]{1,249})", flags=re.ASCII
)
_SERVER = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):(?P<port>\d{1,5})", flags=re.ASCII)
_FOREVER = "-1"
_ANY_TIME = str((1 << 63) - 1)
"""Events carry the time when they happened; a broker's limit on it would refuse late ones."""
_RECORD_OVERHEAD = 1 << 16
"""Bytes that a record may need beside its event: key, headers, framing of its batch."""


@dataclass(frozen=True)
class Address:
    """Where a topic is: `kafka://host:port[,host:port…]/topic`."""

    servers: tuple[str, ...]
    topic: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read it.

        Raises:
            UsageError: it is written in another way.
        """
        read = _ADDRESS.fullmatch(text)
        servers = tuple(read["servers"].split(",")) if read else ()
        ports = [_SERVER.fullmatch(server) for server in servers]
        usable = all(found is not None and 0 < int(found["port"]) < 1 << 16 for found in ports)
        if read is None or not usable or read["topic"] in {".", ".."}:
            shown = re.sub(r"(kafka://)?.*@", r"\1…@", text)  # a password may stand before it
            raise UsageError(
                f"{shown!r} is no log; write kafka://host:port/topic, several hosts with commas "
                "between. Names and passwords belong into the settings"
            )
        return cls(servers, read["topic"])

    def __str__(self) -> str:
        return f"{_SCHEME}{','.join(self.servers)}/{self.topic}"


@dataclass(frozen=True)
class Topic:
    """A topic as the cluster describes it."""

    name: str
    cluster_id: str
    topic_id: str
    partitions: int
    replication: int
    configs: Mapping[str, str]

    @property
    def identity(self) -> str:
        """What tells this topic from any other, also from one made later under its name."""
        return f"kafka:{self.cluster_id}/{self.topic_id}"


def options(address: Address, settings: Settings) -> dict[str, Any]:
    """What every client of this topic is made with: servers, encryption, credentials.

    Raises:
        UsageError: the protocol asks for credentials and there are none, or the other way round.
    """
    _check_credentials(settings)
    chosen: dict[str, Any] = {
        "bootstrap_servers": list(address.servers),
        "client_id": "headrace",
        "security_protocol": settings.kafka_security_protocol,
        "bootstrap_timeout_ms": _ms(settings.kafka_timeout),
        "request_timeout_ms": max(1000, _ms(settings.kafka_timeout)),
    }
    files = ("cafile", "certfile", "keyfile")
    given = {f"ssl_{name}": getattr(settings, f"kafka_ssl_{name}") for name in files}
    chosen |= {name: str(path) for name, path in given.items() if path is not None}
    if settings.kafka_ssl_password is not None:
        chosen["ssl_password"] = settings.kafka_ssl_password.get_secret_value()
    if settings.kafka_sasl_mechanism is not None:
        chosen["sasl_mechanism"] = settings.kafka_sasl_mechanism
        chosen["sasl_plain_username"] = settings.kafka_sasl_username
        if settings.kafka_sasl_password is not None:
            chosen["sasl_plain_password"] = settings.kafka_sasl_password.get_secret_value()
    return chosen


def _check_credentials(settings: Settings) -> None:
    protocol, mechanism = settings.kafka_security_protocol, settings.kafka_sasl_mechanism
    named = settings.kafka_sasl_username, settings.kafka_sasl_password
    if protocol.startswith("SASL") and (mechanism is None or None in named):
        raise UsageError(
            f"kafka_security_protocol is {protocol}: set kafka_sasl_mechanism, kafka_sasl_username "
            "and kafka_sasl_password as well"
        )
    if mechanism is not None and not protocol.startswith("SASL"):
        raise UsageError(
            f"kafka_sasl_mechanism is {mechanism}, but kafka_security_protocol is {protocol}, "
            "which sends no credentials: set it to SASL_SSL"
        )


@contextlib.contextmanager
def reaching(address: Address, doing: str) -> Iterator[None]:
    """Turn the client's errors into ours.

    Raises:
        BrokerError: Kafka could not be reached, or refused.
    """
    from kafka.errors import KafkaError

    try:
        yield
    except (KafkaError, OSError) as e:
        told = f"{type(e).__name__}: {e}" if str(e) else type(e).__name__
        raise BrokerError(
            f"{address} did not let us {doing} ({told}). What was acknowledged is safe; see that "
            "the brokers run and that address and credentials are right, then try again"
        ) from e


@contextlib.contextmanager
def admin(address: Address, settings: Settings) -> Iterator[KafkaAdminClient]:
    """An administration client."""
    from kafka.admin import KafkaAdminClient

    hush()
    with reaching(address, "connect"):
        client = KafkaAdminClient(**options(address, settings))
    try:
        yield client
    finally:
        with contextlib.suppress(Exception):
            client.close()


def describe(address: Address, settings: Settings) -> Topic | None:
    """The topic as it is; None if there is none of this name.

    Raises:
        BrokerError: Kafka could not be reached.
    """
    deadline = time.monotonic() + settings.kafka_timeout.total_seconds()
    while True:
        try:
            return _describe(address, settings)
        except BrokerError as e:
            # One of several brokers may be away: another one answers the next time.
            if len(address.servers) == 1 or time.monotonic() > deadline:
                raise
            logger("kafka").info("asked again", cause=str(e))
            time.sleep(_PAUSE)


def _describe(address: Address, settings: Settings) -> Topic | None:
    with admin(address, settings) as client, reaching(address, "look at the topic"):
        told = found(client, address)
        if told is None:
            return None
        from kafka.admin import ConfigResource, ConfigResourceType

        asked = ConfigResource(ConfigResourceType.TOPIC, address.topic)
        configs = client.describe_configs([asked], config_filter="all")["topic"][address.topic]
        cluster = client.describe_cluster()["cluster_id"]
    return Topic(
        address.topic,
        cluster,
        str(told["topic_id"]),
        len(told["partitions"]),
        min(len(p["replica_nodes"]) for p in told["partitions"]),
        {name: str(config["value"]) for name, config in configs.items()},
    )


def found(client: KafkaAdminClient, address: Address) -> dict[str, Any] | None:
    """What the cluster says of the topic's id and partitions; None if there is no such topic."""
    from kafka.errors import UnknownTopicOrPartitionError

    try:
        (told,) = client.describe_topics([address.topic])
    except UnknownTopicOrPartitionError:
        return None
    return None if told["error_code"] == UnknownTopicOrPartitionError.errno else told


def create(address: Address, settings: Settings) -> Topic:
    """Make the topic, for events that are to be kept, and describe it.

    Raises:
        BrokerError: Kafka refused, for example a replication that it has not the nodes for.
    """
    from kafka.admin import NewTopic

    copies = settings.kafka_replication
    wanted = NewTopic(
        name=address.topic,
        num_partitions=settings.partitions,
        replication_factor=copies,
        topic_configs=topic_configs(settings),
    )
    with admin(address, settings) as client, reaching(address, "make the topic"):
        client.create_topics([wanted])
        client.wait_for_topics([address.topic])
    made = describe(address, settings)
    if made is None:
        raise BrokerError(f"{address} was made and is not there; try again")
    return made


def topic_configs(settings: Settings) -> dict[str, str]:
    """How a topic is set up: nothing expires, nothing is compacted, any event time is taken."""
    return {
        "cleanup.policy": "delete",
        "retention.ms": _FOREVER,
        "retention.bytes": _FOREVER,
        "min.insync.replicas": str(min(settings.kafka_min_insync, settings.kafka_replication)),
        "unclean.leader.election.enable": "false",
        "message.timestamp.type": "CreateTime",
        "message.timestamp.after.max.ms": _ANY_TIME,
        "message.timestamp.before.max.ms": _ANY_TIME,
        "max.message.bytes": str(settings.max_event_bytes + _RECORD_OVERHEAD),
    }


def check_usable(topic: Topic, address: Address) -> None:
    """Refuse a topic that cannot be told from another, or whose records may be removed.

    Raises:
        LogError: it has no id, or is compacted: Kafka removes records from the middle of it.
    """
    if topic.topic_id in {"None", str(UUID(int=0))}:
        raise LogError(
            f"{address} has no topic id, so a topic made anew under its name would not be noticed: "
            "its brokers are older than Kafka 2.8. Update them"
        )
    policy = topic.configs.get("cleanup.policy", "")
    if "compact" in policy:
        raise LogError(
            f"{address} has cleanup.policy={policy}: Kafka removes older records of a key, so no "
            "log can be read from it whole. Set cleanup.policy=delete, or name another topic"
        )


def hush() -> None:
    """Keep the client's own chatter off the terminal; its errors come to us as exceptions."""
    logging.getLogger("kafka").setLevel(logging.CRITICAL)


def _ms(duration: Any) -> int:
    return int(duration.total_seconds() * 1000)
