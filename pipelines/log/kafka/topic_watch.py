"""Watches a topic while it is read: is it still the same one; and shows others how far we are.

A consumer asks for a topic by its name, so it would read on from one that was made anew under it.
Topic ids never come back: if the id is the same after a fetch, what was fetched is of that topic.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from headrace.pipelines.errors import LogError
from headrace.pipelines.log.kafka import client as kafka_client
from headrace.pipelines.log.kafka.client import Address, Topic, options, reaching
from headrace.pipelines.logs import logger
from headrace.pipelines.settings import Settings

if TYPE_CHECKING:
    from kafka.admin import KafkaAdminClient

    from headrace.pipelines.position import Position

_EVERY = 1.0
"""Seconds without a record after which the topic is looked at all the same."""
_AGAIN = 2.0
"""Seconds after a refusal until the lag is shown again: a group's coordinator may have moved."""


class Watch:
    """One administration connection, kept. Not shared between threads."""

    def __init__(self, address: Address, settings: Settings, topic: Topic, group: str) -> None:
        self._address = address
        self._settings = settings
        self._topic = topic
        self._group = group
        self._admin: KafkaAdminClient | None = None
        self._confirmed = 0.0
        self._refused = -_AGAIN

    @property
    def due(self) -> bool:
        """Whether nobody has looked for a while."""
        return time.monotonic() - self._confirmed > _EVERY

    def confirm(self) -> None:
        """See that the topic is the one that was opened, with as many partitions.

        Raises:
            LogError: it is gone, was made anew, or has more partitions now.
            BrokerError: Kafka could not be reached.
        """
        with reaching(self._address, "look at the topic"):
            found = kafka_client.found(self._client(), self._address)
        topic_id = None if found is None else str(found["topic_id"])
        if found is None or topic_id != self._topic.topic_id:
            what = "is gone" if found is None else "was deleted and made anew"
            raise LogError(
                f"{self._address} {what} while it was read (it was {self._topic.topic_id}, now "
                f"{topic_id}); nothing was read on from it. Bring the topic back, or read the new "
                "one into a new home"
            )
        check_partitions(self._address, len(found["partitions"]), self._topic.partitions)
        self._confirmed = time.monotonic()

    def show(self, position: Position) -> None:
        """Commit a position to the consumer group, for tools that show lag; we never read it.

        Best effort: the truth is in the lake, so a refusal harms nobody and is only logged.
        """
        from kafka import TopicPartition
        from kafka.structs import OffsetAndMetadata

        if not self._group or time.monotonic() - self._refused < _AGAIN:
            return
        offsets = {
            TopicPartition(self._topic.name, p): OffsetAndMetadata(o, "", -1)
            for p, o in enumerate(position.offsets)
        }
        try:
            told = self._client().alter_group_offsets(self._group, offsets)
            cause = ", ".join({e.__name__ for e in told.values()} - {"NoError"})
        except Exception as e:  # noqa: BLE001 - whatever it is, commits go on without it
            cause = type(e).__name__
        if cause:
            logger("kafka log").debug("group", group=self._group, cause=cause)
            self._refused = time.monotonic()
            self.close()

    def close(self) -> None:
        """Give back the connection."""
        if self._admin is not None:
            with contextlib.suppress(Exception):
                self._admin.close()
        self._admin = None

    def _client(self) -> KafkaAdminClient:
        if self._admin is None:
            from kafka.admin import KafkaAdminClient

            kafka_client.hush()
            self._admin = KafkaAdminClient(**options(self._address, self._settings))
        return self._admin


def check_partitions(address: Address, found: int, expected: int) -> None:
    """Refuse a topic that was given more partitions.

    Raises:
        LogError: the numbers differ.
    """
    if found != expected:
        raise LogError(
            f"{address} has {found} partitions, the home was made with {expected}: orders lie "
            "elsewhere now. Bring the events into a new home"
        )
