"""What a certificate says: for a program, and for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headrace.pipelines.cli import console

if TYPE_CHECKING:
    from headrace.pipelines.quality.verify import Certificate


def certificate_json(c: Certificate) -> dict[str, Any]:
    """A certificate as `verify --json` prints it."""
    from headrace.pipelines.lake.guarded_sql import plain

    return {
        "equal": c.equal,
        "generation": c.generation,
        "logic": c.logic,
        "cut": c.cut.as_dict(),
        "position": c.position.as_dict(),
        "events": c.events,
        "repeats": c.repeats,
        "rows": c.comparison.rows,
        "cells": c.comparison.cells,
        "wrong": c.comparison.wrong,
        "by_view": dict(c.comparison.by_view),
        "fingerprint": c.fingerprint,
        "compiled": list(c.compiled),
        "erasures": list(c.erasures),
        "zones": {name: dict(told) for name, told in c.zones.items()},
        "at": f"{c.at.isoformat(timespec='seconds')}Z",
        "differences": [
            {
                "view": x.view,
                "key": plain(dict(x.key)),
                "column": x.column,
                "served": plain(x.served),
                "expected": plain(x.expected),
            }
            for x in c.comparison.shown
        ],
    }


def certificate_text(c: Certificate) -> str:
    """A certificate for a person."""
    verdict = "EQUAL" if c.equal else f"NOT EQUAL: {c.comparison.wrong:,} cells differ"
    if c.equal and not c.events:
        verdict = "NOTHING TO PROVE: no event has been read yet"
    lines = [
        verdict,
        f"  served == recomputed from {c.events:,} events ({c.repeats:,} redelivered)",
        f"  {c.comparison.cells:,} cells in {c.comparison.rows:,} rows",
        f"  position {c.position}, cut {c.cut}",
        f"  generation {c.generation}, logic {c.logic}, fingerprint {c.fingerprint}",
        f"  {c.at.isoformat(timespec='seconds')}Z",
    ]
    if c.erasures:
        lines.append(
            f"  {len(c.erasures):,} erasures rewrote personal fields before it; "
            "`headrace log erasures` lists them"
        )
    lines += [
        f"  {', '.join(told['views'])}: local time in {name} (rules {told['rules']})"
        for name, told in c.zones.items()
    ] or ["  all times in UTC"]
    if c.compiled:
        lines.append(
            f"  recomputed from what was compiled, as DuckDB has no room for the text's values: "
            f"{', '.join(c.compiled)}"
        )
    if c.comparison.shown:
        rows = [
            (
                x.view,
                " ".join(f"{k}={console.cell(v)}" for k, v in x.key.items()),
                x.column,
                x.served,
                x.expected,
            )
            for x in c.comparison.shown
        ]
        lines.append(console.table(["view", "key", "column", "served", "expected"], rows))
    return "\n".join(lines)
