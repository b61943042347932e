"""The line of a policy file that a problem is about, with a mark below the place, for people on a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mcp_gateway.cli.output import LEAST_ROOM, columns_of
from mcp_gateway.errors import Problem
from mcp_gateway.masking.visible import make_visible
from mcp_gateway.policy.loader import MAX_FILE_BYTES, SUFFIX

CUT = "..."
BEFORE = 3
"""Of the room before the place, one in so many is given to what stands before it, where a line is too long."""


def excerpt(problem: Problem, *, room: int) -> Iterator[str]:
    """Two lines of at most `room` columns; none where the line cannot be read.

    Of policy files alone: a line of the configuration may hold what somebody took for the place of a password.
    """
    line = _line(problem)
    number = f"{problem.line} | "
    left = room - len(number) - len(CUT)
    if line is None or not 0 < problem.column <= len(line) or left < LEAST_ROOM:
        return
    at = problem.column - 1
    before = _fitting(make_visible(line[:at])[::-1], room=left // BEFORE * 2 if columns_of(line) > left else left)[::-1]
    behind = _fitting(make_visible(line[at:]), room=left - columns_of(before))
    yield f"{number}{before}{behind}"
    yield " " * (len(number) - 2) + "| " + " " * columns_of(before) + "^"


def _line(problem: Problem) -> str | None:
    path = Path(problem.file)
    if path.suffix != SUFFIX or not problem.line or not path.is_file():
        return None
    try:
        with path.open("rb") as file:
            lines = file.read(MAX_FILE_BYTES).decode().split("\n")
    except (OSError, UnicodeDecodeError):
        return None
    return lines[problem.line - 1].rstrip("\r").replace("\t", " ") if problem.line <= len(lines) else None


def _fitting(text: str, *, room: int) -> str:
    """As much of a text from its beginning as has room, and a mark that it goes on."""
    if columns_of(text) <= room:
        return text
    end, taken = 0, len(CUT)
    while end < len(text) and taken + columns_of(text[end]) <= room:
        taken += columns_of(text[end])
        end += 1
    return text[:end] + CUT
