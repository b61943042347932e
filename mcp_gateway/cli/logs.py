"""Logs: one line of JSON each, to standard error, nothing to standard output."""

from __future__ import annotations

import logging
import sys

import structlog


def log_to_stderr(*, quiet: bool = False) -> None:
    """Set up logging for a process that serves. `quiet` leaves only what needs somebody's attention."""
    level = logging.CRITICAL if quiet else logging.INFO
    logging.basicConfig(stream=sys.stderr, level=logging.CRITICAL if quiet else logging.WARNING, format="%(message)s")
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=not quiet,
    )
