"""The base that was refused last: kept whole, to be looked at, and published after all.

HOME/refused/stage.json   what it is, and what its audit found
HOME/refused/NAME/        its Parquet files

While a newer one takes its place, that one is in HOME/refused.new. It is whole once it has its
stage.json, and then it is the one that was refused last, also if the process dies there.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from headrace.pipelines.errors import QueryError, UsageError
from headrace.pipelines.generations import registry
from headrace.pipelines.generations.staged import Staged
from headrace.pipelines.lake import durable, failpoints
from headrace.pipelines.lake.guarded_sql import check_select, guard, select
from headrace.pipelines.lake.home import Home
from headrace.pipelines.lake.lake import Lake
from headrace.pipelines.position import Position
from headrace.pipelines.quality.audit import Audited
from headrace.pipelines.serving.query import Answer
from headrace.pipelines.views.packed import pack, unpack


@dataclass(frozen=True)
class Candidate:
    """A staged base and where it wants to go.

    `generation` and `base` are those that it was made to follow; None if it begins a new one.
    """

    staged: Staged
    generation: int | None
    base: int | None
    engine: str
    mode: str
    events_read: int
    seconds: float


def keep(home: Home, candidate: Candidate, audited: Audited) -> None:
    """Move a refused base's files aside; an older one that was kept goes. The lock is held."""
    fresh = home.refused_new
    if home.refused == fresh:  # a process died here
        _replace(home)
    shutil.rmtree(fresh, ignore_errors=True)
    staged = candidate.staged
    told = {
        "cut": staged.cut.as_dict(),
        "views": pack(staged.views),
        "repeats": staged.repeats,
        "generation": candidate.generation,
        "base": candidate.base,
        "engine": candidate.engine,
        "mode": candidate.mode,
        "events_read": candidate.events_read,
        "seconds": candidate.seconds,
        "audit": {
            "suite": audited.suite,
            "failures": [f.as_json() for f in audited.failures],
            "warnings": [f.as_json() for f in audited.warnings],
        },
    }
    fresh.mkdir()
    for name in staged.tables:
        (staged.folder / name).rename(fresh / name)
    failpoints.here("refused.moved")
    (fresh / "stage.part").write_text(json.dumps(told, default=str), encoding="utf-8")
    durable.sync_file(fresh / "stage.part")
    (fresh / "stage.part").rename(fresh / "stage.json")
    failpoints.here("refused.written")
    _replace(home)
    failpoints.here("refused.kept")


def _replace(home: Home) -> None:
    """Let the new one take the place of the old one."""
    place = home.path / "refused"
    shutil.rmtree(place, ignore_errors=True)
    failpoints.here("refused.removed")
    home.refused_new.rename(place)
    durable.sync_directory(home.path)


def said(home: Home) -> dict[str, Any] | None:
    """What is known of the refused base; None if there is none."""
    place = home.refused
    try:
        found: dict[str, Any] = json.loads((place / "stage.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as e:
        raise UsageError(
            f"{place}/stage.json cannot be read ({type(e).__name__}); remove {place}"
        ) from e
    return found


def load(home: Home) -> Candidate:
    """The refused base.

    Raises:
        UsageError: there is none.
    """
    told = said(home)
    if told is None:
        raise UsageError(
            f"no refused base is kept in {home.path}; `headrace batch` makes and publishes one"
        )
    views = unpack(told["views"], "the staged view")
    cut = Position.of({int(p): o for p, o in told["cut"].items()})
    staged = Staged(home.refused, views, cut, int(told["repeats"]))
    return Candidate(
        staged,
        told["generation"],
        told["base"],
        told["engine"],
        told["mode"],
        int(told["events_read"]),
        float(told["seconds"]),
    )


def copy(staged: Staged, place: Path) -> Staged:
    """The same files once more, so that a publish that fails does not lose them. Costs no space."""
    for name in staged.tables:
        (place / name).mkdir(parents=True)
        for file in (staged.folder / name).glob("*.parquet"):
            try:
                os.link(file, place / name / file.name)
            except OSError:  # a file system without links
                shutil.copyfile(file, place / name / file.name)
    return Staged(place, staged.views, staged.cut, staged.repeats)


def discard(home: Home) -> None:
    """Remove it: it was published."""
    shutil.rmtree(home.path / "refused", ignore_errors=True)
    shutil.rmtree(home.refused_new, ignore_errors=True)


def query_staged(
    lake: Lake,
    sql: str,
    *,
    max_rows: int | None = None,
    params: Mapping[str, object] | None = None,
) -> Answer:
    """Answer one SELECT over the refused base; `position` and `cut` are where it was cut.

    Raises:
        UsageError: no base is kept.
        QueryError: the SQL was refused or failed.
    """
    check_select(sql, lake.con)
    candidate = load(lake.home)
    staged = candidate.staged
    guard(lake, lake.home.refused)
    con = lake.con
    try:
        for name in ("orders", "ledger"):
            con.execute(f"CREATE OR REPLACE TEMP VIEW {name} AS FROM {staged.relation(name)}")
        for name, view in staged.views.items():
            text = view.served_sql(staged.relation(name))
            con.execute(f'CREATE OR REPLACE TEMP VIEW "{name}" AS {text}')
        found = select(lake, sql, max_rows=max_rows, params=params)
    except (duckdb.Error, QueryError) as e:
        cause = e.__cause__ if isinstance(e, QueryError) else e
        if isinstance(cause, duckdb.IOException):
            told = str(cause).splitlines()[0]
            raise QueryError(f"the refused base is not whole: {told}") from e
        raise
    return Answer(
        **vars(found),
        cut=staged.cut,
        position=staged.cut,
        logic=registry.logic_of(staged.views),
        generation=candidate.generation or registry.live_number(lake),
        staged=True,
    )
