"""Repairs: restores what can be restored, says exactly what cannot. Nothing is made up.

In this order: the catalog, home.json, data files, the log beyond a restored catalog, generations,
the order index. A copy of the catalog is put aside before anything touches it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb

from pipelines import backups, batch, doctor, generations, integrity, segments
from pipelines import home as homes
from pipelines.doctor import Case
from pipelines.doctor_lake import index_says
from pipelines.errors import DamageError, HeadraceError, HomeError, SeamError
from pipelines.home import FORMAT, Home
from pipelines.integrity import Damage
from pipelines.lake import Lake
from pipelines.log import Log
from pipelines.progress import Report, quiet
from pipelines.settings import Settings
from pipelines.views import View


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
            restored = _restore_catalog(settings, source, say)
            home = _restore_marker(settings, say)
            _aside_bad_backups(home, say)
        _restore_lake(home, settings, source, say, restored=restored)
        if done:
            backups.keep(home)
    return done


def _restore_lake(
    home: Home, settings: Settings, source: Path | None, say: segments.Say, *, restored: bool
) -> None:
    """Restore what the catalog names, and what it should name."""
    with Lake(home, settings) as lake:
        lake.check_identity()
        _restore_files(lake, source, say)
        if restored:
            for text, fine in segments.adopt(lake, source):
                say(text, restored=fine)
        _restore_generations(lake, say)
        _drop_index(lake, say, always=restored)


def _restore_catalog(settings: Settings, source: Path | None, say: segments.Say) -> bool:
    """Put back the newest whole copy of a catalog that is damaged, foreign or missing.

    Says whether the catalog may lack what came after it: it was put back, or is an older one.
    """
    with doctor.opened(settings) as case:
        home, said = case.home, case.catalog_said
        log_id, snapshot = _identity(case)
    if not said and not home.log_id and log_id:
        home = replace(home, log_id=log_id)
    foreign = not said and home.log_id not in ("", log_id)
    usable = [] if said or foreign else [snapshot]
    if home.catalog_url is not None:
        return _accept_database(home, said, snapshot, say, foreign=foreign)
    best = _best_copy(home, source)
    if usable and (best is None or best.snapshot <= snapshot):
        behind = snapshot < backups.furthest(home)
        if behind:
            backups.copy(home.catalog, _aside(home) / "catalog.sqlite")
            backups.mark(home, snapshot)
            say(f"catalog: at snapshot {snapshot}, older than the lake; taken as it is")
        return behind
    if best is None:
        what = said or f"holds another log than home.json names ({home.log_id})"
        raise HomeError(
            f"the catalog {home.catalog} {what}, and there is no whole copy of it in "
            f"{home.backups}; name a folder with one by --from"
        )
    aside = _aside(home)
    fresh = home.path / "catalog.sqlite.new"
    shutil.copyfile(best.path, fresh)
    homes.sync_file(fresh)
    for file in home.path.glob("catalog.sqlite*"):
        if file != fresh:
            file.replace(aside / file.name)
    fresh.replace(home.catalog)
    homes.sync_directory(home.path)
    backups.mark(home, best.snapshot)
    say(f"catalog: put back the copy of snapshot {best.snapshot}; the old one is in {aside}")
    return True


def _accept_database(
    home: Home, said: str, snapshot: int, say: segments.Say, *, foreign: bool
) -> bool:
    """A catalog in PostgreSQL cannot be put back from here; an older one is taken as it is."""
    if said or foreign:
        what = said or f"holds another log than home.json names ({home.log_id})"
        raise HomeError(
            f"the catalog {home.catalog_url} {what}; restore that database from its own backup"
        )
    behind = snapshot < backups.furthest(home)
    if behind:
        backups.mark(home, snapshot)
        say(f"catalog: at snapshot {snapshot}, older than the lake; taken as it is")
    return behind


def _identity(case: Case) -> tuple[str, int]:
    """The log and the snapshot of a catalog that can be opened."""
    if case.lake is None:
        return "", -1
    try:
        found = case.lake.row(
            "SELECT (SELECT any_value(log_id) FROM sys.log), id FROM lake.current_snapshot()"
        )
    except duckdb.Error as e:
        case.catalog_said = (str(e).splitlines() or ["unreadable"])[0]
        return "", -1
    return str(found[0]), int(found[1])


def _best_copy(home: Home, source: Path | None) -> backups.Backup | None:
    """The newest whole copy of this home's catalog, also among those in a named folder."""
    found = backups.kept(home)
    if source is not None:
        for path in [*source.rglob("catalog-*.sqlite"), *source.rglob("catalog.sqlite")]:
            with contextlib.suppress(OSError, ValueError, subprocess.SubprocessError):
                target = home.path / f"catalog.new-{len(found)}"
                number = backups.copy(path, target)
                found.append(backups.Backup(target, number))
    try:
        for backup in sorted(found, key=lambda b: b.snapshot, reverse=True):
            if not doctor.catalog_says(backup.path) and _is_of(home, backup.path):
                if backup.path.parent != home.backups:
                    kept = home.backups / f"catalog-{backup.snapshot}.sqlite"
                    home.backups.mkdir(exist_ok=True)
                    backup.path.replace(kept)
                    return backups.Backup(kept, backup.snapshot)
                return backup
    finally:
        for leftover in home.path.glob("catalog.new-*"):
            leftover.unlink()
    return None


def _is_of(home: Home, catalog: Path) -> bool:
    """Whether a copy holds the log that home.json names; without home.json, any will do."""
    if not home.log_id:
        return True
    with segments.sqlite(catalog) as con:
        table = segments.inlined(con, "log")
        ids = con.execute(f'SELECT log_id FROM "{table}" WHERE end_snapshot IS NULL').fetchall()
    return ids == [(home.log_id,)]


def _restore_marker(settings: Settings, say: segments.Say) -> Home:
    """Write home.json again, from what the catalog says of the log."""
    path = settings.home.absolute()
    _, said = homes.read_marker(path)
    if not said:
        return homes.open_home(path)
    with Lake(Home(path, "", 0, settings.catalog), settings, read_only=True) as lake:
        log_id, partitions = lake.row("SELECT log_id, partitions FROM sys.log")
    home = Home(path, str(log_id), int(partitions), settings.catalog)
    if (path / "home.json").exists():
        (path / "home.json").replace(_aside(home) / "home.json")
    homes.write_marker(home, "doctor")
    say(f"home.json: it {said}; written again, format {FORMAT}, log {log_id}")
    return home


def _aside_bad_backups(home: Home, say: segments.Say) -> None:
    """Move copies of the catalog that are damaged, or of another log, out of the way."""
    for backup in backups.kept(home):
        if doctor.catalog_says(backup.path) or not _is_of(home, backup.path):
            aside = _aside(home)
            backup.path.replace(aside / backup.path.name)
            say(f"backups: {backup.path.name} is of no use; moved to {aside}")


def _aside(home: Home) -> Path:
    """A new folder for what is replaced."""
    home.backups.mkdir(exist_ok=True)
    numbers = (n for n in range(1, 1 << 30) if not (home.backups / f"replaced-{n}").exists())
    folder = home.backups / f"replaced-{next(numbers)}"
    folder.mkdir()
    return folder


def _restore_files(lake: Lake, source: Path | None, say: segments.Say) -> None:
    """Put back damaged files, from another copy of their bytes or, in the log, of their events."""
    copied, missing = [], []
    for damage in integrity.damages(lake, integrity.files(lake)):
        found = segments.twin(lake, damage.file, source)
        if found is None:
            missing.append(damage)
            continue
        place = lake.home.data / damage.file.path
        copied.append((segments.put(found, place), place))
        say(f"{_named(lake, damage)}; its bytes were found in {found} and put back")
    for fresh, place in copied:  # only now: two files may have changed places
        fresh.replace(place)
        homes.sync_directory(place.parent)
        integrity.forget(place)
    for damage in missing:
        if damage.file.schema != "sys":
            continue  # of a generation: it is made again from the log
        if damage.file.table == "events" and segments.rebuild(lake, damage.file, source):
            say(f"{_named(lake, damage)}; its events were found in other files, written again")
            continue
        what = f"{_named(lake, damage)}, and no other copy was found: its {damage.file.rows:,} rows"
        say(f"{what} are lost, unless --from names a folder that has them", restored=False)


def _named(lake: Lake, damage: Damage) -> str:
    return f"{damage.file.path} ({integrity.held_by(lake, damage.file)}) {damage.what}"


def _restore_generations(lake: Lake, say: segments.Say) -> None:
    """Drop damaged generations that nobody is served from; make the live one again from the log."""
    live = generations.live_number(lake)
    numbers = [n for (n,) in lake.rows("SELECT generation FROM sys.generations ORDER BY 1")]
    present = _schemas(lake)
    for number in numbers:
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
        line = generations.read(lake, number)
        Log(lake).check(line.position)
        integrity.check(lake, line.stored())
    except SeamError as e:
        return f"its seam is broken ({e})"
    except DamageError:
        return "its data files are damaged"
    except HeadraceError as e:
        return str(e)
    return ""


def _views_of(lake: Lake, number: int) -> dict[str, View] | None:
    """The views that a generation was made with, whatever the files say today."""
    try:
        return dict(generations.stored_views(lake, number))  # all of them compiled
    except HeadraceError:
        return None


def _drop(lake: Lake, number: int) -> None:
    with lake.writing("maintenance") as tx:
        if number in _schemas(lake):
            tx.execute(f"DROP SCHEMA g{number} CASCADE")
        tx.execute(f"DELETE FROM sys.generations WHERE generation = {number}")


def _schemas(lake: Lake) -> set[int]:
    found = lake.rows("SELECT schema_name FROM duckdb_schemas() WHERE database_name = 'lake'")
    return {int(name[1:]) for (name,) in found if name[0] == "g" and name[1:].isdigit()}


def _drop_index(lake: Lake, say: segments.Say, *, always: bool) -> None:
    """Throw the order index away if it is damaged, or if the log was changed under it."""
    folder = lake.home.index
    if not folder.is_dir() or not os.listdir(folder):  # noqa: PTH208 - whether there is any
        return
    said = index_says(Case(lake.home, lake.settings, lake=lake))
    if said or always:
        shutil.rmtree(folder)
        say(f"order index: {said or 'made before the repair'}; thrown away, it is made again")
