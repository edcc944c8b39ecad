"""What is in the wheel and in the archive of the sources."""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.e2e.command import REPOSITORY
from tests.packaging.building import FOLDERS, PROJECT, Built

pytestmark = pytest.mark.xdist_group("packaging")

INFO = f"headrace-{PROJECT['project']['version']}.dist-info"


def content(wheel: Path) -> dict[str, int]:
    """The files of a wheel beside its description, with their checksums."""
    with zipfile.ZipFile(wheel) as archive:
        return {
            entry.filename: entry.CRC
            for entry in archive.infolist()
            if not entry.filename.startswith(f"{INFO}/")
        }


def ours() -> set[str]:
    """What the checkout holds of the package, as the wheel has to name it."""
    found = {f"headrace/{path.name}" for path in (REPOSITORY / "headrace").glob("*.*")}
    for name in FOLDERS:
        found |= {
            f"headrace/{path.relative_to(REPOSITORY)}"
            for path in (REPOSITORY / name).rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }
    return found


def test_the_wheel_holds_all_of_headrace_and_nothing_else(built: Built) -> None:
    found = set(content(built.wheel))
    assert found == ours()
    assert {
        "headrace/py.typed",
        "headrace/__main__.py",
        "headrace/schemas/fold.sql",
        "headrace/schemas/json/OrderPlaced.v2.json",
        "headrace/schemas/views/revenue_by_day.sql",
        "headrace/pipelines/operations/doctor/repair.py",
        "headrace/jobs/streaming/task.py",
    } <= found


def test_a_wheel_from_the_archive_of_the_sources_is_the_same(built: Built) -> None:
    assert built.wheel_of_sdist != built.wheel
    assert content(built.wheel_of_sdist) == content(built.wheel)
    with tarfile.open(built.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert not [name for name in names if name.split("/")[0] in {"tests", "bench", "docs"}]
    assert {"pyproject.toml", "README.md", "LICENSE"} <= names


def test_the_build_has_nothing_to_complain_of(built: Built) -> None:
    assert "headrace/schemas/views/revenue_by_day.sql" in built.said  # it does say what it does
    wrong = [
        line
        for line in built.said.splitlines()
        if ("warning" in line.lower() or "ignored" in line or "absent" in line)
        and "byte-compiling is disabled" not in line
    ]
    assert wrong == []
