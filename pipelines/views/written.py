"""The text of a view as DuckDB itself reads it: what a compiled view is held against.

Guarantees: nothing of ours has parsed, checked or rewritten it. DuckDB's own parser gives the tree,
and six things in it are put in place of others: the table that is read; because views are exact
where DuckDB answers with a DOUBLE, `/`, avg, median and quantile_cont (4 fraction digits, half away
from zero, NULL over 0 or nothing); because DuckDB answers with the value that came first, ties of
mode, arg_min and arg_max (by the values themselves); and local time, because the rules of zones are
the view's own and not those that DuckDB carries.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from headrace.pipelines.views.types import scratch
from headrace.pipelines.views.zoned import as_tree
from headrace.schemas.zones import DEFAULT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import duckdb

    from headrace.schemas.zones import ZoneRules

_MACROS: Final = r"""
    CREATE OR REPLACE TEMP MACRO _digits(x) AS
      coalesce(TRY_CAST(regexp_extract(typeof(x), ',(\d+)', 1) AS INTEGER), 0);
    CREATE OR REPLACE TEMP MACRO _unscaled(x) AS
      CAST(replace(CAST(x AS VARCHAR), '.', '') AS HUGEINT);
    CREATE OR REPLACE TEMP MACRO _ten_to(k) AS
      CAST('1' || repeat('0', greatest(k, 0)) AS HUGEINT);
    -- n / d is 10^4 times the quotient; (2|n| + |d|) // 2|d| is |n / d| rounded half up.
    CREATE OR REPLACE TEMP MACRO _rounded(n, d) AS
      CASE WHEN (n < 0) = (d < 0) THEN 1 ELSE -1 END
      * CAST((2 * abs(n) + abs(d)) // (2 * abs(d)) AS DECIMAL(38, 0)) * 0.0001;
    CREATE OR REPLACE TEMP MACRO _quotient(a, b) AS
      CASE WHEN b <> 0 THEN _rounded(
        _unscaled(a) * _ten_to(4 + _digits(b) - _digits(a)),
        _unscaled(b) * _ten_to(_digits(a) - _digits(b) - 4)) END;
    -- Of values in order, the one that lies the share q of the way from the first to the last.
    CREATE OR REPLACE TEMP MACRO _way(n, q) AS CAST(q AS DECIMAL(18, 6)) * (n - 1);
    CREATE OR REPLACE TEMP MACRO _step(low, high, part) AS
      round(CAST(low AS DECIMAL(28, 6)) + CAST(high - low AS DECIMAL(28, 6)) * part, 4);
    CREATE OR REPLACE TEMP MACRO _between(v, q) AS CASE WHEN len(v) > 0 THEN _step(
      v[CAST(floor(_way(len(v), q)) AS BIGINT) + 1], v[CAST(ceil(_way(len(v), q)) AS BIGINT) + 1],
      CAST(_way(len(v), q) - floor(_way(len(v), q)) AS DECIMAL(7, 6))) END"""

_NODE: Final = {"alias": "", "query_location": 0}
_HALF: Final[dict[str, Any]] = {
    **_NODE,
    "class": "CONSTANT",
    "type": "VALUE_CONSTANT",
    "value": {
        "type": {
            "id": "DECIMAL",
            "type_info": {
                "type": "DECIMAL_TYPE_INFO",
                "alias": "",
                "extension_info": None,
                "width": 2,
                "scale": 1,
            },
        },
        "is_null": False,
        "value": 5,
    },
}
"""0.5"""
_TIED: Final = {
    "mode": "ASCENDING",
    **dict.fromkeys(("arg_min", "argmin", "min_by"), "ASCENDING"),
    **dict.fromkeys(("arg_max", "argmax", "max_by"), "DESCENDING"),
}
"""Aggregates that give the first of several values, and the order in which ours come first."""


def written_sql(text: str, relation: Callable[[str], str]) -> str:
    """The view's text over other tables.

    Args:
        text: as the user wrote it; one SELECT that was accepted as a view.
        relation: name of what it reads to the plain name of a table with the same columns.

    Returns:
        A SELECT of the view's columns, in the declared order; where `get_ready` was called.

    Raises:
        ValueError: DuckDB does not read it as one SELECT. The message is DuckDB's.
    """
    tree = json.loads(_tree(text))
    rewritten = json.dumps(_rewritten(tree, relation))
    return str(_answer("SELECT json_deserialize_sql(CAST({} AS JSON))", rewritten))


def get_ready(con: duckdb.DuckDBPyConnection, zones: Iterable[ZoneRules] = ()) -> None:
    """Make what the texts call for `/`, avg and local time; temporary, on this connection."""
    con.execute(_MACROS)
    for table in zones:
        con.execute(f'CREATE OR REPLACE TEMP MACRO "{_local(table.name)}"(t) AS {as_tree(table)}')


def _local(zone: str) -> str:
    return f"_local {zone}"


@lru_cache(maxsize=256)
def _tree(text: str) -> str:
    tree = str(_answer("SELECT json_serialize_sql({})", text))
    told = json.loads(tree)
    if told["error"]:
        raise ValueError(str(told["error_message"]).splitlines()[0])
    if len(told["statements"]) != 1:
        raise ValueError(f"{len(told['statements'])} statements")
    return tree


def _answer(sql: str, text: str) -> object:
    """A scalar over a text, which stands in the statement: to bind it would load pandas."""
    quoted = "'" + text.replace("'", "''") + "'"
    (row,) = scratch().cursor().execute(sql.format(quoted)).fetchall()
    return row[0]


def _rewritten(node: Any, relation: Callable[[str], str]) -> Any:
    if isinstance(node, list):
        return [_rewritten(each, relation) for each in node]
    if not isinstance(node, dict):
        return node
    node = {name: _rewritten(value, relation) for name, value in node.items()}
    if node.get("type") == "BASE_TABLE":
        alias = node["alias"] or node["table_name"]
        return {**node, "alias": alias, "table_name": relation(node["table_name"].lower())}
    return _instead_of(node) if node.get("class") == "FUNCTION" else node


def _instead_of(node: dict[str, Any]) -> dict[str, Any]:
    """What stands in place of a call; most stay as they are."""
    if node["function_name"] == "/":
        return _call("_quotient", node["children"], node)
    if node["function_name"] in {"avg", "mean"}:
        parts = [{**node, "alias": "", "function_name": name} for name in ("sum", "count")]
        return _call("_quotient", parts, node)
    if node["function_name"] in {"median", "quantile_cont"}:
        x, *share = node["children"]
        values = {
            **node,
            "alias": "",
            "function_name": "list",
            "children": [x],
            "order_bys": _order(x, "ASCENDING"),
            "filter": _present(x, node["filter"]),
        }
        return _call("_between", [values, *(share or [_HALF])], node)
    if node["function_name"] in _TIED:
        return {**node, "order_bys": _order(node["children"][0], _TIED[node["function_name"]])}
    zone, x = _in_zone(node)
    inner, utc = _in_zone(x)
    if zone is not None and inner == DEFAULT:
        same = zone == DEFAULT
        return {**utc, "alias": node["alias"]} if same else _call(_local(zone), [utc], node)
    return node


def _order(x: Any, how: str) -> dict[str, Any]:
    order = {"type": how, "null_order": "ORDER_DEFAULT", "expression": x}
    return {"type": "ORDER_MODIFIER", "orders": [order]}


def _present(x: Any, condition: Any) -> dict[str, Any]:
    """The condition, if there is one, and that there is a value."""
    there = {**_NODE, "class": "OPERATOR", "type": "OPERATOR_IS_NOT_NULL", "children": [x]}
    if condition is None:
        return there
    both = [condition, there]
    return {**_NODE, "class": "CONJUNCTION", "type": "CONJUNCTION_AND", "children": both}


def _in_zone(node: Any) -> tuple[str | None, Any]:
    """Zone and time of `x AT TIME ZONE 'zone'`; None where a node is something else."""
    if node.get("class") != "FUNCTION" or node["function_name"] != "timezone":
        return None, node
    zone, x = node["children"]
    return (zone["value"]["value"] if zone["class"] == "CONSTANT" else None), x


def _call(name: str, children: list[Any], instead_of: dict[str, Any]) -> dict[str, Any]:
    return {
        **instead_of,
        "function_name": name,
        "children": children,
        "is_operator": False,
        "filter": None,
        "distinct": False,
    }
