"""The base that was refused last: kept whole, to be looked at, and published after all.

HOME/refused/stage.json   what it is, and what its audit found
HOME/refused/NAME/        its Parquet files
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines import home as homes
from pipelines.audit import Audited, Staged
from pipelines.errors import UsageError
from pipelines.home import Home
from pipelines.position import Position
from pipelines.views import parse_view


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


def folder(home: Home) -> Path:
    """Where the refused base lies."""
    return home.path / "refused"


def keep(home: Home, candidate: Candidate, audited: Audited) -> None:
    """Move a refused base's files aside; an older one that was kept goes."""
    place, fresh = folder(home), home.path / "refused.new"
    shutil.rmtree(fresh, ignore_errors=True)
    staged = candidate.staged
    told = {
        "cut": staged.cut.as_dict(),
        "views": {name: view.sql for name, view in staged.views.items()},
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
    (fresh / "stage.json").write_text(json.dumps(told, default=str), encoding="utf-8")
    homes.sync_file(fresh / "stage.json")
    shutil.rmtree(place, ignore_errors=True)
    fresh.rename(place)
    homes.sync_directory(home.path)


def said(home: Home) -> dict[str, Any] | None:
    """What is known of the refused base; None if there is none."""
    try:
        found: dict[str, Any] = json.loads(
            (folder(home) / "stage.json").read_text(encoding="utf-8")
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as e:
        raise UsageError(
            f"{folder(home)}/stage.json cannot be read ({type(e).__name__}); remove {folder(home)}"
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
    views = {
        n: parse_view(n, sql, where=f"the staged view {n}") for n, sql in told["views"].items()
    }
    cut = Position.of({int(p): o for p, o in told["cut"].items()})
    staged = Staged(folder(home), views, cut, int(told["repeats"]))
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
    shutil.rmtree(folder(home), ignore_errors=True)
