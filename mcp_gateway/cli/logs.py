"""Logs: one line of JSON each, to standard error, nothing to standard output.

Agents choose texts that libraries log (a session id, a message that cannot be parsed), so theirs go into JSON as well:
a line feed in them starts no line. Of an exception its type and place are logged and never its text, which may hold a
value that is masked everywhere else.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import traceback
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

import orjson
import structlog

MAX_MESSAGE_CHARACTERS = 2000
"""Of what a library logs."""
MAX_FRAMES = 40


def log_to_stderr(*, quiet: bool = False) -> None:
    """Set up logging for a process that serves. `quiet` leaves only what needs somebody's attention."""
    level = logging.CRITICAL if quiet else logging.INFO
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JSONLines())
    logging.basicConfig(level=logging.CRITICAL if quiet else logging.WARNING, handlers=[handler])
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _place_of_exception,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: _Lines(sys.stderr),
        cache_logger_on_first_use=not quiet,
    )


class _Lines(structlog.PrintLogger):
    """Writes our own lines. One that cannot be written is lost: no call depends on it, the audit store has its record."""

    def msg(self, message: str) -> None:
        """Write a line, if that is possible."""
        with contextlib.suppress(OSError, ValueError):
            super().msg(message)

    log = debug = info = warn = warning = fatal = failure = err = error = critical = exception = msg


class _JSONLines(logging.Formatter):
    """What libraries log, in the form of our own lines."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        line: dict[str, Any] = {
            "event": record.getMessage()[:MAX_MESSAGE_CHARACTERS].encode(errors="backslashreplace").decode(),
            "logger": record.name,
            "level": record.levelname.lower(),
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(),
        }
        if record.exc_info and record.exc_info[1] is not None:
            line["exception"] = places(record.exc_info[1])
        return orjson.dumps(line, default=str).decode()


def _place_of_exception(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    error = event.pop("exc_info", None)
    if error is True:
        error = sys.exception()
    if isinstance(error, BaseException):
        event["exception"] = places(error)
    return event


def places(error: BaseException) -> list[str]:
    """Type and place of an exception and of what led to it, the outermost call first; no text of any of them."""
    found: list[str] = []
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        found.append(type(cause).__name__)
        found += _frames(cause.__traceback__)
        if isinstance(cause, BaseExceptionGroup):
            for inner in cause.exceptions:
                found += places(inner)
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return found


def _frames(trace: TracebackType | None) -> list[str]:
    frames = traceback.extract_tb(trace)[-MAX_FRAMES:]
    return [f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in frames]
