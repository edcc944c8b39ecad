"""One real broker for the tests of a session, and topics in it that nobody else uses."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.kafka.broker import CannotFetchError, Cluster, jars


def need_kafka() -> None:
    """Skip the test, and say why, where no broker can be had."""
    try:
        jars()
    except CannotFetchError as e:
        pytest.skip(f"no Kafka broker: {e}")


@contextmanager
def cluster(nodes: int = 1, **settings: str) -> Iterator[Cluster]:
    """A running Kafka of its own, gone at the end."""
    need_kafka()
    with (
        tempfile.TemporaryDirectory(prefix="kafka-") as folder,
        Cluster(Path(folder), nodes=nodes, **settings) as made,
    ):
        yield made


def fresh_topic(kafka: Cluster) -> str:
    """The address of a topic that does not exist yet."""
    return kafka.url(f"orders-{uuid.uuid4().hex[:8]}")
