"""Import of CSV files by a mapping: what becomes of each row, and what is refused."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import openpyxl
import pytest

from headrace.pipelines.errors import ContractError
from headrace.pipelines.ingest import workbook
from headrace.pipelines.ingest.csv_mapping import CsvMapping
from headrace.pipelines.ingest.csv_orders import csv_orders
from headrace.pipelines.ingest.notation import Notation, Times
from headrace.schemas.validate import validate

if TYPE_CHECKING:
    from headrace.pipelines.ingest.delimited import ImportedFile

GUIDE = Path(__file__).parents[2] / "docs/guides/csv-import.md"


def events_of(*files: ImportedFile) -> list[dict[str, Any]]:
    return [json.loads(line) for file in files for line in file.lines]


MAPPING = CsvMapping(
    columns={
        "order_id": "order",
        "time": "time",
        "product_id": "product",
        "quantity": "units",
        "unit_price": "price",
        "customer_id": "customer",
    },
    constants={"currency": "EUR", "country": "DE"},
    source="csv/test",
)
MUG = "o-1,2026-03-01T09:30:00,mug,2,7.50,c-7"


def shop_file(folder: Path, *rows: str, name: str = "shop.csv") -> Path:
    path = folder / name
    content = "\n".join(["order,time,product,units,price,customer", *rows, ""])
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    return path


def test_the_guides_example_becomes_the_events_it_promises(tmp_path: Path) -> None:
    text = GUIDE.read_text(encoding="utf-8")
    blocks = [block.split("```")[0] for block in text.split("```csv\n")[1:]]
    (tmp_path / "export.csv").write_text(blocks[0], encoding="utf-8")
    (tmp_path / "shop.toml").write_text(text.split("```toml\n")[1].split("```")[0])
    (imported,) = csv_orders([tmp_path / "export.csv"], CsvMapping.load(tmp_path / "shop.toml"))
    assert imported.rejected == []
    assert [(event["id"], event["time"], event["data"]) for event in events_of(imported)] == [
        (
            "1001-placed",
            "2026-03-02T08:30:00Z",
            {
                "customer_id": "c-7",
                "currency": "EUR",
                "country": "DE",
                "channel": "web",
                "lines": [
                    {"product_id": "mug", "quantity": 2, "unit_price": "7.50"},
                    {"product_id": "lamp; tall", "quantity": 1, "unit_price": "1249.00"},
                ],
            },
        ),
        ("1001-paid", "2026-03-02T08:30:00Z", {"amount": "1264.00"}),
        (
            "1002-placed",
            "2026-03-02T09:05:00Z",
            {
                "customer_id": None,
                "currency": "EUR",
                "country": "AT",
                "channel": "web",
                "lines": [{"product_id": "mug", "quantity": 1, "unit_price": "7.50"}],
            },
        ),
        ("1002-paid", "2026-03-02T09:05:00Z", {"amount": "7.50"}),
        (
            "1001-returned-2026-03-09T15:00:00",
            "2026-03-09T15:00:00Z",
            {
                "customer_id": "c-7",
                "currency": "EUR",
                "country": "DE",
                "lines": [{"product_id": "mug", "quantity": 1, "refund": "7.50"}],
            },
        ),
    ]


def test_csv_events_keep_the_contract(tmp_path: Path) -> None:
    back = MUG.replace(",2,", ",-1,").replace("c-7", "")
    rows = (MUG, back.replace("o-1", "o-2"), MUG.replace("o-1", "o-3").replace("c-7", ""))
    (imported,) = csv_orders([shop_file(tmp_path, *rows)], replace(MAPPING, paid=True))
    assert len(imported.lines) == 5
    for line in imported.lines:
        validate(line)


BAD_ROWS = {
    "order missing": (MUG.replace("o-1", ""), "order_id is empty"),
    "product missing": (MUG.replace("mug", " "), "product_id is empty"),
    "product not text": (MUG.replace("mug", "m\udcffg"), "bytes that are not text"),
    "product with a control": (MUG.replace("mug", "m\x07g"), "product_id is 'm\\x07g' and holds"),
    "quantity zero": (MUG.replace(",2,", ",0,"), "quantity is '0'"),
    "quantity broken": (MUG.replace(",2,", ",2.5,"), "quantity is '2.5'"),
    "quantity too large": (MUG.replace(",2,", ",2147483648,"), "quantity is '2147483648'"),
    "price too fine": (MUG.replace("7.50", "7.50001"), "unit_price is '7.50001'"),
    "price negative": (MUG.replace("7.50", "-7.50"), "unit_price is '-7.50'"),
    "price with a comma": (MUG.replace("7.50", '"7,50"'), "unit_price is '7,50'"),
    "line too large": (
        MUG.replace("7.50", "99999999999999").replace(",2,", ",3,"),
        "10^14 or more",
    ),
    "order too large": (MUG.replace("7.50", "49999999999999.99"), "with it, order o-1 comes to"),
    "time unreadable": (MUG.replace("03-01", "02-30"), "time is '2026-02-30T09:30:00'"),
    "time too early": (MUG.replace("2026", "1969"), "from 1970"),
    "field missing": (MUG.removesuffix(",c-7"), "it has 5 fields, the header has 6"),
    "field too many": (MUG + ",x", "it has 7 fields, the header has 6"),
    "another customer": (MUG.replace("c-7", "c-8"), "differ from ('c-7', 'EUR', 'DE', None)"),
    "not delimited text": (MUG.replace("mug", '"mug'), "it is not delimited text"),
}


@pytest.mark.parametrize("case", BAD_ROWS)
def test_a_bad_csv_row_is_rejected_with_line_bytes_and_reason(case: str, tmp_path: Path) -> None:
    row, reason = BAD_ROWS[case]
    (imported,) = csv_orders([shop_file(tmp_path, MUG, row, MUG)], MAPPING)
    (rejected,) = imported.rejected
    assert (rejected.line_no, rejected.raw) == (3, row.encode("utf-8", "surrogateescape"))
    assert reason in rejected.reason
    assert len(events_of(imported)[0]["data"]["lines"]) == 2


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-8-sig", "latin-1"])
def test_the_bytes_of_a_rejected_row_are_those_of_the_file(encoding: str, tmp_path: Path) -> None:
    bad = MUG.replace("mug", "Käse").replace("2026", "2o26")
    path = shop_file(tmp_path, MUG, bad)
    content = path.read_text(encoding="utf-8").encode(encoding)
    path.write_bytes(content)
    (imported,) = csv_orders([path], replace(MAPPING, encoding=encoding))
    (rejected,) = imported.rejected
    assert rejected.raw in content
    assert rejected.raw.decode(encoding.removesuffix("-sig")) == bad


def test_rows_in_events_rejected_and_blank_add_up(tmp_path: Path) -> None:
    rows = (MUG, "", "nonsense", MUG.replace("o-1", "o-2"), "", MUG)
    (imported,) = csv_orders([shop_file(tmp_path, *rows)], MAPPING)
    mapped = sum(len(event["data"]["lines"]) for event in events_of(imported))
    assert (mapped, len(imported.rejected), imported.skipped) == (3, 1, {"blank lines": 2})
    assert imported.rows == 6


def test_negative_quantities_can_be_refused(tmp_path: Path) -> None:
    path = shop_file(tmp_path, MUG.replace(",2,", ",-2,"))
    (imported,) = csv_orders([path], replace(MAPPING, negative_quantity="reject"))
    assert imported.lines == []
    assert "quantity is '-2'" in imported.rejected[0].reason


def test_the_sale_of_an_order_in_a_second_file_is_rejected_and_not_lost(tmp_path: Path) -> None:
    later = MUG.replace(",2,", ",-2,").replace("03-01", "03-09")
    paths = [shop_file(tmp_path, MUG, name="a.csv"), shop_file(tmp_path, MUG, later, name="b.csv")]
    _, second = csv_orders(paths, MAPPING)
    assert [event["type"] for event in events_of(second)] == ["ItemsReturned"]
    assert "order o-1 has sales in" in second.rejected[0].reason


def test_local_times_become_utc_over_the_change_of_the_clocks() -> None:
    local = Times(zone=ZoneInfo("Europe/Berlin"))
    assert local.utc("2026-03-29T01:59:59") == datetime(2026, 3, 29, 0, 59, 59, tzinfo=UTC)
    assert local.utc("2026-07-01T12:00:00-05:00") == datetime(2026, 7, 1, 17, tzinfo=UTC)
    with pytest.raises(ValueError, match="no clock in Europe/Berlin ever showed it"):
        local.utc("2026-03-29T02:30:00")


def test_a_time_that_came_twice_is_read_as_the_mapping_says_or_not_at_all() -> None:
    twice = "2026-10-25T02:30:00"
    zone = ZoneInfo("Europe/Berlin")
    assert Times(zone=zone, twice="first").utc(twice) == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert Times(zone=zone, twice="second").utc(twice) == datetime(2026, 10, 25, 1, 30, tzinfo=UTC)
    with pytest.raises(ValueError, match=r"showed it twice .* say which one is meant"):
        Times(zone=zone).utc(twice)


@pytest.mark.parametrize(
    ("form", "text"),
    [("iso", "2026-03-02"), ("%d.%m.%Y", "02.03.2026"), ("%d.%m.%y", "2.3.26")],
)
@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Asia/Tokyo", "UTC"])
def test_a_date_without_a_time_is_that_day(form: str, text: str, zone: str) -> None:
    found = Times(format=form, zone=ZoneInfo(zone)).utc(text)
    assert found == datetime(2026, 3, 2, 12, tzinfo=UTC)
    assert found.astimezone(ZoneInfo(zone)).date().isoformat() == "2026-03-02"


@pytest.mark.parametrize(
    ("days", "hour"), [("UTC", 12), ("Asia/Tokyo", 12), ("Pacific/Auckland", -1)]
)
def test_a_date_without_a_time_is_that_day_in_the_homes_zone_too(
    tmp_path: Path, days: str, hour: int
) -> None:
    path = shop_file(tmp_path, MUG.replace("T09:30:00", ""))
    (imported,) = csv_orders([path], MAPPING, days)
    assert not imported.rejected
    happened = datetime.fromisoformat(json.loads(imported.lines[0])["time"])
    assert happened == datetime(2026, 3, 1, tzinfo=UTC) + timedelta(hours=hour)
    assert happened.astimezone(ZoneInfo(days)).date().isoformat() == "2026-03-01"


@pytest.mark.parametrize(
    ("form", "text", "rule"),
    [
        ("%d%m%Y", "1122026", "digits of two parts touch"),
        ("%d.%m.%y", "01.03.75", "its year can be 1975 or 2075"),
        ("%d.%m.%Y %H:%M", "01.03.2026", "does not match format"),
    ],
)
def test_a_date_that_can_be_read_in_two_ways_is_refused(form: str, text: str, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        Times(format=form).utc(text)


GERMAN = replace(MAPPING, decimal_mark=",", thousands_mark=".", delimiter=";")


@pytest.mark.parametrize(
    ("price", "net"),
    [
        ("7,50", "15.00"),
        ("1.249,00", "2498.00"),
        ("1.234.567,8901", "2469135.7802"),
        ("12.500", "25000.00"),
        ("1249,5", "2499.00"),
        ("0,5", "1.00"),
    ],
)
def test_a_thousands_mark_groups_three_digits(tmp_path: Path, price: str, net: str) -> None:
    row = f"o-1;2026-03-01T09:30:00;mug;2;{price};c-7"
    path = shop_file(tmp_path, row)
    header, rest = path.read_bytes().split(b"\n", 1)
    path.write_bytes(header.replace(b",", b";") + b"\n" + rest)
    (imported,) = csv_orders([path], GERMAN)
    assert imported.rejected == []
    assert validate(imported.lines[0]).goods == Decimal(net)


@pytest.mark.parametrize(
    ("price", "rule"),
    [
        ("7.50", "must stand between groups of three digits"),
        ("1.2.3.4", "must stand between groups of three digits"),
        ("1234.5678", "must stand between groups of three digits"),
        ("1234.567", "must stand between groups of three digits"),
        ("0.500", "must stand between groups of three digits"),
        ("1,234.56", "after ',' only digits may stand"),
        (".500", "must stand between groups of three digits"),
        ("1,23456", "at most 14 digits before ',' and 4 after it"),
        ("", "at most 14 digits"),
    ],
)
def test_a_price_that_breaks_the_marks_is_rejected_with_the_rule(price: str, rule: str) -> None:
    with pytest.raises(ValueError, match=re.escape(rule)):
        Notation(",", ".").amount(price)


@pytest.mark.parametrize(
    "text", ["1.5", "2.000", "1,000", "1.000,0", "2,5", "1e3", "0", "+1", " 1"]
)
def test_a_quantity_with_a_mark_in_it_is_rejected(text: str) -> None:
    for notation in (Notation(), Notation(",", "."), Notation(".", ",")):
        with pytest.raises(ValueError, match=r"whole number, not 0, .* without any mark"):
            notation.quantity(text)


def test_a_quantity_of_a_spreadsheet_is_whole() -> None:
    assert Notation().quantity("2.0") == 2
    assert Notation(",", ".").quantity("-3,00") == -3


def test_a_price_of_three_places_is_taken_only_if_the_mapping_names_the_mark() -> None:
    with pytest.raises(ValueError, match=r"1\.249 can be 1\.249 or 1249; say decimal_mark"):
        Notation().amount("1.249")
    assert Notation(".").amount("1.249") == 12_490
    assert Notation().amount("1.2490") == 12_490


def test_a_file_without_a_mapped_column_is_refused_with_its_columns(tmp_path: Path) -> None:
    columns = {**MAPPING.columns, "quantity": "qty"}
    with pytest.raises(
        ContractError, match=r"shop\.csv lacks the column 'qty' .*columns\.quantity"
    ):
        list(csv_orders([shop_file(tmp_path, MUG)], replace(MAPPING, columns=columns)))


def test_a_file_that_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=r"cannot read .*none\.csv"):
        list(csv_orders([tmp_path / "none.csv"], MAPPING))


COLUMNS = """
[columns]
order_id = "order"
time = "time"
product_id = "product"
quantity = "units"
unit_price = "price"
"""
EUR = '[constants]\ncurrency = "EUR"\n'


def load(folder: Path, text: str) -> CsvMapping:
    path = folder / "shop.toml"
    path.write_text(text, encoding="utf-8")
    return CsvMapping.load(path)


def test_a_mapping_of_columns_and_a_currency_is_enough(tmp_path: Path) -> None:
    mapping = load(tmp_path, COLUMNS + EUR)
    assert (mapping.source, mapping.delimiter, mapping.paid) == ("csv/shop", ",", False)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("delimeter = ';'\n" + COLUMNS + EUR, "delimeter is not a key .* mean delimiter?"),
        ("shop = 1\n" + COLUMNS + EUR, "shop is not a key .*; known are columns, constants, s"),
        (COLUMNS.replace("quantity", "quantiy") + EUR, "columns.quantiy .* mean quantity?"),
        (COLUMNS + EUR + 'shop = "a"', "constants.shop .* known are currency, country, channel"),
        (COLUMNS + EUR + "[time]\nzones = 'UTC'", "time.zones is not .* mean zone?"),
        (COLUMNS + EUR + "[time]\nformat = 3", 'time.format is 3; give "iso", or letters'),
        (COLUMNS + EUR + "[time]\nformat = '%d.%m.%Y %I:%M'", "time.format is '%d.%m.%Y %I"),
        (COLUMNS + EUR + "[time]\nformat = '%Y-%m-%d %H:%M %Z'", "letters of strptime with one"),
        (COLUMNS + EUR + "[time]\ntwice = 'both'", "time.twice is 'both'; give"),
        ("'shop.name' = 1\n" + COLUMNS + EUR, "shop.name is not a key of a mapping; known"),
        (COLUMNS + "'a.b' = 'c'\n" + EUR, "columns.a.b is not a key of a mapping; known"),
        (COLUMNS + EUR + "[time]\nzone = 'Europe'", "time.zone is 'Europe'; give a zone"),
        (COLUMNS + EUR + "[time]\nzone = '../UTC'", "time.zone is '../UTC'; give a zone"),
        (COLUMNS + EUR + "[time]\nzone = 3", "time.zone is 3; give a zone"),
        (EUR, "columns.order_id is missing; add order_id ="),
        ("time = 3\n" + COLUMNS + EUR, r"time is 3; write it as a table: \[time\]"),
        ("thousands_mark = '..'\n" + COLUMNS + EUR, "thousands_mark is '..'; give one"),
        ("source = ''\n" + COLUMNS + EUR, "source is ''; give a text of 1"),
        ("delimiter = ';;'\n" + COLUMNS + EUR, "delimiter is ';;'; give one character"),
        ("delimiter = '\"'\n" + COLUMNS + EUR, "quote is the delimiter too"),
        ("delimiter = '\"'\nquote = ' '\n" + COLUMNS + EUR, "quote is ' '"),
        ("decimal_mark = ';'\n" + COLUMNS + EUR, "decimal_mark is ';'; give"),
        ("thousands_mark = '.'\n" + COLUMNS + EUR, "thousands_mark is the decimal mark too"),
        ("encoding = 'utf-9'\n" + COLUMNS + EUR, "encoding is 'utf-9'; give"),
        ("negative_quantity = 'drop'\n" + COLUMNS + EUR, "negative_quantity is 'drop'; give"),
        ("paid = 'yes'\n" + COLUMNS + EUR, "paid is 'yes'; give true or false"),
        (COLUMNS + EUR + "[time]\nzone = 'Mars/Base'", "time.zone is 'Mars/Base'; give a zone"),
        (COLUMNS.replace('quantity = "units"', "") + EUR, "columns.quantity is missing; add"),
        (COLUMNS.replace('"units"', "3") + EUR, "columns.quantity is 3; give a text"),
        (COLUMNS, "constants.currency is 'missing', and there is no currency column"),
        (COLUMNS + EUR.replace("EUR", "euro"), "constants.currency is 'euro'"),
        (COLUMNS + 'country = "land"\n' + EUR + 'country = "DE"', "constants.country is also a"),
        ("columns = 3\n" + EUR, r"columns is 3; write it as a table: \[columns\]"),
        ("= broken", "cannot read the mapping .*shop.toml"),
    ],
)
def test_a_wrong_mapping_is_refused_with_file_key_and_remedy(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(ContractError, match=message) as refusal:
        load(tmp_path, text)
    assert "shop.toml" in str(refusal.value)


def test_a_workbook_that_unpacks_to_more_than_the_limit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "bomb.xlsx"
    book = openpyxl.Workbook()
    book.worksheets[0].append(["order", "time", "product", "units", "price", "customer"])
    book.save(path)
    monkeypatch.setattr(workbook, "_LARGEST", 1_000)
    with pytest.raises(ContractError, match=r"would unpack to [0-9,]+ bytes; at most 1,000 are"):
        list(csv_orders([path], MAPPING))
