"""What the doctor looks at around a topic: brokers, identity, settings, ends, producers' clocks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from headrace.pipelines.errors import BrokerError, LogError
from headrace.pipelines.lake.lake import Lake
from headrace.pipelines.log.binding import open_topic
from headrace.pipelines.log.embedded import Log
from headrace.pipelines.log.kafka import client as kafka_client
from headrace.pipelines.log.kafka.client import Address, Topic
from headrace.pipelines.operations.doctor.case import Case, Finding


def check_broker(case: Case) -> Iterator[Finding]:
    """The cluster answers, and the topic is the one that this home was made with."""
    lake = _bound(case)
    if lake is None:
        return
    where = str(_address(lake))
    try:
        with open_topic(lake) as log:
            log.check(Log(lake).end())
            waiting = log.end().minus(Log(lake).end())
    except BrokerError as e:
        yield Finding("broker", "wrong", f"does not answer ({_first(e)})", where, "start Kafka")
        return
    except LogError as e:
        yield Finding("broker", "wrong", _first(e), where, "bring that topic back")
        return
    what = f"answers, {log.identity}, {waiting:,} records not read yet"
    yield Finding("broker", "ok", what, where)


def check_topic(case: Case) -> Iterator[Finding]:
    """Settings of the topic that could lose events, or keep them from coming in."""
    lake = _bound(case)
    if lake is None:
        return
    address = _address(lake)
    try:
        topic = kafka_client.describe(address, lake.settings)
    except BrokerError:
        return  # said already
    if topic is None:
        return
    found = list(_settings_of(topic, str(address), lake.settings.max_event_bytes))
    yield from found
    if not found:
        what = f"{topic.partitions} partitions, {topic.replication} copies, kept for ever"
        yield Finding("topic", "ok", what, str(address))


def check_producers(case: Case) -> Iterator[Finding]:
    """Nobody sends events from a future that our clock denies."""
    if case.lake is None:
        return
    ahead = Log(case.lake).ahead()
    for source, (newest, by) in sorted(ahead.items(), key=lambda item: -item[1][1])[:3]:
        what = f"was ahead of our clock by {timedelta(seconds=round(by.total_seconds()))}"
        remedy = f"set its clock; its newest event is of {newest.isoformat()}Z"
        yield Finding("producers", "note", what, source, remedy)
    if not ahead:
        yield Finding("producers", "ok", "none is ahead of our clock")


def _settings_of(topic: Topic, where: str, longest: int) -> Iterator[Finding]:
    get = topic.configs.get
    for name in ("retention.ms", "retention.bytes"):
        if get(name, "-1") != "-1":
            what = f"{name}={get(name)}: what is not read in time is lost"
            yield Finding("topic", "note", what, where, f"kafka-configs: set {name}=-1")
    if "compact" in get("cleanup.policy", "delete"):
        what = f"cleanup.policy={get('cleanup.policy')}: events are lost"
        yield Finding("topic", "wrong", what, where, "set cleanup.policy=delete")
    in_sync = int(get("min.insync.replicas", "1"))
    if topic.replication < 2:  # noqa: PLR2004 - two are the least that one loss leaves something of
        what = "one copy: the events are gone with its disk"
        remedy = "replicate it; what is archived in the lake stays"
        yield Finding("topic", "note", what, where, remedy)
    elif in_sync < 2:  # noqa: PLR2004
        what = "min.insync.replicas=1: an acknowledged event may lie on one disk only"
        yield Finding("topic", "note", what, where, "set min.insync.replicas=2")
    if get("unclean.leader.election.enable", "false") == "true":
        what = "unclean leaders are elected: acknowledged events may be lost"
        remedy = "set unclean.leader.election.enable=false"
        yield Finding("topic", "note", what, where, remedy)
    if int(get("max.message.bytes", str(longest))) < longest:
        what = f"takes events up to {get('max.message.bytes')} bytes, we send up to {longest}"
        remedy = "raise max.message.bytes, or lower max_event_bytes"
        yield Finding("topic", "note", what, where, remedy)


def _bound(case: Case) -> Lake | None:
    """The lake, if it can be read and its log is a topic."""
    if case.lake is None:
        return None
    (kind,) = case.lake.row("SELECT any_value(kind) FROM sys.log")
    case.lake.log_kind = str(kind)
    return None if kind == "embedded" else case.lake


def _address(lake: Lake) -> Address:
    return Address.parse(lake.settings.log or lake.row("SELECT address FROM sys.kafka")[0])


def _first(e: Exception) -> str:
    return str(e).splitlines()[0]


KAFKA_CHECKS = (check_broker, check_topic, check_producers)
