"""A message that two readers could read in two ways: JSON that names a member of an object twice (RFC 8259 section 4). Pure.

Most readers take the last one, some the first, and whoever stands before the gateway, or reads its record, may have
seen another call than the one that runs. So no such message comes in, by any door. Nothing is built here, and a message
as most programs write it, without a blank, is told by a quicker way.
"""

from __future__ import annotations

import json
from typing import Any, Literal, TypeAlias

import orjson

COMPARED_BYTES = 2 * 1024 * 1024
"""Up to here a message is first compared with itself written anew, which for the largest would be a second time too long:
A quarter of a second of CPU is the most that any message of 4 MiB takes."""
Flaw: TypeAlias = Literal["no JSON", "a member twice"]


class _TwiceError(ValueError):
    """An object has a member twice."""


def flaw(message: bytes) -> Flaw | None:
    """What is wrong with a text in UTF-8, if anything. What this reader cannot read no other one is asked to."""
    if len(message) <= COMPARED_BYTES and _is_as_written(message):
        return None
    try:
        _DECODER.decode(message.decode())
    except _TwiceError:
        return "a member twice"
    except (ValueError, RecursionError):
        return "no JSON"
    return None


def _is_as_written(message: bytes) -> bool:
    """Whether it is its own value written again: then nothing of it was left out, so no name comes twice."""
    try:
        return orjson.dumps(orjson.loads(message)) == message
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return False


def _once(members: list[tuple[str, Any]]) -> None:
    if len(members) > 1 and len({name for name, _ in members}) < len(members):
        raise _TwiceError("a member comes twice")


_DECODER = json.JSONDecoder(object_pairs_hook=_once)
