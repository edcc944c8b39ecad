"""The yardstick: one DuckDB recompute of a home's whole log, fold and all views, in one go.

No position, no deltas, no lake written: as fast as the same SQL can be on this machine now.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from headrace.pipelines import settings
from headrace.pipelines.bootstrap import open_lake
from headrace.pipelines.fold import fold
from headrace.pipelines.generations import registry
from headrace.pipelines.log.embedded import Log
from headrace.pipelines.position import Position
from headrace.pipelines.views.stacked import over_tables, over_views, rows_of
from headrace.schemas.tables import TABLES, TYPED_COLUMNS


def main(home: str) -> None:
    """Recompute once and print the seconds."""
    with open_lake(settings.load(Path(home)), read_only=True) as lake:
        log = Log(lake)
        end = log.end()
        columns = ", ".join(f'"{c}"' for c in TYPED_COLUMNS)
        events = log.read(Position.zero(len(end.offsets)), end, columns)
        views = registry.read(lake).views
        started = time.perf_counter()
        fold.fold(lake.con, events, "once_")
        made = {**over_tables(views), **over_views(views)}
        for name, view in made.items():
            full = view.full_sql(
                rows_of(view, lambda n: f"once_{n}" if n in TABLES else f"once_view_{n}")
            )
            lake.con.execute(f"CREATE OR REPLACE TEMP TABLE once_view_{name} AS {full}")
        seconds = time.perf_counter() - started
    sys.stdout.write(json.dumps({"events": end.total, "seconds": round(seconds, 3)}) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
