"""Sends events to a topic: each is acknowledged by all in-sync replicas, or there is an error."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from headrace.pipelines.errors import BrokerError
from headrace.pipelines.log.kafka import client as kafka_client
from headrace.pipelines.log.kafka.client import Address, Topic, options, reaching
from headrace.pipelines.log.partitioner import order_hashes

if TYPE_CHECKING:
    from kafka import KafkaProducer

    from headrace.pipelines.settings import Settings


class TopicWriter:
    """A producer that is made when it is needed, and given up for good when it failed."""

    def __init__(self, address: Address, settings: Settings, topic: Topic) -> None:
        self._address = address
        self._settings = settings
        self._topic = topic
        self._producer: KafkaProducer | None = None

    def close(self) -> None:
        """Give back the connection."""
        if self._producer is not None:
            with contextlib.suppress(Exception):
                self._producer.close()
            self._producer = None

    def send(self, events: pa.Table) -> dict[int, int]:
        """Send events in their order; gives, by partition, the offset after the last of them.

        Raises:
            BrokerError: not all were acknowledged; what was not is never sent later.
        """
        ids = [i.encode() for i in events.column("order_id").to_pylist()]
        partitions = (order_hashes(ids) % self._topic.partitions).tolist()
        millis = events.column("time").cast(pa.timestamp("ms"), safe=False).cast(pa.int64())
        raws = events.column("raw").to_pylist()
        producer = self._connected()
        last: dict[int, Any] = {}
        pending = []
        try:
            with reaching(self._address, "append"):
                rows = zip(ids, partitions, millis.to_pylist(), raws, strict=True)
                for key, partition, moment, raw in rows:
                    sent = producer.send(
                        self._topic.name,
                        key=key,
                        value=raw.encode(),
                        partition=partition,
                        timestamp_ms=max(0, moment),
                    )
                    pending.append(sent)
                    last[partition] = sent
                producer.flush(self._settings.kafka_timeout.total_seconds())
                for sent in pending:
                    sent.get(timeout=0)
        except BrokerError:
            self._drop()
            raise
        return {partition: sent.get(timeout=0).offset + 1 for partition, sent in last.items()}

    def _connected(self) -> KafkaProducer:
        if self._producer is None:
            from kafka import KafkaProducer

            kafka_client.hush()
            timeout = int(self._settings.kafka_timeout.total_seconds() * 1000)
            with reaching(self._address, "connect"):
                self._producer = KafkaProducer(
                    **options(self._address, self._settings),
                    acks="all",
                    enable_idempotence=True,
                    allow_auto_create_topics=False,
                    linger_ms=5,
                    batch_size=1 << 18,
                    max_request_size=int(self._topic.configs["max.message.bytes"]),
                    delivery_timeout_ms=timeout + 1000,
                    max_block_ms=timeout,
                )
        return self._producer

    def _drop(self) -> None:
        """Close it without sending what it still holds."""
        if self._producer is not None:
            # Its close() first waits for what it holds, and gives up half closed where that fails.
            self._producer.flush = _nothing
            with contextlib.suppress(Exception):
                self._producer.close(timeout=0)
            self._producer = None


def _nothing(timeout: float | None = None) -> None:
    """Instead of a flush."""
