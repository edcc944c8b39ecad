"""`headrace backup` and `headrace restore`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headrace.pipelines.cli import console
from headrace.pipelines.cli.app import open_lake, settings_of
from headrace.pipelines.cli.certificate import certificate_json, certificate_text
from headrace.pipelines.cli.options import json_option
from headrace.pipelines.position import Position

if TYPE_CHECKING:
    from headrace.pipelines.operations.backup.manifest import Manifest

_FOLDER = click.argument("folder", type=click.Path(path_type=Path))


@click.command("backup")
@_FOLDER
@json_option
@click.pass_context
def backup_command(ctx: click.Context, folder: Path, as_json: bool) -> None:
    """Copy the whole home into FOLDER, as it stands at one moment, while writers go on.

    Every data file is compared with its recorded digest. If FOLDER holds an earlier backup of this
    home, only what is new is copied; until the new one is finished, the earlier one can be
    restored. A folder may hold passwords: the settings of the home are in it.
    """
    from headrace.pipelines.verbs import backups as verbs

    with open_lake(ctx, read_only=True) as lake, console.bar("backup", "files") as progress:
        done = verbs.backup(lake, folder, progress=progress)
    result = {
        **_told(done.folder, done.manifest),
        "copied": done.copied,
        "copied_bytes": done.copied_bytes,
        "kept": done.kept,
        "removed": done.removed,
    }
    text = (
        f"{done.copied:,} data files copied ({done.copied_bytes:,} bytes), {done.kept:,} were "
        f"there already, {done.removed:,} removed\n"
        f"{done.folder} holds the log up to {_position(done.manifest.end)}, the views at "
        f"{_position(done.manifest.position)}"
    )
    console.emit(result, text, as_json=as_json)


@click.command("restore")
@_FOLDER
@json_option
@click.pass_context
def restore_command(ctx: click.Context, folder: Path, as_json: bool) -> None:
    """Make the home (--home) from the backup in FOLDER: nothing may be there yet.

    Every digest is compared and every served cell recomputed before the home is in its place. Exit
    code 1 if one differs: the home is then put beside its place, with a name that ends in
    `.unproven`. It has the identity of the old one: stop that before you write here.
    """
    from headrace.pipelines.verbs import backups as verbs

    home = settings_of(ctx).home
    with console.bar("restore", "files") as progress:
        report = console.steps("restore")
        done = verbs.restore(home, folder, progress=progress, report=report)
    proof = done.certificate
    result = {
        "home": str(done.home),
        **_told(folder.absolute(), done.manifest),
        "certificate": certificate_json(proof),
    }
    verdict = "restored and proven" if proof.equal else "restored, but NOT PROVEN"
    if proof.equal and not proof.events:
        verdict = "restored"
    text = (
        f"{verdict}: {done.home}, as it was on {done.manifest.made_at}, log up to "
        f"{_position(done.manifest.end)}\n{certificate_text(proof)}\n"
    )
    text += (
        "its topic went on: `headrace speed --once` reads what came since"
        if done.log_kind == "kafka"
        else f"its log has the identity of the old home's, {done.manifest.log_id}: if that one is "
        "still there, write to one of them only"
    )
    console.emit(result, text, as_json=as_json)
    ctx.exit(0 if proof.equal else 1)


def _told(folder: Path, held: Manifest) -> dict[str, Any]:
    return {
        "folder": str(folder),
        "log_id": held.log_id,
        "made_at": held.made_at,
        "made_by": held.made_by,
        "snapshot": held.snapshot,
        "end": held.end,
        "position": held.position,
        "logic": held.logic,
        "generation": held.generation,
        "files": len(held.data) + len(held.rest),
        "bytes": sum(kept.bytes for kept in (*held.data.values(), *held.rest.values())),
    }


def _position(found: dict[str, int]) -> Position:
    return Position(tuple(found[str(p)] for p in range(len(found))))
