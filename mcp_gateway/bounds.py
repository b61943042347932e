"""How large the arguments of a call may be: checked before anything else goes through them. Pure.

The doors bound a message as a whole; this bounds what masking, digest and record would have to take of it, for every
door alike. No recursion: depth is what is looked for.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from mcp_gateway.errors import RequestError

MAX_BYTES = 512 * 1024
"""UTF-8 bytes of all texts together. A statement and a command have smaller limits of their own."""
MAX_VALUES = 20_000
MAX_DEPTH = 64
MAX_INTEGER_BITS = 1024
"""Far more than a digest takes (2^53); Python itself takes quadratic time to write down larger ones."""

NEXT = "send less, in several calls if need be; nothing has run"


def check(arguments: Mapping[str, Any]) -> None:
    """Raise `RequestError` unless arguments are small enough to look at."""
    size, values = 0, 0
    left: list[tuple[Any, int]] = [(arguments, 1)]
    while left:
        item, depth = left.pop()
        values += 1
        match item:
            case str():
                size += _bytes_of(item)
            case dict() | list() | tuple() | Mapping() if values + len(left) + len(item) > MAX_VALUES:
                raise _too_many()  # before any of them is looked at
            case dict() | Mapping():
                for key, member in item.items():
                    size += _bytes_of(str(key))
                    left.append((member, depth + 1))
            case list() | tuple():
                left += [(member, depth + 1) for member in item]
            case int() if item.bit_length() > MAX_INTEGER_BITS:
                raise _too_much(f"an argument is an integer of more than {MAX_INTEGER_BITS} bits")
            case float() if not math.isfinite(item):
                # A serializer writes null for it: then what is approved would not be what is sent.
                raise _too_much("an argument is a number beyond all that JSON can hold")
            case _:
                pass
        if depth > MAX_DEPTH:
            raise _too_much(f"the arguments are nested deeper than {MAX_DEPTH} levels")
        if size > MAX_BYTES:
            raise _too_much(f"the arguments hold more than {MAX_BYTES:,} bytes of text")
        if values + len(left) > MAX_VALUES:
            raise _too_many()


def _bytes_of(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _too_many() -> RequestError:
    return _too_much(f"the arguments hold more than {MAX_VALUES:,} values")


def _too_much(message: str) -> RequestError:
    return RequestError(message, next_step=NEXT)
