"""Structured logs, on stderr: as JSON for machines, or as text for a person."""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog

from pipelines.settings import Settings


def configure(settings: Settings) -> None:
    """Set up logging once, at the entry point."""
    processors: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if settings.log_format == "json":
        processors.append(structlog.processors.JSONRenderer())
    else:
        processors.append(structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()))
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[settings.log_level.upper()]
        ),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def logger(name: str) -> Any:
    """A logger whose lines carry the part that speaks, as `part`."""
    return structlog.get_logger().bind(part=name)
