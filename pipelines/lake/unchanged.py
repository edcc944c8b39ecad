"""What was read of the lake's own tables is true until a snapshot changes one of them.

With each snapshot, DuckLake notes which tables it changed. To look there is one small statement; to
read the tables again, through DuckLake, takes some fifty times as long.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Final, TypeVar

from headrace.pipelines.lake.data_files import METADATA

if TYPE_CHECKING:
    from headrace.pipelines.lake.connection import Connection

T = TypeVar("T")
_INSERTED: Final = re.compile(r"(?:inserted_into_table|inlined_insert):(\d+)")


def unchanged(lake: Connection, since: int, tables: Collection[str]) -> bool:
    """Whether these tables of `sys` are as they were at a snapshot, for the open transaction.

    Whatever is not known for certain counts as changed: a snapshot that is gone, or anything but
    an insert into other tables.
    """
    now = lake.snapshot()
    if now == since:
        return True
    noted = lake.rows(
        f"SELECT changes_made FROM {METADATA}.ducklake_snapshot_changes "
        f"WHERE snapshot_id > {since} AND snapshot_id <= {now}"
    )
    if since < 0 or len(noted) != now - since:
        return False
    ids = _ids(lake, now)
    if not ids.keys() >= set(tables):
        return False
    ours = {ids[name] for name in tables}
    return all(
        (found := _INSERTED.fullmatch(each)) is not None and int(found[1]) not in ours
        for (text,) in noted
        for each in (text or "").split(",")
    )


def remembered(lake: Connection, key: str, tables: Collection[str], ask: Callable[[], T]) -> T:
    """What a question gave when it was asked last, if its tables have not changed since."""
    if lake.wrote:  # the open transaction may have changed them
        return ask()
    # Asked first: outside a transaction, the next statement may see a later snapshot already.
    now = lake.snapshot()
    at, known = lake.memory.get(key, (-1, None))
    if at >= 0 and unchanged(lake, at, tables):
        found: T = known
    else:
        found = ask()
    lake.memory[key] = (now, found)
    return found


def _ids(lake: Connection, now: int) -> dict[str, int]:
    """DuckLake's numbers of the tables of `sys`: a table that is made anew gets another one."""
    at, found = lake.memory.get("ids", (-1, None))
    known: dict[str, int] = found or {}
    if at < 0:
        known = dict(
            lake.rows(f"""
            SELECT t.table_name, t.table_id FROM {METADATA}.ducklake_table AS t
            JOIN {METADATA}.ducklake_schema AS s ON t.schema_id = s.schema_id
            WHERE s.schema_name = 'sys' AND s.end_snapshot IS NULL AND t.end_snapshot IS NULL""")
        )
        lake.memory["ids"] = (now, known)
    return known
