"""What can be queried, and how the views of the home's files differ from those that are live."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from headrace.pipelines.errors import UsageError
from headrace.pipelines.progress import quiet
from headrace.pipelines.verbs.place import Place, opened
from headrace.pipelines.views.stacked import rows_of
from headrace.schemas.tables import TABLES

if TYPE_CHECKING:
    from pathlib import Path

    from headrace.pipelines.batch.view_check import Checked
    from headrace.pipelines.generations.generation import Generation
    from headrace.pipelines.lake.lake import Lake
    from headrace.pipelines.views.load import View
    from headrace.pipelines.views.view import Join


def views(home: Place, name: str | None = None, **given: Any) -> dict[str, Any]:
    """Tables and views with their columns, as JSON can hold them.

    Args:
        home: where.
        name: of one view; all by default.
        given: settings.

    Returns:
        `logic`, `business_zone` of the home, `fresh` (whether all events are in), `views`, each
        with its `rows`, the `stored_rows` that they are read from, their `bytes` on disk, and the
        `rows_a_commit` that commits since the base added on average (None if there were none); by
        name, those `waiting` to be made live,
        and which built-in ones the home has `replaced` or `off`; and how `zones_moved`.

    Raises:
        UsageError: there is no such view.
        ViewError: a file is no view.
    """
    from headrace.pipelines.generations import registry
    from headrace.pipelines.log.embedded import Log
    from headrace.pipelines.settings import business_zone
    from headrace.pipelines.views.filling import zones_moved, zones_of
    from headrace.pipelines.views.load import BUILTIN_VIEWS, load_views

    with opened(home, read_only=True, **given) as lake, lake.reading():
        line = registry.read(lake)
        if name is not None and name not in line.views:
            known = ", ".join(sorted(line.views))
            raise UsageError(f"{name!r} is no view that is live; there are {known or 'none'}")
        behind = line.position != Log(lake).end()
        kept = _kept(lake, line, name)
        wanted = registry.current_views(lake.home)
        zone = business_zone(lake.home.path)
        own = any(lake.home.views.glob("*.sql"))
    built_in = load_views(BUILTIN_VIEWS, zone=zone) if own else wanted
    return {
        "logic": line.logic,
        "business_zone": zone,
        "fresh": not behind,
        "views": [
            {**each, **kept.get(each["name"], {})}
            for each in (listed(line) if name is None else [_view(line.views[name])])
        ],
        "waiting": sorted(n for n in {*wanted, *line.views} if _differs(n, wanted, line.views)),
        "replaced": sorted(n for n in built_in if n in wanted and _differs(n, wanted, built_in)),
        "off": sorted(built_in.keys() - wanted.keys()),
        "zones_moved": zones_moved(zones_of(wanted), line.views.zones),
    }


def check_view(home: Place, file: Path, *, spark: bool = True, **given: Any) -> Checked:
    """Try a view on the live data before it is deployed.

    Args:
        home: where.
        file: the `.sql` file of the view; it need not lie in the home.
        spark: also in Spark.
        given: settings, and `report`, which is told about each step.

    Returns:
        The ways of computing it, which are `equal` or not; rows, bytes, seconds, and a `sample`.

    Raises:
        ViewError: it is no view.
        JobError: Spark failed.
    """
    from headrace.pipelines.batch.view_check import check_view as tried

    report = given.pop("report", quiet)
    with opened(home, **given) as lake:
        return tried(lake, file, spark=spark, report=report)


def _kept(lake: Lake, line: Generation, only: str | None) -> dict[str, dict[str, Any]]:
    """What each table and view holds and costs."""
    from headrace.pipelines.lake.data_files import files

    commits = line.last_commit - line.after_commit
    sizes: dict[str, int] = {}
    for file in files(lake, line.stored()):
        name = file.table.partition("_")[2]
        sizes[name] = sizes.get(name, 0) + file.named_bytes
    found = {}
    for name in (*TABLES, *line.views) if only is None else (only,):
        base, delta = line.base_table(name), line.delta_table(name)
        rows, held, added = lake.row(
            f"SELECT (SELECT count(*) FROM ({line.select(name)})), "
            f"(SELECT count(*) FROM {base}), (SELECT count(*) FROM {delta})"
        )
        found[name] = {
            "rows": rows,
            "stored_rows": held + added,
            "bytes": sizes.get(name, 0),
            "rows_a_commit": round(added / commits) if commits else None,
        }
        join = line.views[name].join if name in line.views else None
        if join is not None and line.views[join.view].lookup is not None:
            found[name]["without"] = {join.view: _without(lake, line, line.views[name], join)}
    return found


def _without(lake: Lake, line: Generation, view: View, join: Join) -> int:
    """Rows of what a view reads for which the joined lookup has nothing."""
    rows = rows_of(view, lambda name: f"({line.select(name)})")
    its = join.on[0][1]
    return int(lake.row(f'SELECT count(*) FROM {rows} WHERE "{join.alias}.{its}" IS NULL')[0])


def listed(line: Generation) -> list[dict[str, Any]]:
    """What can be queried of a generation: name, kind, columns, and of a view key and text."""
    tables = [
        {"name": name, "kind": "table", "columns": dict(line.columns(name))} for name in TABLES
    ]
    return [*tables, *map(_view, line.views.values())]


def _view(view: View) -> dict[str, Any]:
    return {
        "name": view.name,
        "kind": "lookup"
        if view.lookup is not None
        else f"view of {', '.join(view.inner or (view.source,))}",
        "columns": {c.name: c.type for c in view.outputs},
        "key": [c.name for c in view.keys],
        "zones": [table.name for table in view.zones],
        "sql": view.sql,
        "text": view.text,
    }


def _differs(name: str, one: Mapping[str, View], other: Mapping[str, View]) -> bool:
    """Whether a view means something else on the other side, or is not there."""
    if name not in one or name not in other:
        return True
    return (one[name].sql, one[name].zones) != (other[name].sql, other[name].zones)
