"""Damage at random: `python -m tests.faults.damage --seed S --rounds N`.

Each round damages one file of a home with a past. No answer may be wrong after it, the doctor must
find and locate it, and after `doctor --repair` everything is exact, or what is lost was said.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headrace.pipelines import bootstrap, settings
from headrace.pipelines.errors import HeadraceError
from headrace.pipelines.generations import registry
from headrace.pipelines.lake import data_files, lake
from headrace.pipelines.serving import query as serving
from tests.conformance.paths import logged
from tests.e2e.command import Headrace
from tests.e2e.orders import events, write
from tests.faults.crashing import Story
from tests.oracle import fold as oracle

POISON = (b"not json", b'{"specversion": "1.0"}', b"\xff\xfe\x01")
NAMES = ("orders", "ledger", *(n for n in oracle.VIEWS if n not in oracle.USER_VIEWS))

Rows = Counter[tuple[Any, ...]]


def truncate(path: Path, chance: random.Random) -> None:
    """Lose the end of a file, or all of it."""
    size = path.stat().st_size
    os.truncate(path, chance.choice([0, size // 2, max(size - 1, 0), chance.randrange(size)]))


def _flip(path: Path, at: int, chance: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1 << chance.randrange(8)
    path.write_bytes(data)


def flip_magic(path: Path, chance: random.Random) -> None:
    """Turn over one bit of the file's first or last bytes."""
    _flip(path, chance.choice([0, 1, 2, 3, -4, -3, -2, -1]), chance)


def flip_footer(path: Path, chance: random.Random) -> None:
    """Turn over one bit in the last part, where Parquet keeps its footer."""
    _flip(path, -1 - chance.randrange(min(500, path.stat().st_size)), chance)


def flip_data(path: Path, chance: random.Random) -> None:
    """Turn over one bit anywhere in the first half, where Parquet keeps its pages."""
    _flip(path, chance.randrange(path.stat().st_size // 2 + 1), chance)


def delete(path: Path, chance: random.Random) -> None:
    """Lose a file."""
    path.unlink()


def zero(path: Path, chance: random.Random) -> None:
    """Put zeros in place of a part, as a disk does that lost sectors."""
    data = bytearray(path.read_bytes())
    start = chance.randrange(len(data) // 2 + 1)
    end = min(len(data), start + max(64, len(data) // 4))
    data[start:end] = bytes(end - start)
    path.write_bytes(data)


def swap(path: Path, chance: random.Random) -> None:
    """Let two files change places."""
    other = chance.choice(sorted(set(path.parent.parent.rglob("*.parquet")) - {path}))
    aside = path.with_suffix(".aside")
    path.rename(aside)
    other.rename(path)
    aside.rename(other)


KINDS: dict[str, Callable[[Path, random.Random], None]] = {
    "truncate": truncate, "flip magic": flip_magic, "flip footer": flip_footer,
    "flip data": flip_data, "delete": delete, "zero": zero, "swap": swap,
}  # fmt: skip
TARGETS = ("segment", "base", "delta", "quarantine", "catalog", "home", "index", "manifest")
CATALOG_KINDS = ("truncate", "flip header", "delete", "zero header")
"""Of a catalog, what leaves a file that looks whole is for `verify`: SQLite has no checksums."""


def flip_header(path: Path, chance: random.Random) -> None:
    """Turn over one bit of the text that SQLite's files begin with."""
    _flip(path, chance.randrange(16), chance)


def zero_header(path: Path, chance: random.Random) -> None:
    """Put zeros in place of the first page."""
    data = path.read_bytes()
    path.write_bytes(bytes(4_096) + data[4_096:])


@dataclass
class Home:
    """A home with a past, and what it must answer."""

    headrace: Headrace
    answers: dict[str, Rows]
    events: int
    quarantined: int
    more: Path

    def copy(self, place: Path) -> Home:
        """The same, to be damaged."""
        shutil.copytree(self.headrace.home, place)
        return Home(Headrace(place), self.answers, self.events, self.quarantined, self.more)


@dataclass
class Figures:
    """What the rounds did and found."""

    rounds: int = 0
    found: int = 0
    located: int = 0
    refused: int = 0
    answered: int = 0
    wrong: int = 0
    repaired: int = 0
    unrepairable: int = 0
    kinds: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        return (
            f"{self.rounds:,} rounds, {self.found:,} found, {self.located:,} located; "
            f"{self.refused:,} answers refused, {self.answered:,} given, {self.wrong:,} wrong; "
            f"{self.repaired:,} repaired and proved, {self.unrepairable:,} said unrepairable"
        )


def make(folder: Path) -> Home:
    """Build the home: a base, deltas on it, merged and young segments, quarantine, a copy."""
    headrace = Headrace(folder / "home")
    story = Story(headrace, folder)
    headrace.json("init", "--partitions", 2)
    for _ in range(2):
        story.append(12)
        headrace.json("speed", "--once", commit_events=30)
    headrace.json("batch", "--engine", "duckdb")
    poison(headrace, folder, 0)
    story.append(12)
    headrace.json("speed", "--once", commit_events=30)
    headrace.json("maintain")
    for number in (1, 2):
        story.append(12)
        poison(headrace, folder, number)
        headrace.json("speed", "--once", commit_events=30)
    story.truth().check(headrace)
    with opened(headrace) as at:
        expected = oracle.recompute(logged(at, registry.read(at).position))
        count = registry.read(at).position.total
    answers = {name: expected[name].rows for name in NAMES}
    more = write(folder / "more.ndjson", events(4, seed=999))
    return Home(headrace, answers, count, 9, more)


def poison(headrace: Headrace, folder: Path, number: int) -> None:
    """Append lines that all go to quarantine; the exit code says that none of them is in."""
    told = headrace.run("append", write(folder / f"poison-{number}.ndjson", POISON), "--json")
    assert (told.code, json.loads(told.out)["quarantined"]) == (1, len(POISON)), told


def opened(headrace: Headrace) -> lake.Lake:
    """The lake of a home, for reading."""
    chosen = settings.load(headrace.home, environ={}, threads=1)
    return bootstrap.open_lake(chosen, read_only=True)


def target(home: Home, what: str, chance: random.Random) -> Path:
    """A file of a kind, chosen by the seed."""
    root = home.headrace.home
    single = {"catalog": "catalog.sqlite", "home": "home.json", "manifest": "index/manifest.json"}
    if what in single:
        return root / single[what]
    if what == "index":
        return chance.choice(sorted((root / "index").glob("*.arrow")))
    with opened(home.headrace) as at:
        named = data_files.files(at)
    tables = {"segment": ("sys", "events"), "quarantine": ("sys", "quarantine")}
    if what in tables:
        fitting = [f for f in named if (f.schema, f.table) == tables[what]]
    else:
        fitting = [f for f in named if f.schema == "g1" and f.table[0] == what[0]]
    return root / "lake" / chance.choice(sorted(f.path for f in fitting))


def damage(home: Home, what: str, kind: str, chance: random.Random) -> Path:
    """Damage one file; it is another one afterwards."""
    path = target(home, what, chance)
    before = path.read_bytes()
    for _ in range(20):
        {**KINDS, "zero header": zero_header, "flip header": flip_header}[kind](path, chance)
        if not path.exists() or path.read_bytes() != before:
            return path
    raise AssertionError(f"{kind} of {path} changed nothing")


def ask(home: Home, figures: Figures) -> None:
    """Ask for everything: each answer is refused, or it is the oracle's."""
    try:
        served = serving.connect(home.headrace.home, threads=1)
    except HeadraceError:
        figures.refused += len(NAMES)
        return
    with served:
        for name in NAMES:
            try:
                answer = served.query(f'SELECT * FROM "{name}"')
            except HeadraceError:
                figures.refused += 1
                continue
            figures.answered += 1
            figures.wrong += Counter(answer.rows) != home.answers[name]


def examined(home: Home, path: Path, figures: Figures) -> None:
    """The doctor must find the damage, and name the file."""
    outcome = home.headrace.run("doctor", "--json")
    findings = json.loads(outcome.out)["findings"]
    wrong = [f for f in findings if f["state"] == "wrong"]
    figures.found += outcome.code == 1 and bool(wrong)
    figures.located += any(path.name in f["where"] + f["what"] for f in wrong)


def repair(home: Home, figures: Figures, *, lost: bool, more: bool = True) -> None:
    """Repair it. Then everything is exact; or what is lost was said."""
    headrace = home.headrace
    outcome = headrace.run("doctor", "--repair", "--json")
    said = json.loads(outcome.out)
    if any(not r["restored"] for r in said["repairs"]):
        assert lost, said
        assert outcome.code == 1
        figures.unrepairable += 1
        return
    assert outcome.code == 0, [f for f in said["findings"] if f["state"] == "wrong"]
    headrace.json("speed", "--once")
    state = headrace.json("status")
    assert (state["events"], state["quarantined"]) == (home.events, home.quarantined), state
    with serving.connect(headrace.home, threads=1) as served:
        for name in NAMES:
            assert Counter(served.query(f'SELECT * FROM "{name}"').rows) == home.answers[name]
    if more:  # life goes on
        headrace.json("append", home.more)
        headrace.json("speed", "--once")
    assert headrace.json("verify")["equal"] is True
    figures.repaired += 1


def play(
    home: Home,
    what: str,
    kind: str,
    chance: random.Random,
    figures: Figures,
    *,
    more: bool = True,
) -> None:
    """One round."""
    figures.rounds += 1
    figures.kinds[f"{kind} {what}"] += 1
    answered = figures.answered + figures.refused
    path = damage(home, what, kind, chance)
    ask(home, figures)
    assert figures.answered + figures.refused == answered + len(NAMES)
    before = figures.found, figures.located, figures.wrong
    examined(home, path, figures)
    assert figures.found == before[0] + 1, f"{kind} of {path} was not found"
    assert figures.located == before[1] + 1, f"{kind} of {path} was found, not located"
    assert figures.wrong == 0, f"after {kind} of {path} an answer was wrong"
    repair(home, figures, lost=what in ("segment", "quarantine"), more=more)


def kinds_of(what: str) -> tuple[str, ...]:
    """What can happen to a file of a kind."""
    if what == "catalog":
        return CATALOG_KINDS
    if what == "manifest":  # without it there is no index, and none is needed
        return tuple(k for k in KINDS if k not in ("delete", "swap"))
    return tuple(k for k in KINDS if k != "swap" or what in ("segment", "delta", "quarantine"))


def main(arguments: list[str]) -> int:
    """Run rounds, print the figures; exit code 1 at the first failure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--first", type=int, default=1, help="the round to begin with")
    chosen = parser.parse_args(arguments)
    figures, started = Figures(), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="headrace-damage-") as name:
        template = make(Path(name))
        for number in range(chosen.first, chosen.first + chosen.rounds):
            chance = random.Random(chosen.seed * 1_000_003 + number)
            what = TARGETS[number % len(TARGETS)]
            kind = chance.choice(kinds_of(what))
            place = Path(name) / f"round-{number}"
            try:
                play(template.copy(place), what, kind, chance, figures)
            except Exception as e:  # noqa: BLE001 - whatever it was, say how to see it again
                print(f"round {number}, {kind} of a {what}: {type(e).__name__}: {e}")
                print(
                    f"repeat: python -m tests.faults.damage --seed {chosen.seed} --rounds 1 "
                    f"--first {number}"
                )
                return 1
            shutil.rmtree(place)
    print(f"seed {chosen.seed}: {figures}; {time.monotonic() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
