"""A message that two readers could read in two ways: JSON that names a member of an object twice (RFC 8259 section 4). Pure.

Most readers take the last one, some the first, and whoever stands before the gateway, or reads its record, may have
seen another call than the one that runs. So no such message comes in, by any door. A message as most programs write it,
without a blank, is told by a quicker way.

Nor does one of more values than any call may have (`bounds`): to read it a second time would cost more than all the rest.
"""

from __future__ import annotations

import json
from typing import Any, Literal, TypeAlias

import orjson

COMPARED_BYTES = 2 * 1024 * 1024
"""Up to here a message is first compared with itself written anew, which for the largest would be a second time too long:
A quarter of a second of CPU is the most that any message of 4 MiB takes."""
MAX_VALUES = 50_000
"""More than twice what the arguments of a call may hold, so that what is only too much for a call is refused as a call."""
LEAST_BYTES = 2
"""Of a value and what stands between it and the next."""
Flaw: TypeAlias = Literal["no JSON", "a member twice", "too many values"]


class _TwiceError(ValueError):
    """An object has a member twice."""


def flaw(message: bytes) -> Flaw | None:
    """What is wrong with a text in UTF-8, if anything. What this reader cannot read no other one is asked to."""
    if len(message) <= COMPARED_BYTES:
        try:
            value = orjson.loads(message)
            if len(message) > MAX_VALUES * LEAST_BYTES and _is_too_much(value):
                return "too many values"
            if (
                orjson.dumps(value) == message
            ):  # it is its own value written again: nothing was left out, no name comes twice
                return None
        except (orjson.JSONDecodeError, orjson.JSONEncodeError):
            pass
    try:
        value = _DECODER.decode(message.decode())
    except _TwiceError:
        return "a member twice"
    except (ValueError, RecursionError):
        return "no JSON"
    return "too many values" if _is_too_much(value) else None


def _is_too_much(value: Any) -> bool:
    found, left = 1, [value]
    while left:
        item = left.pop()
        if isinstance(item, dict | list):
            found += len(item)
            if found > MAX_VALUES:
                return True
            left.extend(item.values() if isinstance(item, dict) else item)
    return False


def _once(members: list[tuple[str, Any]]) -> list[Any]:
    """The values of an object, which are only counted."""
    if len(members) > 1 and len({name for name, _ in members}) < len(members):
        raise _TwiceError("a member comes twice")
    return [value for _, value in members]


_DECODER = json.JSONDecoder(object_pairs_hook=_once)
