"""Spark's Kafka source: where it reads, with which credentials, and from which jars.

What the local speed layer insists on holds here as well: the position comes from us, aborted
records are not read, and a range that Kafka lost is an error.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headrace.pipelines.errors import UsageError
from headrace.pipelines.log.kafka import client as kafka_client
from headrace.pipelines.log.kafka.client import Address
from headrace.pipelines.position import Position
from headrace.pipelines.settings import Settings

_WITH_SPARK = (
    "com.google.code.findbugs:jsr305",
    "org.apache.hadoop:hadoop-client-api",
    "org.apache.hadoop:hadoop-client-runtime",
    "org.lz4:lz4-java",
    "org.scala-lang.modules:scala-parallel-collections_2.13",
    "org.slf4j:slf4j-api",
    "org.xerial.snappy:snappy-java",
)
"""What the source needs and Spark brings along."""


def source_options(address: Address, start: Position, settings: Settings) -> dict[str, str]:
    """Options of a stream that begins at `start`.

    Raises:
        UsageError: the settings for encryption and credentials do not fit together.
    """
    places = range(len(start.offsets))
    wait = str(int(settings.kafka_timeout.total_seconds() * 1000))
    return {
        "kafka.bootstrap.servers": ",".join(address.servers),
        "assign": json.dumps({address.topic: list(places)}),
        "startingOffsets": json.dumps({address.topic: {str(p): start.offsets[p] for p in places}}),
        "maxOffsetsPerTrigger": str(settings.commit_events),
        "failOnDataLoss": "true",
        "kafkaConsumer.pollTimeoutMs": wait,
        "kafka.isolation.level": "read_committed",
        "kafka.default.api.timeout.ms": wait,
        "kafka.request.timeout.ms": wait,
        "kafka.allow.auto.create.topics": "false",
        **_security(kafka_client.options(address, settings)),
    }


def _security(chosen: Mapping[str, Any]) -> dict[str, str]:
    """kafka-python's options for encryption and credentials, in the Java client's words."""
    made = {"kafka.security.protocol": chosen["security_protocol"]}
    if "ssl_cafile" in chosen:
        made["kafka.ssl.truststore.type"] = "PEM"
        made["kafka.ssl.truststore.certificates"] = _text(chosen["ssl_cafile"])
    if "ssl_certfile" in chosen:
        made["kafka.ssl.keystore.type"] = "PEM"
        made["kafka.ssl.keystore.certificate.chain"] = _text(chosen["ssl_certfile"])
        made["kafka.ssl.keystore.key"] = _text(chosen.get("ssl_keyfile", chosen["ssl_certfile"]))
    if "ssl_password" in chosen:
        made["kafka.ssl.key.password"] = chosen["ssl_password"]
    if "sasl_mechanism" in chosen:
        plain = chosen["sasl_mechanism"] == "PLAIN"
        module = "plain.PlainLoginModule" if plain else "scram.ScramLoginModule"
        name, word = (_quoted(chosen[f"sasl_plain_{k}"]) for k in ("username", "password"))
        made["kafka.sasl.mechanism"] = chosen["sasl_mechanism"]
        made["kafka.sasl.jaas.config"] = (
            f"org.apache.kafka.common.security.{module} required username={name} password={word};"
        )
    return made


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as e:
        raise UsageError(f"{path} cannot be read as PEM ({e}); see the kafka_ssl settings") from e


def _quoted(text: str) -> str:
    """A text in the grammar of JAAS."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def connector(settings: Settings) -> dict[str, str]:
    """Where Spark finds its Kafka source: a folder of jars, or Maven coordinates.

    Raises:
        UsageError: the folder has no jars.
    """
    if settings.spark_jars is None:
        return {
            "spark.jars.packages": settings.spark_packages,
            "spark.jars.excludes": ",".join(_WITH_SPARK),
        }
    jars = sorted(str(file) for file in settings.spark_jars.resolve().glob("*.jar"))
    if not jars:
        raise UsageError(
            f"setting 'spark_jars' is {str(settings.spark_jars)!r}, and there is no jar; name a "
            "folder with the jars of Spark's Kafka source, or leave it out to have them fetched"
        )
    return {"spark.jars": ",".join(jars)}
