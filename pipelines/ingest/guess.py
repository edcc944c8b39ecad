"""Writes a mapping to start from for somebody's file, with what is not sure as comments.

Guarantees: a key is written only if the file leaves one reading of it; every other one that is
needed stands in `fill_in`, so that the mapping is refused until a person has written it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from headrace.pipelines.ingest.cells import Cell, Moment
from headrace.pipelines.ingest.csv_mapping import FILL_IN
from headrace.pipelines.ingest.delimited import shown
from headrace.pipelines.ingest.guess_table import Sample, sample
from headrace.pipelines.ingest.guess_values import format_of, marks_of, signs_of
from headrace.pipelines.ingest.guess_words import (
    columns_of,
    currency_in,
    is_total,
    says_so,
    tax_in,
)
from headrace.pipelines.ingest.notation import Notation, Times

_NEEDED: Final = ("order_id", "product_id", "quantity", "unit_price")
_OPTIONAL: Final = (
    "customer_id", "currency", "country", "channel", "category", "shipping", "discount", "tax",
)  # fmt: skip
_MONEY: Final = ("unit_price", "shipping", "discount", "tax")
_TOP: Final = (
    "sheet", "encoding", "delimiter", "header", "decimal_mark", "thousands_mark", "currency_sign",
    "discount_sign", "prices_include_tax", "identical_rows",
)  # fmt: skip
_CODES: Final[Mapping[str, str]] = {"€": "EUR", "EUR": "EUR", "CHF": "CHF", "zł": "PLN", "₹": "INR"}
"""Signs that only one currency has."""


@dataclass
class Guess:
    """A mapping in the making. Keys are dotted: `time.zone`.

    Attributes:
        keys: What is known, as TOML writes it.
        notes: What a person should know of a key.
        open: Keys that have to be filled in, with what they could be.
    """

    name: str
    keys: dict[str, str] = field(default_factory=dict)
    notes: dict[str, list[str]] = field(default_factory=dict)
    open: dict[str, str] = field(default_factory=dict)

    def say(self, key: str, value: object) -> None:
        """Write a key."""
        text = json.dumps(value, ensure_ascii=False)
        self.keys[key] = "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)

    def ask(self, key: str, could: str, why: str) -> None:
        """Leave a key open."""
        self.open[key] = could
        self.note(key, why)

    def note(self, key: str, text: str) -> None:
        """Say something about a key."""
        # A comment is one line of printable text, whatever stands in the file.
        safe = "".join(c if c.isprintable() else "\ufffd" for c in text)
        self.notes.setdefault(key, []).append(safe)

    def as_json(self) -> dict[str, object]:
        """For `--json`."""
        return {"mapping": self.toml(), "fill_in": list(self.open), "notes": self.notes}

    def toml(self) -> str:
        """The mapping file."""
        lines = [f"# A mapping to start from, guessed from {shown(self.name)}. Check every line."]
        if self.open:
            lines.append("# Keys that the file does not tell; the mapping is refused without them.")
            lines.append(f"{FILL_IN} = {json.dumps(list(self.open))}")
        lines += [f"# {note}" for note in self.notes.get("", [])]
        lines += [line for key in _TOP for line in self._lines(key, key)]
        for table in ("columns", "constants", "time", "per"):
            names = dict.fromkeys([*self.keys, *self.open, *self.notes])
            inside = [key for key in names if key.startswith(f"{table}.")]
            if inside:
                lines += ["", f"[{table}]"]
            for key in inside:
                lines += self._lines(key, key.removeprefix(f"{table}."))
        return "\n".join(lines) + "\n"

    def _lines(self, key: str, name: str) -> list[str]:
        lines = [f"# {note}" for note in self.notes.get(key, [])]
        if key in self.keys:
            lines.append(f"{name} = {self.keys[key]}")
        elif key in self.open:
            lines.append(f"# {name} = {self.open[key]}")
        return lines


def guess(path: Path) -> Guess:
    """Guess the mapping of a file, or of standard input for `-`.

    Raises:
        UsageError: it cannot be opened.
        ContractError: it is no text in columns and no workbook.
    """
    found = sample(path)
    made = Guess(path.name)
    for key, value in found.keys.items():
        made.say(key, value)
    for key, (could, why) in found.doubts.items():
        made.ask(key, could, why)
    for key, notes in found.notes.items():
        for note in notes:
            made.note(key, note)
    _columns(made, found)
    _money(made, found)
    _times(made, found)
    _shared(made, found)
    _rows(made, found)
    return made


def _columns(made: Guess, found: Sample) -> None:
    """Which column is which."""
    for name in (*_NEEDED, *_OPTIONAL):
        _column(made, found, name)
    twice = sorted({name for name in found.names if name.strip() and found.names.count(name) > 1})
    for name in twice:
        made.note("", f"column {shown(name)} is there more than once and cannot be mapped")
    used = {json.loads(value) for key, value in made.keys.items() if key.startswith("columns.")}
    clocks = {*columns_of("time", found.names), *columns_of("time_of_day", found.names)}
    rest = [n for n in found.names if n.strip() and n not in used | clocks and n not in twice]
    if rest:
        made.note("", f"columns that are not used: {', '.join(map(shown, rest))}")


def _column(made: Guess, found: Sample, name: str) -> None:
    key = f"columns.{name}"
    could = columns_of(name, found.names)
    if len(could) == 1 and found.names.count(could[0]) == 1:
        made.say(key, could[0])
        if not says_so(name, could[0]):
            made.note(key, f"not sure: is {shown(could[0])} the {name}?")
        return
    listed = " or ".join(map(shown, could))
    if name in _NEEDED:
        totals = [each for each in found.names if is_total(each)]
        hint = f"; {', '.join(map(shown, totals))} looks like a total" if totals else ""
        why = f"it could be {listed}" if could else f"no column's name says it{hint}"
        made.ask(key, '"COLUMN"', why)
    elif could:
        made.note(key, f"{name} could be {listed}; name one if you need it")


def _money(made: Guess, found: Sample) -> None:
    """Marks, signs and the currency."""
    columns = [column for name in _MONEY if (column := _mapped(made, name)) is not None]
    values = {
        value.strip()
        for column in columns
        for value in found.values(column)
        if value.strip() and not isinstance(value, Cell)
    }
    signs = signs_of(values)
    codes = {code for column in columns if (code := currency_in(column)) is not None}
    codes |= {_CODES[sign] for sign in signs if sign in _CODES}
    has_column = "columns.currency" in made.keys
    if len(signs) > 1 or (signs and has_column):
        made.note("currency_sign", f"amounts have the signs {', '.join(signs)}: they are rejected")
    elif signs:
        made.say("currency_sign", signs[0])
    if not has_column and len(codes) == 1 and len(signs) <= 1:
        made.say("constants.currency", codes.pop())
    elif not has_column:
        why = f"amounts have the sign {', '.join(signs)}, of several currencies" if signs else ""
        made.ask("constants.currency", '"EUR"', why or "no column and no sign says the currency")
    marks = marks_of(values, signs[0] if len(signs) == 1 else "")
    for note in marks.notes:
        made.note("decimal_mark", note)
    if marks.doubt:
        made.ask("decimal_mark", '"," (and thousands_mark = "." if there is one)', marks.doubt)
    elif marks.chosen[0] is not None:
        made.say("decimal_mark", marks.chosen[0])
        made.say("thousands_mark", marks.chosen[1])


def _times(made: Guess, found: Sample) -> None:
    """Which columns say when, and how."""
    clocks = columns_of("time_of_day", found.names)
    days = [name for name in columns_of("time", found.names) if name not in clocks]
    if len(days) > 1 or len(clocks) > 1 or not (days or clocks):
        listed = " or ".join(map(shown, [*days, *clocks]))
        made.ask(
            "columns.time", '"COLUMN"',
            f"it could be {listed}" if listed else "no column's name says it",
        )  # fmt: skip
        made.ask("time.zone", '"Europe/Berlin"', "of times that do not say theirs")
        return
    if days and clocks and not _has_clock(found.values(days[0])):
        made.say("columns.date", days[0])
        made.say("columns.time_of_day", clocks[0])
        pairs = zip(found.values(days[0]), found.values(clocks[0]), strict=True)
        both = [(day, clock) for day, clock in pairs if day.strip() and clock.strip()]
        typed = any(isinstance(each, Cell) for pair in both for each in pair)
        texts = [] if typed else [f"{day.strip()} {clock.strip()}" for day, clock in both]
    else:
        made.say("columns.time", (days or clocks)[0])
        cells = found.values((days or clocks)[0])
        typed = any(isinstance(cell, Cell) and isinstance(cell.value, Moment) for cell in cells)
        texts = [str(c) for c in cells if c.strip() and not (typed and isinstance(c, Cell))]
    local = typed
    if texts or not typed:
        local |= _format(made, [text.strip() for text in texts])
    if local:
        made.ask("time.zone", '"Europe/Berlin"', "the times do not say theirs: whose clocks?")


def _format(made: Guess, texts: list[str]) -> bool:
    """The format of the times. Whether some of them need a zone."""
    reading = format_of(texts)
    for note in reading.notes:
        made.note("time.format", note)
    if reading.doubt:
        made.ask("time.format", '"%d/%m/%Y"', reading.doubt)
        return any(":" in text for text in texts)
    made.say("time.format", reading.chosen)
    if reading.chosen.startswith("excel"):
        made.note("time.format", "serial numbers of Excel, counted from 1900")
    for text in texts:
        try:
            time, has_time = Times(reading.chosen).read(text)
        except ValueError:
            continue
        if has_time and time.tzinfo is None:
            return True
    return False


def _has_clock(cells: Sequence[str]) -> bool:
    """Whether days have a time of day of their own."""
    return any(
        cell.value.has_time
        if isinstance(cell, Cell) and isinstance(cell.value, Moment)
        else ":" in cell
        for cell in cells
    )


def _shared(made: Guess, found: Sample) -> None:
    """Shipping, discount and tax: on each row of an order, or on one."""
    orders = _mapped(made, "order_id")
    marks = [json.loads(made.keys.get(key, "null")) for key in ("decimal_mark", "thousands_mark")]
    sign = json.loads(made.keys.get("currency_sign", '""'))
    notation = Notation(marks[0], marks[1] or "", sign)
    for name in ("shipping", "discount", "tax"):
        column = _mapped(made, name)
        if column is None:
            continue
        rows: dict[str, list[int]] = {}
        ids = found.values(orders) if orders is not None else [""] * len(found.rows)
        for order, cell in zip(ids, found.values(column), strict=True):
            rows.setdefault(order.strip(), []).append(_amount(cell, notation))
        _per(made, name, [each for each in rows.values() if len(each) > 1])
        amounts = [amount for each in rows.values() for amount in each if amount]
        if name == "discount" and amounts and max(amounts) < 0:
            made.say("discount_sign", "-")
        elif name == "discount" and amounts and min(amounts) < 0 < max(amounts):
            made.note("discount_sign", "discounts are above and below zero: some are rejected")
        if name == "tax":
            priced = _mapped(made, "unit_price") or ""
            hint = f", which {shown(priced)} may tell" if tax_in(priced) else ""
            made.ask("prices_include_tax", "true", f"are the prices with this tax?{hint}")


def _per(made: Guess, name: str, orders: list[list[int]]) -> None:
    """Rows of which no more than one has it, or that differ, cannot be repetitions."""
    filled = [row for row in orders if any(row)]
    one = filled and all(sum(1 for amount in row if amount) == 1 for row in filled)
    differ = any(len(set(row)) > 1 for row in filled)
    if one or differ:
        made.say(f"per.{name}", "row")
        if not one:
            made.note(f"per.{name}", "rows of an order differ, so each has its own")
        return
    seen = "rows of an order repeat it" if filled else "no order of several rows has any"
    made.ask(
        f"per.{name}", '"order"',
        f'{seen}: "order" if it is the whole order\'s, "row" if each row has its own',
    )  # fmt: skip


def _rows(made: Guess, found: Sample) -> None:
    """Rows that are there twice, and goods that came back."""
    twins = len(found.rows) - len({tuple(row) for row in found.rows})
    if twins:
        made.ask(
            "identical_rows", '"sum"',
            f'{twins:,} rows are identical to an earlier one: "sum", "once" or "reject"?',
        )  # fmt: skip
    column = _mapped(made, "quantity")
    back = sum(value.strip().startswith("-") for value in found.values(column)) if column else 0
    if back:
        made.note(
            "", f'{back:,} quantities are negative: returns, or say negative_quantity = "reject"'
        )


def _mapped(made: Guess, name: str) -> str | None:
    """The column that was chosen for a field."""
    value = made.keys.get(f"columns.{name}")
    return None if value is None else str(json.loads(value))


def _amount(cell: str, notation: Notation) -> int:
    """An amount, or 0 for what is none."""
    try:
        return (Notation(".") if isinstance(cell, Cell) else notation).amount(cell.strip())
    except ValueError:
        return 0
