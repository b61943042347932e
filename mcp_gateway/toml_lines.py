"""On which line of a TOML text each key stands, so that an error can name it. Pure.

`tomllib` keeps no positions. This is a light scan of a text that `tomllib` has already accepted: it knows table
headers, keys, strings, comments and brackets, and no more. Keys inside inline tables and arrays are not found;
who asks for one gets the line of the nearest key around it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

KeyPath = tuple[str, ...]

_KEY = re.compile(r"""[ \t]*(?:([A-Za-z0-9_-]+)|"((?:[^"\\\n]|\\.)*)"|'([^'\n]*)')[ \t]*([.=\]])""", re.ASCII)
_SKIP = re.compile(r"""\"{3}(?:\\.|[^\\])*?"{3,5}|'{3}.*?'{3,5}|"(?:\\.|[^"\\\n])*"|'[^'\n]*'|#[^\n]*|.""", re.DOTALL)
_HEADER = re.compile(r"[ \t]*(\[\[?)")


def key_lines(text: str) -> Mapping[KeyPath, int]:
    """The line of each table header and of each key, counted from 1, by its path."""
    lines: dict[KeyPath, int] = {}
    table: KeyPath = ()
    at, line = 0, 1
    while at < len(text):
        begin = at
        header = _HEADER.match(text, at)
        path, at = _read_path(text, header.end() if header else at)
        if path and header:
            table = path
        elif path:
            path = table + path
        if path:
            lines.setdefault(path, line)
        at = _end_of_statement(text, at)
        line += text.count("\n", begin, at)
    return lines


def line_of(path: Sequence[str | int], lines: Mapping[KeyPath, int]) -> int:
    """The line of a path or of the nearest key around it; 0 when there is none."""
    names = tuple(str(part) for part in path)
    for length in range(len(names), 0, -1):
        if names[:length] in lines:
            return lines[names[:length]]
    return 0


def _read_path(text: str, at: int) -> tuple[KeyPath, int]:
    path: list[str] = []
    while match := _KEY.match(text, at):
        bare, quoted, literal, after = match.groups()
        path.append(bare or literal or _unescape(quoted or ""))
        at = match.end()
        if after != ".":
            return tuple(path), at
    return (), at


def _unescape(text: str) -> str:
    try:
        return text.encode("latin-1", "backslashreplace").decode("unicode_escape") if "\\" in text else text
    except UnicodeDecodeError:
        return text


def _end_of_statement(text: str, at: int) -> int:
    """Past the newline that ends the statement: outside strings, comments and brackets."""
    depth = 0
    while match := _SKIP.match(text, at):
        at = match.end()
        match match[0]:
            case "[" | "{":
                depth += 1
            case "]" | "}":
                depth = max(depth - 1, 0)
            case "\n" if depth == 0:
                return at
            case _:
                pass
    return at
