"""`headrace attach`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from headrace.pipelines.cli import console
from headrace.pipelines.cli.app import open_lake
from headrace.pipelines.cli.options import json_option

if TYPE_CHECKING:
    from pathlib import Path

    from headrace.pipelines.verbs.attach import Attachment

_GUARD = (
    "Each served view checks the seam itself: where base and deltas do not meet, it fails.",
    "Not checked here: digests of data files, and whether the catalog is an older copy.",
    "Below the views (NAME.g1, NAME.sys) nothing is checked. See docs/guides/querying.md.",
)


@click.command("attach")
@click.option("--name", default="lake", show_default=True, help="Under which it is attached.")
@json_option
@click.pass_context
def attach_command(ctx: click.Context, name: str, as_json: bool) -> None:
    """Print the SQL with which DuckDB itself reads this home: read-only, offline, no password.

    For the duckdb command line, Python, DBeaver and the like on this machine, with the version of
    DuckDB that is printed. Nothing in the home is changed.

    \b
      headrace attach > attach.sql
      duckdb -init attach.sql
    """  # noqa: D301 - click wants the character
    from headrace.pipelines.verbs import attach as verbs

    with open_lake(ctx, read_only=True) as lake:
        found = verbs.attachment(lake, name=name)
        console.emit(_json(found), _script(found, lake.home.path), as_json=as_json)


def _json(found: Attachment) -> dict[str, Any]:
    return {
        **vars(found),
        "position": found.position.as_dict(),
        "cut": found.cut.as_dict(),
        "guard": " ".join(_GUARD).replace("NAME.", f"{found.name}."),
    }


def _script(found: Attachment, home: Path) -> str:
    """All of it, as SQL that can be run: what is no statement is a comment."""
    where = json.dumps(str(home), ensure_ascii=False)  # one line, whatever it is
    told = [
        f"Home {where}, live generation {found.generation}, at {found.position}",
        f"For DuckDB {found.duckdb} on this machine. Read-only.",
    ]
    if found.copied:
        told.append(
            "The home cannot be written, so this reads a copy of its catalog, as it is now; "
            "`headrace attach` makes a newer one."
        )
    if any("ducklake:postgres:" in each for each in found.statements):
        told.append("Its password comes from PGPASSWORD or ~/.pgpass of whoever runs this.")
    lines = [f"-- {text}" for text in told]
    lines += [f"{statement};" for statement in found.statements]
    lines += [f"-- Served: {', '.join(found.tables)}"]
    lines += [f"-- {text.replace('NAME.', f'{found.name}.')}" for text in _GUARD]
    return "\n".join(lines)
