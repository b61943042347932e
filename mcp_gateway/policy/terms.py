"""Expressions as terms: which constant one is, which variable, and what tells it from all others. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import orjson

from mcp_gateway.calls import JSONObject
from mcp_gateway.policy.expressions import Path
from mcp_gateway.policy.vocabulary import Constant

DURATION = re.compile(r"-?(?:(\d{1,15})d)?(?:(\d{1,15})h)?(?:(\d{1,15})m)?(?:(\d{1,15})s)?(?:(\d{1,15})ms)?", re.ASCII)
MILLISECONDS = (86_400_000, 3_600_000, 60_000, 1000, 1)
"""Of each unit of a duration."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def key_of(node: JSONObject) -> str:
    """The same for the same expressions, and for no others."""
    return orjson.dumps(node, option=orjson.OPT_SORT_KEYS).decode()


def constant_of(node: JSONObject) -> Constant | None:
    """The value of a constant; a time and a duration as milliseconds."""
    match node:
        case {"Value": {"__entity": {"type": str(of), "id": str(name)}}}:
            return of, name
        case {"Value": str() | int() as value}:
            return value
        case {"datetime": [{"Value": str(text)}]}:
            return _milliseconds(text)
        case {"duration": [{"Value": str(text)}]}:
            return _length(text)
        case _:
            return None


def _milliseconds(text: str) -> int | None:
    """Of a time in UTC or a day; other forms are not understood here."""
    if not (len(text) == len("2026-01-31") or text.endswith("Z")):
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    since = (time if time.tzinfo is not None else time.replace(tzinfo=UTC)) - EPOCH
    return (since.days * 86_400 + since.seconds) * 1000 + since.microseconds // 1000


def _length(text: str) -> int | None:
    """Of a duration."""
    found = DURATION.fullmatch(text)
    if found is None:
        return None
    milliseconds = sum(int(number or 0) * of for number, of in zip(found.groups(), MILLISECONDS, strict=True))
    return -milliseconds if text.startswith("-") else milliseconds


def members_of(node: JSONObject) -> frozenset[Constant] | None:
    """The members of a set that is written with constants alone."""
    match node:
        case {"Set": list(listed)}:
            found: list[Any] = [constant_of(one) for one in listed]
            return None if None in found else frozenset(found)
        case _:
            return None


def variable_of(node: JSONObject) -> tuple[str, Path] | None:
    """`("context", ("sql", "reads"))` for the node of `context.sql.reads`; None for anything that is no such chain."""
    names: list[str] = []
    while (inside := node.get(".")) is not None:
        names.append(inside["attr"])
        node = inside["left"]
    variable = node.get("Var")
    return (variable, tuple(reversed(names))) if isinstance(variable, str) else None
