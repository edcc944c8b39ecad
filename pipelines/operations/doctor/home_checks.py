"""What the doctor looks at around the lake: home.json, catalog, caches, machine, locks."""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from headrace.pipelines.errors import LockError
from headrace.pipelines.lake import backups
from headrace.pipelines.lake.home import FORMAT, LOCKS
from headrace.pipelines.operations.doctor.case import REPAIR, Case, Finding, catalog_says

_LOW = 1 << 30
"""Bytes of free disk below which a batch of some size may not fit."""
_JAVA = 17


def check_home(case: Case) -> Iterator[Finding]:
    """home.json: there, readable, of our format."""
    where = str(case.home.path / "home.json")
    if case.marker is None:
        yield Finding("home", "wrong", case.marker_said, where, REPAIR)
        return
    number = int(case.marker["format"])
    if number != FORMAT:
        remedy = "install a newer headrace" if number > FORMAT else "import into a new home"
        yield Finding("home", "wrong", f"format {number}, not {FORMAT}", where, remedy)
        return
    yield Finding("home", "ok", f"format {number}, {case.home.partitions} partitions", where)


def check_catalog(case: Case) -> Iterator[Finding]:
    """The catalog: whole, of this home's log, and not an older copy of itself."""
    where = case.home.catalog_place
    if case.lake is None:
        remedy = REPAIR if case.home.catalog_url is None else "start or restore that database"
        yield Finding("catalog", "wrong", case.catalog_said, where, remedy)
        return
    log_id, snapshot = case.lake.row(
        "SELECT (SELECT any_value(log_id) FROM sys.log), id FROM lake.current_snapshot()"
    )
    if case.marker is not None and log_id != case.home.log_id:
        what = f"holds the log {log_id}, home.json names {case.home.log_id}"
        remedy = "put home.json and catalog of the same home together"
        yield Finding("catalog", "wrong", what, where, remedy)
        return
    furthest = backups.furthest(case.home)
    if snapshot < furthest:
        what = f"is an older copy: at snapshot {snapshot}, the lake was at {furthest}"
        yield Finding("catalog", "wrong", what, where, f"put the newer one back, or {REPAIR}")
        return
    yield Finding("catalog", "ok", f"whole, snapshot {snapshot}, log {log_id}", where)


def check_backups(case: Case) -> Iterator[Finding]:
    """Copies of the catalog: there, and whole."""
    if case.home.catalog_url is not None:
        what = "the catalog is in PostgreSQL: back up that database together with the data files"
        yield Finding("backups", "note", what, case.home.catalog_url, "pg_dump, or its archive")
        return
    kept = backups.kept(case.home)
    where = str(case.home.backups)
    if not kept:
        yield Finding("backups", "note", "no copy of the catalog yet", where, "headrace maintain")
    for backup in kept:
        said = catalog_says(backup.path)
        state, what = ("wrong", said) if said else ("ok", f"whole, snapshot {backup.snapshot}")
        remedy = f"{REPAIR} puts it aside; headrace maintain makes a new one" if said else ""
        yield Finding("backups", state, what, str(backup.path), remedy)  # type: ignore[arg-type]


def check_leftovers(case: Case) -> Iterator[Finding]:
    """Scratch files of processes that died."""
    found = [
        path
        for folder in (case.home.staging, case.home.scratch)
        if folder.is_dir()
        for path in folder.iterdir()
    ]
    found += [*case.home.path.glob("*.new"), *case.home.backups.glob("*.new*")]
    if not found:
        yield Finding("leftovers", "ok", "none")
    for path in found[:5]:
        what = "in use by a batch, or left by one that died"
        yield Finding("leftovers", "note", what, str(path), "headrace maintain")


def check_erasure(case: Case) -> Iterator[Finding]:
    """An erasure that was interrupted: what it was to delete may still be there."""
    if case.home.erasing.exists():
        what = "an erasure was interrupted; files that it was to delete are still there"
        yield Finding("erasure", "wrong", what, str(case.home.erasing), "headrace maintain")
    else:
        yield Finding("erasure", "ok", "none is unfinished")


def check_space(case: Case) -> Iterator[Finding]:
    """Free space on the disk."""
    free = shutil.disk_usage(case.home.path).free
    what = f"{free / 1e9:.1f} GB free"
    if free < _LOW:
        yield Finding("space", "note", what, str(case.home.path), "free space: a batch needs some")
    else:
        yield Finding("space", "ok", what, str(case.home.path))


def check_java(_: Case) -> Iterator[Finding]:
    """Java, which only the Spark batch needs."""
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    remedy = f"install Java {_JAVA}, or run headrace batch --engine duckdb"
    if java is None:
        yield Finding("java", "note", "not found: Spark cannot start", remedy=remedy)
        return
    # What the installation says of itself; to start a Java machine takes a second.
    release = Path(java).resolve().parent.parent / "release"
    said = release.read_text(encoding="utf-8") if release.is_file() else ""
    version = re.search(r'JAVA_VERSION="(\d+)', said)
    if version is None:
        yield Finding("java", "note", "says nothing of its version", java, remedy)
    elif int(version[1]) < _JAVA:
        yield Finding("java", "note", f"version {version[1]}, not {_JAVA} or newer", java, remedy)
    else:
        yield Finding("java", "ok", f"version {version[1]}", java)


def check_extensions(_: Case) -> Iterator[Finding]:
    """DuckDB's extensions, as Python packages."""
    for name in ("ducklake", "sqlite_scanner"):
        if find_spec(f"duckdb_extension_{name}") is None:
            what = f"{name} is no Python package here; DuckDB downloads it"
            remedy = f"pip install duckdb-extension-{name.replace('_', '-')}"
            yield Finding("extensions", "note", what, remedy=remedy)
        else:
            yield Finding("extensions", "ok", name)


def check_permissions(case: Case) -> Iterator[Finding]:
    """Whether we can write, and whether everybody can."""
    path = case.home.path
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        yield Finding("permissions", "wrong", "not readable and writable", str(path), "chmod it")
    elif path.stat().st_mode & stat.S_IWOTH:
        yield Finding("permissions", "note", "everybody can write", str(path), "chmod o-w")
    else:
        yield Finding("permissions", "ok", "readable and writable", str(path))


def check_locks(case: Case) -> Iterator[Finding]:
    """Who holds a lock now."""
    held = False
    for name in LOCKS:
        try:
            with case.home.lock(name, wait=0):
                pass
        except LockError as e:
            held = True
            yield Finding("locks", "note", str(e).split(";", maxsplit=1)[0], name)
    if not held:
        yield Finding("locks", "ok", "none is held")


HOME_CHECKS = (
    check_home,
    check_catalog,
    check_backups,
    check_leftovers,
    check_erasure,
    check_space,
    check_java,
    check_extensions,
    check_permissions,
    check_locks,
)
