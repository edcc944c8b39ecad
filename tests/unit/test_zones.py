"""The rules of time zones: from the package, the same as Python's reading of it, in every form."""

from __future__ import annotations

import zoneinfo
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.pipelines.errors import ViewError
from headrace.pipelines.views import zone_trial
from headrace.pipelines.views.zone_trial import converted, telling_moments, try_zone
from headrace.schemas import zones
from headrace.schemas.events import END_YEAR, FIRST_YEAR
from headrace.schemas.zones import UnknownZoneError, ZoneRules
from tests.halves import first

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIRST, END = (
    int((datetime(year, 1, 1, tzinfo=UTC) - EPOCH).total_seconds()) * 1_000_000
    for year in (FIRST_YEAR, END_YEAR)
)
STRANGE = [
    "Australia/Lord_Howe",  # half an hour of summer time
    "Asia/Kathmandu",  # UTC+05:45, and once +05:30
    "Pacific/Apia",  # skipped 30 December 2011
    "Africa/Casablanca",  # four changes in some years
    "Africa/Monrovia",  # 44 minutes and 30 seconds behind, until 1972
    "America/Nuuk",
    "Antarctica/Troll",
    "Europe/Dublin",  # whose winter is the exception
    "Etc/UTC",
]


def on_clocks(name: str, moment: int) -> datetime:
    """Local time at a moment in microseconds, as Python has it."""
    utc = EPOCH + timedelta(microseconds=moment)
    return utc.astimezone(zones.clock(name)).replace(tzinfo=None)


@pytest.mark.parametrize("name", first(4, STRANGE))
def test_both_forms_give_what_python_gives_around_every_change(name: str) -> None:
    found = converted(zones.rules(name), telling_moments(zones.rules(name)))
    expected = [on_clocks(name, moment) for moment, _, _ in found]
    assert [compiled for _, compiled, _ in found] == expected
    assert [written for _, _, written in found] == expected


@pytest.mark.thorough
@pytest.mark.parametrize("letter", sorted({name[:3] for name in zones.names()}))
def test_every_zone_of_the_package_is_as_python_has_it(letter: str) -> None:
    for name in sorted(zones.names()):
        if name.startswith(letter):
            try_zone(zones.rules(name), name)
            random, table = Random(name), zones.rules(name)
            for _ in range(300):
                moment = random.randrange(FIRST, END)
                utc = EPOCH + timedelta(microseconds=moment)
                shift = timedelta(seconds=table.shift_at(moment // 1_000_000))
                assert (utc + shift).replace(tzinfo=None) == on_clocks(name, moment), name


@settings(max_examples=15)
@given(
    st.sampled_from(sorted(zones.names())),
    st.lists(st.integers(FIRST, END - 1), min_size=1, max_size=20),
)
def test_any_moment_in_any_zone_is_as_python_has_it(name: str, moments: list[int]) -> None:
    for moment, compiled, written in converted(zones.rules(name), moments):
        assert compiled == written == on_clocks(name, moment)


def test_a_day_that_a_zone_skipped_has_no_moment() -> None:
    table = zones.rules("Pacific/Apia")
    hours = [int((datetime(2011, 12, 29, tzinfo=UTC) - EPOCH).total_seconds()) * 1_000_000]
    hours += [hours[0] + n * 3_600_000_000 for n in range(72)]
    days = {local.date().isoformat() for _, local, _ in converted(table, hours) if local}
    assert {"2011-12-29", "2011-12-31"} <= days
    assert "2011-12-30" not in days


def test_the_machines_own_rules_do_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = tmp_path / "Europe" / "Berlin"
    fake.parent.mkdir()
    fake.write_bytes(zones._data("Asia/Tokyo"))
    zoneinfo.reset_tzpath(to=[str(tmp_path)])
    try:
        noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
        machine = noon.astimezone(ZoneInfo.no_cache("Europe/Berlin")).hour
        assert machine == 21  # so the machine is deceived
        assert noon.astimezone(zones.clock("Europe/Berlin")).hour == 13
        assert zones.rules.__wrapped__("Europe/Berlin").shift_at(int(noon.timestamp())) == 3600
    finally:
        zoneinfo.reset_tzpath()


@pytest.mark.parametrize(
    ("wrong", "nearest"),
    [
        ("europe/berlin", "Europe/Berlin"),
        ("Berlin", "Europe/Berlin"),
        ("America/New York", "America/New_York"),
        ("Europe/Berlim", "Europe/Berlin"),
        ("", "such as Europe/Berlin"),
        ("../../etc/passwd", "tzdata"),
    ],
)
def test_an_unknown_zone_is_refused_with_the_nearest_known_one(wrong: str, nearest: str) -> None:
    with pytest.raises(UnknownZoneError, match=nearest):
        zones.check(wrong)


def test_the_version_of_rules_changes_with_what_they_say_and_with_nothing_else() -> None:
    berlin = zones.rules("Europe/Berlin")
    assert ZoneRules.of_json("Europe/Berlin", berlin.as_json()) == berlin
    assert ZoneRules("Some/Link", berlin.starts, berlin.shifts).version == berlin.version
    moved = (berlin.starts[0] + 1, *berlin.starts[1:])
    assert ZoneRules(berlin.name, moved, berlin.shifts).version != berlin.version


def test_rules_that_are_not_pythons_are_refused_when_a_view_is_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    berlin = zones.rules("Europe/Berlin")
    late = ZoneRules(berlin.name, tuple(s + 3600 for s in berlin.starts), berlin.shifts)
    with pytest.raises(ViewError, match=r"mine\.sql: .* in Europe/Berlin, and would be computed"):
        try_zone(late, "mine.sql")
    monkeypatch.setattr(zone_trial, "as_tree", lambda _: "t + to_seconds(3600)")
    zone_trial._difference.cache_clear()
    with pytest.raises(ViewError, match="would be computed"):
        try_zone(berlin, "mine.sql")
    zone_trial._difference.cache_clear()
