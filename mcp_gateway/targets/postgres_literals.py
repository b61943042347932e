"""PostgreSQL's text forms of arrays and rows, read and written. Pure.

PostgreSQL documentation, sections 8.15.6 "Array Input and Output Syntax" and 8.16.6 "Composite Type Input and
Output Syntax".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_SPECIAL_IN_ARRAYS = frozenset('"\\{')


def parse_array(text: str, delimiter: str = ",") -> list[Any]:
    """Read `{1,NULL,"a b"}` into nested lists of texts and None. Raises `ValueError`."""
    if text.startswith("["):  # bounds other than 1, such as [0:2]={...}
        text = text[text.index("=") + 1 :]
    if not (text.startswith("{") and text.endswith("}")):
        raise ValueError("an array in a form that is none")
    inner = text[1:-1]
    if not inner:
        return []
    if _SPECIAL_IN_ARRAYS.isdisjoint(inner):
        return [None if item == "NULL" else item for item in inner.split(delimiter)]
    return _scan_array(text, delimiter)


def _scan_array(text: str, delimiter: str) -> list[Any]:
    root: list[Any] = []
    stack = [root]
    position, end = 0, len(text)
    while position < end:
        character = text[position]
        if character == "{":
            level: list[Any] = []
            stack[-1].append(level)
            stack.append(level)
            position += 1
        elif character == "}":
            stack.pop()
            position += 1
        elif character == delimiter:
            position += 1
        elif character == '"':
            item, position = _quoted(text, position)
            stack[-1].append(item)
        else:
            start = position
            while text[position] not in (delimiter, "}"):
                position += 1
            word = text[start:position]
            stack[-1].append(None if word == "NULL" else word)
        if not stack:
            raise ValueError("an array closed more often than opened")
    if len(stack) != 1 or len(root) != 1:
        raise ValueError("an array that is not closed")
    found: list[Any] = root[0]
    return found


def parse_record(text: str) -> list[str | None]:
    """Read `(1,,"a b")` into texts and None. Raises `ValueError`.

    A row without columns and one with a single NULL are written the same; the second is the likely one.
    """
    if not (text.startswith("(") and text.endswith(")")):
        raise ValueError("a row in a form that is none")
    found: list[str | None] = []
    position = 1
    while position < len(text):
        if text[position] in ",)":
            found.append(None)
        elif text[position] == '"':
            item, position = _quoted(text, position)
            found.append(item)
        else:
            start = position
            while text[position] not in ",)":
                position += 1
            found.append(text[start:position])
        if text[position] == ")":
            break
        position += 1
    if position != len(text) - 1:
        raise ValueError("a row that goes on after its end")
    return found


def _quoted(text: str, position: int) -> tuple[str, int]:
    """The quoted item that begins here, and where it ends. A quote in it is doubled or has a backslash."""
    parts: list[str] = []
    position += 1
    while True:
        quote, backslash = text.index('"', position), text.find("\\", position)
        if 0 <= backslash < quote:
            parts += [text[position:backslash], text[backslash + 1]]
            position = backslash + 2
        elif text[quote + 1 : quote + 2] == '"':
            parts.append(text[position : quote + 1])
            position = quote + 2
        else:
            parts.append(text[position:quote])
            return "".join(parts), quote + 1


def array_literal(items: Sequence[Any], delimiter: str = ",") -> str:
    """Write nested lists of texts and None."""
    return (
        "{"
        + delimiter.join(
            "NULL" if item is None else array_literal(item, delimiter) if isinstance(item, list) else _quote(item)
            for item in items
        )
        + "}"
    )


def record_literal(items: Sequence[str | None]) -> str:
    """Write one row."""
    return "(" + ",".join("" if item is None else _quote(item) for item in items) + ")"


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
