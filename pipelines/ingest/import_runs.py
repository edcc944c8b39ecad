"""Import runs: each imported file marks its events, so that they can be found and taken back.

The id of a run is made from the events themselves: the same file read by the same mapping is the
same run, so importing it twice is no second one. It travels in the events, as the CloudEvents
extension attribute `importid`, through a topic too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import blake2b
from typing import TYPE_CHECKING

import orjson

from headrace.pipelines.errors import UsageError
from headrace.pipelines.lake.connect import literal
from headrace.schemas.strict_json import IMPORT_MARK

if TYPE_CHECKING:
    from headrace.pipelines.ingest.delimited import ImportedFile
    from headrace.pipelines.lake.lake import Lake

_IN_RAW = "substr(raw, 14, 12)"
_MARKED = f"starts_with(raw, {literal(IMPORT_MARK.decode())})"


@dataclass(frozen=True)
class ImportRun:
    """One import run as the log has it.

    `events` were new with it, the other `known` ones had been there before. `voided` of the new
    ones were taken back.
    """

    import_id: str
    source: str
    recorded_at: datetime
    orders: int
    events: int
    known: int
    voided: int


def run_id(lines: Sequence[bytes], replaces: str | None = None) -> str:
    """The id of the run that brings these events (and takes the place of another run)."""
    digest = blake2b(digest_size=6, key=(replaces or "").encode())
    for line in lines:
        digest.update(line + b"\n")
    return digest.hexdigest()


def marked(file: ImportedFile, replaces: str | None = None) -> ImportedFile:
    """The same file, its events marked with their run.

    With `replaces`, each event also gets an id of its own: under the old one it may be void.
    """
    if not file.lines:
        return file
    name = run_id(file.lines, replaces)
    lines = file.lines if replaces is None else [_renamed(line, name) for line in file.lines]
    mark = IMPORT_MARK + name.encode() + b'",'
    return replace(file, lines=[mark + line[1:] for line in lines], import_id=name)


def _renamed(line: bytes, name: str) -> bytes:
    event = orjson.loads(line)
    return orjson.dumps(event | {"id": f"{event['id']}~{name}"})


def runs(lake: Lake) -> list[ImportRun]:
    """All import runs of the log, the newest first.

    An event that had been there before a run brought it again is not that run's.
    """
    rows = lake.rows(f"""
        WITH marked AS (
          SELECT {_IN_RAW} AS run, order_id, source, id, min("offset") AS "offset",
            max(appended_at) AS at
          FROM sys.events WHERE {_MARKED} GROUP BY ALL
        ), firsts AS (
          SELECT e.order_id, e.source, e.id, min(e."offset") AS "offset" FROM sys.events AS e
          SEMI JOIN marked USING (order_id, source, id) GROUP BY ALL
        ), taken AS ({VOIDED})
        SELECT m.run, any_value(m.source), max(m.at), count(DISTINCT m.order_id),
          count(*) FILTER (WHERE m."offset" = f."offset"),
          count(*) FILTER (WHERE m."offset" > f."offset"),
          count(t.id) FILTER (WHERE m."offset" = f."offset")
        FROM marked AS m JOIN firsts AS f USING (order_id, source, id)
        LEFT JOIN taken AS t USING (order_id, source, id)
        GROUP BY m.run ORDER BY 3 DESC, 1""")
    return [ImportRun(*row) for row in rows]


VOIDED = """
    SELECT DISTINCT order_id, source, l.product_id AS id FROM (
      SELECT order_id, source, unnest(lines) AS l FROM sys.events WHERE type = 'EventsVoided')"""
"""The events that voids name: order, source and id."""


def check_not_void(lake: Lake, file: ImportedFile) -> None:
    """See that no event of a file was taken back: it would come in and count for nothing.

    Raises:
        UsageError: one was.
    """
    voids = lake.rows(
        "SELECT source, order_id, unnest(lines).product_id, "
        "json_extract_string(raw, '$.data.import') FROM sys.events WHERE type = 'EventsVoided'"
    )
    if not voids:
        return
    named = {(source, order, event): run for source, order, event, run in voids}
    for line in file.lines:
        event = orjson.loads(line)
        key = (event["source"], event["subject"], event["id"])
        if key in named:
            run = named[key]
            instead = (
                "give the mapping another `source`"
                if run is None
                else f"`--replace {run}` brings it in under ids of its own"
            )
            raise UsageError(
                f"{file.path}: the event {event['id']} of order {event['subject']} was taken back, "
                f"so it would count for nothing; nothing of the file was recorded. {instead}"
            )
