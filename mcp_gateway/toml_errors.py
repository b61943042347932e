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
    where = "" if match[2] else ", at the end of the file"
    line, column = int(match[2] or 0), int(match[3] or 0)
    return Problem(file=file, line=line, column=column, message=f"no valid TOML: {said}{where}")


_SAID = {
    "cannot overwrite a value": "this key is in its table already",
    "unterminated string": "a string is not closed",
    'expected "\'"': "a string is not closed",
    "invalid value": "this is no value; a text needs quotes",
}


def _plain(said: str) -> str:
    """Sentences of `tomllib` in the operator's words; the others are clear as they are."""
    if said in _SAID:
        return _SAID[said]
    if said.endswith("character '\\n'"):
        return "the string is not closed on its line"
    twice = _TWICE.fullmatch(said)
    if twice is None:
        return said
    names = [part.strip().strip("'\"") for part in twice[1].split(",") if part.strip()]
    return f"the table [{'.'.join(names)}] is there already"
