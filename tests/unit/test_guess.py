"""What is guessed of somebody's file, what is left open, and what is said of it."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from headrace.pipelines.errors import ContractError
from headrace.pipelines.ingest.guess import Guess, guess

LANGUAGES = {
    "English": "Order number,Order date,SKU,Qty,Unit price,Customer ID,Country,Shipping cost,"
    "Discount",
    "German": "Bestell-Nr.,Bestelldatum,Artikelnummer,Menge,Einzelpreis,Kundennummer,Land,"
    "Versandkosten,Rabatt",
    "French": "N° de commande,Date de commande,Référence produit,Quantité,Prix unitaire,"
    "N° client,Pays,Frais de port,Remise",
    "Spanish": "Nº de pedido,Fecha de pedido,Código producto,Cantidad,Precio unitario,"
    "Código cliente,País,Gastos de envío,Descuento",
    "Italian": "Numero ordine,Data ordine,Codice articolo,Quantità,Prezzo unitario,"
    "Codice cliente,Paese,Spese di spedizione,Sconto",
}
FIELDS = (
    "order_id", "time", "product_id", "quantity", "unit_price", "customer_id", "country",
    "shipping", "discount",
)  # fmt: skip


def guessed(folder: Path, *lines: str) -> Guess:
    path = folder / "export.csv"
    path.write_text("\n".join([*lines, ""]), encoding="utf-8")
    return guess(path)


@pytest.mark.parametrize("language", LANGUAGES)
def test_columns_are_known_by_their_names_in_five_languages(language: str, tmp_path: Path) -> None:
    head = LANGUAGES[language]
    found = guessed(tmp_path, head, "1,2026-03-01,mug,2,7.50,c-7,DE,4.90,0.10")
    columns = tomllib.loads(found.toml())["columns"]
    assert columns == dict(zip(FIELDS, head.split(","), strict=True))


def test_two_columns_that_could_be_the_same_are_named_and_neither_is_taken(tmp_path: Path) -> None:
    found = guessed(
        tmp_path, "Order ID,Order no,Date,SKU,Qty,Unit price", "1,2,2026-03-01,mug,2,7.50"
    )
    assert "columns.order_id" in found.open
    assert found.notes["columns.order_id"] == ["it could be 'Order ID' or 'Order no'"]


def test_the_total_of_a_line_is_no_price(tmp_path: Path) -> None:
    found = guessed(tmp_path, "Order,Date,SKU,Qty,Total", "1,2026-03-01,mug,2,15.00")
    assert "columns.unit_price" in found.open
    assert found.notes["columns.unit_price"] == [
        "no column's name says it; 'Total' looks like a total"
    ]


def test_a_date_of_two_readings_is_told_with_both(tmp_path: Path) -> None:
    found = guessed(tmp_path, "Order,Date,SKU,Qty,Unit price", "1,03/04/2026,mug,2,7.50")
    (note,) = found.notes["time.format"]
    assert "'03/04/2026' is 03 April 2026 by '%d/%m/%Y' or 04 March 2026 by '%m/%d/%Y'" in note
    assert "time.format" in found.open


def test_a_year_of_two_digits_can_stand_first_or_last(tmp_path: Path) -> None:
    found = guessed(tmp_path, "Order,Date,SKU,Qty,Unit price", "1,13.04.26,mug,2,7.50")
    (note,) = found.notes["time.format"]
    assert "'13.04.26' is 13 April 2026 by '%d.%m.%y' or 26 April 2013 by '%y.%m.%d'" in note


def test_marks_of_two_readings_are_told_with_both(tmp_path: Path) -> None:
    found = guessed(tmp_path, "Order;Date;SKU;Qty;Unit price", "1;2026-03-01;mug;2;1.249")
    assert found.notes["decimal_mark"] == ["'1.249' is 1.249 or 1249.00"]


def test_prices_of_one_mark_and_two_places_need_no_key(tmp_path: Path) -> None:
    found = guessed(tmp_path, "Order;Date;SKU;Qty;Unit price", "1;2026-03-01;mug;2;7.50")
    assert "decimal_mark" not in found.keys | found.open


def test_a_column_of_percents_is_no_amount(tmp_path: Path) -> None:
    found = guessed(tmp_path, "Order,Date,SKU,Qty,Unit price,VAT %", "1,2026-03-01,mug,2,7.50,19")
    assert "columns.tax" not in found.keys


def test_names_with_line_ends_and_quotes_make_no_broken_mapping(tmp_path: Path) -> None:
    found = guessed(
        tmp_path, 'Order,"Date",SKU,Qty,Unit price,"a ""b""\nfill_in = 1"', "1,2026-03-01,m,1,7.5,x"
    )
    document = tomllib.loads(found.toml())
    assert document["fill_in"] == ["constants.currency"]
    assert document["columns"]["order_id"] == "Order"


def test_a_value_that_cannot_be_printed_makes_no_broken_mapping(tmp_path: Path) -> None:
    found = guessed(tmp_path, "Order;Date;SKU;Qty;Unit price", "1;2026-03-01;m;1;7.50\0")
    assert tomllib.loads(found.toml())["columns"]["unit_price"] == "Unit price"


def test_a_mark_that_cannot_be_seen_is_written_by_its_number(tmp_path: Path) -> None:
    found = guessed(tmp_path, "Order;Date;SKU;Qty;Unit price", "1;2026-03-01;m;1;1\u00a0249,50")
    assert 'thousands_mark = "\\u00a0"' in found.toml()
    assert tomllib.loads(found.toml())["thousands_mark"] == "\u00a0"


@pytest.mark.parametrize("text", ["", "\n\n", "just words\nand more\n"])
def test_a_file_without_columns_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=r"is empty|no delimiter"):
        guessed(tmp_path, text)
