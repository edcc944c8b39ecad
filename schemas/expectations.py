"""What is expected of events, of a base, and of what is served. One definition; pure data.

A suite has tables, each a SELECT over relations that the runner provides, and expectations on
them, by the names that Great Expectations gives them. Money is DECIMAL, as everywhere.

Relations of `events`: `events` (the log from where the last check ended), `history` (type and
time of all events), `orders` (as served), `_clock` (one row: now).
Relations of `base` and `served`: `orders`, `ledger`, each view; `_groups`, `_totals`, `_cells`,
`_missing`, `_live_days`, `_arrivals` (see `pipelines/quality/relations.py`), `_clock`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Literal

from headrace.schemas.events import SHAPES
from headrace.schemas.tables import LEDGER_KINDS

Severity = Literal["blocking", "warning"]
Suite = Literal["events", "base", "served"]
SUITES: Final = ("events", "base", "served")


@dataclass(frozen=True)
class Table:
    """What expectations are about: a SELECT, and the columns that name one of its rows."""

    name: str
    sql: str
    key: tuple[str, ...]
    about: str


@dataclass(frozen=True)
class Expectation:
    """One expectation. `kwargs` are those of the type in Great Expectations."""

    name: str
    table: str
    type: str
    kwargs: Mapping[str, Any]
    severity: Severity
    description: str


@dataclass(frozen=True)
class Definition:
    """A suite: its tables by name, and its expectations in order."""

    tables: Mapping[str, Table] = field(default_factory=dict)
    expectations: tuple[Expectation, ...] = ()


@dataclass(frozen=True)
class Kind:
    """A type of expectation that can be used, and its arguments: needed, and allowed."""

    needed: tuple[str, ...]
    allowed: tuple[str, ...] = ()


KINDS: Final[Mapping[str, Kind]] = MappingProxyType(
    {
        "expect_column_values_to_not_be_null": Kind(("column",)),
        "expect_column_values_to_be_unique": Kind(("column",)),
        "expect_column_values_to_be_in_set": Kind(("column", "value_set")),
        "expect_column_values_to_match_regex": Kind(("column", "regex")),
        "expect_column_values_to_be_between": Kind(
            ("column",), ("min_value", "max_value", "strict_min", "strict_max")
        ),
        "expect_compound_columns_to_be_unique": Kind(("column_list",)),
        "expect_column_pair_values_to_be_equal": Kind(("column_A", "column_B")),
        "expect_column_pair_values_a_to_be_greater_than_b": Kind(
            ("column_A", "column_B"), ("or_equal",)
        ),
        "expect_table_row_count_to_equal": Kind(("value",)),
    }
)
"""Types that can be checked out of memory and exactly. A row count can only be expected to be 0."""

TYPES: Final = tuple(dict.fromkeys(shape.type for shape in SHAPES))
STATUSES: Final = (
    "placed", "paid", "shipped", "delivered", "cancelled", "returned", "unplaced", "voided",
)  # fmt: skip
_CURRENCY: Final = "^[A-Z]{3}$"
_PLACE: Final = ("partition", "offset")


def _present(table: str, *columns: str) -> tuple[Expectation, ...]:
    return tuple(
        Expectation(
            f"{table}_{column}_present",
            table,
            "expect_column_values_to_not_be_null",
            {"column": column},
            "blocking",
            f"{column} is never empty",
        )
        for column in columns
    )


def _between(
    table: str,
    column: str,
    severity: Severity = "blocking",
    *,
    about: str = "",
    **bounds: int | bool,
) -> Expectation:
    return Expectation(
        f"{table}_{column}_range",
        table,
        "expect_column_values_to_be_between",
        {"column": column, **bounds},
        severity,
        about or f"{column} lies within its range",
    )


def _none(table: str, about: str, severity: Severity = "blocking") -> Expectation:
    kind = "expect_table_row_count_to_equal"
    return Expectation(f"no_{table}", table, kind, {"value": 0}, severity, about)


def _same(table: str, a: str, b: str, about: str) -> Expectation:
    kind = "expect_column_pair_values_to_be_equal"
    return Expectation(
        f"{table}_{a}", table, kind, {"column_A": a, "column_B": b}, "blocking", about
    )


def _above(table: str, a: str, b: str, about: str, severity: Severity) -> Expectation:
    return Expectation(
        f"{table}_{a}_above_{b}",
        table,
        "expect_column_pair_values_a_to_be_greater_than_b",
        {"column_A": a, "column_B": b, "or_equal": True},
        severity,
        about,
    )


def _matches(table: str, column: str, regex: str, about: str) -> Expectation:
    kind = "expect_column_values_to_match_regex"
    return Expectation(
        f"{table}_{column}_form", table, kind, {"column": column, "regex": regex}, "blocking", about
    )


def _one_of(table: str, column: str, values: tuple[str, ...], about: str) -> Expectation:
    kind = "expect_column_values_to_be_in_set"
    kwargs = {"column": column, "value_set": list(values)}
    return Expectation(f"{table}_{column}_known", table, kind, kwargs, "blocking", about)


def _unique(table: str, columns: tuple[str, ...], about: str) -> Expectation:
    kwargs: dict[str, Any]
    if len(columns) == 1:
        kind, kwargs = "expect_column_values_to_be_unique", {"column": columns[0]}
    else:
        kind, kwargs = "expect_compound_columns_to_be_unique", {"column_list": list(columns)}
    return Expectation(f"{table}_unique", table, kind, kwargs, "blocking", about)


def _tables(*found: Table) -> Mapping[str, Table]:
    return MappingProxyType({table.name: table for table in found})


# ---------------------------------------------------------------------------- events
_DATA: Final[Mapping[str, tuple[str, ...]]] = {
    "OrderPlaced": ("customer_id", "currency", "country", "channel", "goods", "units",
                    "shipping", "discount"),
    "PaymentCaptured": ("amount",),
    "ItemsReturned": ("currency", "goods", "units"),
    "AdjustmentBooked": ("currency", "amount"),
    "EventsVoided": ("line_count",),
}  # fmt: skip
"""Columns of each type beyond its place, its identity and its time."""


def _type_table(name: str) -> Table:
    columns = ", ".join(("", *_DATA.get(name, ())))
    sql = f'SELECT "partition", "offset", id, order_id, time{columns} FROM events '
    return Table(name, f"{sql}WHERE type = '{name}'", _PLACE, f"{name} events that arrived")


_HOUR: Final = """
    WITH hours AS (
      SELECT date_trunc('hour', time) AS hour, count(*) AS events FROM history GROUP BY 1
    ), complete AS (
      SELECT hour, events FROM hours
      WHERE hour < (SELECT max(hour) FROM hours)
        AND hour >= (SELECT max(hour) - INTERVAL 2 DAY FROM hours)
    )
    SELECT c.hour, any_value(c.events) AS events,
      CAST(sum(w.events) // (2 * count(*)) AS BIGINT) AS low,
      CAST(2 * sum(w.events) // count(*) + 20 AS BIGINT) AS high
    FROM complete AS c JOIN hours AS w
      ON w.hour IN (c.hour - INTERVAL 7 DAY, c.hour - INTERVAL 14 DAY,
                    c.hour - INTERVAL 21 DAY, c.hour - INTERVAL 28 DAY)
    GROUP BY c.hour HAVING count(*) >= 2"""

EVENTS: Final = Definition(
    _tables(
        Table(
            "arrived",
            'SELECT "partition", "offset", source, id, type, version, time, order_id FROM events',
            _PLACE,
            "All events that arrived since the last check.",
        ),
        *(_type_table(name) for name in TYPES),
        Table(
            "orphans",
            'SELECT e."partition", e."offset", e.id, e.type, e.order_id FROM events AS e '
            "JOIN orders AS o ON e.order_id = o.order_id "
            "WHERE e.type <> 'OrderPlaced' AND o.placed_at IS NULL",
            _PLACE,
            "Events of orders that nobody placed, as far as we know.",
        ),
        Table(
            "sources",
            "SELECT source, date_diff('minute', max(appended_at), (SELECT now FROM _clock)) "
            "AS minutes_silent FROM history GROUP BY source",
            ("source",),
            "How long each source has been silent.",
        ),
        Table("hours", _HOUR, ("hour",), "Events of an hour, beside the same hour of other weeks."),
    ),
    (
        *_present("arrived", "source", "id", "type", "time", "order_id"),
        _unique("arrived", _PLACE, "a place in the log holds one event"),
        _one_of("arrived", "type", TYPES, "every type is one of the contract"),
        _between("arrived", "version", min_value=1),
        *_present("OrderPlaced", "currency", "goods", "units"),
        _matches("OrderPlaced", "currency", _CURRENCY, "a currency is three capital letters"),
        _between("OrderPlaced", "goods", min_value=0),
        _between("OrderPlaced", "units", min_value=1),
        _between("OrderPlaced", "shipping", min_value=0),
        _between("OrderPlaced", "discount", min_value=0),
        *_present("PaymentCaptured", "amount"),
        _between("PaymentCaptured", "amount", min_value=0),
        *_present("ItemsReturned", "currency", "goods", "units"),
        _matches("ItemsReturned", "currency", _CURRENCY, "a currency is three capital letters"),
        _between("ItemsReturned", "goods", min_value=0),
        _between("ItemsReturned", "units", min_value=1),
        *_present("AdjustmentBooked", "currency", "amount"),
        _matches("AdjustmentBooked", "currency", _CURRENCY, "a currency is three capital letters"),
        _between("EventsVoided", "line_count", min_value=1),
        *(e for t in ("OrderShipped", "OrderDelivered", "OrderCancelled")
          for e in _present(t, "order_id")),
        _none("orphans", "what is paid, shipped or returned was placed before", "warning"),
        _between("sources", "minutes_silent", "warning", max_value=1_440,
                 about="a source sends something at least once a day"),
        _above("hours", "events", "low", "at least half of that hour in other weeks", "warning"),
        _above("hours", "high", "events", "at most twice that hour in other weeks", "warning"),
    ),
)  # fmt: skip
"""What arrived."""

# ------------------------------------------------------------------- base and served
_SUMS: Final = """
    SELECT o.order_id, o.currency, o.net, o.gross, o.refunded, o.units,
      coalesce(l.net, 0) AS ledger_net, coalesce(l.gross, 0) AS ledger_gross,
      coalesce(l.refunded, 0) AS ledger_refunded, coalesce(l.units, 0) AS ledger_units
    FROM orders AS o LEFT JOIN (
      SELECT order_id, currency, CAST(sum(amount) AS DECIMAL(38, 4)) AS net,
        CAST(sum(amount) FILTER (WHERE kind IN ('sale', 'shipping', 'discount'))
          AS DECIMAL(38, 4)) AS gross,
        CAST(-sum(amount) FILTER (WHERE kind = 'return') AS DECIMAL(38, 4)) AS refunded,
        CAST(sum(quantity) AS BIGINT) AS units
      FROM ledger GROUP BY order_id, currency
    ) AS l ON o.order_id = l.order_id AND o.currency = l.currency"""

_DAYS: Final = """
    SELECT w.day, w.placed AS live, coalesce(h.placed, 0) AS placed,
      CAST(w.placed * 9 // 10 - 5 AS BIGINT) AS low
    FROM _live_days AS w LEFT JOIN (
      SELECT CAST(placed_at AS DATE) AS day, count(*) AS placed FROM orders
      WHERE placed_at IS NOT NULL GROUP BY 1
    ) AS h ON w.day = h.day"""

_WEEKS: Final = """
    WITH days AS (
      SELECT CAST(placed_at AS DATE) AS day, count(*) AS placed FROM orders
      WHERE placed_at IS NOT NULL GROUP BY 1
    ), complete AS (
      SELECT day, placed FROM days
      WHERE day < (SELECT max(day) FROM days) AND day >= (SELECT max(day) - 7 FROM days)
    )
    SELECT c.day, any_value(c.placed) AS placed,
      CAST(sum(w.placed) // (2 * count(*)) AS BIGINT) AS low,
      CAST(2 * sum(w.placed) // count(*) + 20 AS BIGINT) AS high
    FROM complete AS c JOIN days AS w ON w.day IN (c.day - 7, c.day - 14, c.day - 21, c.day - 28)
    GROUP BY c.day HAVING count(*) >= 2"""

_STORED: Final = (
    Table("orders", "SELECT * FROM orders", ("order_id",), "One row an order."),
    Table("ledger", "SELECT * FROM ledger", ("order_id", "kind", "booked_at"), "Every movement."),
    Table(
        "strays",
        "SELECT l.order_id, l.kind, l.amount FROM ledger AS l ANTI JOIN orders AS o "
        "ON l.order_id = o.order_id",
        ("order_id", "kind"),
        "Movements whose order is not there.",
    ),
    Table("order_sums", _SUMS, ("order_id",), "Each order's sums, and those of its movements."),
    Table("groups", "FROM _groups", ("view", "key"), "Groups that a view holds more than once."),
    Table("totals", "FROM _totals", ("figure",), "Totals, from both sides, as exact text."),
    Table("cells", "FROM _cells", ("view", "key", "measure"), "Cells that differ from their rows."),
    Table("missing", "FROM _missing", ("order_id",), "Orders without all of their events."),
    Table("weeks", _WEEKS, ("day",), "Orders of a day, beside the same weekday of other weeks."),
)

_OF_STORED: Final = (
    *_present("orders", "order_id", "status", "event_count", "partition"),
    _unique("orders", ("order_id",), "an order is there once"),
    _one_of("orders", "status", STATUSES, "every status is a known one"),
    _between("orders", "event_count", min_value=1),
    _between("orders", "paid", min_value=0),
    _between("orders", "refunded", min_value=0),
    _between("orders", "first_offset", min_value=0),
    _above("orders", "last_offset", "first_offset", "first and last event in order", "blocking"),
    *_present("ledger", "order_id", "kind", "booked_at", "currency", "amount", "quantity"),
    _one_of("ledger", "kind", LEDGER_KINDS, "every movement is of a known kind"),
    _none("strays", "every movement belongs to an order"),
    _same("order_sums", "net", "ledger_net", "an order's net is the sum of its movements"),
    _same("order_sums", "gross", "ledger_gross", "an order's gross is the sum of its sales"),
    _same("order_sums", "refunded", "ledger_refunded", "refunds are the sum of the returns"),
    _same("order_sums", "units", "ledger_units", "units are the sum of what moved"),
    _none("groups", "a view holds each group once"),
    _same("totals", "found", "expected", "views, orders and log agree in their totals"),
    _none("cells", "every cell of every view is the sum of its rows"),
    _none("missing", "every event of the log is in an order"),
    _above("weeks", "placed", "low", "at least half of that weekday in other weeks", "warning"),
    _above("weeks", "high", "placed", "at most twice that weekday in other weeks", "warning"),
)

BASE: Final = Definition(
    _tables(
        *_STORED,
        Table("days", _DAYS, ("day",), "Orders of a day, beside what is served of that day."),
    ),
    (
        *_OF_STORED,
        _above("days", "placed", "low", "a day keeps nine tenths of its orders", "blocking"),
    ),
)
"""A staged base, before it is published."""

SERVED: Final = Definition(
    _tables(
        *_STORED,
        Table(
            "freshness",
            "SELECT 'views' AS what, date_diff('minute', min(appended_at), "
            "(SELECT now FROM _clock)) AS minutes_behind FROM _arrivals HAVING count(*) > 0",
            ("what",),
            "How long the first event waits that the views do not have.",
        ),
    ),
    (
        *_OF_STORED,
        _between("freshness", "minutes_behind", "warning", max_value=60,
                 about="no event waits for more than an hour"),
    ),
)  # fmt: skip
"""What readers see."""

DEFINITIONS: Final[Mapping[str, Definition]] = MappingProxyType(
    {"events": EVENTS, "base": BASE, "served": SERVED}
)
