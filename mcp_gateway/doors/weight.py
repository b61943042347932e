"""What a message takes in memory once it has been read, which can be thirty times what it is on the wire. Pure."""

from __future__ import annotations

from sys import getsizeof
from typing import Any

import orjson

from mcp_gateway.doors.members import LEAST_BYTES, MAX_VALUES

LARGEST_VALUE_BYTES = 96
"""Of a value beside its text: an empty list, and its place in another one."""


def weight(value: Any) -> int:
    """About how many bytes a JSON value takes in memory."""
    total, left = 0, [value]
    while left:
        item = left.pop()
        total += getsizeof(item)
        kind = type(item)
        if kind is dict:
            left += item
            left += item.values()
        elif kind is list:
            left += item
    return total


def weight_of(text: bytes) -> int:
    """About how many bytes the value of a JSON text takes in memory, be it one that only other readers can read."""
    try:
        return weight(orjson.loads(text))
    except orjson.JSONDecodeError:
        return 4 * len(text) + LARGEST_VALUE_BYTES * min(len(text) // LEAST_BYTES, MAX_VALUES)
