"""The pages of the documentation, for the tests that hold them to the code."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def page_text(guide: str) -> str:
    return (ROOT / "docs" / "guides" / f"{guide}.md").read_text("utf-8")


def files_of_the_views_guide(home: Path) -> list[Path]:
    """Write the views and lookups that the guide shows into a home; gives the files."""
    text = page_text("views")
    named = r"```(?:sql|toml)\n(?:--|#) headrace-data/((?:views|lookups)/\w+\.\w+)(.*?)```"
    found = re.findall(named, text, re.DOTALL)
    content = {name: f"{'--' if name.endswith('.sql') else '#'}{rest}" for name, rest in found}
    (rows,) = re.findall(r"```csv\n(.*?)```", text, re.DOTALL)
    content["lookups/categories.csv"] = rows
    content["lookups/rates.csv"] = "currency,valid_from,valid_to,rate\nEUR,2026-01-01,,1\n"
    for name, each in content.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(each, encoding="utf-8")
    return [home / name for name in content]
