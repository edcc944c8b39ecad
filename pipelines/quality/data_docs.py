"""Data Docs of a home: HOME/docs/index.html, always the newest of each suite.

Great Expectations builds a site of its own for each suite; a new one takes the place of the old.
"""

from __future__ import annotations

import html
import json
import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from headrace.pipelines.lake.home import Home
from headrace.schemas.expectations import SUITES

_SUMMARY = "headrace.json"


def index(home: Home) -> Path:
    """The page with all suites. It is there after the first check."""
    return home.path / "docs" / "index.html"


def page(home: Home, suite: str) -> Path:
    """The first page of a suite's Data Docs."""
    return home.path / "docs" / suite / "index.html"


def publish(home: Home, suite: str, site: Path, findings: Sequence[Mapping[str, Any]]) -> Path:
    """Put a finished site in the place of the suite's last one; gives its first page."""
    place = page(home, suite).parent
    summary = {
        "suite": suite,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "findings": list(findings),
    }
    (site / _SUMMARY).write_text(json.dumps(summary, default=str), encoding="utf-8")
    place.parent.mkdir(exist_ok=True)
    aside = site.with_name("site-before")
    if place.is_dir():
        place.rename(aside)
    site.rename(place)
    shutil.rmtree(aside, ignore_errors=True)
    _write_index(home)
    return page(home, suite)


def _write_index(home: Home) -> None:
    sections = []
    for suite in SUITES:
        try:
            told = json.loads((page(home, suite).parent / _SUMMARY).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        items = "".join(
            f"<li><b>{html.escape(f['severity'])}</b>: {html.escape(f['description'])} "
            f"({html.escape(f['table'])}, {f['count']:,})<ul>"
            + "".join(f"<li><code>{html.escape(row)}</code></li>" for row in f["rows"])
            + "</ul></li>"
            for f in told["findings"]
        )
        sections.append(
            f'<h2><a href="{suite}/index.html">{suite}</a></h2>'
            f"<p>{html.escape(told['at'])}</p><ul>{items or '<li>all as expected</li>'}</ul>"
        )
    text = (
        "<!doctype html><html lang='en'><meta charset='utf-8'><title>Headrace: checks</title>"
        f"<body><h1>Checks</h1>{''.join(sections)}</body></html>"
    )
    fresh = index(home).with_suffix(".new")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(index(home))
