"""Flow `ingest`: land new files of a folder, each once."""

# mypy: disallow-untyped-decorators=false
from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from headrace.flows import artifacts
from headrace.flows.steps import again, one_at_a_time, opened
from headrace.pipelines.errors import JobError, UsageError
from headrace.pipelines.ingest import landing


@task(name="land", cache_policy=NO_CACHE, **again)
def land(
    home: Path, folder: Path | None, form: str | None, mapping: Path | None, limit: int | None
) -> dict[str, Any]:
    """Land new files. A retry goes on where the record says that it stopped."""
    with opened(home) as lake:
        chosen = lake.settings
        place = folder or chosen.ingest_folder
        if place is None:
            raise UsageError("there is no folder; set ingest_folder, or give the parameter folder")
        found = landing.land(
            lake,
            place,
            form=form or chosen.ingest_format,
            mapping=mapping or chosen.ingest_mapping,
            limit=limit,
        )
    artifacts.landed(found)
    return {**found.as_json(), "clean": found.clean}


@flow(name="ingest")
@one_at_a_time(needs_batch=False)
def ingest(
    home: Path,
    *,
    folder: Path | None = None,
    form: str | None = None,
    mapping: Path | None = None,
    limit: int | None = None,
) -> dict[str, Any]:
    """Land what is new; what is not given comes from the settings.

    Args:
        home: the home directory.
        folder: where the files are.
        form: `cloudevents`, `uci-online-retail` or `csv`.
        mapping: of the columns, for `csv`.
        limit: new files at most.

    Raises:
        JobError: a file changed after it landed, or cannot be read. All others landed.
    """
    found: dict[str, Any] = land(home, folder, form, mapping, limit)
    if not found["clean"]:
        raise JobError(
            f"files need a person: changed after they landed {found['changed']}, cannot be read "
            f"{found['failed']}; the others landed"
        )
    return found
