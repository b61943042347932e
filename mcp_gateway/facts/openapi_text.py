"""The text of an OpenAPI document, JSON or YAML, to a tree of JSON values, and back to the line of a place in it. Pure.

YAML is read as the JSON that OpenAPI means by it (specification 3.1, section 4.3): no tags, no anchors, keys that are
text, each once, and only what YAML 1.2 takes for a number, a truth value or nothing. PyYAML composes the nodes; it
constructs nothing. Loaded where there is a document.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import yaml

from mcp_gateway.errors import ConfigError, Problem

MAX_DEPTH = 200
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
TAGS = frozenset(
    f"tag:yaml.org,2002:{name}"
    for name in ("str", "int", "float", "bool", "null", "timestamp", "map", "seq", "merge", "value")
)
"""Those that PyYAML gives to what has none."""
INTEGER = re.compile(r"[-+]?[0-9]{1,300}\Z")
NUMBER = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]{1,3})?\Z")
WORDS = dict.fromkeys(("", "~", "null", "Null", "NULL"), None) | {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
"""Of YAML's core schema (YAML 1.2.2, section 10.3.2)."""

Place = tuple[str | int, ...]
"""The way from the root to a value: names and positions."""


class _TreeError(ValueError):
    def __init__(self, message: str, *, line: int = 0, column: int = 0) -> None:
        super().__init__(message)
        self.line = line
        self.column = column


def read_tree(text: str, *, file: str) -> Any:
    """The values of a text.

    Raises:
        ConfigError: it is neither JSON nor YAML, or more than JSON means.
    """
    try:
        return _read_json(text) if text.lstrip().startswith("{") else _read_yaml(text)
    except _TreeError as error:
        problem = Problem(file=file, line=error.line, column=error.column, message=str(error))
    except RecursionError:
        problem = Problem(file=file, message="it is nested too deeply")
    raise ConfigError([problem])


def line_at(text: str, place: Place) -> int:
    """The line on which a value begins, counted from 1, or that of the last value around it that there is; 0: unknown."""
    try:
        node = yaml.compose(text, Loader=LOADER)
    except (yaml.YAMLError, RecursionError, ValueError):
        return 0
    line = 0
    for step in place:
        if isinstance(node, yaml.MappingNode):
            found = next(((key, value) for key, value in node.value if key.value == str(step)), None)
            if found is None:
                break
            line, node = found[0].start_mark.line + 1, found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            line = node.start_mark.line + 1
        else:
            break
    return line


def _read_json(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_refuse)
    except json.JSONDecodeError as error:
        raise _TreeError(f"expected JSON: {error.msg}", line=error.lineno, column=error.colno) from None


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise _TreeError(f"an object has two members {name!r}")
        found[name] = value
    return found


def _refuse(constant: str) -> Any:
    raise _TreeError(f"{constant} is not JSON")


def _read_yaml(text: str) -> Any:
    try:
        node = yaml.compose(text, Loader=LOADER)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        raise _TreeError(f"expected YAML: {error.problem}", line=line, column=column) from None
    except (yaml.YAMLError, ValueError):
        raise _TreeError("expected YAML, got a character that is none of it") from None
    return None if node is None else _value(node, seen=set(), depth=0)


def _value(node: Any, *, seen: set[int], depth: int) -> Any:
    mark = node.start_mark
    if id(node) in seen:
        raise _TreeError("anchors and aliases are not followed", line=mark.line + 1, column=mark.column + 1)
    if depth > MAX_DEPTH or node.tag not in TAGS:
        message = "it is nested too deeply" if depth > MAX_DEPTH else f"the tag {node.tag!r} is not used here"
        raise _TreeError(message, line=mark.line + 1, column=mark.column + 1)
    seen.add(id(node))
    if isinstance(node, yaml.ScalarNode):
        return _scalar(node)
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, seen=seen, depth=depth + 1) for item in node.value]
    found: dict[str, Any] = {}
    for key, value in node.value:
        at = key.start_mark
        if not isinstance(key, yaml.ScalarNode) or key.value in found:
            message = "a key stands twice" if isinstance(key, yaml.ScalarNode) else "a key is no text"
            raise _TreeError(message, line=at.line + 1, column=at.column + 1)
        found[key.value] = _value(value, seen=seen, depth=depth + 1)
    return found


def _scalar(node: Any) -> Any:
    text: str = node.value
    if node.style:  # quoted, or a block
        return text
    if text in WORDS:
        return WORDS[text]
    if INTEGER.match(text):
        return int(text)
    return float(text) if NUMBER.match(text) else text
