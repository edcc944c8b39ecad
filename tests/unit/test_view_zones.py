"""Local time in views: which form is taken, what the home's zone makes of a text, and the logic."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.pipelines.errors import ViewError
from headrace.pipelines.views.filling import filled, zones_moved, zones_of
from headrace.pipelines.views.load import BUILTIN_VIEWS, load_views, logic_version, parse_view
from headrace.pipelines.views.packed import pack, unpack
from headrace.pipelines.views.trial import try_view
from headrace.pipelines.views.view import View
from headrace.schemas import zones
from headrace.schemas.zones import ZoneRules
from tests.halves import first
from tests.unit.view_samples import by_currency, view

LOCAL = "booked_at AT TIME ZONE 'UTC' AT TIME ZONE 'Europe/Berlin'"
DAILY = ("revenue_by_day", "revenue_by_minute", "order_funnel", "basket_by_day", "customer_days")


def by(key: str) -> View:
    return view(f"SELECT {key} AS k, count(*) AS n FROM ledger GROUP BY k")


@pytest.mark.parametrize(
    ("key", "kind"),
    first(
        3,
        [
            (f"CAST({LOCAL} AS DATE)", "DATE"),
            (f"date_trunc('month', {LOCAL})", "TIMESTAMP"),
            ("(booked_at AT TIME ZONE 'UTC') AT TIME ZONE 'Australia/Lord_Howe'", "TIMESTAMP"),
            (f"extract(hour FROM {LOCAL})", "BIGINT"),
            (f"({LOCAL})::DATE", "DATE"),
            ("booked_at AT TIME ZONE 'UTC' AT TIME ZONE 'UTC'", "TIMESTAMP"),
            (f"{LOCAL} < '2026-03-29 02:30:00'", "BOOLEAN"),
            (
                "coalesce(booked_at, booked_at) AT TIME ZONE 'UTC' AT TIME ZONE 'Asia/Gaza'",
                "TIMESTAMP",
            ),
        ],
    ),
)
def test_local_time_is_taken_and_means_what_the_text_means(key: str, kind: str) -> None:
    taken = by(key)
    assert taken.keys[0].type == kind
    try_view(taken, "views/mine.sql")


def test_local_time_can_stand_in_a_filter_and_a_condition() -> None:
    for taken in (
        by_currency(f"count(*) FILTER (WHERE extract(hour FROM {LOCAL}) >= 22) AS late"),
        view(
            "SELECT currency, count(*) AS n FROM ledger "
            f"WHERE {LOCAL} >= '2026-03-01' GROUP BY currency"
        ),
    ):
        try_view(taken, "views/mine.sql")
        assert [table.name for table in taken.zones] == ["Europe/Berlin"]


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("booked_at AT TIME ZONE 'Europe/Berlin'", f"all times are UTC: write {LOCAL}"),
        ("booked_at AT TIME ZONE 'UTC'", f"write booked_at alone, or {LOCAL}"),
        ("booked_at AT TIME ZONE 'Europe/Berlin' AT TIME ZONE 'UTC'", f"write {LOCAL}"),
        ("booked_at AT TIME ZONE 'UTC' AT TIME ZONE 'Berlin'", "did you mean Europe/Berlin"),
        ("booked_at AT TIME ZONE 'UTC' AT TIME ZONE currency", "a zone's name in quotes"),
        (f"{LOCAL}::DATE", "a zone's name in quotes"),
        (f"({LOCAL}) AT TIME ZONE 'UTC' AT TIME ZONE 'Asia/Tokyo'", "local already"),
        ("CAST(booked_at AS DATE) AT TIME ZONE 'UTC' AT TIME ZONE 'Asia/Tokyo'", "TIMESTAMP is"),
        ("currency AT TIME ZONE 'UTC' AT TIME ZONE 'Asia/Tokyo'", "is VARCHAR"),
        ("NULL AT TIME ZONE 'UTC' AT TIME ZONE 'Asia/Tokyo'", "is NULL"),
        ("timezone('Asia/Tokyo', timezone('UTC', booked_at))", "as an operator"),
    ],
)
def test_every_other_form_is_refused_with_file_expression_and_what_to_write(
    key: str, words: str
) -> None:
    with pytest.raises(ViewError) as refused:
        by(key)
    assert str(refused.value).startswith("views/mine.sql: ")
    assert words in str(refused.value)


@pytest.mark.parametrize("name", DAILY)
def test_in_utc_the_built_in_views_know_of_no_zone(name: str) -> None:
    built_in = load_views(BUILTIN_VIEWS)[name]
    assert built_in.zones == ()
    assert "ZONE" not in built_in.text.upper()
    assert "business_zone" not in built_in.text
    assert "(UTC)" in built_in.text
    stamp = '"placed_at"' if name in {"order_funnel", "basket_by_day"} else '"booked_at"'
    plain = f"CAST({stamp} AS DATE)"
    assert (f"DATE_TRUNC('MINUTE', {stamp})" if "minute" in name else plain) in built_in.sql


@pytest.mark.parametrize("name", DAILY)
@pytest.mark.parametrize("zone", first(1, ["Europe/Berlin", "Asia/Kathmandu", "Pacific/Apia"]))
def test_in_another_zone_the_built_in_views_mean_what_their_texts_mean(
    name: str, zone: str
) -> None:
    built_in = load_views(BUILTIN_VIEWS, zone=zone)[name]
    assert [table.name for table in built_in.zones] == [zone]
    assert f"({zone})" in built_in.text
    try_view(built_in, name)


def test_the_zone_is_put_where_it_is_sql_or_a_comment_and_not_into_quoted_text() -> None:
    text = (
        "-- in $business_zone\nSELECT '$business_zone it''s' AS a, x AT TIME ZONE 'UTC' AT\n"
        'TIME ZONE $BUSINESS_ZONE /* $business_zone */, "$business_zone", $business_zones'
    )
    assert filled(text, "Asia/Tokyo") == (
        "-- in Asia/Tokyo\nSELECT '$business_zone it''s' AS a, x AT TIME ZONE 'UTC' AT\n"
        "TIME ZONE 'Asia/Tokyo' /* Asia/Tokyo */, \"$business_zone\", $business_zones"
    )
    assert filled(text, "UTC") == (
        "-- in UTC\nSELECT '$business_zone it''s' AS a, x /* UTC */, "
        '"$business_zone", $business_zones'
    )


def test_the_zone_is_part_of_the_logic_and_so_are_its_rules(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    in_utc, in_berlin = (
        logic_version(load_views(BUILTIN_VIEWS, zone=z), "fold") for z in ("UTC", "Europe/Berlin")
    )
    assert in_utc != in_berlin
    other = {"Europe/Berlin": _later("Europe/Berlin"), "Asia/Tokyo": _later("Asia/Tokyo")}
    assert _logic({}) != _logic(other)
    assert _logic({}) == _logic({"Asia/Tokyo": other["Asia/Tokyo"]})


def _logic(rules: dict[str, ZoneRules]) -> str:
    text = f"SELECT {LOCAL} AS k, count(*) AS n FROM ledger GROUP BY k"
    return logic_version([parse_view("mine", text, where="mine.sql", zones=rules)], "fold")


def _later(name: str) -> ZoneRules:
    """The rules as another version of tzdata may have them."""
    table = zones.rules(name)
    return ZoneRules(name, table.starts, tuple(shift + 1800 for shift in table.shifts))


def test_packed_views_keep_the_rules_that_they_were_made_with() -> None:
    older = {"Europe/Berlin": _later("Europe/Berlin")}
    text = f"SELECT {LOCAL} AS k, count(*) AS n FROM ledger GROUP BY k"
    made = parse_view("mine", text, where="mine.sql", zones=older)
    again = unpack(pack({"mine": made}), "the stored view")["mine"]
    assert again == made
    assert again.partial_sql("ledger") == made.partial_sql("ledger")
    assert again.partial_sql("ledger") != by(LOCAL).partial_sql("ledger")
    today = by(LOCAL)
    assert zones_moved(zones_of({"mine": today}), zones_of({"mine": again})) == (
        "tzdata has other rules of Europe/Berlin now"
    )


def test_views_without_a_zone_are_packed_as_their_texts_alone() -> None:
    plain = {"mine": by("CAST(booked_at AS DATE)")}
    assert pack(plain) == {"mine": plain["mine"].text}


def own(folder: Path, **texts: str) -> Path:
    for name, text in texts.items():
        (folder / f"{name}.sql").write_text(text, encoding="utf-8")
    return folder


def test_a_file_with_the_name_of_a_built_in_view_replaces_it(tmp_path: Path) -> None:
    folder = own(
        tmp_path,
        revenue_by_day="SELECT CAST(booked_at AT TIME ZONE 'UTC' AT TIME ZONE $business_zone AS "
        "DATE) AS day, sum(amount) AS revenue FROM ledger GROUP BY day",
    )
    found = load_views(BUILTIN_VIEWS, folder, zone="Asia/Tokyo")
    assert [c.name for c in found["revenue_by_day"].outputs] == ["day", "revenue"]
    assert [table.name for table in found["revenue_by_day"].zones] == ["Asia/Tokyo"]
    assert list(found) == list(load_views(BUILTIN_VIEWS))


@pytest.mark.parametrize("line", ["-- off", "\n--OFF  \n"])
def test_a_line_switches_a_built_in_view_off(tmp_path: Path, line: str) -> None:
    found = load_views(BUILTIN_VIEWS, own(tmp_path, revenue_by_minute=line))
    assert list(found) == sorted(load_views(BUILTIN_VIEWS).keys() - {"revenue_by_minute"})


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("revenue_by_minute", "", "is empty; write a SELECT .* the line `-- off`"),
        ("revenue_by_minute", " \n", "is empty"),
        ("revenue_by_minute", "-- later", "holds 0 statements"),
        ("mine", "-- off", "holds no SELECT; write one, or remove the file"),
        ("mine", "", "holds no SELECT"),
        ("orders", "-- off", "has a meaning of its own"),
    ],
)
def test_a_file_that_may_be_unfinished_switches_nothing_off(
    tmp_path: Path, name: str, text: str, words: str
) -> None:
    with pytest.raises(ViewError, match=words):
        load_views(BUILTIN_VIEWS, own(tmp_path, **{name: text}))


def test_two_folders_of_ones_own_still_may_not_have_the_same_view(tmp_path: Path) -> None:
    text = "SELECT currency, count(*) AS n FROM ledger GROUP BY currency"
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        own(tmp_path / name, mine=text)
    with pytest.raises(ViewError, match="the view mine is there already"):
        load_views(BUILTIN_VIEWS, tmp_path / "a", tmp_path / "b")
