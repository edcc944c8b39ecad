"""The parts of the Spark speed job that need no Spark: what tasks make, how Kafka is reached."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from pyarrow import ipc

from headrace.jobs.streaming import task as stream_task
from headrace.jobs.streaming.query import joined
from headrace.jobs.streaming.session import pack
from headrace.jobs.streaming.source import connector, source_options
from headrace.jobs.streaming.task import Record, Work
from headrace.pipelines import settings
from headrace.pipelines.errors import JobError, UsageError
from headrace.pipelines.fold import delta
from headrace.pipelines.log.kafka.client import Address
from headrace.pipelines.log.kafka.records import Records, typed
from headrace.pipelines.log.partitioner import order_hashes
from headrace.pipelines.log.port import Fetched
from headrace.pipelines.position import Position
from headrace.pipelines.processes import ROOT
from headrace.pipelines.settings import Settings
from headrace.pipelines.speed import shards
from headrace.pipelines.speed.shards import Part
from headrace.pipelines.views.load import BUILTIN_VIEWS, load_views
from headrace.pipelines.views.packed import pack as pack_views
from headrace.pipelines.views.packed import unpack
from headrace.schemas.tables import TYPED_COLUMNS
from tests.conformance.streams import combined
from tests.e2e.command import Headrace
from tests.oracle import fold as oracle

HERE = Address.parse("kafka://localhost:9092/orders")
PARTITIONS = 3
LONGEST = 1 << 20
SECRETS = ("kafka_sasl_password", "kafka_ssl_password")
VIEWS = unpack(pack_views(load_views(BUILTIN_VIEWS)) | oracle.USER_VIEWS, "the view")


def chosen(**given: Any) -> Settings:
    return settings.load(Path("nowhere"), environ={}, **given)


def records(lines: Sequence[bytes], start: Position) -> Records:
    """Lines where they belong, every third offset a marker's, and poison among them."""
    import json

    found: dict[int, list[Record]] = {p: [] for p in range(PARTITIONS)}
    ends = list(start.offsets)
    for n, line in enumerate(lines):
        key = json.loads(line)["subject"].encode()
        p = int(order_hashes([key])[0]) % PARTITIONS
        found[p].append(Record(ends[p], line))
        ends[p] += 1 + (n % 3 == 0)
        if n % 5 == 0:
            found[p].append(Record(ends[p], None if n % 2 else b"?"))
            ends[p] += 1
    return Records(start, Position(tuple(ends)), found)


def batches(by_partition: dict[int, list[Record]], rows: int = 7) -> list[pa.RecordBatch]:
    """As Spark hands them over: a few rows at a time."""
    table = pa.Table.from_pylist(
        [
            {"partition": p, "offset": r.offset, "value": r.value}
            for p, found in by_partition.items()
            for r in found
        ],
        pa.schema([("partition", pa.int32()), ("offset", pa.int64()), ("value", pa.binary())]),
    )
    return table.to_batches(max_chunksize=rows)


def index_file(path: Path, fetched: Fetched) -> list[Path]:
    """Events as the order index keeps them."""
    events = fetched.events.select(TYPED_COLUMNS).sort_by("order_hash").combine_chunks()
    with pa.OSFile(str(path), "wb") as sink, ipc.new_file(sink, events.schema) as writer:
        writer.write_table(events)
    return [path]


def work_of(read: Records, index: Sequence[Path], folder: Path) -> Work:
    texts = {name: view.sql for name, view in VIEWS.items()}
    return Work(read.start, read.end, HERE, LONGEST, texts, index, folder)


def parts_of(work: Work, read: Records) -> list[Part]:
    """A task a partition, as Spark has it."""
    answers = [
        row
        for p, found in read.by_partition.items()
        for batch in stream_task.run(work, iter(batches({p: list(found)})))
        for row in batch.column("done").to_pylist()
    ]
    return [shards.read(work.folder, json.loads(answer), VIEWS) for answer in answers]


def counted(table: pa.Table) -> Counter[tuple[Any, ...]]:
    return Counter(tuple(str(v) for v in row.values()) for row in table.to_pylist())


@pytest.mark.parametrize("seed", [1, 2])
def test_tasks_of_single_partitions_add_up_to_what_one_process_makes(
    seed: int, tmp_path: Path
) -> None:
    lines = combined(seed, shops=1)
    half = len(lines) // 2
    earlier = records(lines[:half], Position.zero(PARTITIONS))
    before = typed(earlier, HERE, LONGEST)
    later = records(lines[half:] + lines[: half // 4], earlier.end)
    whole = typed(later, HERE, LONGEST)
    with duckdb.connect() as con:
        new = whole.events.select(TYPED_COLUMNS)
        old = before.events.select(TYPED_COLUMNS)
        expected = delta.compute(con, later.start, VIEWS, old, new)
        work = work_of(later, index_file(tmp_path / "run.arrow", before), tmp_path)
        made = parts_of(work, later)
        assert len(made) == PARTITIONS
        found = delta.added_up(con, VIEWS, [part.change for part in made])
    assert (found.events, found.repeats) == (expected.events, expected.repeats)
    assert expected.repeats > 0
    assert list(found.suspects) == sorted(expected.suspects)
    assert list(found.rows) == list(expected.rows)
    for name, rows in expected.rows.items():
        assert rows.num_rows, name
        assert counted(found.rows[name]) == counted(rows), name
    fetched = joined(work, made)
    assert (fetched.start, fetched.end) == (whole.start, whole.end)
    assert fetched.events.equals(whole.events.cast(fetched.events.schema))
    assert sorted(fetched.holes, key=repr) == sorted(whole.holes, key=repr)
    pairs = [
        Counter((o, r.reason, r.raw) for o, r in zip(f.origins, f.rejected, strict=True))
        for f in (fetched, whole)
    ]
    assert pairs[0] == pairs[1]
    assert [r.index for r in fetched.rejected] == list(range(len(fetched.origins)))


def test_halves_of_the_orders_on_two_engines_add_up_to_the_whole() -> None:
    lines = combined(3)
    half = len(lines) // 2
    earlier = records(lines[:half], Position.zero(PARTITIONS))
    later = records(lines[half:] + lines[: half // 4], earlier.end)
    old, new = (typed(r, HERE, LONGEST).events.select(TYPED_COLUMNS) for r in (earlier, later))
    with duckdb.connect() as one, duckdb.connect() as two:
        whole = delta.compute(one, later.start, VIEWS, old, new)
        found = delta.compute_apart([one, two], later.start, VIEWS, old, new)
    assert (found.events, found.repeats) == (whole.events, whole.repeats)
    assert list(found.suspects) == sorted(whole.suspects)
    for name, rows in whole.rows.items():
        assert rows.num_rows, name
        assert counted(found.rows[name]) == counted(rows), name


def test_a_partition_without_records_is_a_hole_and_no_events(tmp_path: Path) -> None:
    read = records(combined(3)[:1], Position.zero(PARTITIONS))
    end = Position(tuple(o + 4 for o in read.end.offsets))
    work = work_of(Records(read.start, end, read.by_partition), [], tmp_path)
    only = {p: list(found) for p, found in read.by_partition.items() if found}
    fetched = joined(work, parts_of(work, Records(read.start, end, only)))
    assert (fetched.events.num_rows, fetched.end) == (1, end)
    assert sum(hole.offsets for hole in fetched.holes) == end.total - 1
    empty = joined(work, [])
    assert empty.events.schema.names == fetched.events.schema.names
    assert sum(hole.offsets for hole in empty.holes) == end.total
    with duckdb.connect() as con:
        assert delta.added_up(con, VIEWS, []).rows == {}


def test_a_partition_that_spark_split_between_tasks_is_refused(tmp_path: Path) -> None:
    read = records(combined(4)[:30], Position.zero(PARTITIONS))
    work = work_of(read, [], tmp_path)
    found = parts_of(work, read)
    with pytest.raises(JobError, match="split a partition"):
        joined(work, [*found, found[0]])


def test_a_stream_begins_at_our_position_and_reads_what_is_committed_only() -> None:
    found = source_options(HERE, Position((7, 0)), chosen(commit_events=11))
    assert found["startingOffsets"] == '{"orders": {"0": 7, "1": 0}}'
    assert found["assign"] == '{"orders": [0, 1]}'
    assert found["maxOffsetsPerTrigger"] == "11"
    assert (found["kafka.isolation.level"], found["failOnDataLoss"]) == ("read_committed", "true")
    assert found["kafka.security.protocol"] == "PLAINTEXT"


@pytest.mark.parametrize(
    ("mechanism", "module"), [("PLAIN", "plain.Plain"), ("SCRAM-SHA-512", "scram.Scram")]
)
def test_credentials_reach_the_java_client_in_its_own_words(
    mechanism: str, module: str, tmp_path: Path
) -> None:
    for name in ("ca", "cert", "key"):
        (tmp_path / name).write_text(f"-----{name}-----", encoding="utf-8")
    found = source_options(
        HERE,
        Position((0,)),
        chosen(
            kafka_security_protocol="SASL_SSL", kafka_sasl_mechanism=mechanism,
            kafka_sasl_username="ann", **dict(zip(SECRETS, ('p"\\w', "k"), strict=True)),
            kafka_ssl_cafile=tmp_path / "ca", kafka_ssl_certfile=tmp_path / "cert",
            kafka_ssl_keyfile=tmp_path / "key",
        ),
    )  # fmt: skip
    assert found["kafka.sasl.mechanism"] == mechanism
    assert found["kafka.sasl.jaas.config"] == (
        f"org.apache.kafka.common.security.{module}LoginModule required "
        'username="ann" password="p\\"\\\\w";'
    )
    assert found["kafka.ssl.truststore.certificates"] == "-----ca-----"
    assert found["kafka.ssl.keystore.certificate.chain"] == "-----cert-----"
    assert found["kafka.ssl.keystore.key"] == "-----key-----"
    assert found["kafka.ssl.key.password"] == "k"


def test_a_certificate_that_is_not_there_is_named() -> None:
    wrong = chosen(kafka_security_protocol="SSL", kafka_ssl_cafile=Path("/no/ca.pem"))
    with pytest.raises(UsageError, match=r"/no/ca\.pem"):
        source_options(HERE, Position((0,)), wrong)


def test_the_jars_come_from_a_folder_or_by_their_coordinates(tmp_path: Path) -> None:
    assert "spark-sql-kafka" in connector(chosen())["spark.jars.packages"]
    with pytest.raises(UsageError, match="spark_jars"):
        connector(chosen(spark_jars=tmp_path))
    (tmp_path / "a.jar").touch()
    assert connector(chosen(spark_jars=tmp_path)) == {"spark.jars": str(tmp_path / "a.jar")}


def test_a_job_gets_the_settings_of_the_command_line_and_no_secret() -> None:
    given = chosen(
        log="kafka://localhost:9092/orders", commit_events=3, poll=0.5, spark_master="local[1]",
        spark_jars=Path("/jars"), alert_command="tell 'all of us'",
        **dict.fromkeys(SECRETS, "hush"),
    )  # fmt: skip
    said = settings.as_environment(given)
    assert "hush" not in "".join([*said, *said.values()])
    again = settings.load(Path("nowhere"), environ=said)
    hidden = dict.fromkeys(SECRETS)
    assert again.model_dump() == {**given.model_dump(), **hidden}


def test_our_code_runs_from_the_archive_that_executors_get(tmp_path: Path) -> None:
    file = pack(tmp_path / "headrace.zip")
    program = (
        f"import sys; sys.path.insert(0, {str(file)!r})\n"
        "import headrace.jobs.streaming.task as task\n"
        "from headrace.pipelines.fold.fold import steps\n"
        "print(task.__file__, len(steps('x_', dialect='duckdb')))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr
    where, count = done.stdout.split()
    assert where.startswith(str(file))
    assert int(count) > 5
    with zipfile.ZipFile(file) as archive:
        beside = {name for name in archive.namelist() if name.count("/") == 1}
    assert beside == {f"headrace/{path.name}" for path in ROOT.glob("*.py")}


def test_spark_is_refused_for_a_home_with_a_log_of_its_own(tmp_path: Path) -> None:
    headrace = Headrace(tmp_path / "home")
    headrace.json("init")
    headrace.run("speed", "--once", "--engine", "spark").refused(2, "a log of its own", "--engine")
