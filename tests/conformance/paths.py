"""What all paths are held to: a lake serves what the oracle says of its log, cell by cell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from headrace.pipelines.batch.run import Batch
from headrace.pipelines.generations import registry
from headrace.pipelines.log.embedded import Log
from headrace.pipelines.log.scan import between
from headrace.pipelines.position import Position
from headrace.pipelines.speed.layer import Speed
from tests.oracle import fold as oracle
from tests.oracle.fold import Table

if TYPE_CHECKING:
    from headrace.pipelines.lake.lake import Lake

SparkBatch = Callable[..., Batch | None]
"""`batch.run` with Spark: of a lake, and `incremental`."""

TABLES = ("orders", "ledger", *oracle.VIEWS)
BUILT_IN = ("orders", "ledger", *(name for name in oracle.VIEWS if name not in oracle.USER_VIEWS))


def append(lake: Lake, lines: Sequence[bytes], *, batch: int | None = None) -> Position:
    """Append lines, all of which must be accepted; gives the log's end."""
    log = Log(lake)
    for start in range(0, len(lines), batch or len(lines) or 1):
        part = lines[start : start + (batch or len(lines))]
        done = log.append(part, [f"test:{start + n}" for n in range(len(part))])
        assert (done.accepted, done.quarantined) == (len(part), 0)
    return log.end()


def run_speed(
    lake: Lake,
    commit_events: int = 100_000,
    *,
    number: int | None = None,
    commits: int | None = None,
) -> int:
    """Run the speed layer to the log's end, or for some commits; gives how many it made."""
    with Speed.open(lake, commit_events=commit_events) as speed:
        if commits is None:
            return len(speed.run(number))
        line, goal = registry.read(lake, number), Log(lake).end()
        steps = (speed.step(line.number, goal) for _ in range(commits))
        return sum(step is not None for step in islice(steps, commits))


def logged(lake: Lake, position: Position) -> list[tuple[int, int, str]]:
    """The log's lines below a position, as they arrived."""
    zero = Position.zero(len(position.offsets))
    rows = lake.rows(
        f'SELECT "partition", "offset", raw FROM sys.events WHERE {between(zero, position)}'
    )
    assert len(rows) == position.total
    return rows


def served(lake: Lake, names: Iterable[str]) -> dict[str, Table]:
    """What people are served, through the plain SQL views, in one transaction."""
    found = {}
    with lake.reading():
        for name in names:
            cursor = lake.con.execute(f'SELECT * FROM main."{name}"')
            columns = tuple(column[0] for column in cursor.description or ())
            found[name] = Table(columns, Counter(cursor.fetchall()))
    return found


def kept(lake: Lake, number: int, names: Iterable[str]) -> dict[str, Table]:
    """What a generation would serve, live or not."""
    line = registry.read(lake, number)
    found = {}
    with lake.reading():
        for name in names:
            cursor = lake.con.execute(line.select(name))
            columns = tuple(column[0] for column in cursor.description or ())
            found[name] = Table(columns, Counter(cursor.fetchall()))
    return found


def differences(found: dict[str, Table], expected: dict[str, Table]) -> list[str]:
    """One line for each row that only one side has; empty if both are equal in every cell."""
    lines = []
    for name, table in found.items():
        wanted = expected[name]
        if table.columns != wanted.columns:
            lines.append(f"{name}: columns {table.columns}, not {wanted.columns}")
            continue
        for said, surplus in (
            ("served, not in the oracle", table.rows - wanted.rows),
            ("in the oracle, not served", wanted.rows - table.rows),
        ):
            for row, times in surplus.items():
                lines.append(f"{name}, {times} times {said}: {_shown(table.columns, row)}")
    return sorted(lines)


def assert_exact(
    lake: Lake,
    number: int | None = None,
    *,
    names: Sequence[str] = TABLES,
    at: Position | None = None,
) -> None:
    """Everything served equals the oracle over the log below the served position.

    Args:
        lake: whose log and views.
        number: a generation that need not be live; by default what people query.
        names: the tables to compare; built-in and user views by default.
        at: where it must stand; by default at the log's end.
    """
    line = registry.read(lake, number)
    assert line.position == (Log(lake).end() if at is None else at)
    expected = oracle.recompute(logged(lake, line.position))
    found = served(lake, names) if number is None else kept(lake, number, names)
    wrong = differences(found, expected)
    assert not wrong, "\n".join([f"{len(wrong)} rows differ", *wrong[:40]])


def conflicts(lake: Lake) -> Counter[str]:
    """Where the quarantined conflicts came from, also those that were seen again."""
    rows = lake.rows(
        "SELECT origin FROM sys.quarantine WHERE reason LIKE 'conflict: %' UNION ALL "
        "SELECT origin FROM sys.quarantine_sightings WHERE starts_with(origin, 'log partition ')"
    )
    return Counter(origin for (origin,) in rows)


def _shown(columns: Sequence[str], row: tuple[Any, ...]) -> str:
    return ", ".join(f"{c}={value}" for c, value in zip(columns, row, strict=True))
