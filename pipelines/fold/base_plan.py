"""What a base is made of, as SQL: the full plan and the incremental one. Pure.

The same plan runs in Spark and in DuckDB. Inputs are relations that the runner provides:

- full: `events`, the whole log below the cut.
- incremental: `earlier`, the events below the previous cut of the orders that new events touch,
  `events`, those and the new ones, and `prev_{table}`, the tables of the base before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from headrace.pipelines.fold import fold
from headrace.pipelines.views.load import Dialect, View
from headrace.pipelines.views.stacked import over_tables
from headrace.schemas.tables import LEDGER_COLUMNS, ORDERS_COLUMNS


@dataclass(frozen=True)
class Plan:
    """`steps` are named SELECTs to run in order; `tables` are the SELECTs that make the base.

    Views over views are not among them: `Staged.complete` makes those from the inner ones.
    `repeats` counts the redelivered events that were met for the first time. Steps in `reused`
    are read more than once and worth keeping.
    """

    steps: tuple[tuple[str, str], ...]
    tables: Mapping[str, str]
    repeats: str
    reused: frozenset[str]


_REUSED = frozenset(
    {"orders", "ledger", "course", "facts", "booked", "odd", "repeats", "balance", "later"}
)


def full(views: Mapping[str, View], dialect: Dialect) -> Plan:
    """Fold the whole log, then aggregate each view over all rows."""
    tables = {"orders": _listed("orders", ORDERS_COLUMNS, dialect)}
    tables["ledger"] = _listed("ledger", LEDGER_COLUMNS, dialect)
    for name, view in over_tables(views).items():
        tables[name] = view.partial_sql(view.source, dialect)
    return Plan(
        fold.steps("", dialect=dialect), tables, "SELECT count(*) AS n FROM repeats", _REUSED
    )


def views_alone(views: Mapping[str, View], dialect: Dialect) -> Plan:
    """Aggregate views over `orders` and `ledger` as they are given, without folding anything."""
    tables = {name: v.partial_sql(v.source, dialect) for name, v in over_tables(views).items()}
    return Plan((), tables, "SELECT 0 AS n", frozenset())


def incremental(views: Mapping[str, View], dialect: Dialect) -> Plan:
    """Fold the touched orders, replace their rows in the base before, add what changed."""
    steps = list(fold.steps("", dialect=dialect))
    steps.append(("touched", "SELECT order_id FROM course"))
    tables: dict[str, str] = {}
    for name, listed_columns in (("orders", ORDERS_COLUMNS), ("ledger", LEDGER_COLUMNS)):
        listed = _listed(f"prev_{name} AS p", listed_columns, dialect)
        apart = "(SELECT 1 FROM touched AS t WHERE t.order_id = p.order_id)"
        steps.append((f"stale_{name}", f"{listed} WHERE EXISTS {apart}"))
        fresh = _listed(name, listed_columns, dialect)
        tables[name] = f"{listed} WHERE NOT EXISTS {apart} UNION ALL {fresh}"
    for name, view in over_tables(views).items():
        columns = ", ".join(_quoted(c.name, dialect) for c in (*view.places, *view.partials))
        weighted = (
            f"(SELECT *, 1 AS _weight FROM {view.source} "
            f"UNION ALL SELECT *, -1 AS _weight FROM stale_{view.source})"
        )
        changed = view.partial_sql(weighted, dialect, weight="_weight")
        both = (
            f"(SELECT {columns} FROM prev_{name} UNION ALL SELECT {columns} FROM ({changed}) AS c)"
        )
        tables[name] = view.merge_sql(both, dialect)
    repeats = (
        "SELECT (SELECT count(*) FROM repeats) - (SELECT count(*) FROM earlier) "
        "+ (SELECT coalesce(sum(event_count), 0) FROM stale_orders) AS n"
    )
    reused = _REUSED | {"touched", "stale_orders", "stale_ledger"}
    return Plan(tuple(steps), tables, repeats, reused)


def _listed(relation: str, columns: Mapping[str, str], dialect: str) -> str:
    return f"SELECT {', '.join(_quoted(c, dialect) for c in columns)} FROM {relation}"


def _quoted(name: str, dialect: str) -> str:
    return f"`{name}`" if dialect == "spark" else f'"{name}"'
