"""Local time in a view: `x AT TIME ZONE 'UTC' AT TIME ZONE 'Europe/Berlin'`, the same everywhere.

DuckDB and Java carry rules of their own, of different versions, so neither decides: the table of
`zones.rules` is put into the SQL. Years index lists, one for the shift with which the year begins
and two for each change in a year; on 3 million rows that takes a fifth of the time of DuckDB's own
conversion, and planning it a fifth of what a tree of CASE with 560 leaves takes.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NoReturn

from sqlglot import exp

from headrace.pipelines.views.expressions import Expressions, Typed
from headrace.schemas.events import END_YEAR, FIRST_YEAR
from headrace.schemas.zones import DEFAULT, ZoneRules

if TYPE_CHECKING:
    from headrace.pipelines.views.view import Dialect

_NEVER: Final = 2**63 - 1
_SECOND: Final = 1_000_000


def local_time(at: Expressions, node: exp.Expression) -> Typed:
    """The rule for AT TIME ZONE: twice in a row, first 'UTC', then the zone wanted."""
    zone = _name(at, node)
    inner = node.this.unnest()
    if not isinstance(inner, exp.AtTimeZone):
        _refuse_single(at, node, zone)
    x = inner.this.unnest()
    first = _name(at, inner)
    if first != DEFAULT:
        wanted = first if zone == DEFAULT else zone
        at.refuse(
            node, f"takes the time for {first}'s, and all times are UTC: {_instead(x, wanted)}"
        )
    if x.find(exp.AtTimeZone) is not None:
        at.refuse(node, "shifts a time that is local already; shift it once, to one zone")
    part = at.check(x)
    if part.type != "TIMESTAMP":
        at.refuse(node, f"shifts what is {part.type}, and here a TIMESTAMP is needed")
    if zone == DEFAULT:
        return part
    table = at.rules_of(node, zone)
    native, spark = (
        exp.Var(this=shifted(getattr(part, d).sql(d, identify=True, comments=False), table, d))
        for d in _DIALECTS
    )
    return Typed(native, spark, "TIMESTAMP")


_DIALECTS: Final[tuple[Dialect, ...]] = ("duckdb", "spark")


def _name(at: Expressions, node: exp.Expression) -> str:
    zone = node.args["zone"]
    if not isinstance(zone, exp.Literal) or not zone.is_string:
        at.refuse(node, "needs a zone's name in quotes, such as 'Europe/Berlin', and nothing more")
    return str(zone.this)


def _refuse_single(at: Expressions, node: exp.Expression, zone: str) -> NoReturn:
    if zone == DEFAULT:
        x = _shown(node.this)
        at.refuse(
            node,
            f"is a moment, of a type that views do not have; all times are UTC: write {x} alone, "
            f"or {x} AT TIME ZONE 'UTC' AT TIME ZONE 'Europe/Berlin' for local time",
        )
    at.refuse(
        node,
        f"takes the time for one on clocks of {zone}; all times are UTC: "
        f"{_instead(node.this, zone)}",
    )


def _instead(x: exp.Expression, zone: str) -> str:
    return f"write {_shown(x)} AT TIME ZONE 'UTC' AT TIME ZONE '{zone}'"


def _shown(x: exp.Expression) -> str:
    return str(x.sql("duckdb", comments=False))


def shifted(x: str, table: ZoneRules, dialect: Dialect) -> str:
    """SQL for a time in UTC as the zone's clocks show it.

    Args:
        x: SQL for a TIMESTAMP or NULL.
        table: the zone's rules.
        dialect: of both. Spark's session has UTC as its zone.
    """
    begins, changes = _by_year(table)
    spark = dialect == "spark"
    last = END_YEAR - FIRST_YEAR
    place = f"greatest(1, least({last}, extract(YEAR FROM {x}) - {FIRST_YEAR - 1}))"
    moment = f"unix_micros(CAST({x} AS TIMESTAMP_LTZ))" if spark else f"epoch_us({x})"

    def of_year(values: tuple[int, ...]) -> str:
        if len(set(values)) == 1:
            return str(values[0])
        listed = ", ".join(map(str, values))
        if spark:
            return f"element_at(array({listed}), CAST({place} AS INT))"
        return f"CAST('[{listed}]' AS BIGINT[])[{place}]"

    seconds = " + ".join(
        [
            of_year(begins),
            *(
                f"CASE WHEN {moment} >= {of_year(starts)} THEN {of_year(steps)} ELSE 0 END"
                for starts, steps in changes
            ),
        ]
    )
    if spark:
        return f"timestampadd(SECOND, CAST({seconds} AS INT), {x})"
    return f"({x} + to_seconds({seconds}))"


_Column = tuple[int, ...]


@lru_cache(maxsize=64)
def _by_year(table: ZoneRules) -> tuple[_Column, tuple[tuple[_Column, _Column], ...]]:
    """A row a year: the shift with which it begins; of its n-th change the moment and the step."""
    years = range(FIRST_YEAR, END_YEAR)
    begins = tuple(table.shift_at(_begin(year) - 1) for year in years)
    of_year: dict[int, list[tuple[int, int]]] = {year: [] for year in years}
    for start, (old, new) in zip(table.starts, pairwise(table.shifts), strict=True):
        of_year[datetime.fromtimestamp(start, UTC).year].append((start * _SECOND, new - old))
    most = max(map(len, of_year.values()))
    filled = [[*found, *[(_NEVER, 0)] * (most - len(found))] for found in of_year.values()]
    nth = ([row[n] for row in filled] for n in range(most))
    return begins, tuple((tuple(a for a, _ in c), tuple(b for _, b in c)) for c in nth)


def _begin(year: int) -> int:
    return int(datetime(year, 1, 1, tzinfo=UTC).timestamp())


@lru_cache(maxsize=64)
def as_tree(table: ZoneRules) -> str:
    """The same for DuckDB over a time `t`, in another way, for the text of a view as written.

    A balanced tree of comparisons with the moments themselves: no years, no lists.
    """

    def below(low: int, high: int) -> str:
        if low == high:
            return str(table.shifts[low])
        middle = (low + high) // 2
        start = f"{datetime.fromtimestamp(table.starts[middle], UTC):%Y-%m-%d %H:%M:%S}"
        return (
            f"CASE WHEN t < TIMESTAMP '{start}' THEN {below(low, middle)} "
            f"ELSE {below(middle + 1, high)} END"
        )

    return f"t + to_seconds({below(0, len(table.starts))})"
