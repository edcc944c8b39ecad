"""A part of a commit: what another process read of its partitions, and what that changes.

It is staged as one file of Arrow streams and read back by whoever commits. An order's events never
cross partitions, so parts of different partitions add up to the whole.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from pyarrow import ipc

from headrace.pipelines.fold import delta as changes
from headrace.pipelines.fold.delta import Change
from headrace.pipelines.fold.redeliveries import Suspect
from headrace.pipelines.log.order_index import search
from headrace.pipelines.log.port import Fetched, Hole
from headrace.pipelines.position import Position
from headrace.pipelines.views.load import View
from headrace.pipelines.views.stacked import over_tables
from headrace.schemas.decode import Rejected
from headrace.schemas.tables import TABLES, TYPED_COLUMNS

_REJECTED = pa.schema(
    [("origin", pa.string()), ("reason", pa.string()), ("raw", pa.large_binary())]
)
_HOLES = pa.schema(
    [
        ("partition", pa.int32()),
        ("first", pa.int64()),
        ("next", pa.int64()),
        ("reason", pa.string()),
    ]
)


@dataclass(frozen=True)
class Part:
    """What was made of some partitions; `fetched` moves on in these only."""

    partitions: tuple[int, ...]
    fetched: Fetched
    change: Change


def change_of(
    fetched: Fetched,
    views: Mapping[str, View],
    index: Sequence[Path],
    spill: Path,
    memory_limit: str | None,
) -> Change:
    """What these events change, with what their orders did before.

    Args:
        fetched: the new events.
        views: the generation's views.
        index: files with all events below them, as `OrderIndex.files` gives them.
        spill: where DuckDB puts what does not fit into memory.
        memory_limit: of DuckDB, such as '1GB'.
    """
    new = fetched.events.select(TYPED_COLUMNS)
    before = search(index, np.unique(new.column("order_hash").to_numpy()))
    config = {
        "threads": "1",
        "temp_directory": str(spill),
        "preserve_insertion_order": "false",
        "autoinstall_known_extensions": "false",
    }
    if memory_limit is not None:
        config["memory_limit"] = memory_limit
    with duckdb.connect(":memory:", config=config) as con:
        known = new.schema.empty_table() if before is None else before
        return changes.compute(con, fetched.start, views, known, new)


def stage(folder: Path, part: Part) -> dict[str, Any]:
    """Write a part into a folder; gives what `read` has to be told, as JSON can hold it."""
    fetched, file = part.fetched, folder / f"{uuid.uuid4()}.arrow"
    rejected = zip(fetched.origins, fetched.rejected, strict=True)
    tables = [
        fetched.events,
        pa.Table.from_pylist(
            [{"origin": o, "reason": r.reason, "raw": r.raw} for o, r in rejected], _REJECTED
        ),
        pa.Table.from_pylist(
            [
                {"partition": h.partition, "first": h.first, "next": h.next, "reason": h.reason}
                for h in fetched.holes
            ],
            _HOLES,
        ),
        *part.change.rows.values(),
    ]
    options = ipc.IpcWriteOptions(compression="lz4")
    with pa.OSFile(str(file), "wb") as sink:
        for table in tables:
            with ipc.new_stream(sink, table.schema, options=options) as writer:
                writer.write_table(table)
    return {
        "file": file.name,
        "partitions": part.partitions,
        "start": fetched.start.text(),
        "end": fetched.end.text(),
        "repeats": part.change.repeats,
        "suspects": list(part.change.suspects),
    }


def read(folder: Path, told: Mapping[str, Any], views: Mapping[str, View]) -> Part:
    """What another process staged."""
    names = (*TABLES, *over_tables(views))
    with pa.OSFile(str(folder / told["file"])) as source:
        events, rejected, holes, *rows = (
            ipc.open_stream(source).read_all() for _ in range(3 + len(names))
        )
    listed = rejected.to_pylist()
    fetched = Fetched(
        Position.parse(told["start"]),
        Position.parse(told["end"]),
        events,
        [Rejected(i, row["raw"], row["reason"]) for i, row in enumerate(listed)],
        [row["origin"] for row in listed],
        [Hole(*row.values()) for row in holes.to_pylist()],
    )
    named = dict(zip(names, rows, strict=True))
    suspects = [Suspect(*each) for each in told["suspects"]]
    change = Change(events.num_rows, told["repeats"], suspects, named)
    return Part(tuple(told["partitions"]), fetched, change)


def side_by_side(start: Position, found: Sequence[Fetched]) -> Fetched:
    """What was read of different partitions, as one. All of it begins at `start`."""
    end = start
    for each in found:
        end = end.highest(each.end)
    rejected = [r for each in found for r in each.rejected]
    return Fetched(
        start,
        end,
        pa.concat_tables([each.events for each in found]),
        [replace(r, index=i) for i, r in enumerate(rejected)],
        [origin for each in found for origin in each.origins],
        [hole for each in found for hole in each.holes],
    )
