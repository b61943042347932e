"""What the server may run of a table's own expressions while it plans a statement over that table. Pure.

To plan, it makes ready what indexes, partition keys, CHECKs and extended statistics are made of, and computes what is
constant in them: a function that was declared immutable runs then, though not a row is read. One that is applied to a
column waits for a row, unless it is in SQL: its body is put in its place, and what is constant in there computed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from mcp_gateway.calls import JSONObject
from mcp_gateway.facts.parser import parse_tree
from mcp_gateway.facts.tree import strings

_QUOTED = re.compile(r'"(?:[^"]|"")*"|\'(?:[^\']|\'\')*\'')


def unlike(texts: Iterable[str]) -> Iterable[str]:
    """Of texts that differ in the values of their literals alone, one: thousands of partitions have CHECKs like that."""
    return {_QUOTED.sub(_without_value, text): text for text in texts}.values()


def _without_value(quoted: re.Match[str]) -> str:
    return quoted[0] if quoted[0][0] == '"' else "''"


def at_planning(text: str, *, waits: Callable[[tuple[str, ...]], bool]) -> list[JSONObject]:
    """Expressions as a statement, with the arguments alone of each call that waits for a row.

    `waits` says of a function's name whether a call with a column in it does. Raises `SQLSyntaxError`.
    """
    statements = [raw["stmt"] for raw in parse_tree(f"SELECT {text}")]
    return [_without(statement, waits)[0] for statement in statements]


def _without(value: Any, waits: Callable[[tuple[str, ...]], bool]) -> tuple[Any, bool]:
    """The value without such calls, and whether there is a column in it."""
    if isinstance(value, list):
        parts = [_without(one, waits) for one in value]
        return [part for part, _ in parts], any(has_column for _, has_column in parts)
    if not isinstance(value, dict):
        return value, False
    found = {key: _without(one, waits) for key, one in value.items()}
    has_column = "ColumnRef" in value or any(has for _, has in found.values())
    if has_column and "FuncCall" in value and waits(strings(value["FuncCall"]["funcname"])):
        arguments = found["FuncCall"][0].get("args", [])
        return {"RowExpr": {"args": arguments}}, True
    return {key: part for key, (part, _) in found.items()}, has_column
