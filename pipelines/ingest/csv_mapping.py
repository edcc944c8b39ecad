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
from typing import Annotated, Final, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    StrictBool,
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
_Column = Literal[
    "order_id", "time", "product_id", "quantity", "unit_price",
    "customer_id", "currency", "country", "channel",
]  # fmt: skip
_Constant = Literal["currency", "country", "channel"]
_Text = Annotated[str, Field(min_length=1)]


@dataclass(frozen=True, slots=True, kw_only=True, config=_CLOSED)
class CsvMapping:
    """What stands where in the files, and how it is written.

    Attributes:
        columns: For each event field its column's name in the header.
        constants: Fields that are the same in every row.
        source: The CloudEvents `source` of the events.
        time: How times are written.
        encoding: A codec of Python's; `utf-8-sig` is UTF-8 with or without a mark.
        delimiter: Between fields, one character.
        quote: Around fields, one character; empty: nothing is quoted.
        decimal_mark: `.` or `,`; None: `.`, and what could be a thousands mark is refused.
        thousands_mark: Between groups of three digits; may be empty.
        negative_quantity: `return`: goods that came back; `reject`: a row that is wrong.
        paid: Whether an order is booked as paid in full when it is placed.
    """

    columns: Mapping[_Column, _Text]
    constants: Mapping[_Constant, _Text] = field(default_factory=dict)
    source: Annotated[_Text, Field(max_length=1_024)] = "csv/import"
    time: Times = field(default_factory=Times)
    encoding: Annotated[str, AfterValidator(_codec)] = "utf-8-sig"
    delimiter: Annotated[str, Field(pattern=r"^[^\r\n ]$")] = ","
    quote: Annotated[str, Field(pattern=r"^[^\r\n ]?$")] = '"'
    decimal_mark: Literal[".", ","] | None = None
    thousands_mark: Annotated[str, Field(pattern=r"^[^0-9-]?$")] = ""
    negative_quantity: Literal["return", "reject"] = "return"
    paid: StrictBool = False

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name in _NEEDED:
            if name not in self.columns:
                raise ValueError(f'columns.{name} is missing; add {name} = "COLUMN" to [columns]')
        for name in self.constants:
            if name in self.columns:
                raise ValueError(f"constants.{name} is also a column; remove one of the two")
        currency = self.constants.get("currency", "missing")
        if "currency" not in self.columns and _CURRENCY.fullmatch(currency) is None:
            raise ValueError(
                f"constants.currency is {currency!r}, and there is no currency column; "
                'give a code such as "EUR" in [constants], or columns.currency'
            )
        if self.delimiter == self.quote:
            raise ValueError("quote is the delimiter too; change one of the two")
        if self.thousands_mark == (self.decimal_mark or "."):
            raise ValueError(
                "thousands_mark is the decimal mark too; name the other with decimal_mark"
            )
        return self

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
        try:
            return cls(**{"source": f"csv/{toml_path.stem}", "columns": {}, **document})
        except ValidationError as error:
            # A key that is not known explains one that is missing.
            first = min(error.errors(), key=lambda wrong: not _unknown(wrong))
            raise ContractError(f"mapping {toml_path}: {_told(first)}") from error


_KNOWN: Final[Mapping[str, tuple[str, ...]]] = {
    "": tuple(CsvMapping.__dataclass_fields__),
    "columns": get_args(_Column),
    "constants": get_args(_Constant),
    "time": tuple(Times.__dataclass_fields__),
}
_REMEDIES: Final[Mapping[str, str]] = {
    "columns": "write it as a table: [columns]",
    "constants": "write it as a table: [constants]",
    "time": "write it as a table: [time]",
    "source": "give a text of 1 to 1024 characters",
    "time.zone": 'give a zone such as "Europe/Berlin" or "UTC"',
    "encoding": 'give one such as "utf-8" or "cp1252"',
    "delimiter": "give one character that is no space or line end",
    "quote": "give one character that is no space or line end, or none",
    "decimal_mark": 'give "." or ","',
    "thousands_mark": "give one character that is no digit and no minus, or none",
    "time.format": 'give "iso", or letters of strptime with one meaning: %I with %p, and no %Z',
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
    key = ".".join(path)
    if _unknown(wrong):
        known = _KNOWN[".".join(path[:-1])]
        close = get_close_matches(path[-1], known, n=1)
        remedy = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
        return f"{key} is not a key of a mapping; {remedy}"
    return f"{key} is {wrong['input']!r}; {_REMEDIES.get(key, 'give a text that is not empty')}"
