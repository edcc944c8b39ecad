"""Settings: where they come from, and how a wrong one is told."""

from datetime import timedelta
from pathlib import Path

import pytest

from headrace.pipelines import settings
from headrace.pipelines.errors import UsageError


def test_the_command_line_wins_over_environment_over_file(tmp_path: Path) -> None:
    (tmp_path / "headrace.toml").write_text("commit_events = 5\nappend_events = 6\n")
    environ = {"HEADRACE_APPEND_EVENTS": "7", "HEADRACE_COMMIT_EVENTS": "8"}
    found = settings.load(tmp_path, environ=environ, commit_events=9)
    assert (found.commit_events, found.append_events) == (9, 7)
    assert settings.load(tmp_path, environ={}).commit_events == 5


def test_the_home_comes_from_the_environment_if_nobody_names_one(tmp_path: Path) -> None:
    environ = {"HEADRACE_HOME": str(tmp_path)}
    assert settings.load(environ=environ).home == tmp_path
    assert settings.load(environ={}).home == Path("headrace-data")


def test_durations_are_seconds(tmp_path: Path) -> None:
    found = settings.load(tmp_path, environ={"HEADRACE_LOCK_WAIT": "1.5"})
    assert found.lock_wait == timedelta(seconds=1.5)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("commit_events = 0\n", "commit_events"),
        ("comit_events = 5\n", "comit_events"),
        ("log_level = 'loud'\n", "log_level"),
        ("commit_events = \n", "TOML"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "headrace.toml").write_text(text)
    with pytest.raises(UsageError, match=told):
        settings.load(tmp_path, environ={})


def test_settings_cannot_be_changed(tmp_path: Path) -> None:
    found = settings.load(tmp_path, environ={})
    with pytest.raises(ValueError, match="frozen"):
        found.commit_events = 1  # type: ignore[misc]


@pytest.mark.parametrize("home", ["s3://bucket/lake", "gs://bucket/lake", "file:///srv/lake"])
def test_an_address_is_no_home(home: str) -> None:
    with pytest.raises(UsageError, match="object storage is not"):
        settings.load(Path(home), environ={})
    with pytest.raises(UsageError, match="object storage is not"):
        settings.load(environ={"HEADRACE_HOME": home})
