"""The pages of the documentation, for the tests that hold them to the code."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def page_text(guide: str) -> str:
    return (ROOT / "docs" / "guides" / f"{guide}.md").read_text("utf-8")
