"""The SQL of what people query: each view checks the seam before it gives a row."""

from __future__ import annotations

from headrace.pipelines.generations.generation import Generation


def as_served(live: Generation, name: str) -> str:
    """A SELECT of what the live generation serves under a name.

    Of a view that an earlier version misread, what was stored has that version's columns: only the
    SQL that it left in the lake reads them.
    """
    if name not in live.misread:
        return live.select(name)
    columns = ", ".join(f'"{c.name}"' for c in live.views[name].outputs)
    return f'SELECT {columns} FROM lake.main."{name}"'


def seam_sql(line: Generation) -> str:
    """SQL that gives `true`, or fails: the guard inside each served view."""
    cut = line.cut.text()
    return f"""
        WITH chain AS (
          SELECT commit_no, from_position,
            lag(to_position, 1, '{cut}') OVER (ORDER BY commit_no) AS expected
          FROM sys.commits
          WHERE generation = {line.number} AND commit_no > {line.after_commit}
        )
        SELECT CASE
          WHEN (SELECT arg_max(generation, switch_no) FROM sys.live) <> {line.number}
            THEN error('SeamError: these views belong to generation {line.number}, which is not '
                       'live; run headrace batch')
          WHEN (SELECT (max(base), arg_max(cut, base)) FROM sys.bases
                WHERE generation = {line.number}) <> ({line.base}, '{cut}')
            THEN error('SeamError: these views belong to base {line.base} of generation '
                       '{line.number}, which was replaced; run headrace batch')
          WHEN count(*) FILTER (WHERE from_position <> expected) > 0
            THEN error('SeamError: gap or overlap at the seam before commit '
                       || min(commit_no) FILTER (WHERE from_position <> expected)
                       || '; run headrace batch')
          ELSE true END AS ok
        FROM chain"""


def served_sql(line: Generation) -> str:
    """SQL that gives one row: what is served, and up to where."""
    return f"""
        SELECT {line.number} AS generation, {line.base} AS base, '{line.logic}' AS logic,
          '{line.cut.text()}' AS cut,
          coalesce(arg_max(to_position, commit_no), '{line.cut.text()}') AS position,
          max(recorded_at) AS committed_at
        FROM sys.commits
        WHERE generation = {line.number} AND commit_no > {line.after_commit}"""
