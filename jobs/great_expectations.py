"""The audit job: Great Expectations judges frames that were prepared, and builds the Data Docs.

    python -m headrace.jobs.great_expectations < PLAN-FILE-NAME

It loads Great Expectations first (seconds), then waits for one line with the path of a plan, so
that it can be started early. It reads what the plan names, writes the Data Docs and the result,
and nothing else. Without a line it ends.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ["GX_ANALYTICS_ENABLED"] = "false"  # read on import: no usage data leaves the machine


def main() -> int:
    """Run the job; gives the exit code."""
    import great_expectations as gx

    path = sys.stdin.readline().strip()
    if not path:
        return 0
    plan = json.loads(Path(path).read_text(encoding="utf-8"))
    context = _context(gx, Path(plan["docs"]))
    source = context.data_sources.add_pandas("headrace")
    result: dict[str, Any] = {}
    for table in plan["tables"]:
        result |= _validate(gx, context, source, plan["suite"], table)
    context.build_data_docs()
    Path(plan["result"]).write_text(json.dumps(result), encoding="utf-8")
    return 0


def _context(gx: Any, docs: Path) -> Any:
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    for name in list(context.get_site_names()):
        context.delete_data_docs_site(name)
    context.add_data_docs_site(
        "headrace",
        {
            "class_name": "SiteBuilder",
            "show_how_to_buttons": False,
            "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
            "store_backend": {
                "class_name": "TupleFilesystemStoreBackend",
                "base_directory": str(docs),
            },
        },
    )
    return context


def _validate(gx: Any, context: Any, source: Any, suite: str, table: dict[str, Any]) -> Any:
    """Validate one frame; gives what was found by the expectation's name."""
    name = f"{suite}.{table['name']}"
    asset = source.add_dataframe_asset(name)
    batch = asset.add_batch_definition_whole_dataframe("rows")
    expected = context.suites.add(gx.ExpectationSuite(name=name))
    expected.notes = table["notes"]
    for one in table["expectations"]:
        title = one["type"].title().replace("_", "")
        expectation = getattr(gx.expectations, title)
        severity = "critical" if one["severity"] == "blocking" else "warning"
        expected.add_expectation(
            expectation(
                **_kwargs(one["kwargs"]),
                severity=severity,
                notes=one["description"],
                meta={"name": one["name"]},
            )
        )
    expected.save()
    validation = context.validation_definitions.add(
        gx.ValidationDefinition(name=name, data=batch, suite=expected)
    )
    checkpoint = gx.Checkpoint(
        name=name,
        validation_definitions=[validation],
        result_format={
            "result_format": "SUMMARY",
            "partial_unexpected_count": 20,
            "unexpected_index_column_names": table["key"],
        },
    )
    (found,) = checkpoint.run(
        batch_parameters={"dataframe": _frame(Path(table["file"]), table["scaled"])}
    ).run_results.values()
    return {
        one.expectation_config.meta["name"]: {
            "success": bool(one.success),
            "error": _error(one.exception_info or {}),
        }
        for one in found.results
    }


def _kwargs(given: dict[str, Any]) -> dict[str, Any]:
    """Bounds that are no whole number come as text; their columns hold whole numbers."""
    bounds = {key: float(given[key]) for key in ("min_value", "max_value")
              if isinstance(given.get(key), str)}  # fmt: skip
    return {**given, **bounds}


def _frame(file: Path, scaled: list[str]) -> Any:
    """A frame without floats: whole numbers stay whole beside empty values, money is 1/10,000."""
    import pandas as pd  # type: ignore[import-untyped]
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(file)
    frame = table.to_pandas()
    for column in table.column_names:
        if column in scaled:
            numbers = [None if text is None else int(text) for text in frame[column]]
        elif pa.types.is_integer(table.schema.field(column).type):
            numbers = table.column(column).to_pylist()
        else:
            continue
        # Python's own numbers: pandas would make floats of them, or of an empty one an NA that
        # cannot be compared.
        frame[column] = pd.Series(numbers, dtype=object)
    return frame


def _error(info: dict[str, Any]) -> str | None:
    """Why an expectation could not be judged, if it could not."""
    if "raised_exception" in info:
        return str(info["exception_message"]) if info["raised_exception"] else None
    return next((str(each.get("exception_message")) for each in info.values()), None)


if __name__ == "__main__":
    sys.exit(main())
