"""What `tomllib` says of a text that is no TOML, as a `Problem` with a place. Pure."""

from __future__ import annotations

import re

from mcp_gateway.errors import Problem

_POSITION = re.compile(r"(?s)(.*) \(at (?:line (\d+), column (\d+)|end of document)\)")
_TWICE = re.compile(r"cannot declare \((.*)\) twice")


def toml_problem(error: Exception, *, file: str) -> Problem:
    """The problem of a text that `tomllib` refused, or gave up on for its depth (`RecursionError`)."""
    match = _POSITION.fullmatch(str(error))
    if match is None:
        return Problem(file=file, message="the TOML cannot be parsed")
    said = _plain(match[1][:1].lower() + match[1][1:])
    where = "" if match[2] else " at the end of the file"
    line, column = int(match[2] or 0), int(match[3] or 0)
    return Problem(file=file, line=line, column=column, message=f"no valid TOML: {said}{where}")


def _plain(said: str) -> str:
    """Two sentences of `tomllib` in the operator's words; the others are clear as they are."""
    if said == "cannot overwrite a value":
        return "this key is in its table already"
    twice = _TWICE.fullmatch(said)
    if twice is None:
        return said
    names = [part.strip().strip("'\"") for part in twice[1].split(",") if part.strip()]
    return f"the table [{'.'.join(names)}] is there already"
