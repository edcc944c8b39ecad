"""The archive of Java's classes: noted by the first job, made by one of the next, used after it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from headrace.pipelines.batch import class_archive


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    if shutil.which("java") is None:
        pytest.skip("there is no Java")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "headrace"


def test_the_second_job_makes_it_alone_and_the_next_ones_use_it(
    tmp_path: Path, cache: Path
) -> None:
    assert class_archive.options(tmp_path) == []
    making = class_archive.options(tmp_path)
    assert making[0] == f"-XX:ArchiveClassesAtExit={tmp_path / 'classes.jsa'}"
    assert class_archive.options(tmp_path / "other") == [], "somebody makes it already"
    (tmp_path / "classes.jsa").write_bytes(b"classes")
    class_archive.keep(tmp_path)
    (kept,) = cache.glob("*.jsa")
    assert kept.read_bytes() == b"classes"
    assert class_archive.options(tmp_path)[0] == f"-XX:SharedArchiveFile={kept}"


def test_a_path_that_an_option_would_be_cut_at_gets_none(tmp_path: Path) -> None:
    assert class_archive.options(tmp_path) == []
    assert class_archive.options(tmp_path / "my home") == []
    assert class_archive.options(tmp_path / "a'b") == []
    assert class_archive.options(tmp_path) != []


def test_a_cache_that_cannot_be_written_stops_nobody(tmp_path: Path, cache: Path) -> None:
    cache.parent.mkdir()
    cache.write_bytes(b"no folder")
    assert class_archive.options(tmp_path) == []
    (tmp_path / "classes.jsa").write_bytes(b"classes")
    class_archive.keep(tmp_path)
