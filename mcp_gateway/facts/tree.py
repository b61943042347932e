"""Reading the parser's JSON objects.

A node stands wrapped in its type, `{"ColumnRef": {...}}`, wherever several types are possible, and bare where the
grammar knows only one, such as `"withClause": {...}`; a node that is not there is left out, or `{}` inside a list.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, Final, NamedTuple

from mcp_gateway.calls import JSONObject

NOTHING: Final[JSONObject] = {}
MAX_NAMES: Final = 4096
"""How many written names are remembered: agents choose them."""


class Use(NamedTuple):
    """A relation as a statement names it."""

    parts: tuple[str, ...]
    """Its name, with or without schema."""
    whole: bool = True
    """Whether what is a part of it or inherits from it is meant, too: there is no ONLY."""


def opened(node: JSONObject) -> tuple[str, Any]:
    """Type and content of a wrapped node, `("", {})` of none; of a bare one its first field and the value of that."""
    for kind, body in node.items():
        return kind, body
    return "", {}


def is_wrapped(value: JSONObject) -> bool:
    """Whether an object is a node in its type, and not a bare one. Types begin with a capital, fields do not."""
    return len(value) == 1 and next(iter(value))[0].isupper()


def strings(nodes: Iterable[JSONObject]) -> tuple[str, ...]:
    """The texts of a list of String nodes; other nodes give an empty text."""
    listed = nodes if isinstance(nodes, list) else list(nodes)
    texts: list[str] = []
    for node in listed:
        string: JSONObject = node.get("String", NOTHING)
        texts.append(string.get("sval", ""))
    return tuple(texts)


@lru_cache(MAX_NAMES)
def written(parts: tuple[str, ...]) -> str:
    """A name as text: parts joined by dots, those in quotes that a dot or quote would make ambiguous."""
    return ".".join([_quoted(part) if "." in part or '"' in part else part for part in parts if part])


def _quoted(part: str) -> str:
    doubled = part.replace('"', '""')
    return f'"{doubled}"'


def relation_parts(body: JSONObject) -> tuple[str, ...]:
    """Database, schema and name of a RangeVar, as far as the text has them."""
    parts = (body.get("catalogname", ""), body.get("schemaname", ""), body.get("relname", ""))
    return tuple(filter(None, parts))


def use_of(body: JSONObject) -> Use:
    """The relation that a RangeVar names."""
    return Use(relation_parts(body), whole=body.get("inh", False))


def column_names(tree: Any) -> Iterator[tuple[str, ...]]:
    """The parts of each name of a column that stands anywhere in a tree, without recursion."""
    todo = [tree]
    while todo:
        item = todo.pop()
        if isinstance(item, list):
            todo += item
        elif isinstance(item, dict):
            if "ColumnRef" in item:
                yield strings(item["ColumnRef"]["fields"])
            else:
                todo += item.values()
