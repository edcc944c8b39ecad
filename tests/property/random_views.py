"""Random views over random histories, in every path, against their texts as written.

    python -m tests.property.random_views --seeds 50 --first 0 [--spark 2]

Each seed makes a home of random views (over the ledger, the orders, and each other), and lets a
shop's events come with duplicates, disorder and late ones; they are committed in pieces of random
size, made into bases, in full and incrementally, and replayed. After each, `verify` recomputes
every view from its text, run by DuckDB over `orders` and `ledger`, and compares every cell.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from random import Random

from headrace.pipelines.batch import run as batch
from headrace.pipelines.bootstrap import open_lake
from headrace.pipelines.errors import ViewError
from headrace.pipelines.generations import registry
from headrace.pipelines.generator.generator import generate
from headrace.pipelines.lake.lake import Lake
from headrace.pipelines.quality.verify import Certificate, verify
from headrace.pipelines.replay import build
from headrace.pipelines.settings import load
from headrace.pipelines.views.load import BUILTIN_VIEWS, View, load_views, parse_view
from headrace.pipelines.views.trial import try_view
from headrace.schemas.tables import TABLES
from tests.conformance.cells import explain_cells
from tests.conformance.paths import append, run_speed
from tests.conformance.streams import combined
from tests.property.view_grammar import Grammar


@dataclass
class Found:
    """What was compared."""

    views: int = 0
    over_views: int = 0
    cells: int = 0
    proofs: int = 0
    explained: int = 0


LANDS = """
    key = ["land"]
    [columns]
    land = "VARCHAR"
    region = "VARCHAR"
    weight = "DECIMAL(6, 3)"
"""
DISCOUNTS = """
    key = ["money"]
    valid = ["since", "until"]
    [columns]
    money = "VARCHAR"
    since = "DATE"
    until = "DATE"
    share = "DECIMAL(4, 3)"
"""


def write_lookups(folder: Path) -> None:
    """Two lookups that some of the shop's values are in: one plain, one with periods."""
    folder.mkdir(parents=True)
    (folder / "lands.toml").write_text(LANDS, encoding="utf-8")
    (folder / "lands.csv").write_text(
        "land,region,weight\nDE,north,1.5\nFR,west,-0.125\nEUR,east,2\nsale,,\nplaced,south,0\n",
        encoding="utf-8",
    )
    (folder / "discounts.toml").write_text(DISCOUNTS, encoding="utf-8")
    (folder / "discounts.csv").write_text(
        "money,since,until,share\nEUR,2026-01-01,2026-03-10,0.1\nEUR,2026-03-10,,0.2\n"
        "GBP,2026-03-05,2026-03-20,0.05\n",
        encoding="utf-8",
    )


def random_views(seed: int, count: int, lookups: Path) -> dict[str, View]:
    """Views that are taken, a third of them over others, some with a lookup beside them."""
    grammar = Grammar(seed)
    known: dict[str, View] = dict(load_views(BUILTIN_VIEWS, lookups=lookups))
    made: dict[str, View] = {}
    while len(made) < count:
        name = f"v{len(made)}"
        text = grammar.one(grammar.view(), grammar.of_orders(), _over(grammar, known))
        try:
            view = parse_view(name, text, where=f"seed {seed}: {text}", known=known.get)
            try_view(view, f"seed {seed}: {text}")
        except ViewError as refused:
            if "means something else" in str(refused):
                raise
            continue
        known[name] = made[name] = view
    return made


def _over(grammar: Grammar, known: dict[str, View]) -> str:
    inner = grammar.random.choice([v for v in known.values() if v.lookup is None])
    kinds = {c.type for c in inner.keys}
    beside = [v for v in known.values() if v is not inner and _needed(v) <= kinds]
    other = grammar.random.choice(beside) if beside and grammar.random.random() < 0.5 else None
    return grammar.over(inner, other)


def _needed(view: View) -> set[str]:
    """The types of the columns on which it is joined."""
    if view.lookup is None:
        return {c.type for c in view.keys}
    names = [*view.lookup.key, *(view.lookup.valid or ())]
    return {c.type for c in view.outputs if c.name in names}


def attack(
    seed: int, folder: Path, *, views: int, orders: int, spark: bool = False, explain: int = 0
) -> Found:
    """One seed: a home of random views, and each path to them proven.

    Raises:
        AssertionError: a cell differs; seed and view are named.
    """
    random, found = Random(seed), Found()
    home = folder / "home"
    (home / "views").mkdir(parents=True)
    write_lookups(home / "lookups")
    made = random_views(seed, views, home / "lookups")
    for name, view in made.items():
        (home / "views" / f"{name}.sql").write_text(view.text, encoding="utf-8")
    found.views, found.over_views = len(made), sum(bool(v.inner) for v in made.values())
    lines = _events(seed, orders)
    third = len(lines) // 3
    settings = {"threads": 1, "partitions": random.randint(1, 3), "spark_memory": "1g"}
    with open_lake(load(home, environ={}, **settings)) as lake:

        def prove(number: int | None = None) -> None:
            done = verify(lake, number)
            assert done.equal, _told(seed, done, made)
            found.proofs += 1
            found.cells += _cells_of_views(lake, done)

        def work(part: list[bytes]) -> None:
            append(lake, part)
            run_speed(lake, random.choice((150, 400, 5_000)))

        work(lines[:third])
        prove()
        batch.run(lake, engine="spark" if spark else "duckdb")
        work(lines[third : 2 * third])
        prove()
        batch.run(lake, engine="spark" if spark else "duckdb", incremental=True)
        prove()
        work(lines[2 * third :])
        prove()
        explain_cells(lake, explain, seed)
        found.explained = explain
        prove(build.replay(lake, None).generation)
    return found


def _events(seed: int, orders: int) -> list[bytes]:
    """A shop's events, and such as no shop has: conflicts, ties, odd amounts."""
    shop = generate(orders, seed, duplicates=0.05, disorder=0.1, late=0.05)
    lines = [*shop, *combined(seed % 7 + 1, shops=1)]
    Random(seed).shuffle(lines)
    return lines


def _cells_of_views(lake: Lake, done: Certificate) -> int:
    line = registry.read(lake, done.generation)
    tables = sum(
        int(lake.row(f"SELECT count(*) FROM ({line.select(name)})")[0]) * len(line.columns(name))
        for name in TABLES
    )
    return done.comparison.cells - tables


def _told(seed: int, done: Certificate, made: dict[str, View]) -> str:
    wrong = [name for name, count in done.comparison.by_view.items() if count]
    texts = [f"{name}: {made[name].text}" for name in wrong if name in made]
    return f"seed {seed}: {done.comparison.wrong} cells of {wrong} differ\n" + "\n".join(texts)


def main() -> int:
    """Attack with many seeds; gives the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--views", type=int, default=40)
    parser.add_argument("--orders", type=int, default=600)
    parser.add_argument("--explain", type=int, default=0, help="cells to explain, of each seed")
    parser.add_argument("--spark", type=int, default=0, help="seeds of which bases come from Spark")
    chosen = parser.parse_args()
    total = Found()
    for seed in range(chosen.first, chosen.first + chosen.seeds):
        with tempfile.TemporaryDirectory() as folder:
            found = attack(
                seed,
                Path(folder),
                views=chosen.views,
                orders=chosen.orders,
                explain=chosen.explain,
                spark=seed - chosen.first < chosen.spark,
            )
        for name, value in vars(found).items():
            setattr(total, name, getattr(total, name) + value)
        sys.stdout.write(
            f"seed {seed}: equal; so far {total.views:,} views, {total.over_views:,} of them over "
            f"views, {total.proofs:,} proofs, {total.cells:,} cells\n"
        )
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
