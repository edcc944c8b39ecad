"""Repairs: restores what can be restored, says exactly what cannot. Nothing is made up.

In this order: the catalog, home.json, data files, the log beyond a restored catalog, generations,
the order index. A copy of the catalog is put aside before anything touches it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import duckdb

from headrace.pipelines.batch import run as batch
from headrace.pipelines.errors import DamageError, HeadraceError, HomeError, SeamError
from headrace.pipelines.generations import registry
from headrace.pipelines.lake import backups, checksums, data_files, durable, identity
from headrace.pipelines.lake.checksums import Damage
from headrace.pipelines.lake.home import Home
from headrace.pipelines.lake.lake import Lake
from headrace.pipelines.log.embedded import Log
from headrace.pipelines.operations import erasure_leftovers
from headrace.pipelines.operations.doctor import repair_catalog, repair_segments
from headrace.pipelines.operations.doctor.case import Case
from headrace.pipelines.operations.doctor.lake_checks import index_says
from headrace.pipelines.progress import Report, quiet
from headrace.pipelines.settings import Settings
from headrace.pipelines.views.load import View
from headrace.pipelines.views.lookup_files import load_lookups
from headrace.pipelines.views.lookups import with_content
from headrace.pipelines.views.stacked import lookups


@dataclass(frozen=True)
class Repair:
    """One thing that was restored, or that cannot be."""

    what: str
    restored: bool = True


def repair(settings: Settings, source: Path | None = None, report: Report = quiet) -> list[Repair]:
    """Repair a home as far as that goes.

    Args:
        settings: of the home.
        source: another home, or a folder of copies, to take files from.
        report: told about each repair.

    Raises:
        HomeError: there is no home here, or nothing to restore its catalog from.
        LockError: somebody works on the home; nothing was touched.
    """
    done: list[Repair] = []

    def say(what: str, *, restored: bool = True) -> None:
        done.append(Repair(what, restored))
        report(what if restored else f"not restored: {what}")

    path = settings.home.absolute()
    if not path.is_dir():
        raise HomeError(f"there is no directory {path}; name a home with --home")
    with Home(path, "", 0).lock("speed", wait=0):
        with contextlib.ExitStack() as held:
            for name in ("batch", "index", "commit"):
                held.enter_context(Home(path, "", 0).lock(name, wait=0))
            restored = repair_catalog.restore(settings, source, say)
            home = repair_catalog.restore_marker(settings, say)
            repair_catalog.put_bad_copies_aside(home, say)
        _restore_lake(home, settings, source, say, restored=restored)
        with Lake(home, settings) as lake:
            if erasure_leftovers.finish(lake):
                say("an interrupted erasure: what it was to delete is deleted")
        if done:
            backups.keep(home)
    return done


def _restore_lake(
    home: Home, settings: Settings, source: Path | None, say: repair_segments.Say, *, restored: bool
) -> None:
    """Restore what the catalog names, and what it should name."""
    with Lake(home, settings) as lake:
        identity.check(lake)
        _restore_files(lake, source, say)
        if restored:
            for text, fine in repair_segments.adopt(lake, source):
                say(text, restored=fine)
        _restore_generations(lake, say)
        _drop_index(lake, say, always=restored)


def _restore_files(lake: Lake, source: Path | None, say: repair_segments.Say) -> None:
    """Put back damaged files, from another copy of their bytes or, in the log, of their events."""
    copied, missing = [], []
    for damage in checksums.damages(lake, data_files.files(lake)):
        found = repair_segments.twin(lake, damage.file, source)
        if found is None:
            missing.append(damage)
            continue
        place = lake.home.data / damage.file.path
        copied.append((repair_segments.put(found, place), place))
        say(f"{_named(lake, damage)}; its bytes were found in {found} and put back")
    for fresh, place in copied:  # only now: two files may have changed places
        fresh.replace(place)
        durable.sync_directory(place.parent)
        checksums.forget(place)
    for damage in missing:
        if damage.file.schema != "sys":
            continue  # of a generation: it is made again from the log
        if damage.file.table == "events" and repair_segments.rebuild(lake, damage.file, source):
            say(f"{_named(lake, damage)}; its events were found in other files, written again")
            continue
        what = f"{_named(lake, damage)}, and no other copy was found: its {damage.file.rows:,} rows"
        say(f"{what} are lost, unless --from names a folder that has them", restored=False)


def _named(lake: Lake, damage: Damage) -> str:
    return f"{damage.file.path} ({data_files.held_by(lake, damage.file)}) {damage.what}"


def _restore_generations(lake: Lake, say: repair_segments.Say) -> None:
    """Drop damaged generations that nobody is served from; make the live one again from the log."""
    live = registry.live_number(lake)
    present = registry.with_tables(lake)
    for number in registry.numbers(lake):
        if number != live and (number not in present or _broken(lake, number)):
            _drop(lake, number)
            say(f"generation {number}: damaged, and not live; dropped")
    why = _broken(lake, live)
    if not why:
        return
    try:
        made = batch.run(lake, engine="duckdb", views=_views_of(lake, live))
    except HeadraceError as e:
        say(f"generation {live}: {why}; it cannot be made again: {e}", restored=False)
        return
    if made is None:
        say(f"generation {live}: {why}, and the log is empty", restored=False)
        return
    _drop(lake, live)
    say(f"generation {live}: {why}; {made.generation} was made from the log, and is live")


def _broken(lake: Lake, number: int) -> str:
    """Why a generation cannot be served; nothing if it can."""
    try:
        line = registry.trusted(registry.read(lake, number))
        Log(lake).check(line.position)
        checksums.check(lake, line.stored())
    except SeamError as e:
        return f"its seam is broken ({e})"
    except DamageError:
        return "its data files are damaged"
    except HeadraceError as e:
        return str(e)
    return ""


def _views_of(lake: Lake, number: int) -> dict[str, View] | None:
    """The views that a generation was made with, whatever the files say today.

    None, for those of today, if they cannot be read, or a lookup's content is nowhere any more.
    """
    try:
        views = dict(registry.stored_views(lake, number))  # all of them compiled
        for name, view in lookups(views).items():
            found = _held(lake, number, view) or load_lookups(lake.home.lookups).get(name)
            if found is None or found.sql != view.sql:
                return None
            views[name] = found
    except HeadraceError:
        return None
    return views


def _held(lake: Lake, number: int, view: View) -> View | None:
    """A lookup with the content that the generation's base has, if it is whole."""
    (base,) = lake.row(f"SELECT max(base) FROM sys.bases WHERE generation = {number}")
    table = f"b{base}_{view.name}"
    try:
        checksums.check(lake, {(f"g{number}", table)})
        listed = ", ".join(f'"{c.name}"' for c in view.outputs)
        return with_content(view, lake.rows(f'SELECT {listed} FROM g{number}."{table}"'))
    except (HeadraceError, duckdb.Error):
        return None


def _drop(lake: Lake, number: int) -> None:
    with lake.writing("maintenance") as tx:
        registry.drop(tx, number)


def _drop_index(lake: Lake, say: repair_segments.Say, *, always: bool) -> None:
    """Throw the order index away if it is damaged, or if the log was changed under it."""
    folder = lake.home.index
    if not folder.is_dir() or not os.listdir(folder):  # noqa: PTH208 - whether there is any
        return
    said = index_says(Case(lake.home, lake.settings, lake=lake))
    if said or always:
        shutil.rmtree(folder)
        say(f"order index: {said or 'made before the repair'}; thrown away, it is made again")
