"""How close does live ingestion come to a bare consumer? `python -m bench.kafka --events 500000`.

One real broker, one topic, one run: produce with `headrace append`, read everything with a bare
kafka-python consumer (once as pip installs it, once with the crc32c package that Headrace brings
along), ingest with the speed layer, and with Spark's streaming job if asked. Ratios are events a
second over those of the bare consumer as pip installs it.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.__main__ import EVENTS_AN_ORDER, HEADRACE
from tests.kafka.broker import Cluster

PARTITIONS = 4
BARE = "bare kafka-python"


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=500_000)
    parser.add_argument("--spark", action="store_true", help="Spark's streaming job as well")
    parser.add_argument("--bare", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.bare is not None:
        print(json.dumps(bare(options.bare, options.events)))
        return
    folder = Path(tempfile.mkdtemp(prefix="headrace-bench-"))
    try:
        with Cluster(folder / "kafka") as kafka:
            report(measure(folder, kafka.url("bench"), options.events, spark=options.spark))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def bare(url: str, events: int) -> dict[str, float]:
    """Read so many records and do nothing with them; seconds by the clock and of the processor."""
    from kafka import KafkaConsumer, TopicPartition

    servers, _, topic = url.removeprefix("kafka://").rpartition("/")
    reader = KafkaConsumer(
        bootstrap_servers=servers,
        group_id=None,
        enable_auto_commit=False,
        fetch_max_bytes=64 << 20,
        max_partition_fetch_bytes=16 << 20,
    )
    reader.assign([TopicPartition(topic, p) for p in range(PARTITIONS)])
    reader.seek_to_beginning()
    began, found = time.perf_counter(), 0
    while found < events:
        found += sum(len(records) for records in reader.poll(1000, 100_000).values())
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "events": found,
        "seconds": time.perf_counter() - began,
        "processor": used.ru_utime + used.ru_stime,
    }


def measure(folder: Path, url: str, events: int, *, spark: bool) -> list[tuple[str, float, float]]:
    """Name, events a second, and processor microseconds an event of each path."""
    lines = folder / "events.ndjson"
    with lines.open("wb") as out:
        faults = ["--duplicates", "0.05", "--disorder", "0.05"]
        orders = str(events // EVENTS_AN_ORDER)
        command = [*HEADRACE, "generate", "--orders", orders, "--seed", "1", *faults]
        subprocess.run(command, stdout=out, check=True)
    total = sum(1 for _ in lines.open("rb"))
    home = ["--home", str(folder / "home"), "--log", url]
    subprocess.run([*HEADRACE, *home, "init"], check=True, stdout=subprocess.DEVNULL)
    found = [timed("produce (`headrace append`)", [*HEADRACE, *home, "append", str(lines)], total)]
    me = [sys.executable, "-m", "bench.kafka", "--bare", url, "--events", str(total)]
    # Without the crc32c package, kafka-python computes each batch's checksum in Python.
    slow = [sys.executable, "-c", _WITHOUT, *me[3:]]
    found.append(timed(BARE, slow, total, own=True))
    found.append(timed(f"{BARE}, with crc32c", me, total, own=True))
    again = ["--home", str(folder / "live"), "--log", url, "speed", "--once", "--json"]
    found.append(timed("ingest (`headrace speed --once`)", [*HEADRACE, *again], total))
    shared = ["--home", str(folder / "shared"), *again[2:], "--workers", "2"]
    found.append(timed("ingest, 2 workers", [*HEADRACE, *shared], total))
    if spark:
        job = ["--home", str(folder / "spark"), "--log", url, "speed", "--once", "--json"]
        found.append(timed("Spark streaming, local", [*HEADRACE, *job, "--engine", "spark"], total))
    return found


_WITHOUT = """
import sys
sys.modules["crc32c"] = None
from bench.kafka import main
main()
"""


def timed(
    name: str, command: list[str], total: int, *, own: bool = False
) -> tuple[str, float, float]:
    """Run a command; its own seconds where it tells them."""
    sys.stderr.write(f"{name} …\n")
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    wall = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    told = done.stdout.decode().strip().splitlines()[-1:] or [""]
    result = json.loads(told[0]) if told[0].startswith("{") else {}
    seconds, spent = float(result.get("seconds", wall)), result.get("processor", spent)
    if result.get("events", 0 if own else total) != total:
        raise SystemExit(f"{name} read {result['events']} of {total} events")
    return name, total / seconds, 1e6 * spent / total


def report(found: list[tuple[str, float, float]]) -> None:
    """Print the table."""
    yardstick = next(rate for name, rate, _ in found if name == BARE)
    row = "{:<34} {:>12} {:>14} {:>8}"
    print(row.format("", "events/s", "CPU us/event", "ratio"))
    for name, rate, spent in found:
        print(row.format(name, f"{rate:,.0f}", f"{spent:.1f}", f"{rate / yardstick:.2f}"))


if __name__ == "__main__":
    main()
