"""Ugly files and what must come out of each: worked out by hand from the guide and the contract.

In every text `@` stands for the case's number, so that no two cases share an order. `totals` are
the sums of all ledger amounts by currency. A rejected row is its line and words of the reason.
"""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time

import zstandard

HEAD = "order;time;product;qty;price"
MUG = "2026-03-01T09:30:00;mug;2;7.50"
"""Two mugs at 7.50: 15.00."""


@dataclass(frozen=True)
class Ugly:
    """One file, its mapping, and what must come out.

    Attributes:
        about: What is ugly about it, and why this must come out.
        content: The file; `Sheets` for a workbook.
        mapping: TOML; empty: the file is NDJSON for `append`.
        events: How many are accepted.
        totals: All amounts of its orders, added up by currency.
        rejected: Lines that end in quarantine, with words of the reason.
        skipped: What is counted and is no event.
        twins: Identical rows by what was done with them.
        placed: When an order was placed, in UTC, by order id.
        refused: Words of the refusal of the whole file.
        fill: What `--guess` leaves open for this file, and the answer; None: not tried.
    """

    about: str
    content: str | bytes | Sheets
    mapping: str = ""
    name: str = "orders.csv"
    encoding: str = "utf-8"
    packed: str = ""
    events: int = 0
    totals: Mapping[str, str] = field(default_factory=dict)
    rejected: Sequence[tuple[int, str]] = ()
    skipped: Mapping[str, int] = field(default_factory=dict)
    twins: Mapping[str, int] = field(default_factory=dict)
    placed: Mapping[str, str] = field(default_factory=dict)
    refused: str = ""
    fill: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Stored:
    """A number as the file writes it."""

    text: str


@dataclass(frozen=True)
class Sheets:
    """A workbook: rows of cells by sheet. A tuple is a cell and its number format."""

    sheets: Mapping[str, Sequence[Sequence[object]]]


def mapping(
    top: str = "",
    columns: str = "",
    constants: str = 'currency = "EUR"',
    time: str = "",
    per: str = "",
    when: str = 'time = "time"',
) -> str:
    """The mapping of `HEAD`, with more in it."""
    parts = [
        top,
        "[columns]",
        'order_id = "order"',
        when,
        'product_id = "product"\nquantity = "qty"\nunit_price = "price"',
        columns,
        f"[constants]\n{constants}" if constants else "",
        f"[time]\n{time}" if time else "",
        f"[per]\n{per}" if per else "",
    ]
    return "\n".join(part for part in parts if part) + "\n"


SEMICOLON = 'delimiter = ";"'
PLAIN = mapping(SEMICOLON)
GERMAN = mapping(f'{SEMICOLON}\ndecimal_mark = ","\nthousands_mark = "."')
ARABIC = "\u0667.\u0665\u0660"
"""7.50 in digits that Python's `int` takes."""
EUR = "constants.currency"
OPEN = {EUR: '"EUR"', "time.zone": '"UTC"'}
"""What no file of local times without a currency says."""


def lines(*rows: str, head: str = HEAD, end: str = "\n") -> str:
    """A file of a header and rows."""
    return end.join([head, *rows, ""])


def priced(*prices: str) -> str:
    """An order for each price, one piece each, an hour apart from nothing."""
    return lines(*(f"@{n};2026-03-01T09:30:00;mug;1;{p}" for n, p in enumerate(prices, 1)))


def dated(*times: str) -> str:
    """An order of 15.00 for each time."""
    return lines(*(f"@{n};{t};mug;2;7.50" for n, t in enumerate(times, 1)))


def event(n: int, old: str = "", new: str = "") -> str:
    """One good order event of two pieces, 15.00, as JSON text, with `new` instead of `old`."""
    text = (
        f'{{"specversion":"1.0","id":"@{n}","source":"ugly","type":"OrderPlaced","subject":"@{n}",'
        '"time":"2026-03-01T09:30:00Z","data":{"customer_id":"c","currency":"EUR","lines":'
        '[{"product_id":"mug","quantity":2,"unit_price":"7.50"}]}}'
    )
    assert old in text
    return text.replace(old, new) if old else text


def zipped() -> bytes:
    """A ZIP archive that is no workbook."""
    into = io.BytesIO()
    with zipfile.ZipFile(into, "w") as archive:
        archive.writestr("orders.csv", lines(f"@1;{MUG}"))
    return into.getvalue()


ENCODINGS = {
    "utf-8": Ugly(
        "letters beyond ASCII", lines("@1;2026-03-01T09:30:00;Größe;2;7.50"), PLAIN,
        events=1, totals={"EUR": "15.00"}, fill=OPEN,
    ),
    "utf-8 with a mark": Ugly(
        "a byte order mark before the first column's name", lines(f"@1;{MUG}"), PLAIN,
        encoding="utf-8-sig", events=1, totals={"EUR": "15.00"}, fill=OPEN,
    ),
    "latin-1": Ugly(
        "the mapping says latin-1", lines("@1;2026-03-01T09:30:00;Käse;2;7.50"),
        mapping(SEMICOLON + '\nencoding = "latin-1"'), encoding="latin-1",
        events=1, totals={"EUR": "15.00"}, fill=OPEN,
    ),
    "cp1252 with a euro sign": Ugly(
        "0x80 is the euro sign; the mapping names it", priced("7,50 €", "€ 8,25"),
        mapping(SEMICOLON + '\nencoding = "cp1252"\ndecimal_mark = ","\ncurrency_sign = "€"'),
        encoding="cp1252", events=2, totals={"EUR": "15.75"}, fill={"time.zone": '"UTC"'},
    ),
    "cp1252 read as utf-8": Ugly(
        "only the row that holds such bytes is spoilt",
        lines("@1;2026-03-01T09:30:00;Käse;2;7.50", f"@2;{MUG}"), PLAIN, encoding="cp1252",
        events=1, totals={"EUR": "15.00"}, rejected=[(2, "bytes that are not text")],
    ),
    "utf-16": Ugly(
        "little-endian with a mark", lines(f"@1;{MUG}", "@2;never;mug;2;7.50"),
        mapping(SEMICOLON + '\nencoding = "utf-16"'), encoding="utf-16",
        events=1, totals={"EUR": "15.00"}, rejected=[(3, "time is 'never'")], fill=OPEN,
    ),
    "utf-16 read as utf-8": Ugly(
        "nothing of it may be recorded", lines(f"@1;{MUG}"), PLAIN, encoding="utf-16",
        refused="is text in UTF-16",
    ),
    "utf-16 big-endian without a mark": Ugly(
        "only the mapping can know", lines(f"@1;{MUG}"),
        mapping(SEMICOLON + '\nencoding = "utf-16-be"'), encoding="utf-16-be",
        events=1, totals={"EUR": "15.00"}, fill=OPEN,
    ),
    "an encoding that cannot hold it": Ugly(
        "an odd number of bytes is no UTF-16", "x", mapping('encoding = "utf-16-le"'),
        refused="utf-16-le",
    ),
}  # fmt: skip

MARKS = {
    "1.234,56": Ugly(
        "German marks", priced("1.234,56", "0,44"), GERMAN, events=2, totals={"EUR": "1235.00"},
        fill=OPEN,
    ),
    "1,234.56": Ugly(
        "English marks", priced("1,234.56", "0.44"), mapping(SEMICOLON + '\nthousands_mark = ","'),
        events=2, totals={"EUR": "1235.00"}, fill=OPEN,
    ),
    "1'234.56": Ugly(
        "Swiss marks", priced("1'234.56", "0.44"), mapping(SEMICOLON + '\nthousands_mark = "\'"'),
        events=2, totals={"EUR": "1235.00"}, fill=OPEN,
    ),
    "1 234,56": Ugly(
        "a no-break space between groups", priced("1\u00a0234,56", "0,44"),
        mapping(SEMICOLON + '\ndecimal_mark = ","\nthousands_mark = "\u00a0"'),
        events=2, totals={"EUR": "1235.00"}, fill=OPEN,
    ),
    "7.50 where the point groups thousands": Ugly(
        "7.50 is no group of three digits, so neither 750 nor 7.50", priced("7.50", "7,50"), GERMAN,
        events=1, totals={"EUR": "7.50"}, rejected=[(2, "between groups of three digits")],
        # No marks read both, and the file cannot say which one is wrong.
        fill=OPEN | {"decimal_mark": '","\nthousands_mark = "."'},
    ),
    "7.50 where the comma is the decimal mark": Ugly(
        "no mapping says what a point is, so it is none",
        priced("7.50", "7,50", "1.249"),
        mapping(SEMICOLON + '\ndecimal_mark = ","'),
        events=1,
        totals={"EUR": "7.50"},
        rejected=[(2, "unit_price is '7.50'"), (4, "unit_price is '1.249'")],
    ),
    "1.249 without named marks": Ugly(
        "1.249 or 1249", priced("1.249", "7.50"), PLAIN, events=1, totals={"EUR": "7.50"},
        rejected=[(2, "1.249 can be 1.249 or 1249")],
    ),
    "1.249 and nothing else": Ugly(
        "all prices have three places: nobody knows; here the mapping says thousands",
        priced("1.249", "2.500"), GERMAN, events=2, totals={"EUR": "3749.00"},
        fill=OPEN | {"decimal_mark": '","\nthousands_mark = "."'},
    ),
    "a sign that no mapping names": Ugly(
        "a dollar of which country?", priced("$7.50", "8.25"), PLAIN, events=1,
        totals={"EUR": "8.25"}, rejected=[(2, "unit_price is '$7.50'")],
    ),
    "a sign of another currency": Ugly(
        "pounds in a file of euros", priced("€7.50", "£8.25"),
        mapping(SEMICOLON + '\ncurrency_sign = "€"'), events=1, totals={"EUR": "7.50"},
        rejected=[(3, "unit_price is '£8.25'")],
    ),
    "dollars": Ugly(
        "the sign is the mapping's, and so is the currency", priced("$7.50", "$1,008.25"),
        mapping(
            SEMICOLON + '\nthousands_mark = ","\ncurrency_sign = "$"',
            constants='currency = "CAD"',
        ),
        events=2, totals={"CAD": "1015.75"},
        fill={EUR: '"CAD"', "time.zone": '"UTC"'},
    ),
    "huge numbers": Ugly(
        "14 digits before the point are the contract's limit",
        priced("99999999999999.9999", "100000000000000", "1e3"), PLAIN, events=1,
        totals={"EUR": "99999999999999.9999"},
        rejected=[(3, "at most 14 digits"), (4, "unit_price is '1e3'")],
    ),
    "five places": Ugly(
        "nothing is rounded; zeros behind the fourth place are no places",
        priced("7.00001", "7.10000"), PLAIN, events=1, totals={"EUR": "7.10"},
        rejected=[(2, "unit_price is '7.00001'")],
    ),
    "digits of another script": Ugly(
        "Python's int() would take them", priced(ARABIC, "7.50"), PLAIN, events=1,
        totals={"EUR": "7.50"}, rejected=[(2, "unit_price is")],
    ),
    "an amount in brackets": Ugly(
        "bookkeepers' minus", priced("(7.50)", "7.50"), PLAIN, events=1,
        totals={"EUR": "7.50"}, rejected=[(2, "unit_price is '(7.50)'")],
    ),
}  # fmt: skip

SLASHES = mapping(SEMICOLON, time='format = "%d/%m/%Y"')
BERLIN = 'zone = "Europe/Berlin"'
TWO = "order;date;time;product;qty;price"
TWO_COLUMNS = mapping(
    SEMICOLON, when='date = "date"\ntime_of_day = "time"',
    time=f'format = "%d.%m.%Y %H:%M"\n{BERLIN}',
)  # fmt: skip

DATES = {
    "03/04/2026 without a format": Ugly(
        "3 April or 4 March: the default reads neither", dated("03/04/2026"), PLAIN,
        rejected=[(2, "time is '03/04/2026'")],
    ),
    "03/04/2026 with one": Ugly(
        "the mapping says day first; April has no 31st",
        dated("03/04/2026", "11/04/2026", "31/04/2026"), SLASHES, events=2,
        totals={"EUR": "30.00"}, rejected=[(4, "time is '31/04/2026'")],
        placed={"@1": "2026-04-03 12:00:00"},
        # 31/04 is no day at all, so that both readings take two of the three.
        fill={EUR: '"EUR"', "time.format": '"%d/%m/%Y"'},
    ),
    "13/04/2026 decides": Ugly(
        "there is no 13th month, so a guess is sure of day first",
        dated("03/04/2026", "13/04/2026"), SLASHES, events=2, totals={"EUR": "30.00"},
        placed={"@1": "2026-04-03 12:00:00"}, fill={EUR: '"EUR"'},
    ),
    "times with zones": Ugly(
        "each says its own", dated("2026-03-01T09:30:00+01:00", "2026-03-01T09:30:00Z"), PLAIN,
        events=2, totals={"EUR": "30.00"},
        placed={"@1": "2026-03-01 08:30:00", "@2": "2026-03-01 09:30:00"}, fill={EUR: '"EUR"'},
    ),
    "dates without a time": Ugly(
        "noon in UTC: that day in every zone", dated("2026-03-01"), mapping(SEMICOLON, time=BERLIN),
        events=1, totals={"EUR": "15.00"}, placed={"@1": "2026-03-01 12:00:00"},
        fill={EUR: '"EUR"'},
    ),
    "an hour that never was": Ugly(
        "clocks went from 2 to 3", dated("2026-03-29T02:30:00", "2026-03-29T03:30:00"),
        mapping(SEMICOLON, time=BERLIN), events=1, totals={"EUR": "15.00"},
        rejected=[(2, "no clock in Europe/Berlin ever showed it")],
        placed={"@2": "2026-03-29 01:30:00"}, fill={EUR: '"EUR"', "time.zone": '"Europe/Berlin"'},
    ),
    "an hour that came twice": Ugly(
        "clocks went from 3 back to 2", dated("2026-10-25T02:30:00"),
        mapping(SEMICOLON, time=BERLIN), rejected=[(2, "showed it twice")],
    ),
    "an hour that came twice, the second": Ugly(
        "the mapping says which", dated("2026-10-25T02:30:00"),
        mapping(SEMICOLON, time=BERLIN + '\ntwice = "second"'), events=1,
        totals={"EUR": "15.00"}, placed={"@1": "2026-10-25 01:30:00"},
    ),
    "serial numbers of Excel": Ugly(
        "46082 is 1 March 2026, and .395833… is half past nine",
        dated("46082.395833333336", "46082"), mapping(SEMICOLON, time='format = "excel"'),
        events=2, totals={"EUR": "30.00"},
        placed={"@1": "2026-03-01 09:30:00", "@2": "2026-03-01 00:00:00"}, fill=OPEN,
    ),
    "serial numbers of days": Ugly(
        "whole days, so a fraction is wrong",
        dated("46082", "46083", "46082.5"), mapping(SEMICOLON, time='format = "excel-date"'),
        events=2, totals={"EUR": "30.00"}, rejected=[(4, "time is '46082.5'")],
        placed={"@1": "2026-03-01 12:00:00", "@2": "2026-03-02 12:00:00"},
    ),
    "a year of two digits": Ugly(
        "1975 or 2075", dated("01.03.75", "01.03.26"),
        mapping(SEMICOLON, time='format = "%d.%m.%y"'),
        events=1, totals={"EUR": "15.00"}, rejected=[(2, "its year can be 1975 or 2075")],
    ),
    "date and time in two columns": Ugly(
        "half past nine in Berlin is half past eight in UTC; no time is not midnight",
        lines("@1;01.03.2026;09:30;mug;2;7.50", "@2;01.03.2026;;mug;2;7.50", head=TWO),
        TWO_COLUMNS, events=1, totals={"EUR": "15.00"}, rejected=[(3, "time_of_day is empty")],
        placed={"@1": "2026-03-01 08:30:00"},
        # The 1st of March or the 3rd of January: a point is day first in every language.
        fill={EUR: '"EUR"', "time.zone": '"Europe/Berlin"'},
    ),
    "twelve hours": Ugly(
        "half past nine in the evening", dated("03/13/2026 09:30 PM"),
        mapping(SEMICOLON, time='format = "%m/%d/%Y %I:%M %p"'), events=1,
        totals={"EUR": "15.00"}, placed={"@1": "2026-03-13 21:30:00"}, fill=OPEN,
    ),
}  # fmt: skip

TWINS_FILE = lines(f"@1;{MUG}", f"@1;{MUG}", "@1;2026-03-01T09:30:00;lamp;1;20.00")
TWINS = {
    "twins": Ugly(
        "two times 15.00 and 20.00, and the report says that there were some", TWINS_FILE, PLAIN,
        events=1, totals={"EUR": "50.00"}, twins={"sum": 1},
        fill=OPEN | {"identical_rows": '"sum"'},
    ),
    "twins that are one": Ugly(
        "15.00 and 20.00", TWINS_FILE, mapping(SEMICOLON + '\nidentical_rows = "once"'),
        events=1, totals={"EUR": "35.00"}, twins={"once": 1}, skipped={"identical rows": 1},
        fill=OPEN | {"identical_rows": '"once"'},
    ),
    "twins that are wrong": Ugly(
        "the second is rejected", TWINS_FILE, mapping(SEMICOLON + '\nidentical_rows = "reject"'),
        events=1, totals={"EUR": "35.00"}, twins={"reject": 1},
        rejected=[(3, "identical to line 2")],
    ),
}  # fmt: skip

SHIPPED = f"{HEAD};shipping"
CUT = f"{HEAD};shipping;discount"
SHIPPING = 'shipping = "shipping"'
AMOUNTS = {
    "shipping on every row": Ugly(
        "the rows agree, so it counts once: 30.00 + 4.90",
        lines(f"@1;{MUG};4.90", "@1;2026-03-01T09:30:00;lamp;1;15.00;4.90", head=SHIPPED),
        mapping(SEMICOLON, SHIPPING, per='shipping = "order"'), events=1,
        totals={"EUR": "34.90"}, fill=OPEN | {"per.shipping": '"order"'},
    ),
    "shipping that does not agree": Ugly(
        "the second row contradicts the first, and is left out: 15.00 + 4.90",
        lines(f"@1;{MUG};4.90", "@1;2026-03-01T09:30:00;lamp;1;15.00;5.90", head=SHIPPED),
        mapping(SEMICOLON, SHIPPING, per='shipping = "order"'), events=1,
        totals={"EUR": "19.90"}, rejected=[(3, "shipping 5.90 differs from 4.90 of line 2")],
    ),
    "shipping on one row, discounts on each": Ugly(
        "30.00 + 4.90 - (1.00 + 0.50)",
        lines(f"@1;{MUG};4.90;1.00", "@1;2026-03-01T09:30:00;lamp;1;15.00;;0.50", head=CUT),
        mapping(
            SEMICOLON, SHIPPING + '\ndiscount = "discount"',
            per='shipping = "row"\ndiscount = "row"',
        ), events=1, totals={"EUR": "33.40"}, fill=OPEN,
    ),
    "shipping with nothing said": Ugly(
        "once or on each row: the mapping has to say",
        lines(f"@1;{MUG};4.90", head=SHIPPED), mapping(SEMICOLON, SHIPPING),
        refused="per.shipping is missing",
    ),
    "a discount below nothing": Ugly(
        "taken off, or added? The mapping says positive",
        lines(f"@1;{MUG};0;-1.00", f"@2;{MUG};0;1.00", head=CUT),
        mapping(SEMICOLON, 'discount = "discount"', per='discount = "row"'), events=1,
        totals={"EUR": "14.00"}, rejected=[(2, "discount is '-1.00'")],
    ),
    "discounts written with a minus": Ugly(
        "the mapping says so: 15.00 - 1.00",
        lines(f"@1;{MUG};0;-1.00", f"@2;{MUG};0;1.00", head=CUT),
        mapping(
            SEMICOLON + '\ndiscount_sign = "-"', 'discount = "discount"', per='discount = "row"'
        ), events=1, totals={"EUR": "14.00"}, rejected=[(3, "discount is '1.00'")],
    ),
    "tax beside the price": Ugly(
        "kept in the event, in no sum",
        lines(f"@1;{MUG};2.85;kitchen", head=f"{HEAD};tax;category"),
        mapping(
            SEMICOLON + "\nprices_include_tax = false", 'tax = "tax"\ncategory = "category"',
            per='tax = "row"',
        ), events=1, totals={"EUR": "15.00"},
        fill=OPEN | {"prices_include_tax": "false", "per.tax": '"row"'},
    ),
    "tax with nothing said": Ugly(
        "in the price, or on top of it?", lines(f"@1;{MUG};2.85", head=f"{HEAD};tax"),
        mapping(SEMICOLON, 'tax = "tax"', per='tax = "row"'),
        refused="prices_include_tax is missing",
    ),
    "a return that pays shipping": Ugly(
        "a return has none: 15.00 + 4.90; the row that says otherwise is rejected",
        lines(f"@1;{MUG};4.90", "@1;2026-03-09T09:30:00;mug;-1;7.50;4.90", head=SHIPPED),
        mapping(SEMICOLON, SHIPPING, per='shipping = "row"'), events=1,
        totals={"EUR": "19.90"}, rejected=[(3, "a return has no shipping")],
    ),
    "a return that repeats the order's shipping": Ugly(
        "it is the order's own, said again: 15.00 + 4.90 - 7.50",
        lines("@1;2026-03-09T09:30:00;mug;-1;7.50;4.90", f"@1;{MUG};4.90", head=SHIPPED),
        mapping(SEMICOLON, SHIPPING, per='shipping = "order"'), events=2,
        totals={"EUR": "12.40"},
    ),
}  # fmt: skip

PACKED = {
    "gzip": Ugly(
        "compressed", lines(f"@1;{MUG}"), PLAIN, "orders.csv.gz", packed="gzip", events=1,
        totals={"EUR": "15.00"}, fill=OPEN,
    ),
    "zstd": Ugly(
        "compressed", lines(f"@1;{MUG}"), PLAIN, "orders.csv.zst", packed="zstd", events=1,
        totals={"EUR": "15.00"}, fill=OPEN,
    ),
    "gzip that was cut": Ugly(
        "half a file is not taken", lines(*(f"@{n};{MUG}" for n in range(50))), PLAIN,
        "orders.csv.gz", packed="gzip cut", refused="ends in the middle of its compressed data",
    ),
    "a ZIP archive": Ugly(
        "not a workbook", zipped(), PLAIN, refused="is a ZIP archive",
    ),
    "a picture": Ugly(
        "mostly zero bytes", b"\x89PNG\r\n\x1a\n" + bytes(500), PLAIN, refused="is no text",
    ),
    "a PDF": Ugly("told by its first bytes", b"%PDF-1.7\n%...", PLAIN, refused="is a PDF"),
    "an old workbook": Ugly(
        "xls is read by nobody here", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), PLAIN,
        refused="an old Excel workbook",
    ),
    "standard input": Ugly(
        "named by a dash", lines(f"@1;{MUG}"), PLAIN, "-", events=1, totals={"EUR": "15.00"},
        fill=OPEN,
    ),
}  # fmt: skip

CELLS = HEAD.split(";")
NINE = datetime(2026, 3, 1, 9, 30)  # noqa: DTZ001 - a cell has no zone
EXCEL = {
    "a workbook": Ugly(
        "Excel stores 7.1 as 7.0999999999999996, which is the same float: 2 x 7.10 + 1.249",
        Sheets({"Orders": [
            CELLS, ["@1", NINE, "mug", 2, Stored("7.0999999999999996")],
            ["@1", NINE, "nut", 1, 1.249],
        ]}),
        mapping(time=BERLIN), "orders.xlsx", events=1, totals={"EUR": "15.449"},
        placed={"@1": "2026-03-01 08:30:00"},
        fill={EUR: '"EUR"', "time.zone": '"Europe/Berlin"'},
    ),
    "cells that have no exact value": Ugly(
        "five places, an error, a formula that nobody calculated, TRUE, a date for a name",
        Sheets({"Orders": [
            CELLS,
            ["@1", NINE, "mug", 2, 7.12345],
            ["@2", NINE, "#N/A", 2, 7.5],
            ["@3", NINE, "mug", 2, "=1+1"],
            ["@4", NINE, True, 2, 7.5],
            ["@5", NINE, NINE, 2, 7.5],
            ["@6", NINE, "mug", 2, Stored("0.30000000000000004")],
            ["@7", NINE, "mug", 2, 7.5],
        ]}),
        mapping(), "orders.xlsx", events=1, totals={"EUR": "15.00"},
        rejected=[
            (2, "unit_price is '7.12345'"), (3, "product_id is the error #N/A"),
            (4, "unit_price is a formula"), (5, "product_id is TRUE"), (6, "product_id is a time"),
            (7, "unit_price is '0.30000000000000004'"),
        ],
    ),
    "two sheets and none named": Ugly(
        "which one?", Sheets({"Orders": [CELLS], "Old": [CELLS]}), mapping(), "orders.xlsx",
        refused="has the sheets 'Orders', 'Old'",
    ),
    "a sheet by name below its title": Ugly(
        "two title rows and a blank one, then the header; the row numbers are Excel's",
        Sheets({"Cover": [["x"]], "Orders": [
            ["Orders of March"], [], ["made by", "Ann"], CELLS,
            ["@1", NINE, "mug", 2, 7.5], ["@2", "soon", "mug", 2, 7.5],
        ]}),
        mapping('sheet = "Orders"\nheader = "find"'), "orders.xlsx", events=1,
        totals={"EUR": "15.00"}, rejected=[(6, "time is 'soon'")],
        skipped={"title lines": 2, "blank lines": 1},
    ),
    "a sheet that is not there": Ugly(
        "the mapping is for another workbook", Sheets({"Orders": [CELLS]}),
        mapping('sheet = "Bestellungen"'), "orders.xlsx", refused="no sheet 'Bestellungen'",
    ),
    "a sheet of a text file": Ugly(
        "a text has no sheets", lines(f"@1;{MUG}"), mapping(SEMICOLON + '\nsheet = "Orders"'),
        refused="is no workbook",
    ),
    "days and clock times in a workbook": Ugly(
        "typed cells in two columns; the clock is Berlin's",
        Sheets({"Orders": [
            TWO.split(";"),
            ["@1", date(2026, 3, 1), time(9, 30), "mug", 2, 7.5],
            ["@2", date(2026, 3, 1), None, "mug", 2, 7.5],
        ]}),
        mapping(when='date = "date"\ntime_of_day = "time"', time=BERLIN), "orders.xlsx", events=1,
        totals={"EUR": "15.00"}, rejected=[(3, "time_of_day is empty")],
        placed={"@1": "2026-03-01 08:30:00"},
    ),
    "days and midnights in a workbook": Ugly(
        "a cell shown as a day is that day, one shown with its time is midnight",
        Sheets({"Orders": [
            CELLS,
            ["@1", (datetime(2026, 3, 1), "dd.mm.yyyy"), "mug", 2, 7.5],  # noqa: DTZ001
            ["@2", (datetime(2026, 3, 1), "dd.mm.yyyy hh:mm"), "mug", 2, 7.5],  # noqa: DTZ001
        ]}),
        mapping(time=BERLIN), "orders.xlsx", events=2, totals={"EUR": "30.00"},
        placed={"@1": "2026-03-01 12:00:00", "@2": "2026-02-28 23:00:00"},
    ),
    "a bare number for a time": Ugly(
        "46082.5 is a time only if the mapping says so",
        Sheets({"Orders": [CELLS, ["@1", 46082.5, "mug", 2, 7.5]]}), mapping(), "orders.xlsx",
        rejected=[(2, "time is '46082.5'")],
    ),
    "numbers for names": Ugly(
        "a product 4711 is 4711, not 4711.0; a number beyond 15 digits is not what was typed",
        Sheets({"Orders": [
            CELLS, ["@1", NINE, 4711, 2.0, 7], ["@2", NINE, 12345678901234567, 1, 7],
        ]}),
        mapping(), "orders.xlsx", events=1, totals={"EUR": "14.00"},
        rejected=[(3, "more than 15 digits")],
    ),
}  # fmt: skip

NOTE = f"{HEAD};note"
SHAPES = {
    "quotes": Ugly(
        "a delimiter and quotes inside", lines('@1;2026-03-01T09:30:00;"mug; ""big""";2;7.50'),
        PLAIN, events=1, totals={"EUR": "15.00"}, fill=OPEN,
    ),
    "a line end inside a field": Ugly(
        "the note takes two lines, so the bad row is line 4",
        lines(f'@1;{MUG};"first\nsecond"', "@2;never;mug;2;7.50;", head=NOTE), PLAIN, events=1,
        totals={"EUR": "15.00"}, rejected=[(4, "time is 'never'")], fill=OPEN,
    ),
    "a quote that never ends": Ugly(
        "it spoils its line and no other",
        lines(f"@1;{MUG}", '@2;2026-03-01T09:30:00;"mug;2;7.50', f"@3;{MUG}"), PLAIN, events=2,
        totals={"EUR": "30.00"}, rejected=[(3, "it is not delimited text")],
    ),
    "a NUL": Ugly(
        "one zero byte is a bad field, not a binary file",
        lines(*(f"@{n};{MUG}" for n in range(1, 4)), "@4;2026-03-01T09:30:00;m\0ug;2;7.50"), PLAIN,
        events=3, totals={"EUR": "45.00"}, rejected=[(5, "holds a control character")],
    ),
    "nothing": Ugly("an empty file has no header", "", PLAIN, refused="is empty"),
    "a header only": Ugly("a day without orders", lines(), PLAIN),
    "a column twice": Ugly(
        "which price?", lines(f"@1;{MUG};8", head=f"{HEAD};price"), PLAIN,
        refused="has more than once the column 'price'",
    ),
    "a column that is missing": Ugly(
        "the header is shown", lines("@1;x", head="order;time"), PLAIN,
        refused="lacks the column 'product'",
    ),
    "the wrong delimiter": Ugly(
        "one column of everything", lines(f"@1;{MUG}"), mapping(), refused="lacks the column",
    ),
    "delimiters at the end of rows": Ugly(
        "a field too many: what was in it, and which one is it?",
        lines(f"@1;{MUG};", f"@2;{MUG}"), PLAIN, events=1, totals={"EUR": "15.00"},
        rejected=[(2, "it has 6 fields, the header has 5")],
    ),
    "delimiters at the end of all lines": Ugly(
        "a column without a name; rows of nothing but delimiters hold nothing",
        lines(f"@1;{MUG};", ";;;;;", head=HEAD + ";"), PLAIN, events=1, totals={"EUR": "15.00"},
        skipped={"blank lines": 1}, fill=OPEN,
    ),
    "blanks around names and values": Ugly(
        "they mean nothing",
        lines("@1 ; 2026-03-01T09:30:00;mug ; 2;7.50", head=" order;time ;product;qty; price"),
        PLAIN, events=1, totals={"EUR": "15.00"}, fill=OPEN,
    ),
    "goods that came back": Ugly(
        "15.00 - 7.50", lines(f"@1;{MUG}", "@1;2026-03-09T09:30:00;mug;-1;7.50"), PLAIN, events=2,
        totals={"EUR": "7.50"}, fill=OPEN,
    ),
    "a negative quantity that is a mistake": Ugly(
        "the mapping says so", lines(f"@1;{MUG}", "@1;2026-03-09T09:30:00;mug;-1;7.50"),
        mapping(SEMICOLON + '\nnegative_quantity = "reject"'), events=1, totals={"EUR": "15.00"},
        rejected=[(3, "quantity is '-1'")],
    ),
    "a row of totals": Ugly(
        "it is no order", lines(f"@1;{MUG}", f"@2;{MUG}", "Total;;;4;30.00"), PLAIN, events=2,
        totals={"EUR": "30.00"}, rejected=[(4, "product_id is empty")], fill=OPEN,
    ),
    "mixed line ends": Ugly(
        "of Windows, Unix, and old Macintosh", f"{HEAD}\r\n@1;{MUG}\n@2;{MUG}\r@3;never;mug;2;7.50",
        PLAIN, events=2, totals={"EUR": "30.00"}, rejected=[(4, "time is 'never'")], fill=OPEN,
    ),
    "title lines": Ugly(
        "the header is line 3", lines(f"@1;{MUG}", head=f"My shop\nOrders of March\n{HEAD}"),
        mapping(SEMICOLON + "\nheader = 3"), events=1, totals={"EUR": "15.00"},
        skipped={"title lines": 2}, fill=OPEN,
    ),
    "title lines of any number": Ugly(
        "the header is the line with the mapped columns",
        lines(f"@1;{MUG}", head=f"My shop;;;;\n\n{HEAD}"), mapping(SEMICOLON + '\nheader = "find"'),
        events=1, totals={"EUR": "15.00"}, skipped={"title lines": 1, "blank lines": 1},
    ),
    "two lines that could be the header": Ugly(
        "two exports in one file: are the lines above the second one titles?",
        lines(f"@1;{MUG}", HEAD, f"@2;{MUG}"), mapping(SEMICOLON + '\nheader = "find"'),
        refused="lines 1 and 3",
    ),
    "a header that comes again": Ugly(
        "the first line is the header, the other one a bad row",
        lines(f"@1;{MUG}", HEAD, f"@2;{MUG}"), PLAIN, events=2, totals={"EUR": "30.00"},
        rejected=[(3, "time is 'time'")],
    ),
    "no line that could be the header": Ugly(
        "what is looked for is named", lines(f"@1;{MUG}", head="a;b;c;d;e"),
        mapping(SEMICOLON + '\nheader = "find"'), refused="no line of",
    ),
    "words of another language": Ugly(
        "German names of columns", lines("@1;01.03.2026 09:30;Becher;2;7,50;4711",
        head="Bestellnummer;Bestelldatum;Artikelnummer;Menge;Einzelpreis (EUR);Kundennummer"),
        'delimiter = ";"\ndecimal_mark = ","\n[columns]\norder_id = "Bestellnummer"\n'
        'time = "Bestelldatum"\nproduct_id = "Artikelnummer"\nquantity = "Menge"\n'
        'unit_price = "Einzelpreis (EUR)"\ncustomer_id = "Kundennummer"\n'
        '[constants]\ncurrency = "EUR"\n[time]\nformat = "%d.%m.%Y %H:%M"\n' + BERLIN,
        events=1, totals={"EUR": "15.00"}, placed={"@1": "2026-03-01 08:30:00"},
        fill={"time.zone": '"Europe/Berlin"'},
    ),
}  # fmt: skip

ID_TWICE = event(2, '"id":', '"id":"x","id":')
NAN = event(2, '"7.50"', "NaN")
FIVE = event(2, "7.50", "7.50001")
SURROGATE = event(2, "mug", r"\ud800")
NUL = event(2, "mug", "m\0g")
NO_ZONE = event(2, "00Z", "00")
NDJSON = {
    "ndjson with a mark, blank lines, Windows": Ugly(
        "two events", f"\r\n{event(1)}\r\n\r\n{event(2)}\r\n", encoding="utf-8-sig",
        events=2, totals={"EUR": "30.00"},
    ),
    "ndjson that stops in a line": Ugly(
        "the last line is no JSON", f"{event(1)}\n{event(2)[:90]}", events=1,
        totals={"EUR": "15.00"}, rejected=[(2, "")],
    ),
    "ndjson with a key twice": Ugly(
        "which id?", f"{event(1)}\n{ID_TWICE}\n", events=1,
        totals={"EUR": "15.00"}, rejected=[(2, "id")],
    ),
    "ndjson with not a number": Ugly(
        "NaN is no JSON", f"{event(1)}\n{NAN}\n", events=1,
        totals={"EUR": "15.00"}, rejected=[(2, "")],
    ),
    "ndjson with money of five places": Ugly(
        "nothing is rounded", f"{event(1)}\n{FIVE}\n", events=1,
        totals={"EUR": "15.00"}, rejected=[(2, "unit_price")],
    ),
    "ndjson with two events in a line": Ugly(
        "one line is one event", f"{event(1)}\n{event(2)}{event(3)}\n", events=1,
        totals={"EUR": "15.00"}, rejected=[(2, "")],
    ),
    "ndjson that is an array": Ugly(
        "a list is no event", f"{event(1)}\n[{event(2)}]\n", events=1,
        totals={"EUR": "15.00"}, rejected=[(2, "")],
    ),
    "ndjson with half a surrogate": Ugly(
        "it is no character", f"{event(1)}\n{SURROGATE}\n",
        events=1, totals={"EUR": "15.00"}, rejected=[(2, "")],
    ),
    "ndjson with a NUL": Ugly(
        "a control character in a name", f"{event(1)}\n{NUL}\n",
        events=1, totals={"EUR": "15.00"}, rejected=[(2, "")],
    ),
    "ndjson with a time without a zone": Ugly(
        "whose noon?", f"{event(1)}\n{NO_ZONE}\n", events=1,
        totals={"EUR": "15.00"}, rejected=[(2, "time")],
    ),
    "ndjson in utf-16": Ugly(
        "JSON is UTF-8", f"{event(1)}\n", encoding="utf-16", refused="is text in UTF-16",
    ),
    "ndjson in zstd": Ugly(
        "compressed", f"{event(1)}\n", packed="zstd", events=1, totals={"EUR": "15.00"},
    ),
}  # fmt: skip

GROUPS = (ENCODINGS, MARKS, DATES, TWINS, AMOUNTS, PACKED, EXCEL, SHAPES, NDJSON)
CASES: dict[str, Ugly] = {name: one for group in GROUPS for name, one in group.items()}


def packed(content: bytes, how: str) -> bytes:
    """The bytes, compressed as the case says."""
    if how.startswith("gzip"):
        whole = gzip.compress(content)
        return whole[: len(whole) // 2] if how.endswith("cut") else whole
    return zstandard.compress(content) if how == "zstd" else content
