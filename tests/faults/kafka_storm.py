"""Broker, speed layer and producer are killed while events stream through a real topic:

    python -m tests.faults.kafka_storm --events 100000 --seed 7 [--kills 9]

A producer of its own process records what was acknowledged, and where, and resends the rest. At the
end each acknowledged event must lie at its place in the archive, and what is served must be exact.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from headrace.pipelines.generations import registry
from headrace.pipelines.generator.generator import generate
from headrace.pipelines.log.kafka.client import Address
from tests.e2e.command import REPOSITORY, SCRIPT, environment
from tests.kafka.broker import CannotFetchError, Cluster
from tests.kafka.homes import Home, count_places

PARTITIONS = 4
_IN_FLIGHT = 20_000
"""Events sent and not yet acknowledged; what a kill can make the producer send again."""


@dataclass
class Figures:
    """What was done and found."""

    seed: int
    sent: int = 0
    archived: int = 0
    kills: dict[str, int] = field(default_factory=dict)
    lost: int = 0
    foreign: int = 0
    missing: int = 0
    doubled: int = 0
    wrong: int = 0
    seconds: float = 0.0

    @property
    def fine(self) -> bool:
        """Whether everything is as promised."""
        return not (self.lost or self.foreign or self.missing or self.doubled or self.wrong)

    def __str__(self) -> str:
        kills = ", ".join(f"{n} of the {what}" for what, n in sorted(self.kills.items()))
        return (
            f"seed {self.seed}: {sum(self.kills.values())} kills ({kills}), {self.sent:,} events "
            f"acknowledged, {self.archived:,} archived ({self.archived - self.sent:,} of them sent "
            f"again), {self.lost:,} lost, {self.foreign:,} never sent, {self.missing:,} missing in "
            f"the views, {self.doubled:,} doubled, {self.wrong:,} wrong cells; "
            f"{self.seconds:.0f} s, {self.sent / self.seconds:,.0f} events a second"
        )


def produce(url: str, lines: Path, acks: Path) -> int:
    """Send each line until it is acknowledged; goes on where an earlier call was killed."""
    while not _sent(Address.parse(url), lines, acks):
        print("sending again what is not acknowledged, with a new producer", flush=True)
    return 0


def _sent(address: Address, lines: Path, acks: Path) -> bool:
    """Send what is not acknowledged yet; whether all of it is now.

    A client can be stuck for good after its broker was killed: it is given up, and all that it
    held is sent again.
    """
    from kafka import KafkaProducer

    done = set(acknowledged(acks))
    with acks.open("a", encoding="ascii") as out, lines.open("rb") as source:
        writer = KafkaProducer(
            bootstrap_servers=list(address.servers), acks="all", enable_idempotence=True,
            linger_ms=5, batch_size=1 << 17, compression_type="lz4", delivery_timeout_ms=20_000,
            request_timeout_ms=5_000, max_block_ms=20_000, bootstrap_timeout_ms=120_000,
        )  # fmt: skip
        waiting: dict[int, Any] = {}

        def settle(*, wait: bool) -> None:
            """Record what is acknowledged, from the oldest on."""
            while waiting:
                number, sent = next(iter(waiting.items()))
                if not wait and not sent.is_done:
                    break
                told = sent.get(timeout=30)
                out.write(f"{number} {told.partition} {told.offset}\n")
                del waiting[number]
            out.flush()

        try:
            for number, line in enumerate(source):
                if number not in done:
                    raw = line.rstrip(b"\n")
                    key = json.loads(raw)["subject"].encode()
                    waiting[number] = writer.send(address.topic, key=key, value=raw)
                    if len(waiting) % 500 == 0:
                        settle(wait=len(waiting) >= _IN_FLIGHT)
            settle(wait=True)
        except Exception:  # noqa: BLE001 - whatever it was: send again what is not acknowledged
            with contextlib.suppress(Exception):
                writer.close(timeout=0)
            return False
        writer.close()
    return True


def acknowledged(acks: Path) -> dict[int, tuple[int, int]]:
    """Place of each acknowledged line; a line that a kill cut short does not count."""
    found = {}
    if acks.exists():
        for row in acks.read_text(encoding="ascii").splitlines(keepends=True):
            fields = row.split()
            if row.endswith("\n") and len(fields) == 3:
                found[int(fields[0])] = (int(fields[1]), int(fields[2]))
    return found


class Storm:
    """A broker, a home, a producer, a speed layer, and what kills them."""

    def __init__(self, kafka: Cluster, folder: Path, events: int, seed: int) -> None:
        self.broker = kafka.brokers[0]
        self.folder = folder
        self.home = Home(folder / "home", kafka.url("orders"), kafka_timeout=5, partitions=4)
        self.lines, self.acks = folder / "events.ndjson", folder / "acks.txt"
        self.figures = Figures(seed)
        self._chance = random.Random(seed)
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        with self.lines.open("wb") as out:
            made = generate(events, seed, duplicates=0.05, disorder=0.05)
            for line in islice(made, events):
                out.write(line + b"\n")

    def start(self, what: str) -> None:
        """Start the producer or the speed layer as a process of its own."""
        calls = {
            "producer": [sys.executable, "-m", "tests.faults.kafka_storm", "--produce",
                         self.home.url, self.lines, self.acks],
            "speed layer": [SCRIPT, "--home", self.home.home, "speed", "--follow"],
        }  # fmt: skip
        with (self.folder / f"{what}.out").open("ab") as out:
            self._running[what] = subprocess.Popen(
                calls[what], cwd=REPOSITORY, env=environment(self.home.chosen),
                stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            )  # fmt: skip

    def kill(self, what: str) -> None:
        """`kill -9` one of the three, and start it again after a moment."""
        if what == "broker":
            self.broker.kill()
            time.sleep(self._chance.uniform(0, 3))
            self.broker.start()
        else:
            process = self._running[what]
            if process.poll() is not None:
                raise SystemExit(self.said(what))
            process.kill()
            process.wait()
            time.sleep(self._chance.uniform(0, 0.5))
            self.start(what)
        self.figures.kills[what] = self.figures.kills.get(what, 0) + 1

    def said(self, what: str) -> str:
        """The last words of a process that ended on its own."""
        told = (self.folder / f"{what}.out").read_text(errors="replace")[-2000:]
        return f"seed {self.figures.seed}: the {what} ended on its own: {told}"

    def rage(self, events: int, kills: int) -> None:
        """Kill now and then, by progress, until everything is acknowledged."""
        started = time.monotonic()
        targets = ["broker", "speed layer", "producer"]
        plan = [targets[n % 3] for n in range(kills)]
        self._chance.shuffle(plan)
        moments = sorted(self._chance.randrange(events) for _ in plan)
        for moment, what in zip(moments, plan, strict=True):
            while self._progress() < moment and self._running["producer"].poll() is None:
                time.sleep(0.05)
            if self._running["producer"].poll() is None or what == "speed layer":
                self.kill(what)
                print(f"  {self._progress():,} acknowledged: killed the {what}", flush=True)
        if self._running["producer"].wait():
            raise SystemExit(self.said("producer"))
        follow = self._running["speed layer"]
        if follow.poll() is not None:
            raise SystemExit(self.said("speed layer"))
        follow.terminate()
        follow.wait(300)  # on a busy machine: what is being decoded is decoded to its end
        self.home.once()
        self.figures.seconds = time.monotonic() - started

    def _progress(self) -> int:
        """About how many lines are acknowledged, by the size of the file: good enough to aim."""
        return self.acks.stat().st_size // 12 if self.acks.exists() else 0

    def stop(self) -> None:
        """End what still runs."""
        for process in self._running.values():
            process.kill()
            process.wait()

    def judge(self) -> None:
        """Compare the archive with what was acknowledged, and the views with both."""
        figures, places = self.figures, acknowledged(self.acks)
        with self.lines.open("rb") as source:
            sent = [hash(line.rstrip(b"\n")) for line in source]
        figures.sent = len(places)
        figures.lost += len(sent) - len(places)
        wanted = [array("q") for _ in range(PARTITIONS)]
        for number, (partition, offset) in places.items():
            held = wanted[partition]
            held.extend(array("q", [-1]) * (offset + 1 - len(held)))
            held[offset] = number
        known, found = set(sent), 0
        with self.home.lake() as lake:
            end = registry.read(lake).position
            count_places(lake, end)
            cursor = lake.con.execute('SELECT "partition", "offset", raw FROM sys.events')
            while rows := cursor.fetchmany(50_000):
                for partition, offset, raw in rows:
                    figures.archived += 1
                    digest = hash(raw.encode())
                    figures.foreign += digest not in known
                    held = wanted[partition]
                    number = held[offset] if offset < len(held) else -1
                    found += number >= 0 and sent[number] == digest
            distinct = lake.row("SELECT count(DISTINCT (source, id)) FROM sys.events")[0]
            counted = lake.row("SELECT sum(event_count) FROM orders")[0]
        figures.lost += len(places) - found
        expected = len(known)
        figures.missing = max(0, expected - int(counted)) + max(0, expected - int(distinct))
        figures.doubled = max(0, int(counted) - expected)
        proof = self.home.run("verify", "--json")
        told = json.loads(proof.out)
        figures.wrong = int(told["wrong"]) if not told["equal"] else 0


@contextmanager
def storm(events: int, seed: int) -> Iterator[Storm]:
    """A storm that is ready to begin; gone at the end."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kafka-storm-")))
        kafka = stack.enter_context(Cluster(folder / "kafka"))
        made = Storm(kafka, folder, events, seed)
        stack.callback(made.stop)
        made.home.json("init")
        made.start("speed layer")
        made.start("producer")
        yield made


def run(events: int, seed: int, kills: int) -> Figures:
    """One storm from beginning to end."""
    with storm(events, seed) as made:
        print(f"{events:,} events, {kills} kills to come", flush=True)
        made.rage(events, kills)
        print("  the storm is over: comparing", flush=True)
        made.judge()
        return made.figures


def main() -> int:
    """Run it from the command line."""
    parser = argparse.ArgumentParser(description="Kills around a real Kafka topic.")
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--kills", type=int, default=9)
    parser.add_argument("--produce", nargs=3, metavar=("URL", "LINES", "ACKS"))
    chosen = parser.parse_args()
    if chosen.produce:
        url, lines, acks = chosen.produce
        return produce(url, Path(lines), Path(acks))
    try:
        figures = run(chosen.events, chosen.seed, chosen.kills)
    except CannotFetchError as e:
        sys.stderr.write(f"no Kafka broker: {e}\n")
        return 1
    print(figures)
    return 0 if figures.fine else 1


if __name__ == "__main__":
    sys.exit(main())
