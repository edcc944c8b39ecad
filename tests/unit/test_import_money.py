"""Import of shipping, discount, tax, categories: what an event holds, which keys need others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from headrace.pipelines.errors import ContractError
from headrace.pipelines.ingest.cells import Cell
from headrace.pipelines.ingest.csv_mapping import CsvMapping
from headrace.pipelines.ingest.csv_orders import csv_orders
from headrace.schemas.validate import validate

HEAD = "order,time,product,units,price,ship,off,vat,kind"
COLUMNS = """
[columns]
order_id = "order"
time = "time"
product_id = "product"
quantity = "units"
unit_price = "price"
shipping = "ship"
discount = "off"
tax = "vat"
category = "kind"
[constants]
currency = "EUR"
[per]
shipping = "order"
discount = "row"
tax = "row"
"""


def read(folder: Path, toml: str, *rows: str) -> tuple[list[dict[str, Any]], list[str]]:
    """The events, and why rows were rejected."""
    (folder / "shop.toml").write_text(toml, encoding="utf-8")
    (folder / "shop.csv").write_text("\n".join([HEAD, *rows, ""]), encoding="utf-8")
    (file,) = csv_orders([folder / "shop.csv"], CsvMapping.load(folder / "shop.toml"))
    for line in file.lines:
        validate(line)
    return [json.loads(line) for line in file.lines], [row.reason for row in file.rejected]


def test_shipping_discount_and_tax_are_the_orders_and_a_category_is_the_lines(
    tmp_path: Path,
) -> None:
    events, rejected = read(
        tmp_path,
        "prices_include_tax = true\npaid = true\n" + COLUMNS,
        "o-1,2026-03-01,mug,2,7.50,4.90,1.00,2.39,kitchen",
        "o-1,2026-03-01,nut,1,3.00,4.90,,0.48,",
    )
    assert rejected == []
    assert events[0]["data"] == {
        "customer_id": None,
        "currency": "EUR",
        "shipping": "4.90",
        "discount": "1.00",
        "tax": "2.87",
        "prices_include_tax": True,
        "lines": [
            {"product_id": "mug", "quantity": 2, "unit_price": "7.50", "category": "kitchen"},
            {"product_id": "nut", "quantity": 1, "unit_price": "3.00"},
        ],
    }
    # 18.00 + 4.90 - 1.00; the tax is in the prices.
    assert events[1]["data"] == {"amount": "21.90"}


def test_an_order_without_any_of_them_says_nothing_of_them(tmp_path: Path) -> None:
    events, _ = read(
        tmp_path, "prices_include_tax = false\n" + COLUMNS, "o-1,2026-03-01,mug,2,7.50,,,,"
    )
    assert set(events[0]["data"]) == {"customer_id", "currency", "prices_include_tax", "lines"}


def test_a_row_that_contradicts_leaves_the_order_as_it_was(tmp_path: Path) -> None:
    events, rejected = read(
        tmp_path,
        "prices_include_tax = true\n" + COLUMNS,
        "o-1,2026-03-01,mug,2,7.50,4.90,1.00,,",
        "o-1,2026-03-01,nut,1,3.00,,2.00,,",
    )
    assert events[0]["data"]["discount"] == "1.00"
    assert len(events[0]["data"]["lines"]) == 1
    (reason,) = rejected
    assert reason.startswith("shipping 0.00 differs from 4.90 of line 2, which is the same order")


@pytest.mark.parametrize(
    ("shipping", "said"), [("0.00", ""), ("", ""), ("4.90", ""), ("5.00", "a return has no")]
)
def test_a_return_may_repeat_the_shipping_of_its_sale_and_no_other(
    tmp_path: Path, shipping: str, said: str
) -> None:
    events, rejected = read(
        tmp_path,
        "prices_include_tax = true\n" + COLUMNS,
        f"o-1,2026-03-09,mug,-1,7.50,{shipping},,-1.20,",
        "o-1,2026-03-01,mug,2,7.50,4.90,,2.40,",
    )
    assert [reason[:15] for reason in rejected] == ([said] if said else [])
    if not said:
        assert events[1]["data"]["tax"] == "-1.20"
        assert "shipping" not in events[1]["data"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('shipping = "order"\n', "", r"per\.shipping is missing; say in \[per\]"),
        ('shipping = "ship"\n', "", r"per\.shipping is there, and columns\.shipping is not"),
        ('shipping = "order"', 'shipping = "once"', r"per\.shipping is 'once'; give \"order\""),
        ('shipping = "order"', 'freight = "order"', r"per\.freight is not a key .* known are ship"),
        ("[columns]", "discount_sign = '±'\n[columns]", "discount_sign is '±'; give"),
        ("prices_include_tax = true", "", "prices_include_tax is missing; a column of tax"),
        ("tax = true", "tax = false\npaid = true", "what was paid is more than the prices"),
        ("[columns]", "currency_sign = '1'\n[columns]", "currency_sign is '1'; give a sign"),
        ('time = "time"', "", r"columns\.time is missing; .* or date and time_of_day"),
        ('time = "time"', 'date = "time"', r"columns\.time is missing"),
        ('category = "kind"', 'date = "kind"', r"columns\.time is there, and columns\.date too"),
        ("[columns]", "header = 0\n[columns]", "header is 0; give the number of its line"),
        ("[columns]", "header = 'seek'\n[columns]", "header is 'seek'; give the number"),
        ("[columns]", "header = true\n[columns]", "header is True; give the number"),
        ("[columns]", "identical_rows = 'drop'\n[columns]", "identical_rows is 'drop'; give"),
        ("[columns]", "sheet = ''\n[columns]", "sheet is ''; give the name of a sheet"),
        ("[columns]", "fill_in = 'time'\n[columns]", "fill_in must be a list of keys"),
        ("[columns]", "fill_in = ['time.zone']\n[columns]", r"time\.zone is still to fill in: add"),
        (
            "[columns]",
            "fill_in = ['paid']\n[columns]",
            "paid is still to fill in: .* above the fir",
        ),
    ],
)
def test_keys_that_mean_nothing_alone_are_refused_with_the_remedy(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    toml = "prices_include_tax = true\n" + COLUMNS
    assert old in toml
    with pytest.raises(ContractError, match=message):
        read(tmp_path, toml.replace(old, new, 1))


def test_a_currency_sign_beside_a_currency_column_is_refused(tmp_path: Path) -> None:
    toml = COLUMNS.replace('[constants]\ncurrency = "EUR"', 'currency = "vat2"')
    with pytest.raises(ContractError, match=r"currency_sign is there, and columns\.currency too"):
        read(tmp_path, "currency_sign = '€'\nprices_include_tax = true\n" + toml)


@pytest.mark.parametrize(
    ("stored", "text"),
    [("7.0999999999999996", "7.1"), ("7.5", "7.5"), ("2", "2"), ("2.0", "2"), ("1E-05", "0.00001"),
     ("100000", "100000"), ("-0.07", "-0.07")],
)  # fmt: skip
def test_a_number_of_a_workbook_is_the_shortest_text_of_its_float(stored: str, text: str) -> None:
    cell = Cell.number(float(stored))
    assert (str(cell), str(cell.problem)) == (text, "")


@pytest.mark.parametrize("number", [1e15, -1e300, float("inf"), float("nan"), 10**15])
def test_a_number_that_a_workbook_cannot_have_kept_is_none(number: float) -> None:
    assert Cell.number(number).value is None
    assert "more than 15 digits" in Cell.number(number).problem
