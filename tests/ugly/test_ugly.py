"""Every ugly file comes out as its table says: events, sums, rejected rows, or a refusal.

All files are imported into one home, by the command; what came of each is told apart by its orders.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import openpyxl
import pytest

from headrace.pipelines import bootstrap, settings
from headrace.pipelines.errors import ContractError
from headrace.pipelines.ingest.append import append_lines, import_files
from headrace.pipelines.ingest.csv_mapping import CsvMapping
from headrace.pipelines.ingest.csv_orders import csv_orders
from headrace.pipelines.ingest.delimited import ImportedFile, RejectedRow
from headrace.pipelines.ingest.guess import guess
from headrace.pipelines.ingest.ndjson import read_lines
from tests.e2e.command import Headrace
from tests.ugly.cases import CASES, Sheets, Stored, Ugly, packed

pytestmark = pytest.mark.xdist_group("ugly files")

_STORED = 900_001  # in place of a number, until the workbook is written
TRIED = {name: one for name, one in CASES.items() if one.fill is not None}
"""Those for which `--guess` writes the mapping."""


@dataclass
class Found:
    """What came of the files: read from the home, and what their import counted."""

    files: dict[str, ImportedFile] = field(default_factory=dict)
    events: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    totals: dict[int, dict[str, Decimal]] = field(default_factory=lambda: defaultdict(dict))
    placed: dict[str, str] = field(default_factory=dict)
    rejected: dict[int, list[tuple[int, str]]] = field(default_factory=lambda: defaultdict(list))


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
    stored: dict[int, str] = {}
    for title, rows in content.sheets.items():
        sheet = book.create_sheet(title)
        for r, row in enumerate(rows, 1):
            for c, given in enumerate(row, 1):
                value, form = given if isinstance(given, tuple) else (given, None)
                cell = sheet.cell(r, c)
                if isinstance(value, Stored):
                    stored[_STORED + len(stored)] = value.text
                    value = _STORED + len(stored) - 1
                cell.value = value.replace("@", mark) if isinstance(value, str) else value
                if form is not None:
                    cell.number_format = form
    into = io.BytesIO()
    book.save(into)
    return with_stored(into.getvalue(), stored) if stored else into.getvalue()


def with_stored(content: bytes, stored: Mapping[int, str]) -> bytes:
    """The workbook with numbers as Excel writes them; openpyxl rounds to 15 digits."""
    into = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(into, "w") as new:
        for name in old.namelist():
            part = old.read(name)
            for number, text in stored.items():
                part = part.replace(f"<v>{number}</v>".encode(), f"<v>{text}</v>".encode())
            new.writestr(name, part)
    return into.getvalue()


def written(one: Ugly, folder: Path, number: int) -> tuple[Path, Path]:
    """The file of a case and its mapping, in a folder with the case's number."""
    home = folder / str(number)
    home.mkdir()
    path, toml = home / (one.name if one.name != "-" else "stdin.csv"), home / "it's mine.toml"
    path.write_bytes(content_of(one, f"{number}-"))
    toml.write_text(one.mapping, encoding="utf-8")
    return path, toml


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """What came of all files that are not refused, imported into one home."""
    base = tmp_path_factory.mktemp("ugly files")
    headrace, found = Headrace(base / "home"), Found()
    headrace.run("init")
    appended: list[str] = []
    for number, (name, one) in enumerate(CASES.items()):
        if one.refused:
            continue
        path, toml = written(one, base, number)
        if one.mapping:
            (found.files[name],) = csv_orders([path], CsvMapping.load(toml))
        else:
            appended.append(str(path))
    with bootstrap.open_lake(settings.load(headrace.home)) as lake:
        import_files(lake, found.files.values())
        append_lines(lake, read_lines(appended))
    headrace.json("speed", "--once")
    for order, count, placed in headrace.rows(
        "SELECT order_id, event_count, placed_at FROM orders"
    ):
        found.events[int(order.split("-")[0])] += count
        at = datetime.fromisoformat(placed)
        found.placed[order] = str(at.astimezone(UTC).replace(tzinfo=None) if at.tzinfo else at)
    for order, currency, amount in headrace.rows(
        "SELECT order_id, currency, sum(amount) FROM ledger GROUP BY ALL"
    ):
        sums = found.totals[int(order.split("-")[0])]
        sums[currency] = sums.get(currency, Decimal(0)) + Decimal(amount)
    for entry in headrace.json("quarantine", "ls", "-n", 1000)["entries"]:
        where, _, line = entry["origin"].rpartition(":")
        found.rejected[int(Path(where).parent.name)].append((int(line), entry["reason"]))
    return found


@pytest.mark.parametrize("name", [name for name, one in CASES.items() if not one.refused])
def test_an_ugly_file_comes_out_as_the_table_says(name: str, found: Found) -> None:
    one, number = CASES[name], list(CASES).index(name)
    assert found.events[number] == one.events
    assert {c: str(t) for c, t in found.totals[number].items()} == {
        c: f"{Decimal(t):.4f}" for c, t in one.totals.items()
    }
    rejected = sorted(found.rejected[number])
    assert [line for line, _ in rejected] == [line for line, _ in one.rejected], rejected
    for (_, reason), (_, words) in zip(rejected, one.rejected, strict=True):
        assert words in reason
    for order, at in one.placed.items():
        assert found.placed[order.replace("@", f"{number}-")] == at
    if one.mapping:
        file = found.files[name]
        assert {what: n for what, n in file.skipped.items() if n} == one.skipped
        assert file.identical_rows == one.twins


@pytest.mark.parametrize("name", [name for name, one in CASES.items() if one.refused])
def test_an_ugly_file_is_refused_as_the_table_says_and_leaves_nothing(
    name: str, tmp_path: Path
) -> None:
    one, headrace = CASES[name], Headrace(tmp_path / "home")
    path, toml = written(one, tmp_path, 0)
    how = ("import", "csv", "--mapping", toml) if one.mapping else ("append",)
    headrace.run(*how, path).refused(1, one.refused)
    if headrace.home.exists():
        assert headrace.json("status")["events"] == 0


@pytest.mark.parametrize("name", ["twins", "twins that are wrong", "standard input"])
def test_the_command_imports_an_ugly_file_and_counts_what_it_did(name: str, tmp_path: Path) -> None:
    one, headrace = CASES[name], Headrace(tmp_path / "home")
    path, toml = written(one, tmp_path, 0)
    named = path if one.name != "-" else "-"
    done = headrace.fed(path.read_bytes(), "import", "csv", "--mapping", toml, named, "--json")
    report = done.json()
    assert (report["accepted"], report["quarantined"]) == (one.events, len(one.rejected))
    assert report["identical_rows"] == one.twins
    assert len(report["warnings"]) == (name == "twins")


def filled(mapping: str, answers: Mapping[str, str]) -> str:
    """A guessed mapping with the answers of a person to what it leaves open."""
    for key, value in answers.items():
        name = key.rpartition(".")[2]
        mapping = re.sub(rf"(?m)^# {name} = .*$", f"{name} = {value}", mapping)
    return mapping


def imported(path: Path, toml: Path, text: str) -> tuple[list[bytes], list[RejectedRow]]:
    """The events and rejected rows of a file with a mapping."""
    toml.write_text(text, encoding="utf-8")
    (file,) = csv_orders([path], replace(CsvMapping.load(toml), source="ugly"))
    return file.lines, file.rejected


@pytest.mark.parametrize("name", TRIED)
def test_a_guess_leaves_open_what_the_file_cannot_say_and_imports_when_that_is_filled_in(
    name: str, tmp_path: Path
) -> None:
    one, toml = CASES[name], tmp_path / "guessed.toml"
    answers = one.fill or {}
    path = tmp_path / (one.name if one.name != "-" else "stdin.csv")
    path.write_bytes(content_of(one, "0-"))
    found = guess(path)
    assert set(found.open) == set(answers), found.toml()
    if answers:
        with pytest.raises(ContractError, match="is still to fill in"):
            imported(path, toml, found.toml())
    # What the mapping of the table makes of it is checked through the command.
    assert imported(path, toml, filled(found.toml(), answers)) == imported(path, toml, one.mapping)
