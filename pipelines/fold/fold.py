"""The fold, run: from a relation of events to `orders` and `ledger` rows.

The steps are in schemas/fold.sql, once; this module reads, renames and runs them. Pure but for
the connection that it is given.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from headrace.pipelines.progress import Progress, silent

if TYPE_CHECKING:
    import duckdb

_KEPT = frozenset(
    {
        *("twins", "repeats", "voided", "surplus", "odd", "booked", "returners", "course"),
        *("facts", "balance", "later", "ledger", "orders"),
    }
)
"""Steps that are read more than once and cheaper to keep than to compute again."""


@cache
def text() -> str:
    """The fold's own text."""
    return resources.files("headrace.schemas").joinpath("fold.sql").read_text(encoding="utf-8")


_SAME = {"f7723519d82c": "eb5a612cb5f9"}
"""Texts of the fold that give the same rows as an earlier one, which a home's generations name."""


@cache
def version() -> str:
    """A fingerprint of the fold's meaning: other steps, other version; comments do not count.

    Steps that were only made quicker keep the version of the text that they replaced.
    """
    found = fingerprint()
    return _SAME.get(found, found)


def fingerprint() -> str:
    """A fingerprint of the steps as they are."""
    parts = [sql for _, sql in steps("", dialect="duckdb")]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


@cache
def steps(prefix: str, *, dialect: str) -> tuple[tuple[str, str], ...]:
    """The steps as (name, SELECT), in order, for `duckdb` or `spark`.

    Each step's name and the input `events` get the prefix, so that several folds can live in
    one session.
    """
    import sqlglot
    from sqlglot import exp

    blocks = text().split("-- step: ")[1:]
    parsed = [
        (block.split("\n", 1)[0].strip(), sqlglot.parse_one(block.split("\n", 1)[1], "duckdb"))
        for block in blocks
    ]
    names = {name for name, _ in parsed} | {"events"}
    result = []
    for name, tree in parsed:
        for table in tree.find_all(exp.Table):
            if table.name in names:
                table.set("this", exp.to_identifier(prefix + table.name))
        result.append((prefix + name, tree.sql(dialect=dialect, comments=False)))
    return tuple(result)


def fold(con: duckdb.DuckDBPyConnection, events: str, prefix: str) -> None:
    """Fold a relation of events into temp tables `{prefix}orders` and `{prefix}ledger`.

    Also leaves `{prefix}repeats`: partition and offset of redelivered events.

    Args:
        con: where to run; only temporary objects are made.
        events: a SELECT that gives the log's columns.
        prefix: of all names; an earlier fold of the same prefix is replaced.
    """
    con.execute(f"CREATE OR REPLACE TEMP VIEW {prefix}events AS {events}")
    for name, sql in steps(prefix, dialect="duckdb"):
        kind = "TABLE" if name.removeprefix(prefix) in _KEPT else "VIEW"
        con.execute(f"CREATE OR REPLACE TEMP {kind} {name} AS {sql}")


def drop(con: duckdb.DuckDBPyConnection, prefix: str) -> None:
    """Give back what a fold left behind."""
    for name, _ in reversed(steps(prefix, dialect="duckdb")):
        kind = "TABLE" if name.removeprefix(prefix) in _KEPT else "VIEW"
        con.execute(f"DROP {kind} IF EXISTS temp.{name}")
    con.execute(f"DROP VIEW IF EXISTS temp.{prefix}events")


def fold_in_slices(
    con: duckdb.DuckDBPyConnection,
    events: str,
    *,
    total: int,
    use: Callable[[str], None],
    slice_events: int = 2_000_000,
    progress: Progress = silent,
) -> None:
    """Fold a log of any length in bounded memory, orders of one hash range at a time.

    An order's events never cross slices, so the union of the slices is the whole fold.

    Args:
        con: where to run.
        events: a SELECT that gives the log's columns.
        total: about how many events that is.
        use: called after each slice with the prefix of its `orders` and `ledger`.
        slice_events: events that one slice should hold, about.
        progress: told (slices done, slices in all).
    """
    slices = max(1, -(-total // slice_events))
    width = -(-(1 << 31) // slices)
    for i in range(slices):
        low, high = i * width, (i + 1) * width
        condition = f"order_hash >= {low} AND order_hash < {high}" if slices > 1 else "true"
        fold(con, f"SELECT * FROM ({events}) AS log WHERE {condition}", "slice_")
        use("slice_")
        drop(con, "slice_")
        progress(i + 1, slices)
