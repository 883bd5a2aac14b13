"""Logs: one line for each thing worth knowing, for people or for machines."""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog

from engine.settings import Settings

# Faust and its parts tell every rebalance and every step of their start in many lines of their own.
_QUIET = (
    "faust",
    "mode",
    "aiokafka",
    "asyncio",
    "engine.streams.transport",
    "engine.streams.faust_parts",
    "engine.streams.faust_producer",
)


def configure_logs(settings: Settings) -> None:
    """Send the engine's logs, and those of its libraries, to standard error.

    Args:
        settings: `log.level` and `log.format`.
    """
    level = logging.getLevelNamesMapping()[settings.log.level.upper()]
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if settings.log.format == "json":
        frames = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        final: list[Any] = [
            structlog.processors.ExceptionRenderer(frames),
            structlog.processors.JSONRenderer(),
        ]
    else:
        # Never with local variables: they hold what customers wrote, and rendering a batch takes seconds.
        plain = structlog.dev.plain_traceback
        final = [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)]
    structlog.configure(
        processors=[*shared, *final],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *final],
        )
    )
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
