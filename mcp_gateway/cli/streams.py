"""Standard output and standard error, so that whatever writes to them fails in words and not in a traceback."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from mcp_gateway.cli.failures import OutputError, ReaderGoneError


class Output(io.TextIOWrapper):
    """Standard output whose refusals are `OutputError`, whoever writes: a command, a table, `--help`."""

    def write(self, text: str) -> int:
        """As any text stream. Raises `OutputError`."""
        with _translated():
            return super().write(text)

    def flush(self) -> None:
        """As any text stream. Raises `OutputError`."""
        with _translated():
            super().flush()


def prepare_streams() -> None:
    """Set up both streams for the life of the process. Raises `OutputError` where standard output is closed."""
    if sys.stderr is None:  # started with `2>&-`; what is said there is lost, and never goes to another file
        sys.stderr = _nowhere()
    if sys.stdout is None:
        sys.stdout = _nowhere()
        raise OutputError("standard output is closed")
    # Where the terminal cannot show a character, the command must not fail over it.
    if isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr.reconfigure(errors="backslashreplace")
    if isinstance(sys.stdout, io.TextIOWrapper):
        encoding, by_line = sys.stdout.encoding, sys.stdout.line_buffering
        at_once = sys.stdout.write_through
        sys.stdout = Output(
            sys.stdout.detach(),
            encoding=encoding,
            errors="backslashreplace",
            line_buffering=by_line,
            write_through=at_once,
        )


def abandon_output() -> None:
    """Let go of a standard output that refused: the interpreter flushes once more when it ends, and would complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _nowhere() -> io.TextIOWrapper:
    return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123 - for the life of the process


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise ReaderGoneError("whoever read standard output went away") from None
    except OSError as error:
        raise OutputError(f"standard output cannot be written: {error.strerror}") from None
