"""Expectations in use: the built-in ones and a home's own, and the SQL that finds what breaks one.

The SQL is exact (DECIMAL and whole numbers, never float) and means the same as Great Expectations
does: an empty value breaks only what says that it may not be empty.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from headrace.pipelines.errors import HeadraceError, UsageError
from headrace.pipelines.lake.connect import literal
from headrace.schemas.expectations import DEFINITIONS, KINDS, SUITES, Definition, Expectation, Table

_FIELDS = frozenset({"name", "table", "type", "severity", "description"})
_SEVERITIES = ("blocking", "warning")
_LARGEST = 1 << 53
"""Great Expectations makes a float of a bound. Up to here, in 1/10,000, that is the same number."""


def definition(suite: str, own: Path) -> Definition:
    """The expectations of a suite: the built-in ones and those of `own/*.toml`.

    Raises:
        UsageError: there is no such suite, or a file is not as it has to be; says where.
    """
    if suite not in SUITES:
        raise UsageError(f"there is no suite {suite!r}; name one of {', '.join(SUITES)}")
    built_in = DEFINITIONS[suite]
    tables, listed = dict(built_in.tables), list(built_in.expectations)
    for file in sorted(own.glob("*.toml")) if own.is_dir() else ():
        found = _read(file)
        if found.get("suite") == suite:
            fresh = _tables_of(file, found)
            clash = sorted(fresh.keys() & tables.keys())
            if clash:
                raise UsageError(f"{file}: tables.{clash[0]} is there already; give it another key")
            tables |= fresh
            listed += _expectations_of(file, found, {e.name for e in listed})
    return Definition(tables, tuple(listed))


def breaks(expectation: Expectation, relation: str) -> str:  # noqa: PLR0911 - one a type
    """The SQL condition for the rows of a relation that break an expectation."""
    given = expectation.kwargs
    column = _quoted(given.get("column", ""))
    match expectation.type:
        case "expect_column_values_to_not_be_null":
            return f"{column} IS NULL"
        case "expect_column_values_to_be_unique":
            return _repeated([given["column"]], relation)
        case "expect_compound_columns_to_be_unique":
            return _repeated(given["column_list"], relation)
        case "expect_column_values_to_be_in_set":
            listed = ", ".join(_value(v) for v in given["value_set"])
            return f"{column} IS NOT NULL AND {column} NOT IN ({listed})"
        case "expect_column_values_to_match_regex":
            # Great Expectations looks from the text's beginning.
            regex = literal(f"^(?:{given['regex']})")
            return f"{column} IS NOT NULL AND NOT regexp_matches({column}, {regex})"
        case "expect_column_values_to_be_between":
            return _outside(column, given)
        case "expect_column_pair_values_to_be_equal":
            a, b = _quoted(given["column_A"]), _quoted(given["column_B"])
            return f"{a} IS DISTINCT FROM {b}"
        case "expect_column_pair_values_a_to_be_greater_than_b":
            a, b = _quoted(given["column_A"]), _quoted(given["column_B"])
            sign = "<" if given.get("or_equal") else "<="
            return f"{a} IS NOT NULL AND {b} IS NOT NULL AND {a} {sign} {b}"
        case _:
            return "true"  # a row count of 0: each row is one too many


def columns_of(expectation: Expectation) -> list[str]:
    """The columns that an expectation looks at."""
    given = expectation.kwargs
    named = [given[k] for k in ("column", "column_A", "column_B") if k in given]
    return [*named, *given.get("column_list", ())]


def _outside(column: str, given: Mapping[str, Any]) -> str:
    parts = []
    if given.get("min_value") is not None:
        sign = "<=" if given.get("strict_min") else "<"
        parts.append(f"{column} {sign} {_value(given['min_value'])}")
    if given.get("max_value") is not None:
        sign = ">=" if given.get("strict_max") else ">"
        parts.append(f"{column} {sign} {_value(given['max_value'])}")
    return f"{column} IS NOT NULL AND ({' OR '.join(parts)})"


def _repeated(columns: list[str], relation: str) -> str:
    listed = ", ".join(_quoted(c) for c in columns)
    present = " AND ".join(f"{_quoted(c)} IS NOT NULL" for c in columns)
    return (
        f"{present} AND ({listed}) IN (SELECT ({listed}) FROM {relation} WHERE {present} "
        f"GROUP BY {listed} HAVING count(*) > 1)"
    )


def _value(value: object) -> str:
    if isinstance(value, Decimal):
        return f"CAST('{value:f}' AS DECIMAL(38, 4))"
    return literal(value)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


# --------------------------------------------------------------------- a home's own
def _read(file: Path) -> dict[str, Any]:
    try:
        found = tomllib.loads(file.read_text(encoding="utf-8"), parse_float=Decimal)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as e:
        raise UsageError(f"{file} is not TOML: {e}; correct it or move it away") from e
    unknown = sorted(found.keys() - {"suite", "tables", "expectations"})
    if unknown:
        raise UsageError(
            f"{file}: {unknown[0]!r} means nothing here; write suite, [tables.NAME] and "
            "[[expectations]]"
        )
    if found.get("suite") not in SUITES:
        raise UsageError(
            f"{file}: suite is {found.get('suite')!r}; write one of {', '.join(SUITES)}, such as "
            'suite = "served"'
        )
    return found


def _tables_of(file: Path, found: Mapping[str, Any]) -> dict[str, Table]:
    from headrace.pipelines.lake.guarded_sql import check_select
    from headrace.pipelines.views.types import scratch

    tables = {}
    given = found.get("tables", {})
    if not isinstance(given, dict):
        raise UsageError(f"{file}: tables must be a table each; write [tables.NAME]")
    for name, table in given.items():
        where = f"{file}: tables.{name}"
        wrong = not isinstance(table, dict) or sorted(table.keys() - {"about"}) != ["key", "sql"]
        if wrong or not isinstance(table["sql"], str) or not _texts(table["key"]):
            raise UsageError(f'{where} needs sql = "SELECT …" and key = ["column", …]')
        if not name.isidentifier():
            raise UsageError(f"{where}: write a name of letters, digits and _")
        try:
            check_select(table["sql"], scratch())
        except HeadraceError as e:
            raise UsageError(f"{where}.sql: {e}") from e
        tables[name] = Table(name, table["sql"], tuple(table["key"]), str(table.get("about", "")))
    return tables


def _expectations_of(file: Path, found: Mapping[str, Any], taken: set[str]) -> list[Expectation]:
    given = found.get("expectations", [])
    if not isinstance(given, list) or not all(isinstance(e, dict) for e in given):
        raise UsageError(f"{file}: expectations must be a list; write [[expectations]]")
    made = []
    for nth, entry in enumerate(given, start=1):
        expectation = _expectation(f"{file}: expectations[{nth}]", f"{file.stem}_{nth}", entry)
        if expectation.name in taken:
            raise UsageError(f"{file}: expectations[{nth}].name is taken; write another")
        taken.add(expectation.name)
        made.append(expectation)
    return made


def _expectation(where: str, name: str, entry: Mapping[str, Any]) -> Expectation:
    """One entry of a file, checked."""
    kind = str(entry.get("type"))
    if kind not in KINDS:
        raise UsageError(f"{where}.type is {kind!r}; write one of {', '.join(KINDS)}")
    if not isinstance(entry.get("table"), str):
        raise UsageError(f'{where}.table is missing; write table = "orders", say')
    severity = entry.get("severity", "blocking")
    if severity not in _SEVERITIES:
        raise UsageError(f"{where}.severity is {severity!r}; write blocking or warning")
    kwargs = {key: value for key, value in entry.items() if key not in _FIELDS}
    needed, allowed = KINDS[kind].needed, KINDS[kind].allowed
    for key in needed:
        if key not in kwargs:
            raise UsageError(f"{where}.{key} is missing; {kind} needs {', '.join(needed)}")
    for key, value in kwargs.items():
        if key not in (*needed, *allowed):
            known = ", ".join((*needed, *allowed))
            raise UsageError(f"{where}.{key} means nothing to {kind}; it takes {known}")
        _check_value(f"{where}.{key}", key, value)
    if kind == "expect_column_values_to_be_between" and not {"min_value", "max_value"} & set(
        kwargs
    ):
        raise UsageError(f"{where} has no bound; write min_value, max_value, or both")
    description = str(entry.get("description", kind.removeprefix("expect_").replace("_", " ")))
    return Expectation(
        str(entry.get("name", name)), entry["table"], kind, kwargs, severity, description
    )


def _check_value(where: str, key: str, value: object) -> None:
    if key in {"column", "column_A", "column_B", "regex"} and not isinstance(value, str):
        raise UsageError(f"{where} is {value!r}; write a text")
    if key == "column_list" and not _texts(value):
        raise UsageError(f'{where} is {value!r}; write a list such as ["day", "currency"]')
    if key == "value_set" and (not isinstance(value, list) or not value or not _plain(value)):
        raise UsageError(f"{where}: write a list of texts or whole numbers")
    if key == "value" and (value != 0 or isinstance(value, bool)):
        raise UsageError(
            f"{where} is {value!r}; only 0 can be expected: write a table of the rows that must "
            "not be"
        )
    if key in {"min_value", "max_value"}:
        exact = isinstance(value, int) and not isinstance(value, bool)
        if isinstance(value, Decimal):
            exact = value.is_finite() and value == round(value, 4)
        if not exact:
            raise UsageError(f"{where} is {value!s}; write a number of at most 4 decimals")
        if isinstance(value, int | Decimal) and abs(Decimal(value)) * 10_000 > _LARGEST:
            raise UsageError(f"{where} is {value!s}; write a bound of less than 900 billion")
    if key in {"strict_min", "strict_max", "or_equal"} and not isinstance(value, bool):
        raise UsageError(f"{where} is {value!r}; write true or false")


def _texts(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, str) for v in value)


def _plain(values: list[object]) -> bool:
    return all(isinstance(v, str | int) and not isinstance(v, bool) for v in values)


def in_plan(expectation: Expectation, *, scaled: bool) -> dict[str, Any]:
    """Arguments as the job's plan holds them; bounds of money in 1/10,000, as its columns are."""
    found = dict(expectation.kwargs)
    if expectation.type == "expect_column_pair_values_a_to_be_greater_than_b":
        found["ignore_row_if"] = "either_value_is_missing"  # as in `breaks`
    for key in {"min_value", "max_value"} & found.keys():
        value = found[key] * (10_000 if scaled else 1)
        found[key] = int(value) if value == int(value) else str(value)
    return found
