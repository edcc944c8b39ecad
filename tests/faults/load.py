"""Publishes and promotes without pause while readers ask: nothing torn, doubled, missing, blocked.

    python -m tests.faults.load --publishes 100 --queries 20000 --readers 4 --seed 1

One process appends, commits, publishes, promotes, rolls back and maintains as fast as it can; the
readers are processes of their own. Every answer must hold together in itself, and equal the sums
of the events below its own position, which are added up here, in plain Python, from the lines.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from headrace.pipelines import bootstrap, settings
from headrace.pipelines.batch import run as batch
from headrace.pipelines.errors import HeadraceError, LockError, SeamError
from headrace.pipelines.lake import lake
from headrace.pipelines.log.embedded import Log
from headrace.pipelines.operations import maintenance
from headrace.pipelines.position import Position
from headrace.pipelines.replay import build, promote
from headrace.pipelines.serving import query as serving
from headrace.pipelines.speed.layer import Speed
from tests.e2e.command import REPOSITORY, environment
from tests.e2e.orders import amount, events
from tests.fuzz.model import partition_of

MONEY = (
    "(SELECT sum(net) FROM revenue_by_day)",
    "(SELECT sum(net) FROM country_sales)",
    "(SELECT sum(net) FROM customer_value)",
    "(SELECT sum(amount) FROM ledger)",
    "(SELECT sum(net) FROM orders)",
)
PLACED = (
    "(SELECT sum(orders) FROM revenue_by_minute)",
    "(SELECT sum(placed) FROM order_funnel)",
    "(SELECT count(*) FROM orders)",
)
"""Five ways to the same money and three to the same count. An answer is torn if they differ."""
ALL_WAYS = 0.1
"""The share of queries that go all ways; the others go two to the money, one to the count."""
PARTITIONS = 4
LONGEST_WAIT = 20.0
"""Seconds that no answer may take, on a machine that everything here shares."""
SALTED = 0.5
"""The share of queries that no cache can know."""


@dataclass(frozen=True)
class Told:
    """What the readers were told, in all."""

    answers: int
    salted: int
    torn: int
    wrong: int
    backwards: int
    refused: int
    positions: int
    cuts: int
    generations: int
    slowest: float
    p99: float


class Sums:
    """Money and orders below any position of a log, from its lines."""

    def __init__(self, partitions: int) -> None:
        self.net = [[Decimal(0)] for _ in range(partitions)]
        self.orders = [[0] for _ in range(partitions)]
        self._seen: set[tuple[str, str]] = set()
        self._known: set[str] = set()

    def add(self, line: bytes) -> None:
        """The next line of the log."""
        event = json.loads(line)
        p = partition_of(event["subject"], len(self.net))
        identity = (event["subject"], event["id"])
        counts = identity not in self._seen and event["type"] != "PaymentCaptured"
        self._seen.add(identity)
        self.net[p].append(self.net[p][-1] + (amount(event) if counts else 0))
        self.orders[p].append(self.orders[p][-1] + (event["subject"] not in self._known))
        self._known.add(event["subject"])

    def at(self, position: Sequence[int]) -> tuple[Decimal, int]:
        """Net and orders below a position."""
        net = sum((self.net[p][o] for p, o in enumerate(position)), Decimal(0))
        return net, sum(self.orders[p][o] for p, o in enumerate(position))


def question(chance: random.Random) -> tuple[str, int]:
    """A query that goes some of the ways, and how many of them lead to the money."""
    money, placed = MONEY, PLACED
    if chance.random() >= ALL_WAYS:
        money, placed = tuple(chance.sample(MONEY, 2)), (chance.choice(PLACED),)
    return f"SELECT {', '.join((*money, *placed))}", len(money)


def write(folder: Path, publishes: int, seed: int, pause: float) -> dict[str, Any]:
    """Append and commit in one thread; publish, promote, roll back, maintain in another."""
    chosen = settings.load(
        folder / "home",
        environ={},
        threads=1,
        lock_wait=timedelta(seconds=60),
        keep_snapshots=timedelta(seconds=LONGEST_WAIT),
    )
    over = threading.Event()
    done = {"publishes": 0, "promotes": 0, "rollbacks": 0, "maintained": 0, "again": 0}
    broke: list[BaseException] = []

    def switch() -> None:
        chance = random.Random(seed)
        try:
            with bootstrap.open_lake(chosen) as at:
                while not over.is_set():
                    try:
                        _switch(at, chance, done)
                    except (SeamError, LockError):  # the seam moved away under it: it says so
                        done["again"] += 1
                    if done["publishes"] + done["promotes"] >= publishes:
                        (folder / "enough").touch()
                    over.wait(pause)
        except Exception as e:  # noqa: BLE001 - raised below, when the readers are let go
            broke.append(e)
            (folder / "enough").touch()

    switcher = threading.Thread(target=switch)
    commits = 0
    with (
        bootstrap.open_lake(chosen) as at,
        Speed.open(at, commit_events=40) as speed,
        (folder / "lines").open("ab") as sent,
    ):
        switcher.start()
        try:
            while not (folder / "stop").exists():
                seed += 1
                lines = events(6, 1_000 + seed)
                sent.write(b"".join(line + b"\n" for line in lines))
                sent.flush()
                Log(at).append(lines, ["load"] * len(lines))
                commits += len(speed.run())
                time.sleep(pause)
        finally:
            over.set()
            switcher.join()
            (folder / "enough").touch()  # also if this broke: nobody waits for it for ever
    if broke:
        raise broke[0]
    return {"commits": commits, **done}


def _switch(at: lake.Lake, chance: random.Random, done: dict[str, int]) -> None:
    what = chance.choices(["batch", "replay", "rollback", "maintain"], [8, 3, 1, 2])[0]
    if what == "batch":
        made = batch.run(at, engine="duckdb", incremental=chance.random() < 0.5)
        done["publishes"] += made is not None
    elif what == "replay":
        found = build.replay(at, None)
        promote.promote(at, found.generation)
        done["promotes"] += 1
    elif what == "rollback":
        try:
            promote.rollback(at)
        except HeadraceError:
            return  # there is nothing to go back to yet
        done["rollbacks"] += 1
    else:
        maintenance.maintain(at)
        done["maintained"] += 1


def read(folder: Path, queries: int, seed: int) -> dict[str, Any]:
    """Ask at least so often, and until there were publishes enough; keep what was answered."""
    chance = random.Random(seed)
    found: dict[str, list[Any]] = {}
    seconds: list[float] = []
    told = {"answers": 0, "salted": 0, "torn": 0, "backwards": 0, "refused": 0, "unequal": 0}
    last = Position.zero(PARTITIONS)
    cuts, generations = set[str](), set[int]()
    with serving.connect(folder / "home", threads=1) as served:
        while told["answers"] < queries or not (folder / "enough").exists():
            salted = chance.random() < SALTED
            sql, ways = question(chance)
            sql += f", {chance.randrange(1 << 60)} AS salt" if salted else ""
            started = time.monotonic()
            try:
                answer = served.query(sql)
            except HeadraceError as e:
                told["refused"] += 1
                print(f"refused: {e}", file=sys.stderr)
                continue
            seconds.append(time.monotonic() - started)
            # Before the first event a sum is null where a count is 0.
            row = [value or 0 for value in answer.rows[0][: len(answer.columns) - salted]]
            money, placed = row[:ways], row[ways:]
            told["answers"] += 1
            told["salted"] += salted
            if len(set(money)) != 1 or len(set(placed)) != 1:
                told["torn"] += 1
                print(f"torn at {answer.position}, cut {answer.cut}: {sql} {row}", file=sys.stderr)
            told["backwards"] += not answer.position.covers(last)
            told["backwards"] += not answer.position.covers(answer.cut)
            last = answer.position
            key = answer.position.text()
            now = [str(money[0]), int(placed[0])]
            told["unequal"] += found.setdefault(key, now) != now
            cuts.add(answer.cut.text())
            generations.add(answer.generation)
    return {**told, "found": found, "seconds": seconds, "cuts": [*cuts],
            "generations": [*generations]}  # fmt: skip


def run(
    folder: Path, *, publishes: int, queries: int, readers: int, seed: int, pause: float
) -> tuple[Told, Any]:
    """Let them all loose; gives what the readers were told, and what the writer did.

    `pause` is the seconds between two commits, and between two switches: readers want a turn too.
    """
    chosen = settings.load(folder / "home", environ={}, partitions=PARTITIONS)
    bootstrap.create(chosen)
    writer = _start("write", folder, publishes, seed, pause)
    asking = [_start("read", folder, queries // readers, seed + n, pause) for n in range(readers)]
    told = [process.communicate()[0] for process in asking]
    (folder / "stop").touch()
    wrote = writer.communicate()[0]
    codes = [process.returncode for process in (writer, *asking)]
    if any(codes):
        raise RuntimeError(f"seed {seed}: writer and readers ended with {codes}")
    heard, done = [json.loads(text) for text in told], json.loads(wrote)
    sums = Sums(PARTITIONS)
    for line in (folder / "lines").read_bytes().splitlines():
        sums.add(line)
    wrong = sum(one["unequal"] for one in heard)
    found = {(p, *map(str, values)) for one in heard for p, values in one["found"].items()}
    for position, net, orders in found:
        expected = sums.at(Position.parse(position).offsets)
        wrong += (Decimal(net), int(orders)) != expected
    seconds = sorted(s for one in heard for s in one["seconds"])
    total = {k: sum(one[k] for one in heard) for k in ("answers", "salted", "torn", "backwards",
                                                        "refused")}  # fmt: skip
    return Told(
        **total,
        wrong=wrong,
        positions=len({position for position, *_ in found}),
        cuts=len({cut for one in heard for cut in one["cuts"]}),
        generations=len({g for one in heard for g in one["generations"]}),
        slowest=seconds[-1],
        p99=statistics.quantiles(seconds, n=100)[98],
    ), done


def sound(told: Told) -> bool:
    """Whether nothing was torn, wrong, refused or blocked."""
    bad = told.torn + told.wrong + told.backwards + told.refused
    return bad == 0 and told.slowest < LONGEST_WAIT


def _start(what: str, folder: Path, *arguments: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.faults.load", what, str(folder), *map(str, arguments)]
    return subprocess.Popen(
        command, cwd=REPOSITORY, env=environment({}), stdout=subprocess.PIPE, text=True
    )


def main() -> int:
    """Print what the readers were told."""
    if sys.argv[1:2] in (["write"], ["read"]):
        what, folder, number, seed, pause = sys.argv[1:]
        given = Path(folder), int(number), int(seed)
        print(json.dumps(write(*given, float(pause)) if what == "write" else read(*given)))
        return 0
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name, default in (("publishes", 100), ("queries", 20_000), ("readers", 4), ("seed", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--pause", type=float, default=2.0, help="seconds between two commits")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="headrace-load-") as folder:
        told, done = run(Path(folder), **vars(options))
    print(f"seed {options.seed}: writer {done}")
    print(
        f"{told.answers:,} answers ({told.salted:,} of them past any cache) at {told.positions:,} "
        f"positions, {told.cuts} cuts, {told.generations} generations: {told.torn} torn, "
        f"{told.wrong} wrong, {told.backwards} backwards, {told.refused} refused; slowest "
        f"{told.slowest:.2f} s, p99 {told.p99:.2f} s"
    )
    return 0 if sound(told) else 1


if __name__ == "__main__":
    sys.exit(main())
