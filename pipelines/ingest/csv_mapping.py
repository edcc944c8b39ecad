"""How the columns of somebody's CSV files become order events: a TOML file, checked in full.

A mapping that loads has every key it needs, of the right type, and none that means nothing.
"""

from __future__ import annotations

import codecs
import re
import tomllib
from collections.abc import Mapping
from dataclasses import field
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    ValidationError,
    model_validator,
)  # fmt: skip
from pydantic.dataclasses import dataclass
from pydantic_core import ErrorDetails

from headrace.pipelines.errors import ContractError
from headrace.pipelines.ingest.notation import Times

_CURRENCY = re.compile("[A-Z]{3}")
_CLOSED = ConfigDict(extra="forbid")


def _codec(name: str) -> str:
    """Python's own name of a codec; UTF-8 may begin with a mark."""
    try:
        known = codecs.lookup(name).name
    except LookupError as e:
        raise ValueError(name) from e
    return "utf-8-sig" if known == "utf-8" else known


_NEEDED = ("order_id", "time", "product_id", "quantity", "unit_price")
_Amount = Literal["shipping", "discount", "tax"]
_Column = Literal[
    "order_id", "time", "product_id", "quantity", "unit_price",
    "customer_id", "currency", "country", "channel", "category",
    "date", "time_of_day", "shipping", "discount", "tax",
]  # fmt: skip
AMOUNTS: Final[tuple[str, ...]] = get_args(_Amount)
"""What an order has once, and a file on one of its rows, on each, or shared out among them."""
_Constant = Literal["currency", "country", "channel"]
_Text = Annotated[str, Field(min_length=1)]


@dataclass(frozen=True, slots=True, kw_only=True, config=_CLOSED)
class CsvMapping:
    """What stands where in the files, and how it is written.

    Attributes:
        columns: For each event field its column's name in the header. `date` and `time_of_day`
            are two columns instead of `time`.
        constants: Fields that are the same in every row.
        source: The CloudEvents `source` of the events.
        time: How times are written.
        per: Of a column of shipping, discount or tax: `order`: all rows of an order repeat it;
            `row`: each row has its own, and they add up.
        header: The line of the header, or `find`: the only one with all mapped columns.
        sheet: Of a workbook.
        encoding: A codec of Python's; `utf-8-sig` is UTF-8 with or without a mark.
        delimiter: Between fields, one character.
        quote: Around fields, one character; empty: nothing is quoted.
        decimal_mark: `.` or `,`; None: `.`, and what could be a thousands mark is refused.
        thousands_mark: Between groups of three digits; may be empty.
        currency_sign: What may stand before or behind amounts, such as `€`; it is the constant
            currency's.
        discount_sign: `-` where the file writes discounts below zero.
        prices_include_tax: Whether prices are with tax; a column of tax needs to know.
        identical_rows: What a row means that is identical to an earlier one of its file: `sum`: as
            much again; `once`: nothing; `reject`: it is wrong. None: `sum`, with a warning.
        negative_quantity: `return`: goods that came back; `reject`: a row that is wrong.
        paid: Whether an order is booked as paid in full when it is placed.
    """

    columns: Mapping[_Column, _Text]
    constants: Mapping[_Constant, _Text] = field(default_factory=dict)
    source: Annotated[_Text, Field(max_length=1_024)] = "csv/import"
    time: Times = field(default_factory=Times)
    per: Mapping[_Amount, Literal["order", "row"]] = field(default_factory=dict)
    header: Annotated[StrictInt, Field(ge=1)] | Literal["find"] = 1
    sheet: _Text | None = None
    encoding: Annotated[str, AfterValidator(_codec)] = "utf-8-sig"
    delimiter: Annotated[str, Field(pattern=r"^[^\r\n ]$")] = ","
    quote: Annotated[str, Field(pattern=r"^[^\r\n ]?$")] = '"'
    decimal_mark: Literal[".", ","] | None = None
    thousands_mark: Annotated[str, Field(pattern=r"^[^0-9-]?$")] = ""
    currency_sign: Annotated[str, Field(pattern=r"^[^0-9\s.,'-]{0,4}$")] = ""
    discount_sign: Literal["+", "-"] = "+"
    prices_include_tax: StrictBool | None = None
    identical_rows: Literal["sum", "once", "reject"] | None = None
    negative_quantity: Literal["return", "reject"] = "return"
    paid: StrictBool = False

    @model_validator(mode="after")
    def _check(self) -> Self:
        self._check_columns()
        self._check_money()
        if self.delimiter == self.quote:
            raise ValueError("quote is the delimiter too; change one of the two")
        if self.thousands_mark == (self.decimal_mark or "."):
            raise ValueError(
                "thousands_mark is the decimal mark too; name the other with decimal_mark"
            )
        return self

    def _check_columns(self) -> None:
        halves = [name for name in ("date", "time_of_day") if name in self.columns]
        if "time" in self.columns and halves:
            raise ValueError(
                f"columns.time is there, and columns.{halves[0]} too; take time, or both date and "
                "time_of_day"
            )
        for name in _NEEDED:
            if name not in self.columns and not (name == "time" and len(halves) == 2):  # noqa: PLR2004
                hint = ", or date and time_of_day" if name == "time" else ""
                raise ValueError(
                    f'columns.{name} is missing; add {name} = "COLUMN" to [columns]{hint}'
                )
        for name in self.constants:
            if name in self.columns:
                raise ValueError(f"constants.{name} is also a column; remove one of the two")

    def _check_money(self) -> None:
        currency = self.constants.get("currency", "missing")
        if "currency" not in self.columns and _CURRENCY.fullmatch(currency) is None:
            raise ValueError(
                f"constants.currency is {currency!r}, and there is no currency column; "
                'give a code such as "EUR" in [constants], or columns.currency'
            )
        if self.currency_sign and "currency" in self.columns:
            raise ValueError(
                "currency_sign is there, and columns.currency too, which may say another; give "
                "constants.currency instead, or take the sign out"
            )
        for name in AMOUNTS:
            if (name in self.columns) != (name in self.per):
                missing = name in self.columns
                raise ValueError(
                    f"per.{name} is missing; say in [per] whether all rows of an order repeat it "
                    f'({name} = "order"), or each has its own and they add up ({name} = "row")'
                    if missing
                    else f"per.{name} is there, and columns.{name} is not; add or remove one"
                )
        if self.discount_sign == "-" and "discount" not in self.columns:
            raise ValueError("discount_sign is there, and columns.discount is not; remove it")
        if "tax" in self.columns and self.prices_include_tax is None:
            raise ValueError(
                "prices_include_tax is missing; a column of tax is mapped, so say true if prices "
                "are with tax, false if it comes on top of them"
            )
        if self.paid and self.prices_include_tax is False:
            raise ValueError(
                "paid is true, and prices_include_tax is false: what was paid is more than the "
                "prices; take paid out, or map prices with tax"
            )

    @classmethod
    def load(cls, toml_path: Path) -> CsvMapping:
        """Read a mapping file, see `docs/guides/csv-import.md`.

        Raises:
            ContractError: the file cannot be read, or a key is missing, unknown or wrong. The
                message names file, key and remedy.
        """
        try:
            document = tomllib.loads(toml_path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ContractError(
                f"cannot read the mapping {toml_path}: {error}; "
                "docs/guides/csv-import.md has one to start from"
            ) from error
        _check_filled(toml_path, document)
        try:
            return cls(**{"source": f"csv/{toml_path.stem}", "columns": {}, **document})
        except ValidationError as error:
            # A key that is not known explains one that is missing.
            first = min(error.errors(), key=lambda wrong: not _unknown(wrong))
            raise ContractError(f"mapping {toml_path}: {_told(first)}") from error


def _check_filled(toml_path: Path, document: dict[str, Any]) -> None:
    """Take out the list of keys that somebody has to fill in, and refuse if one is not there."""
    keys = document.pop(FILL_IN, [])
    if not (isinstance(keys, list) and all(isinstance(key, str) for key in keys)):
        raise ContractError(f"mapping {toml_path}: {FILL_IN} must be a list of keys, or go")
    for key in keys:
        table, _, name = key.rpartition(".")
        within = document.get(table, {}) if table else document
        if not (isinstance(within, dict) and name in within):
            where = f"to [{table}]" if table else "above the first [table]"
            raise ContractError(
                f"mapping {toml_path}: {key} is still to fill in: add {name} = … {where}; a "
                f"comment there says what is known. If it is not needed, take it out of {FILL_IN}"
            )


FILL_IN: Final = "fill_in"
_KNOWN: Final[Mapping[str, tuple[str, ...]]] = {
    "": (*CsvMapping.__dataclass_fields__, FILL_IN),
    "columns": get_args(_Column),
    "constants": get_args(_Constant),
    "time": tuple(Times.__dataclass_fields__),
    "per": AMOUNTS,
}
_REMEDIES: Final[Mapping[str, str]] = {
    "columns": "write it as a table: [columns]",
    "constants": "write it as a table: [constants]",
    "time": "write it as a table: [time]",
    "per": "write it as a table: [per]",
    **{f"per.{name}": 'give "order" or "row"' for name in AMOUNTS},
    "header": 'give the number of its line, from 1, or "find"',
    "sheet": "give the name of a sheet",
    "currency_sign": 'give a sign or code of at most 4 characters, such as "€", or none',
    "discount_sign": 'give "+" or "-"',
    "prices_include_tax": "give true or false",
    "identical_rows": 'give "sum", "once" or "reject"',
    "source": "give a text of 1 to 1024 characters",
    "time.zone": 'give a zone such as "Europe/Berlin" or "UTC"',
    "encoding": 'give one such as "utf-8" or "cp1252"',
    "delimiter": "give one character that is no space or line end",
    "quote": "give one character that is no space or line end, or none",
    "decimal_mark": 'give "." or ","',
    "thousands_mark": "give one character that is no digit and no minus, or none",
    "time.format": 'give "iso", or letters of strptime with one meaning: %I with %p, and no %Z; '
    'or "excel" or "excel-date"',
    "time.twice": 'give "reject", "first" or "second"',
    "negative_quantity": 'give "return" or "reject"',
    "paid": "give true or false",
}


def _unknown(wrong: ErrorDetails) -> bool:
    return wrong["type"] == "unexpected_keyword_argument" or wrong["loc"][-1:] == ("[key]",)


def _told(wrong: ErrorDetails) -> str:
    """The key, what is wrong with it, and what to write."""
    path = [str(part) for part in wrong["loc"] if part != "[key]"]
    if not path:  # several keys do not go together: `_check` says it all
        return str(wrong["ctx"]["error"])
    if path[0] == "header":  # a union of two kinds tells its error of each
        path = path[:1]
    key = ".".join(path)
    if _unknown(wrong):
        known = _KNOWN[".".join(path[:-1])]
        close = get_close_matches(path[-1], known, n=1)
        remedy = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
        return f"{key} is not a key of a mapping; {remedy}"
    return f"{key} is {wrong['input']!r}; {_REMEDIES.get(key, 'give a text that is not empty')}"
