"""A home as a folder to keep elsewhere, and a home made from it again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace.pipelines.progress import Progress, Report, quiet, silent
from headrace.pipelines.verbs.place import Place, opened

if TYPE_CHECKING:
    from headrace.pipelines.operations.backup.restore import Restored
    from headrace.pipelines.operations.backup.save import Saved


def backup(home: Place, folder: str | Path, *, progress: Progress = silent, **given: Any) -> Saved:
    """Copy a whole home into a folder, as it stands at one moment, while writers go on.

    Args:
        home: where.
        folder: new, empty, or with an earlier backup of this home: only what is new is copied.
        progress: told (data files done, data files to do).
        given: settings.

    Raises:
        UsageError: there is no home, the folder cannot be used, or the catalog is in PostgreSQL.
        LogError: the folder holds a backup of another log, or of a later state of this one.
        DamageError: a file of the home is damaged. An earlier backup in the folder stays.
        LockError, StorageError: another one runs, or the disk refused. An earlier one stays.
    """
    from headrace.pipelines.operations.backup import save

    with opened(home, read_only=True, **given) as lake:
        return save.save(lake, Path(folder), progress=progress)


def restore(
    home: str | Path,
    folder: str | Path,
    *,
    progress: Progress = silent,
    report: Report = quiet,
    **given: Any,
) -> Restored:
    """Make a home from a backup: every digest compared, every cell verified before it is there.

    Args:
        home: where; nothing may be there.
        folder: of the backup.
        progress: told (files done, files to do).
        report: told about each step.
        given: settings for the proof, such as `threads`.

    Returns:
        Where it is, and the certificate. If that is not equal, `home` ends in `.unproven`.

    Raises:
        UsageError: the folder is no backup.
        HomeError: there is something at the place, the only backup was interrupted, or what was
            restored cannot be proven.
        DamageError: a file of the backup is damaged; nothing was restored.
        LockError, StorageError: another one runs, or the disk refused; nothing was restored.
    """
    from headrace.pipelines.operations.backup import restore as restoring

    return restoring.restore(Path(folder), Path(home), progress=progress, report=report, **given)
