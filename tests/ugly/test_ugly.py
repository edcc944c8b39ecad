"""Every ugly file comes out as its table says: events, sums, rejected rows, or a refusal.

All files are imported into one home, by the command; what came of each is told apart by its orders.
"""

from __future__ import annotations

import io
import json
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import openpyxl
import pytest

from tests.e2e.command import Headrace, Outcome
from tests.ugly.cases import CASES, Sheets, Ugly, packed

pytestmark = pytest.mark.xdist_group("ugly files")

TRIED = {name: one for name, one in CASES.items() if one.fill is not None}
"""Those for which `--guess` writes the mapping."""


@dataclass
class Found:
    """What came of the files."""

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    totals: dict[str, dict[str, Decimal]] = field(default_factory=lambda: defaultdict(dict))
    placed: dict[str, str] = field(default_factory=dict)
    rejected: dict[str, list[tuple[int, str]]] = field(default_factory=lambda: defaultdict(list))


def content_of(one: Ugly, mark: str) -> bytes:
    """The file's bytes, with the mark of its orders in it."""
    if isinstance(one.content, Sheets):
        return workbook(one.content, mark)
    text = one.content
    raw = text if isinstance(text, bytes) else text.replace("@", mark).encode(one.encoding)
    return packed(raw, one.packed)


def workbook(content: Sheets, mark: str) -> bytes:
    book = openpyxl.Workbook()
    book.remove(book.active)
    for title, rows in content.sheets.items():
        sheet = book.create_sheet(title)
        for r, row in enumerate(rows, 1):
            for c, given in enumerate(row, 1):
                value, form = given if isinstance(given, tuple) else (given, None)
                cell = sheet.cell(
                    r, c, value.replace("@", mark) if isinstance(value, str) else value
                )
                if form is not None:
                    cell.number_format = form
    into = io.BytesIO()
    book.save(into)
    return into.getvalue()


def call(headrace: Headrace, one: Ugly, folder: Path, mark: str, mapping: str) -> Outcome:
    """Import or append the file of a case."""
    content = content_of(one, mark)
    path: object = "-"
    if one.name != "-":
        path = folder / one.name
        path.write_bytes(content)
    if not mapping:
        return headrace.fed(content, "append", path, "--json")
    toml = folder / "it's mine.toml"
    toml.write_text(mapping, encoding="utf-8")
    return headrace.fed(content, "import", "csv", "--mapping", toml, path, "--json")


def read(headrace: Headrace, found: Found, folders: dict[Path, str]) -> Found:
    """Read the sums, times and rejected rows of all cases out of the home."""
    headrace.json("speed", "--once")
    for order, currency, amount in headrace.rows(
        "SELECT order_id, currency, sum(amount) FROM ledger GROUP BY ALL"
    ):
        sums = found.totals[order.split("-")[0]]
        sums[currency] = sums.get(currency, Decimal(0)) + Decimal(amount)
    for order, placed in headrace.rows("SELECT order_id, placed_at FROM orders"):
        at = datetime.fromisoformat(placed)
        found.placed[order] = str(at.astimezone(UTC).replace(tzinfo=None) if at.tzinfo else at)
    for entry in headrace.json("quarantine", "ls", "-n", 1000)["entries"]:
        where, _, line = entry["origin"].rpartition(":")
        found.rejected[folders.get(Path(where).parent, where)].append((int(line), entry["reason"]))
    return found


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """What came of all files, imported with the mappings of their cases."""
    base = tmp_path_factory.mktemp("ugly files")
    headrace, found = Headrace(base / "home"), Found()
    folders: dict[Path, str] = {}
    for number, (name, one) in enumerate(CASES.items()):
        folder = base / str(number)
        folder.mkdir()
        folders[folder] = name
        found.outcomes[name] = call(headrace, one, folder, f"{number}-", one.mapping)
    return read(headrace, found, folders)


def check(one: Ugly, name: str, number: int, found: Found) -> None:
    outcome = found.outcomes[name]
    assert "Traceback" not in outcome.err
    assert {c: str(t) for c, t in found.totals[str(number)].items()} == {
        c: f"{Decimal(t):.4f}" for c, t in one.totals.items()
    }
    where = name if one.name != "-" else "-"
    rejected = sorted(found.rejected[where])
    if one.refused:
        outcome.refused(1, one.refused)
        assert rejected == []
        return
    assert outcome.code == (1 if one.rejected and not one.events else 0), outcome.err
    report = json.loads(outcome.out)
    assert (report["accepted"], report["quarantined"]) == (one.events, len(one.rejected))
    assert [line for line, _ in rejected] == [line for line, _ in one.rejected], rejected
    for (_, reason), (_, words) in zip(rejected, one.rejected, strict=True):
        assert words in reason
    assert {what: n for what, n in report["skipped"].items() if n} == one.skipped
    if one.mapping:
        assert report["identical_rows"] == one.twins
    for order, at in one.placed.items():
        assert found.placed[order.replace("@", f"{number}-")] == at


@pytest.mark.parametrize("name", CASES)
def test_an_ugly_file_comes_out_as_the_table_says(name: str, found: Found) -> None:
    check(CASES[name], name, list(CASES).index(name), found)
