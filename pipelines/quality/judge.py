"""Checks run: DuckDB finds exactly what breaks an expectation, Great Expectations judges and shows.

DuckDB reads everything, out of memory if need be, and counts. What goes to Great Expectations is
a table of at most `ROW_LIMIT` rows as it is; of a longer one, the rows that break something. An
expectation is met only if both say so.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace.pipelines.errors import JobError, UsageError
from headrace.pipelines.lake.connect import literal
from headrace.pipelines.lake.guarded_sql import plain
from headrace.pipelines.lake.home import Home
from headrace.pipelines.processes import start_python
from headrace.pipelines.quality import data_docs, suites
from headrace.schemas.expectations import Definition, Expectation, Table

if TYPE_CHECKING:
    import duckdb

ROW_LIMIT = 20_000
_SHOWN = 20
"""Rows that a finding names."""


@dataclass(frozen=True)
class Finding:
    """An expectation that was not met: which, how often, and the first rows, as text."""

    expectation: str
    table: str
    severity: str
    description: str
    count: int
    rows: tuple[str, ...]

    def __str__(self) -> str:
        """One line: what is expected, how often it is not so, and the first rows."""
        first = "; ".join(self.rows[:3])
        more = ", …" if len(self.rows) > 3 else ""  # noqa: PLR2004 - three fit a line
        return f"{self.description} ({self.table}: {self.count:,} not so: {first}{more})"

    def as_json(self) -> dict[str, Any]:
        """As `--json` prints it, and as the lake keeps it."""
        return asdict(self)


class Judge:
    """Great Expectations in a process of its own. It loads while something else is done."""

    def __init__(self, home: Home) -> None:
        if find_spec("great_expectations") is None:
            raise UsageError(
                "Great Expectations is not installed, so nothing was checked; install "
                "'headrace[flows]', or set audit = \"core\" (--audit core)"
            )
        self._home = home
        self.folder = home.staging / f"checks-{uuid.uuid4().hex}"
        self.folder.mkdir(parents=True)
        self._said = (self.folder / "said.txt").open("w+b")
        self._process = start_python(
            "headrace.jobs.great_expectations",
            env={"GX_ANALYTICS_ENABLED": "false"},
            stdin=subprocess.PIPE,
            stdout=self._said,
            stderr=subprocess.STDOUT,
        )

    def run(
        self, con: duckdb.DuckDBPyConnection, suite: str, definition: Definition
    ) -> tuple[list[Finding], Path]:
        """Check a suite over the relations of a connection; gives what was not met, and the docs.

        Raises:
            JobError: Great Expectations could not judge.
            UsageError: an expectation of the home cannot be run; says which.
        """
        measured, found = [], []
        for table in definition.tables.values():
            listed = [e for e in definition.expectations if e.table == table.name]
            if listed:
                entry, findings = _measure(con, table, listed, self.folder)
                measured.append(entry)
                found += findings
        _refuse_unknown(definition)
        site = self.folder / "site"
        plan = {"suite": suite, "docs": str(site), "tables": measured}
        judged = self._judge({**plan, "result": str(self.folder / "result.json")})
        broken = {f.expectation for f in found}
        for expectation in definition.expectations:
            verdict = judged[expectation.name]
            if verdict["error"]:
                raise JobError(
                    f"Great Expectations could not judge {expectation.name}: "
                    f"{verdict['error'][:300]}"
                )
            if not verdict["success"] and expectation.name not in broken:
                found.append(_finding(expectation, 0, ("Great Expectations says so",)))
        report = data_docs.publish(self._home, suite, site, [f.as_json() for f in found])
        return found, report

    def _judge(self, plan: dict[str, Any]) -> dict[str, Any]:
        path = self.folder / "plan.json"
        path.write_text(json.dumps(plan), encoding="utf-8")
        with contextlib.suppress(BrokenPipeError):
            self._process.communicate(f"{path}\n".encode())
        result = Path(plan["result"])
        if self._process.returncode != 0 or not result.is_file():
            self._said.seek(0)
            last = self._said.read().decode(errors="replace").strip().splitlines()[-1:]
            raise JobError(
                f"the audit job ended with exit code {self._process.returncode}: "
                f"{''.join(last)[:300] or 'it printed nothing'}. Nothing was published; "
                "--audit core does without it"
            )
        judged: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
        return judged

    def close(self) -> None:
        """End the process, if it still waits, and remove what it left."""
        if self._process.poll() is None:
            self._process.kill()
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        self._process.wait()
        self._said.close()
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def judge(home: Home) -> Iterator[Judge]:
    """Start Great Expectations; it is ended when the block ends."""
    started = Judge(home)
    try:
        yield started
    finally:
        started.close()


def _refuse_unknown(definition: Definition) -> None:
    for expectation in definition.expectations:
        if expectation.table not in definition.tables:
            raise UsageError(
                f"expectation {expectation.name}: there is no table {expectation.table!r}; write "
                f"one of {', '.join(definition.tables)}, or add [tables.{expectation.table}]"
            )


def _measure(
    con: duckdb.DuckDBPyConnection, table: Table, listed: Sequence[Expectation], folder: Path
) -> tuple[dict[str, Any], list[Finding]]:
    """Count what breaks each expectation of a table, and write the frame to be judged."""
    import duckdb

    relation = f'"_t_{table.name}"'
    try:
        con.execute(f"CREATE OR REPLACE TEMP VIEW {relation} AS {table.sql}")
        types = dict(con.execute(f"SELECT column_name, column_type FROM (DESCRIBE {relation})")
                     .fetchall())  # fmt: skip
        _check_columns(table, listed, types)
        conditions = [suites.breaks(e, relation) for e in listed]
        flags = ", ".join(f"CAST(({c}) AS INTEGER) AS _b{i}" for i, c in enumerate(conditions))
        sums = ", ".join(f"coalesce(sum(_b{i}), 0)" for i in range(len(listed)))
        rows, *counts = con.execute(
            f"SELECT count(*), {sums} FROM (SELECT {flags} FROM {relation})"
        ).fetchall()[0]
        found = [
            _finding(e, int(n), _named(con, table, e, condition, relation))
            for e, n, condition in zip(listed, counts, conditions, strict=True)
            if n
        ]
        wanted = list(dict.fromkeys([*table.key, *(c for e in listed for c in
                                                   suites.columns_of(e))]))  # fmt: skip
        scaled = [c for c in wanted if types[c].startswith("DECIMAL")]
        items = ", ".join(_exact(c) if c in scaled else f'"{c}"' for c in wanted)
        which = "true" if rows <= ROW_LIMIT else " OR ".join(f"({c})" for c in conditions)
        if rows > ROW_LIMIT and not any(counts):
            which = "false"  # nothing broken: do not read it all once more
        file = folder / f"{table.name}.parquet"
        con.execute(
            f"COPY (SELECT {items} FROM {relation} WHERE {which} LIMIT {ROW_LIMIT}) "
            f"TO {literal(file)} (FORMAT parquet)"
        )
    except duckdb.Error as e:
        raise UsageError(
            f"the table {table.name} of the expectations cannot be checked: "
            f"{' '.join(str(e).split())[:300]}"
        ) from e
    return _entry(table, listed, file, int(rows), scaled), found


def _entry(
    table: Table, listed: Sequence[Expectation], file: Path, rows: int, scaled: Sequence[str]
) -> dict[str, Any]:
    notes = f"{table.about} {rows:,} rows, all of them read."
    if rows > ROW_LIMIT:
        notes += " Shown are only rows that do not meet an expectation."
    if scaled:
        notes += f" In units of 1/10,000: {', '.join(scaled)}."
    return {
        "name": table.name,
        "file": str(file),
        "key": list(table.key),
        "notes": notes,
        "scaled": list(scaled),
        "expectations": [
            {
                "name": e.name,
                "type": e.type,
                "severity": e.severity,
                "description": e.description,
                "kwargs": suites.in_plan(e, scaled=bool({*scaled}
                                               & {*suites.columns_of(e)})),
            }
            for e in listed
        ],
    }  # fmt: skip


def _check_columns(table: Table, listed: Sequence[Expectation], types: dict[str, str]) -> None:
    """Refuse columns that are not there, and those that are not exact."""
    known = ", ".join(types)
    for column in table.key:
        if column not in types:
            raise UsageError(f"table {table.name} has no key column {column!r}; it has {known}")
    for e in listed:
        for column in suites.columns_of(e):
            if column not in types:
                raise UsageError(
                    f"expectation {e.name}: {table.name} has no column {column!r}; it has {known}"
                )
            if types[column] in {"DOUBLE", "FLOAT"}:
                raise UsageError(
                    f"expectation {e.name}: {column} is {types[column]}, which is not exact; "
                    f"CAST({column} AS DECIMAL(38, 4)) in the table's sql"
                )


def _exact(column: str) -> str:
    """Money as text of a whole number, in 1/10,000."""
    text = f'CAST(CAST("{column}" AS DECIMAL(38, 4)) AS VARCHAR)'
    return f"replace({text}, '.', '') AS \"{column}\""


def _finding(e: Expectation, count: int, rows: tuple[str, ...]) -> Finding:
    return Finding(e.name, e.table, e.severity, e.description, count, rows)


def _named(
    con: duckdb.DuckDBPyConnection, table: Table, e: Expectation, condition: str, relation: str
) -> tuple[str, ...]:
    """The first rows that break an expectation: their keys, and the columns that it looks at."""
    columns = [*table.key, *(c for c in suites.columns_of(e) if c not in table.key)]
    if e.type == "expect_table_row_count_to_equal":
        shown = "*"
    else:
        shown = ", ".join(f'"{c}"' for c in columns)
    cursor = con.execute(
        f"SELECT {shown} FROM {relation} WHERE {condition} ORDER BY ALL LIMIT {_SHOWN}"
    )
    names = [d[0] for d in cursor.description or ()]
    return tuple(
        " ".join(f"{n}={plain(v)}" for n, v in zip(names, row, strict=True))
        for row in cursor.fetchall()
    )
