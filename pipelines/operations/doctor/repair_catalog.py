"""Repairs of the catalog and of home.json: from the newest whole copy; the old one is kept."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import subprocess
from dataclasses import replace
from pathlib import Path

import duckdb

from headrace.pipelines.errors import HomeError
from headrace.pipelines.lake import backups, durable
from headrace.pipelines.lake import home as homes
from headrace.pipelines.lake.home import FORMAT, Home
from headrace.pipelines.lake.lake import Lake
from headrace.pipelines.operations.doctor import case as doctor
from headrace.pipelines.operations.doctor import repair_segments
from headrace.pipelines.operations.doctor.case import Case
from headrace.pipelines.settings import Settings


def restore(settings: Settings, source: Path | None, say: repair_segments.Say) -> bool:
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
    with contextlib.closing(sqlite3.connect(fresh)) as put_back:
        # A copy is one file. Readers and writers of it would stall each other for seconds.
        put_back.execute("PRAGMA journal_mode=WAL")
    durable.sync_file(fresh)
    for file in home.path.glob("catalog.sqlite*"):
        if file != fresh:
            file.replace(aside / file.name)
    fresh.replace(home.catalog)
    durable.sync_directory(home.path)
    backups.mark(home, best.snapshot)
    say(f"catalog: put back the copy of snapshot {best.snapshot}; the old one is in {aside}")
    return True


def _accept_database(
    home: Home, said: str, snapshot: int, say: repair_segments.Say, *, foreign: bool
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
    with repair_segments.sqlite(catalog) as con:
        table = repair_segments.inlined(con, "log")
        ids = con.execute(f'SELECT log_id FROM "{table}" WHERE end_snapshot IS NULL').fetchall()
    return ids == [(home.log_id,)]


def restore_marker(settings: Settings, say: repair_segments.Say) -> Home:
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


def put_bad_copies_aside(home: Home, say: repair_segments.Say) -> None:
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
