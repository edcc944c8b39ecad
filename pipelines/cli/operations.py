"""`headrace maintain` and `headrace doctor`."""

from __future__ import annotations

from pathlib import Path

import click

from headrace.pipelines.cli import console
from headrace.pipelines.cli.app import open_lake, settings_of
from headrace.pipelines.cli.options import json_option
from headrace.pipelines.errors import LockError


@click.command("maintain")
@json_option
@click.pass_context
def maintain_command(ctx: click.Context, as_json: bool) -> None:
    """Merge small files, forget old snapshots, drop generations nobody can return to."""
    from headrace.pipelines.operations import maintenance

    with open_lake(ctx) as lake:
        try:
            done = maintenance.maintain(lake)
        except LockError as e:
            raise LockError(f"maintenance waits for its turn: {e}") from e
    result = vars(done)
    text = (
        f"{done.files_merged} files merged, {len(done.generations_dropped)} generations dropped, "
        f"{done.files_deleted} files deleted"
    )
    console.emit(result, text, as_json=as_json)


_SIGNS = {"ok": "ok   ", "note": "note ", "wrong": "WRONG"}


@click.command("doctor")
@click.option("--repair", is_flag=True, help="Restore what can be restored; says what cannot.")
@click.option(
    "--from",
    "source",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="With --repair: another home, or a folder of copies, to take files from.",
)
@json_option
@click.pass_context
def doctor_command(ctx: click.Context, repair: bool, source: Path | None, as_json: bool) -> None:
    """Say what is whole and what is wrong with a home, where, and what to do about it.

    Exit code 1 if something is wrong. Nothing is changed without --repair; with it, each repair is
    printed, and a copy of the catalog is kept before it is touched.
    """
    from headrace.pipelines.lake.unwritable import refuse_to_write
    from headrace.pipelines.operations.doctor import examine
    from headrace.pipelines.operations.doctor import repair as doctor_repair

    settings = settings_of(ctx)
    if settings.home.is_dir():
        refuse_to_write(settings.home)
    done = []
    if repair:
        done = doctor_repair.repair(settings, source, console.steps("repair"))
    found = examine.examine(settings)
    bad = examine.wrong(found)
    lost = [d for d in done if not d.restored]
    result = {
        "wrong": len(bad),
        "repairs": [vars(d) for d in done],
        "findings": [vars(f) for f in found],
    }
    rows = [(_SIGNS[f.state], f.check, f.what, f.where, f.remedy) for f in found]
    text = console.table(["", "check", "what", "where", "remedy"], rows)
    text += f"\n{len(bad)} wrong" if bad else "\nnothing is wrong"
    if lost:
        text += "\nnot restored:\n" + "\n".join(f"  {d.what}" for d in lost)
    console.emit(result, text, as_json=as_json)
    ctx.exit(1 if bad or lost else 0)
