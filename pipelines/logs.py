"""Structured logs, on stderr: as JSON for machines, or as text for a person.

A line names the part that speaks, what happened, and the figures as fields, never as prose.
Used as a library, headrace says nothing below a warning until `configure` was called.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

from headrace.pipelines.settings import Settings

_wanted: tuple[str, bool] | None = None
"""Level, and whether as JSON, until the first logger is asked for."""


def configure(settings: Settings) -> None:
    """Set up logging once, at the entry point."""
    global _wanted  # noqa: PLW0603
    _wanted = (settings.log_level, settings.log_format == "json")


def logger(part: str) -> Any:
    """A logger whose lines carry the part that speaks."""
    import structlog  # only where something is said: it takes a tenth of a second

    global _wanted
    if _wanted is not None:
        (level, as_json), _wanted = _wanted, None
        _configure(level, as_json=as_json)
    elif not structlog.is_configured():
        _configure("warning", as_json=False)
    return structlog.get_logger(part=part)


def _configure(level: str, *, as_json: bool) -> None:
    import structlog

    processors: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if as_json:
        processors.append(structlog.processors.JSONRenderer())
    else:
        processors.append(structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()))
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[level.upper()]
        ),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
