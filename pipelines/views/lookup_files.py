"""Lookups from files: `NAME.csv` or `NAME.parquet`, and `NAME.toml`, which declares key and types.

Guarantees: what is read is exactly what the file says. A value that is not of its type, a key that
is missing or there twice, and periods of a key that overlap are refused with file, line and column.

The declaration is a file of its own, because a CSV header knows no types and Parquet knows no keys;
it is TOML, as all settings of a home are.
"""

from __future__ import annotations

import csv
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from headrace.pipelines.errors import ViewError
from headrace.pipelines.views.lookups import lookup_view
from headrace.pipelines.views.types import decimal_size, is_decimal
from headrace.pipelines.views.view import View

MOST_ROWS: Final = 100_000
_TYPES: Final = ("VARCHAR", "BIGINT", "BOOLEAN", "DATE", "TIMESTAMP", "DECIMAL(p,s)")
_COLUMN: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")
MOST_DIGITS: Final = 38
_FORMS: Final[dict[str, tuple[re.Pattern[str], Callable[[str], Any]]]] = {
    "BIGINT": (re.compile(r"-?\d{1,18}"), int),
    "BOOLEAN": (re.compile(r"true|false", re.IGNORECASE), lambda cell: cell.lower() == "true"),
    "DATE": (re.compile(r"\d{4}-\d\d-\d\d"), date.fromisoformat),
    "TIMESTAMP": (
        re.compile(r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d:\d\d(\.\d{1,6})?)?"),
        datetime.fromisoformat,
    ),
    "DECIMAL": (re.compile(r"-?\d+(\.\d+)?"), Decimal),
}
"""How a value of each type is written, and what reads it."""
_OPEN: Final = {"DATE": date(9999, 12, 31), "TIMESTAMP": datetime(9999, 12, 31)}  # noqa: DTZ001
"""What stands for a period without an end."""


@dataclass(frozen=True)
class _Declared:
    """What a declaration says."""

    file: Path
    columns: Mapping[str, str]
    key: tuple[str, ...]
    valid: tuple[str, str] | None


def load_lookups(folder: Path) -> dict[str, View]:
    """The lookups of a folder, by name; none if it is not there.

    Raises:
        ViewError: one of them cannot be taken. Names file, line, column and remedy.
    """
    found = {}
    for file in sorted(folder.glob("*.toml")):
        data = [p for p in (file.with_suffix(".csv"), file.with_suffix(".parquet")) if p.is_file()]
        if len(data) != 1:
            both = f"{file.stem}.csv or {file.stem}.parquet"
            what = "two files" if data else "no file"
            raise ViewError(f"{file}: has {what} with rows beside it; keep one, {both}")
        declared = _declared(file)
        read = _from_csv if data[0].suffix == ".csv" else _from_parquet
        rows = _checked(declared, data[0], list(read(declared, data[0])))
        found[file.stem] = lookup_view(
            file.stem, declared.columns, declared.key, declared.valid, rows=rows
        )
    for alone in sorted([*folder.glob("*.csv"), *folder.glob("*.parquet")]):
        if alone.stem not in found:
            raise ViewError(
                f"{alone}: has no declaration; write {alone.stem}.toml with `key = [...]` and "
                "[columns] with the type of each"
            )
    return found


def _declared(file: Path) -> _Declared:
    if not _COLUMN.fullmatch(file.stem):
        raise ViewError(
            f"{file}: {file.stem!r} cannot be the name of a lookup; rename the files to lower-case "
            "letters, digits and _, a letter first"
        )
    try:
        told = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise ViewError(f"{file}: {error}") from error
    unknown = told.keys() - {"key", "columns", "valid"}
    if unknown:
        raise ViewError(f"{file}: {sorted(unknown)[0]} is not known; there are key, columns, valid")
    columns = told.get("columns")
    if not isinstance(columns, dict) or not columns:
        raise ViewError(
            f'{file}: has no columns; write [columns] with lines such as sku = "VARCHAR"'
        )
    typed = {name: _type(file, name, kind) for name, kind in columns.items()}
    key = told.get("key")
    if not isinstance(key, list) or not key or not all(isinstance(k, str) for k in key):
        raise ViewError(f'{file}: has no key; write key = ["{next(iter(typed))}"]')
    valid = told.get("valid")
    period = isinstance(valid, list) and len(valid) == 2 and all(isinstance(v, str) for v in valid)  # noqa: PLR2004
    if valid is not None and not period:
        raise ViewError(f'{file}: valid names two columns; write valid = ["from", "to"]')
    for name in [*key, *(valid or [])]:
        if name not in typed:
            raise ViewError(f"{file}: {name} is not among its columns: {', '.join(typed)}")
    if valid is not None and {typed[v] for v in valid} not in ({"DATE"}, {"TIMESTAMP"}):
        raise ViewError(f"{file}: {valid[0]} and {valid[1]} are both DATE or both TIMESTAMP")
    return _Declared(file, typed, tuple(key), None if valid is None else (valid[0], valid[1]))


def _type(file: Path, name: str, kind: object) -> str:
    if not _COLUMN.fullmatch(name):
        raise ViewError(
            f"{file}: {name!r} cannot be the name of a column; use lower-case letters, digits and _"
        )
    text = str(kind).upper().replace(" ", "")
    digits, scale = decimal_size(text)
    fits = is_decimal(text) and 1 <= digits <= MOST_DIGITS and scale <= digits
    if text in _TYPES or fits:
        return text
    raise ViewError(f"{file}: {name} is {kind}; write one of {', '.join(_TYPES)}")


def _from_csv(declared: _Declared, file: Path) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Pairs of place and row."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            reader = csv.reader(text, strict=True)
            header = next(reader, [])
            if sorted(header) != sorted(declared.columns):
                raise ViewError(
                    f"{file}, line 1: its columns are {', '.join(header) or 'none'}, and "
                    f"{declared.file.name} declares {', '.join(declared.columns)}"
                )
            places = [header.index(name) for name in declared.columns]
            line = reader.line_num + 1
            for cells in reader:
                place, line = f"{file}, line {line}", reader.line_num + 1
                if not cells:
                    continue
                if len(cells) != len(header):
                    raise ViewError(
                        f"{place}: has {len(cells)} cells, and the header {len(header)}"
                    )
                yield (
                    place,
                    tuple(
                        _value(cells[n], kind, f"{place}, column {name}")
                        for n, (name, kind) in zip(places, declared.columns.items(), strict=True)
                    ),
                )
    except UnicodeDecodeError as error:
        raise ViewError(
            f"{file}: byte {error.start} is not UTF-8; save the file as UTF-8"
        ) from error
    except csv.Error as error:
        raise ViewError(f"{file}, line {reader.line_num}: {error}") from error
    except OSError as error:
        raise ViewError(f"{file}: cannot be read: {error.strerror}; check its rights") from error


def _value(cell: str, kind: str, place: str) -> Any:
    """A cell as its type has it; an empty one is NULL."""
    if cell == "" or kind == "VARCHAR":
        return cell or None
    form, made = _FORMS["DECIMAL" if is_decimal(kind) else kind]
    try:
        if form.fullmatch(cell):
            return _decimal(cell, kind) if made is Decimal else made(cell)
    except ValueError:
        pass
    raise ViewError(f"{place}: {cell!r} is not {_wanted(kind)}")


def _decimal(cell: str, kind: str) -> Decimal:
    digits, scale = decimal_size(kind)
    value = Decimal(cell)
    fitted = value.quantize(Decimal(1).scaleb(-scale))
    if fitted != value or abs(value) >= Decimal(10) ** (digits - scale):
        raise ValueError(cell)
    return fitted


def _wanted(kind: str) -> str:
    return {
        "BIGINT": "a whole number of at most 18 digits",
        "BOOLEAN": "true or false",
        "DATE": "a date such as 2026-01-31",
        "TIMESTAMP": "a time in UTC such as 2026-01-31 09:30:00",
    }.get(kind, f"{kind}: a number such as 7.50 that fits without rounding")


def _from_parquet(declared: _Declared, file: Path) -> Iterator[tuple[str, tuple[Any, ...]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(file)
    except (OSError, pa.ArrowException) as error:
        raise ViewError(f"{file}: is no Parquet file that can be read: {error}") from error
    if sorted(table.column_names) != sorted(declared.columns):
        raise ViewError(
            f"{file}: its columns are {', '.join(table.column_names)}, and {declared.file.name} "
            f"declares {', '.join(declared.columns)}"
        )
    for number, row in enumerate(table.select(list(declared.columns)).to_pylist(), start=1):
        place = f"{file}, row {number}"
        yield (
            place,
            tuple(
                None if value is None else _value(_text(value), kind, f"{place}, column {name}")
                for (name, kind), value in zip(declared.columns.items(), row.values(), strict=True)
            ),
        )


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat(sep=" ")
    return format(value, "f") if isinstance(value, Decimal) else str(value)


def _checked(
    declared: _Declared, file: Path, placed: list[tuple[str, tuple[Any, ...]]]
) -> list[tuple[Any, ...]]:
    """The rows, each key once, or once at a time."""
    if len(placed) > MOST_ROWS:
        raise ViewError(f"{file}: has {len(placed):,} rows; a lookup has at most {MOST_ROWS:,}")
    names = list(declared.columns)
    key = [names.index(name) for name in declared.key]
    seen: dict[tuple[Any, ...], list[tuple[Any, Any, str]]] = {}
    rows = []
    for place, row in placed:
        values = tuple(row[n] for n in key)
        if None in values:
            missing = declared.key[values.index(None)]
            raise ViewError(f"{place}: has no {missing}, which is its key")
        start, end = None, None
        held = row
        if declared.valid is not None:
            a, b = (names.index(name) for name in declared.valid)
            open_end = _OPEN[declared.columns[declared.valid[1]]]
            held = (*row[:b], open_end if row[b] is None else row[b], *row[b + 1 :])
            start, end = held[a], held[b]
            if start is None or start >= end:
                raise ViewError(f"{place}: {declared.valid[0]} is not before {declared.valid[1]}")
        for other_start, other_end, other in seen.setdefault(values, []):
            if declared.valid is None or (start < other_end and other_start < end):
                shown = ", ".join(map(str, values))
                also = "is there twice" if declared.valid is None else "has two rows at one time"
                raise ViewError(f"{place}: the key {shown} {also}: also in {other}")
        seen[values].append((start, end, place))
        rows.append(held)
    return rows
