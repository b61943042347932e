"""Names in a statement that no database could know what to do with: misspelt ones. Pure.

The walk (`facts.sql_walk`) notes what the catalog has nothing for; here it is decided of which of them that is enough to
say that PostgreSQL will refuse the statement. It is a claim that is stood behind, like `read_only`: wherever a name may
mean something that is not in the catalog, because the statement itself brings it or the server reads it otherwise, nothing
is claimed. Whether the server has it by now is asked before anybody is told (`targets.postgres`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from mcp_gateway.calls import JSONObject
from mcp_gateway.facts.tree import opened, written

MAX_CLAIMED = 20
"""Of one statement: each is asked for at the server."""
MAX_NAME_CHARACTERS = 63
"""Servers cut longer ones (`NAMEDATALEN`)."""
PARSED_WHOLE = frozenset({"DeleteStmt", "InsertStmt", "MergeStmt", "SelectStmt", "UpdateStmt"})
"""Statements of which the server looks up every name before it does anything, and that bring no new ones."""
IMPLIED = re.compile(r"column\d+|f\d+|\?column\?|excluded", re.ASCII)
"""Columns and rows that have their names from PostgreSQL, beside those that are called as keywords are."""
OF_A_SESSION = re.compile(r"pg_(?:toast_)?temp(?:_\d+)?", re.ASCII)
"""Schemas of temporary objects, which are in no snapshot."""

AbsentKind = Literal["applied", "column", "function", "relation", "target"]
KINDS: Mapping[AbsentKind, str] = {
    "applied": "function",
    "column": "column",
    "function": "function",
    "relation": "table or view",
    "target": "column",
}


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Absent:
    """A name of which the catalog has nothing of this kind.

    `applied` is a function with one argument, which may as well be a field of it; `target` a column that is written;
    `column` any other. A column is absent if no relation and no function at all has one of this name.
    """

    kind: AbsentKind
    schema: str = ""
    """Empty where the text has none."""
    name: str

    @property
    def said(self) -> str:
        """The name as the text has it."""
        return written((self.schema, self.name))

    def __str__(self) -> str:
        """For people; a name in quotes may hold control characters."""
        return f"{KINDS[self.kind]} {self.said!r}"


def absent_of(kind: AbsentKind, parts: tuple[str, ...]) -> Absent | None:
    """A name as the text has it; None where it stands for what is not looked up like that."""
    if not 1 <= len(parts) <= 2 or not all(map(_is_plain, parts)):
        return None
    schema, name = ("", parts[0]) if len(parts) == 1 else parts
    return None if OF_A_SESSION.fullmatch(schema) else Absent(kind=kind, schema=schema, name=name)


def claimed(noted: Iterable[Absent], statement: JSONObject) -> frozenset[Absent]:
    """Those by which the server must refuse the statement."""
    candidates = sorted(noted)
    if not candidates:
        return frozenset()
    kind, body = opened(statement)
    if kind == "ExplainStmt":
        kind, body = opened(body.get("query", {}))
    if kind not in PARSED_WHOLE:
        return frozenset()
    brought = _Brought(statement)
    return frozenset([one for one in candidates if not brought.may_be(one)][:MAX_CLAIMED])


def _is_plain(name: str) -> bool:
    """Whether every server reads a name as the parser has: others are folded and cut by the database's encoding."""
    return name.isascii() and 0 < len(name) <= MAX_NAME_CHARACTERS


_LOOKED_UP_OR_VALUES = frozenset({"A_Const", "ColumnRef", "funcname"})


class _Brought:
    """All names of a statement but those that it looks up, whatever they stand for: aliases, columns of subqueries. No value
    brings any.
    """

    def __init__(self, statement: JSONObject) -> None:
        self.names: set[str] = set()
        self.ctes: set[str] = set()
        todo: list[Any] = [statement]
        while todo:
            value = todo.pop()
            if isinstance(value, str):
                self.names.add(value)
            elif isinstance(value, list):
                todo += value
            elif isinstance(value, dict):
                self.ctes.add(value.get("ctename", ""))
                todo += [inner for key, inner in value.items() if key not in _LOOKED_UP_OR_VALUES]

    def may_be(self, one: Absent) -> bool:
        """Whether the statement itself may bring what this name means."""
        match one.kind:
            case "function" | "target":
                return False
            case "relation":
                return not one.schema and one.name in self.ctes
            case "applied":
                return not one.schema and one.name in self.names
            case "column":
                return one.name in self.names or IMPLIED.fullmatch(one.name) is not None
