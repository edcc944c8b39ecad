"""What importers share, and UCI Online Retail against its truth."""

from __future__ import annotations

import json
import os
from collections import Counter, defaultdict
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from headrace.pipelines.errors import ContractError
from headrace.pipelines.ingest.delimited import ImportedFile, money, records, ten_thousandths
from headrace.pipelines.ingest.uci_online_retail import HEADER, uci_online_retail
from headrace.schemas.validate import validate

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("HEADRACE_UCI_DATA", ROOT / "../shared/data/uci_online_retail"))


def events_of(*files: ImportedFile) -> list[dict[str, Any]]:
    return [json.loads(line) for file in files for line in file.lines]


# Exact money and records


@pytest.mark.parametrize(
    ("text", "amount", "shown"),
    [
        ("2.55", 25_500, "2.55"),
        ("0.001", 10, "0.001"),
        ("-11062.06", -110_620_600, "-11062.06"),
        ("7", 70_000, "7.00"),
        ("7.50000", 75_000, "7.50"),
        ("0.1234", 1_234, "0.1234"),
        ("-0.5", -5_000, "-0.50"),
        ("99999999999999.9999", 999_999_999_999_999_999, "99999999999999.9999"),
    ],
)
def test_money_is_read_and_written_exactly(text: str, amount: int, shown: str) -> None:
    assert ten_thousandths(text) == amount
    assert money(amount) == shown


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        ".5",
        "1.",
        "1e3",
        "+1",
        "1,5",
        " 1",
        "NaN",
        "0.12345",
        "1" * 15,
        "1" + "0" * 20,
        "\u0661",
    ],
)
def test_text_that_is_no_exact_money_is_none(text: str) -> None:
    assert ten_thousandths(text) is None


def test_an_unclosed_quote_spoils_its_own_line_only() -> None:
    lines = ["a,b\n", 'c,"d\n', "e,f\n", "g,h"]
    read = list(records(lines))
    assert [record.fields for record in read if record.problem is None] == [
        ["a", "b"],
        ["e", "f"],
        ["g", "h"],
    ]
    assert [(record.first, record.end) for record in read] == [(0, 1), (1, 2), (2, 3), (3, 4)]


def test_a_quoted_field_may_hold_a_line_end() -> None:
    read = list(records(['a,"b\n', 'c"\n', "d,e\n"]))
    assert [(record.first, record.end, record.fields) for record in read] == [
        (0, 2, ["a", "b\nc"]),
        (2, 3, ["d", "e"]),
    ]


# UCI Online Retail, small


def uci_file(folder: Path, *rows: str, name: str = "day.csv") -> Path:
    path = folder / name
    path.write_text("\n".join([",".join(HEADER), *rows, ""]), encoding="utf-8")
    return path


SALE = "536365,85123A,HEART,6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom"


def test_an_invoice_becomes_an_order_and_its_payment(tmp_path: Path) -> None:
    free = "536365,22720,TIN,1,2010-12-01 08:25:00,0.0,17850.0,United Kingdom"
    (imported,) = uci_online_retail([uci_file(tmp_path, SALE, SALE, free)])
    shared = {"specversion": "1.0", "source": "uci/online-retail", "subject": "536365"}
    line = {"product_id": "85123A", "quantity": 6, "unit_price": "2.55"}
    assert events_of(imported) == [
        {
            **shared,
            "id": "uci-536365-placed",
            "type": "OrderPlaced",
            "time": "2010-12-01T08:25:00Z",
            "data": {
                "customer_id": "17850",
                "currency": "GBP",
                "country": "United Kingdom",
                "lines": [line, line, {"product_id": "22720", "quantity": 1, "unit_price": "0.00"}],
            },
        },
        {
            **shared,
            "id": "uci-536365-paid",
            "type": "PaymentCaptured",
            "time": "2010-12-01T08:25:00Z",
            "data": {"amount": "30.60"},
        },
    ]
    assert imported.identical_rows == {"sum": 1}, "counted again, and said"


def test_an_invoice_without_a_customer_is_a_guests(tmp_path: Path) -> None:
    (imported,) = uci_online_retail([uci_file(tmp_path, SALE.replace("17850.0", ""))])
    assert events_of(imported)[0]["data"]["customer_id"] is None


def test_a_c_invoice_becomes_a_return_of_the_whole_lines_exactly(tmp_path: Path) -> None:
    row = "C536379,D,Discount,-3,2010-12-01 09:41:00,27.503,,Iceland"
    (imported,) = uci_online_retail([uci_file(tmp_path, row)])
    (event,) = events_of(imported)
    assert (event["id"], event["type"]) == ("uci-C536379-returned", "ItemsReturned")
    assert event["data"] == {
        "currency": "GBP",
        "country": "Iceland",
        "lines": [{"product_id": "D", "quantity": 3, "refund": "82.509"}],
    }


def test_an_a_invoice_becomes_a_signed_adjustment(tmp_path: Path) -> None:
    row = "A563186,B,Adjust bad debt,1,2011-08-12 14:51:00,-11062.06,,United Kingdom"
    (imported,) = uci_online_retail([uci_file(tmp_path, row)])
    (event,) = events_of(imported)
    assert (event["id"], event["type"]) == ("uci-A563186-adjusted", "AdjustmentBooked")
    assert event["data"] == {"currency": "GBP", "amount": "-11062.06", "reason": "bad debt"}


def test_a_write_off_is_counted_and_makes_no_event(tmp_path: Path) -> None:
    row = "536589,21777,,-10,2010-12-01 16:50:00,0.0,,United Kingdom"
    (imported,) = uci_online_retail([uci_file(tmp_path, row)])
    assert (imported.lines, imported.skipped, imported.rows) == ([], {"write-offs": 1}, 1)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (SALE.replace(",6,", ",six,"), "Quantity is 'six'"),
        (SALE.replace(",6,", ",0,"), "Quantity 0 at UnitPrice 2.55 is neither"),
        (SALE.replace(",6,", ",-6,"), "Quantity -6 at UnitPrice 2.55 is neither"),
        (SALE.replace("2.55", "-2.55"), "Quantity 6 at UnitPrice -2.55 is neither"),
        (SALE.replace("2.55", "2.55555"), "UnitPrice is '2.55555'"),
        (SALE.replace("2010-12-01", "2010-13-01"), "InvoiceDate is '2010-13-01 08:26:00'"),
        (SALE.replace("536365", ""), "InvoiceNo is empty"),
        (SALE.replace("85123A", ""), "StockCode is empty"),
        (SALE.replace(",United Kingdom", ""), "it has 7 fields instead of 8"),
        (SALE.replace("HEART", '"HEART'), "it is not delimited text"),
    ],
)
def test_a_row_that_cannot_be_mapped_is_reported_with_its_line(
    tmp_path: Path, row: str, reason: str
) -> None:
    (imported,) = uci_online_retail([uci_file(tmp_path, SALE, row, SALE)])
    (rejected,) = imported.rejected
    assert (rejected.line_no, rejected.raw) == (3, row.encode())
    assert reason in rejected.reason
    assert len(events_of(imported)[0]["data"]["lines"]) == 2


def test_an_invoice_of_which_no_row_can_be_mapped_makes_no_event(tmp_path: Path) -> None:
    (imported,) = uci_online_retail([uci_file(tmp_path, SALE.replace("85123A", ""))])
    assert (imported.lines, len(imported.rejected)) == ([], 1)


def test_a_copy_of_the_data_set_with_american_dates_is_read(tmp_path: Path) -> None:
    row = SALE.replace("2010-12-01 08:26:00", "12/1/2010 8:26")
    (imported,) = uci_online_retail([uci_file(tmp_path, row)])
    assert events_of(imported)[0]["time"] == "2010-12-01T08:26:00Z"


def test_a_file_of_something_else_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "other.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(ContractError, match=r"other\.csv is no file of UCI .* use `import csv`"):
        list(uci_online_retail([path]))


def test_an_invoice_in_two_files_is_refused_because_one_would_be_lost(tmp_path: Path) -> None:
    paths = [uci_file(tmp_path, SALE, name="a.csv"), uci_file(tmp_path, SALE, name="b.csv")]
    with pytest.raises(ContractError, match=r"invoice 536365 is in .*a\.csv and in .*b\.csv"):
        list(uci_online_retail(paths))


# UCI Online Retail, all of it


@pytest.fixture(scope="module")
def uci() -> list[ImportedFile]:
    paths = sorted((DATA / "by-day").glob("*.csv"))
    if not paths:
        pytest.skip("no UCI Online Retail data; set HEADRACE_UCI_DATA to its folder")
    return list(uci_online_retail(paths))


def movements(files: list[ImportedFile]) -> list[tuple[str, str, str | None, int, Decimal]]:
    """(kind, month, product, units, signed money) of each line of each event but payments."""
    found = []
    for event in events_of(*files):
        kind, month, data = event["type"], event["time"][:7], event["data"]
        for line in data.get("lines", []):
            quantity = line["quantity"]
            if kind == "OrderPlaced":
                amount = quantity * Decimal(line["unit_price"])
                found.append((kind, month, line["product_id"], quantity, amount))
            else:
                amount = -Decimal(line["refund"])
                found.append((kind, month, line["product_id"], -quantity, amount))
        if kind == "AdjustmentBooked":
            found.append((kind, month, None, 0, Decimal(data["amount"])))
    return found


def test_uci_every_row_of_the_files_is_in_an_event_or_counted(uci: list[ImportedFile]) -> None:
    written_off = sum(file.skipped["write-offs"] for file in uci)
    kinds = Counter(kind for kind, *_ in movements(uci))
    assert len(uci) == 305
    assert sum(file.rows for file in uci) == 541_909
    assert written_off == 1_336
    assert sum(len(file.rejected) for file in uci) == 0
    assert kinds == {"OrderPlaced": 530_103 + 1_179, "ItemsReturned": 9_288, "AdjustmentBooked": 3}
    assert kinds.total() + written_off == 541_909


def test_uci_events_are_as_many_as_invoices(uci: list[ImportedFile]) -> None:
    events = events_of(*uci)
    kinds = Counter(event["type"] for event in events)
    assert len({event["id"] for event in events}) == len(events)
    assert (kinds["ItemsReturned"], kinds["AdjustmentBooked"]) == (3_836, 3)
    assert kinds["OrderPlaced"] == kinds["PaymentCaptured"] == 25_900 - 3_836 - 3 - 1_336
    with_sales = sum(
        any(Decimal(line["unit_price"]) for line in event["data"]["lines"])
        for event in events
        if event["type"] == "OrderPlaced"
    )
    assert with_sales == 19_959
    assert max(len(event["data"].get("lines", [])) for event in events) == 1_114


def test_uci_money_is_the_truth_to_the_last_decimal(uci: list[ImportedFile]) -> None:
    sums: dict[str, Decimal] = defaultdict(Decimal)
    months: dict[str, Decimal] = defaultdict(Decimal)
    products: dict[str | None, Decimal] = defaultdict(Decimal)
    for kind, month, product, _, amount in movements(uci):
        sums[kind] += amount
        months[month] += amount
        products[product] += amount
    assert sums == {
        "OrderPlaced": Decimal("10655622.4840"),
        "ItemsReturned": Decimal("-896812.4900"),
        "AdjustmentBooked": Decimal("-11062.0600"),
    }
    by_month = [f"{months[month]:.4f}" for month in sorted(months)]
    assert " ".join(by_month) == (
        "748957.0200 560000.2600 498062.6500 683267.0800 493207.1210 723333.5100 691123.1200 "
        "681300.1110 682680.5100 1019687.6220 1070704.6700 1461756.2500 433668.0100"
    )
    top = sorted(products, key=lambda product: -products[product])[:5]
    assert {product: products[product] for product in top} == {
        "DOT": Decimal("206245.48"),
        "22423": Decimal("164762.19"),
        "47566": Decimal("98302.98"),
        "85123A": Decimal("97894.50"),
        "85099B": Decimal("92356.03"),
    }


def test_uci_payments_are_the_sales(uci: list[ImportedFile]) -> None:
    paid = sum(
        Decimal(event["data"]["amount"])
        for event in events_of(*uci)
        if event["type"] == "PaymentCaptured"
    )
    assert paid == Decimal("10655622.484")


def test_uci_events_of_a_file_are_in_the_order_of_their_time(uci: list[ImportedFile]) -> None:
    for file in uci:
        times = [event["time"] for event in events_of(file)]
        assert times == sorted(times)


def test_uci_events_keep_the_contract(uci: list[ImportedFile]) -> None:
    for line in uci[0].lines + uci[-1].lines:
        validate(line)
