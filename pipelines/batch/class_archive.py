"""Java's archive of loaded classes, for the Spark of short jobs: a third of their time is loading.

The first job on a machine notes that Spark runs here, the second one writes the archive when it
ends, those after it use it. Java itself sees whether an archive fits, and does without one that
does not.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time
from importlib.metadata import version
from pathlib import Path
from typing import Final

from headrace.pipelines.logs import logger

_PLAIN: Final = re.compile(r"[\w./+-]+", re.ASCII)
"""Paths that no reader of Java's options takes apart."""
_PATIENCE: Final = 900.0
"""Seconds."""


def options(plan_folder: Path) -> list[str]:
    """Java's options for the next job, which writes what it makes into its own folder."""
    place = _place()
    if place is None or not all(_PLAIN.fullmatch(str(path)) for path in (place, plan_folder)):
        return []
    if place.is_file():
        return [f"-XX:SharedArchiveFile={place}", "-Xshare:auto", "-Xlog:disable"]
    seen = place.with_suffix(".seen")
    try:
        if seen.exists() and _nobody_makes_it(place):
            return [f"-XX:ArchiveClassesAtExit={_made(plan_folder)}", "-Xlog:disable"]
        place.parent.mkdir(parents=True, exist_ok=True)
        seen.touch()
    except OSError as e:
        logger("spark").info("no class archive", cause=str(e))
    return []


def _nobody_makes_it(place: Path) -> bool:
    """Whether it is for us to make: nobody else has begun to within the last quarter of an hour."""
    begun = place.with_suffix(".begun")
    try:
        if time.time() - begun.stat().st_mtime < _PATIENCE:
            return False
        begun.unlink()
    except FileNotFoundError:
        pass
    try:
        begun.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def keep(plan_folder: Path) -> None:
    """Keep the archive that a job has written, if it has written one."""
    place, made = _place(), _made(plan_folder)
    if place is None or not made.is_file():
        return
    try:
        fresh = place.with_name(f"{place.name}.{os.getpid()}")
        shutil.move(made, fresh)
        fresh.replace(place)
    except OSError as e:  # it is a cache
        logger("spark").info("class archive not kept", cause=str(e))


def _made(plan_folder: Path) -> Path:
    return plan_folder / "classes.jsa"


def _place() -> Path | None:
    """Where the archive of this Spark on this Java is; None if there is no Java, or no home."""
    java = os.environ.get("JAVA_HOME")
    found = shutil.which("java") if java is None else f"{java}/bin/java"
    try:
        real = Path(found or "").resolve(strict=True)
        state = real.stat()
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except (OSError, RuntimeError):
        return None
    named = f"{version('pyspark')} {real} {state.st_size} {state.st_mtime_ns}"
    name = hashlib.sha256(named.encode()).hexdigest()[:12]
    return cache / "headrace" / f"spark-classes-{name}.jsa"
