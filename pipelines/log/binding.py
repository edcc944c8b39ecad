"""Which log a home has, and the way to it: the lake's own, or a topic that must still be the same.

A topic is bound to a home when the home is made, by the cluster's id and the topic's id. The
address may change later (`--log`), the topic may not.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from headrace.pipelines.errors import LogError
from headrace.pipelines.log.embedded import Log
from headrace.pipelines.log.kafka import client as kafka_client
from headrace.pipelines.log.kafka.client import Address, Topic
from headrace.pipelines.log.kafka.topic_watch import check_partitions
from headrace.pipelines.log.port import Hole
from headrace.pipelines.position import Position

if TYPE_CHECKING:
    from headrace.pipelines.lake.lake import Lake
    from headrace.pipelines.lake.transaction import Transaction
    from headrace.pipelines.log.kafka.topic_log import KafkaLog
    from headrace.pipelines.log.port import EventLog
    from headrace.pipelines.settings import Settings

EXPIRED = "expired before this home was made"


def prepare(settings: Settings) -> Topic | None:
    """Find or make the topic that a new home is to read; None for a home with its own log.

    Raises:
        LogError: the topic is compacted.
        BrokerError: Kafka could not be reached, or refused to make it.
    """
    if settings.log is None:
        return None
    address = Address.parse(settings.log)
    topic = kafka_client.describe(address, settings) or kafka_client.create(address, settings)
    kafka_client.check_usable(topic, address)
    return topic


def bind(lake: Lake, tx: Transaction, topic: Topic) -> None:
    """Tie a home that is being made to a topic, at the topic's beginning.

    Raises:
        LogError: the topic's first records have expired, and nobody said that this is fine.
    """
    address = Address.parse(str(lake.settings.log))
    with contextlib.closing(_kafka_log(lake, address, topic)) as log:
        begin = log.begin()
        if begin.total and not lake.settings.kafka_from_earliest:
            raise LogError(
                f"{log.address} begins at {begin}: its first records have expired, so what is "
                "computed from it would not be all of it. Say HEADRACE_KAFKA_FROM_EARLIEST=1 if "
                "that is what you want"
            )
        zero = Position.zero(topic.partitions)
        gone = [Hole(p, 0, o, EXPIRED) for p, o in enumerate(begin.offsets) if o]
        tx.record("kafka", lake.clock(), str(address), topic.identity)
        Log(lake).skip(tx, zero, begin, gone)


@contextlib.contextmanager
def open_log(lake: Lake) -> Iterator[EventLog]:
    """The home's log, checked: the same one as ever, and not shorter than what was read from it.

    Raises:
        LogError: it is another log, or lost events.
        BrokerError: Kafka could not be reached.
    """
    if lake.log_kind == "embedded":
        yield Log(lake)
        return
    with open_topic(lake) as log:
        log.check(Log(lake).end())
        yield log


@contextlib.contextmanager
def open_topic(lake: Lake) -> Iterator[KafkaLog]:
    """The topic of a home that has one, its identity checked.

    Raises:
        LogError: it is another topic, is compacted, or has more partitions now.
        BrokerError: Kafka could not be reached.
    """
    known, identity = lake.row("SELECT address, identity FROM sys.kafka")
    address = Address.parse(lake.settings.log or known)
    topic = kafka_client.describe(address, lake.settings)
    if topic is None or topic.identity != identity:
        what = f"is another topic now ({topic.identity})" if topic else "is gone"
        raise LogError(
            f"{address} {what}; the home {lake.home.path} was made with the topic {identity}. "
            "Bring that one back, or read the new one into a new home"
        )
    kafka_client.check_usable(topic, address)
    check_partitions(address, topic.partitions, lake.home.partitions)
    with contextlib.closing(_kafka_log(lake, address, topic)) as log:
        yield log


def _kafka_log(lake: Lake, address: Address, topic: Topic) -> KafkaLog:
    from headrace.pipelines.log.kafka.topic_log import KafkaLog

    return KafkaLog(lake, address, topic)
