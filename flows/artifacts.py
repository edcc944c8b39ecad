"""Artifacts: what a person reads in Prefect's page about a run. They decide nothing.

One that cannot be written is logged; the work that it tells of is done and stays done.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_table_artifact,
)

from headrace.pipelines.logs import logger
from headrace.pipelines.operations.status import status
from headrace.pipelines.quality import data_docs

if TYPE_CHECKING:
    from headrace.pipelines.batch.run import Batch
    from headrace.pipelines.ingest.landing_zone import Landed
    from headrace.pipelines.lake.lake import Lake
    from headrace.pipelines.quality.verify import Certificate

_LISTED = 50
"""Cells and rows on a page; the lake has the rest."""


def published(done: Batch) -> None:
    """A base: cut, rows, duration, what a million events cost."""
    per_million = done.seconds / done.events_read * 1e6 if done.events_read else 0.0
    audit = done.audit
    facts = {
        "generation, base": f"{done.generation}, {done.base}",
        "cut": done.cut,
        "live": "yes" if done.live else "no: the views changed, promote the generation",
        "engine": f"{done.engine}, {done.mode}",
        "events read": f"{done.events_read:,}",
        "redelivered": f"{done.repeats:,}",
        "rows": ", ".join(f"{name} {count:,}" for name, count in done.rows.items()),
        "duration": f"{done.seconds:.2f} s",
        "cost": f"{per_million:.2f} s a million events",
        "audit": "-" if audit is None else f"{audit.suite}, {audit.seconds:.2f} s",
    }
    _page("published", "Published", facts)


def restated(lake: Lake, done: Batch) -> None:
    """Cells that this publish changed: how many, why, and the first of them."""
    where = f"generation = {done.generation} AND base = {done.base}"
    with lake.reading():
        causes = lake.rows(
            "SELECT view, cause, count(*), coalesce(sum(events), 0)::BIGINT FROM sys.restatements "
            f"WHERE {where} GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2"
        )
        cells = lake.rows(
            "SELECT view, key, measure, old, new, cause, events, offsets FROM sys.restatements "
            f"WHERE {where} ORDER BY view, key, measure LIMIT {_LISTED}"
        )
    restated = "No cell was served at the cut before, so none was"
    if done.restated is not None:
        restated = f"{done.restated:,} cells"
    text = (
        f"# Restatements\n\n{restated} restated at the cut, {done.revised:,} revised because later "
        "events belong to them."
    )
    if cells:
        names = ("view", "key", "measure", "old", "new", "cause", "events", "offsets")
        text += f"\n\n{_table(('view', 'cause', 'cells', 'events'), causes)}"
        text += f'\n\n{_table(names, cells)}\n\nAll of them: `headrace query "FROM restatements"`'
    _create(create_markdown_artifact, "restatements", markdown=text)


def checked(lake: Lake) -> None:
    """The last result of each suite with what it found, and the way to the Data Docs."""
    with lake.reading():
        found = lake.rows("""
            SELECT suite, recorded_at, cut, passed, forced_reason, findings FROM sys.audits
            QUALIFY row_number() OVER (PARTITION BY suite ORDER BY audit_no DESC) = 1
            ORDER BY suite""")
    rows, lines = [], []
    for suite, at, cut, passed, forced, findings in found:
        told = json.loads(findings)
        verdict = "passed" if passed else "FAILED" if forced is None else f"overruled: {forced}"
        rows.append((suite, verdict, f"{at.isoformat(timespec='seconds')}Z", cut, len(told)))
        for f in told:
            lines.append(f"- **{f['severity']}** {suite}, {f['table']}: {f['description']}")
            lines += [f"  - `{row}`" for row in f["rows"][:_LISTED]]
    table = _table(("suite", "result", "at", "position", "findings"), rows)
    text = "\n".join(["# Checks", "", table, "", *(lines or ["Nothing found."])])
    docs = data_docs.index(lake.home).absolute()
    if docs.is_file():
        text += f"\n\n[Data Docs]({docs.as_uri()}): `{docs}`"
        _create(create_link_artifact, "data-docs", link=docs.as_uri(), link_text=str(docs))
    _create(create_markdown_artifact, "checks", markdown=text)


def certificate(proof: Certificate) -> None:
    """The parity certificate."""
    facts = {
        "position": proof.position,
        "cut": proof.cut,
        "generation": proof.generation,
        "events": f"{proof.events:,}",
        "cells compared": f"{proof.comparison.cells:,}",
        "cells wrong": f"{proof.comparison.wrong:,}",
        "fingerprint": proof.fingerprint,
    }
    for n, cell in enumerate(proof.comparison.shown[:_LISTED], start=1):
        key = json.dumps(dict(cell.key), default=str)
        where = f"{cell.view} {key} {cell.column}"
        facts[f"wrong {n}"] = f"{where}: served {cell.served}, expected {cell.expected}"
    title = "EQUAL: served is what a recompute gives" if proof.equal else "DIFFERENT"
    _page("certificate", title, facts)


def lag(lake: Lake) -> None:
    """Where the views stand, by partition."""
    now = status(lake)
    names = ("partition", "end", "position", "lag_events", "lag_seconds")
    _create(
        create_table_artifact,
        "lag",
        table=[{name: str(found[name]) for name in names} for found in now["partitions"]],
        description=f"{now['lag_events']:,} events wait for the views; speed layer: {now['speed']}",
    )


def landed(found: Landed) -> None:
    """What came out of the folder."""
    facts = {name: value for name, value in found.as_json().items() if value or name == "files"}
    _page("ingest", "Landed", facts)


def _page(key: str, title: str, facts: Mapping[str, object]) -> None:
    text = f"# {title}\n\n{_table(('', ''), list(facts.items()))}\n"
    _create(create_markdown_artifact, key, markdown=text)


def _table(names: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join(f"| {' | '.join(_cell(value) for value in line)} |" for line in lines)


def _cell(value: object) -> str:
    return "" if value is None else str(value).replace("|", "\\|").replace("\n", " ")


def _create(create: Callable[..., Any], key: str, **given: Any) -> None:
    try:
        create(key=key, **given)
    except Exception as e:  # noqa: BLE001 - whatever a server, or the way to it, does
        logger("flows").warning("artifact not written", key=key, error=str(e))
