"""JSON values as masking looks at them: their texts, and their bytes in UTF-8."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

SMALL_NUMBER = 10**7
"""Integers of fewer digits than this are nothing that a detector finds."""
HAS_MEMBERS = (dict, list, tuple)
NO_TEXT = (bool, *HAS_MEMBERS)


def text_of(value: object) -> str | None:
    """The text in which a value could be sensitive, or None for what is provably harmless or has members."""
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, NO_TEXT):
        return None
    if isinstance(value, int):
        return None if -SMALL_NUMBER < value < SMALL_NUMBER else str(value)
    return str(value)


def leaves(value: Any) -> Iterator[Any]:
    """What is in a list, and in the lists in it; any other value is one leaf."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, list):
            waiting += item
        else:
            yield item


def strings(value: Any) -> Iterator[str]:
    """Every string in a value, names of members included."""
    if isinstance(value, dict):
        for key, member in value.items():
            yield str(key)
            yield from strings(member)
    elif isinstance(value, list | tuple):
        for member in value:
            yield from strings(member)
    elif isinstance(value, str):
        yield value


def decoded(data: bytes) -> str:
    """Masked bytes as text again. A credential that is no text can have left half a character behind."""
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return data.decode("utf-8", "replace")


def dumped(value: Any) -> bytes:
    """JSON in UTF-8. What JSON cannot carry goes as text; a lone surrogate as U+FFFD."""
    try:
        return orjson.dumps(value, default=str)
    except TypeError:
        return orjson.dumps(_carried(value), default=str)


def _carried(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(_carried(key)): _carried(member) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [_carried(member) for member in value]
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return str(value) if isinstance(value, int) and value.bit_length() > 63 else value
