"""The body of a request: whole, of a bounded size, in UTF-8 and with one reading, before anything behind the guard sees it.

MCP demands UTF-8 of every message. The SDK reads a body of the newer era with `json.loads`, which takes UTF-16 and
UTF-32, a byte order mark and encoded surrogates as well, and nothing else here does: what one reader refuses and
another one runs must not come in at all. Nor does JSON that names a member twice (`members`), or a body whose client
went away in the middle of it, which would be an error further in.

How many requests a person has open is bounded by the guard. Here it is how many bytes they are together, on the wire while
they arrive and in memory once they are read: else a few people with slow or intricate bodies could fill it for everybody.
"""

from __future__ import annotations

import codecs
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import orjson
from starlette.types import Message, Receive, Scope

from mcp_gateway.doors.members import MAX_VALUES, flaw
from mcp_gateway.doors.weight import weight_of

MAX_BODY_BYTES = 4 * 1024 * 1024
MAX_OPEN_BYTES = 64 * 1024 * 1024
"""Of one person's open requests, as they arrive and as they lie in memory once they are read: 25 of the largest calls."""
WEIGHED_BYTES = 8 * 1024
"""A smaller body is not much, whatever it holds."""
PARSE_ERROR, INVALID_REQUEST = -32700, -32600


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfit:
    """Why a body is refused; with status 0 there is nobody left to tell."""

    status: int
    code: int = INVALID_REQUEST
    """Of JSON-RPC."""
    message: str = ""

    def to_json(self) -> bytes:
        """What the client is told."""
        error = {"code": self.code, "message": self.message}
        return orjson.dumps({"jsonrpc": "2.0", "id": None, "error": error})


GONE = Unfit(status=0)
TOO_LARGE = Unfit(status=413, message=f"Request body too large: at most {MAX_BODY_BYTES:,} bytes")
NO_JSON = Unfit(status=400, code=PARSE_ERROR, message="Parse error: the body is no JSON")
TWICE = Unfit(status=400, message="Invalid Request: an object in the body has a member twice")
MANY = Unfit(status=400, message=f"Invalid Request: the body holds more than {MAX_VALUES:,} values")
NO_TEXT = Unfit(status=400, code=PARSE_ERROR, message="Parse error: the body is no text in UTF-8")
TOO_MUCH = Unfit(status=429, message="Too many requests: those of this person that are open are too large together")

Fits = Callable[[int], bool]
"""Counts so many bytes more of a request; False where they do not fit beside the person's others."""


class OpenBodies:
    """What the open requests of each person hold."""

    def __init__(self) -> None:
        self._sizes: Counter[str] = Counter()

    def counted(self, key: str) -> AbstractContextManager[Fits]:
        """Count one request of a person's for as long as the block lasts. One alone fits, however large it is."""
        return _OpenBody(self._sizes, key)


class _OpenBody:
    """What one open request holds."""

    def __init__(self, sizes: Counter[str], key: str) -> None:
        self._sizes = sizes
        self._key = key
        self._own = 0

    def __enter__(self) -> Fits:
        return self._fits

    def _fits(self, size: int) -> bool:
        self._own += size
        together = self._sizes[self._key] = self._sizes[self._key] + size
        return together <= MAX_OPEN_BYTES or together == self._own

    def __exit__(self, *_: object) -> None:
        left = self._sizes[self._key] - self._own
        if left:
            self._sizes[self._key] = left
        else:
            self._sizes.pop(self._key, None)


async def whole_body(scope: Scope, receive: Receive, *, fits: Fits) -> bytes | Unfit:
    """Read all of a body. One that says itself that it is too large is not read at all."""
    declared = b"0"
    for name, value in scope["headers"]:
        if name == b"content-length":
            declared = value
            break
    if declared.isdigit() and (len(declared) > 12 or int(declared) > MAX_BODY_BYTES):
        return TOO_LARGE
    pieces: list[bytes] = []
    size = 0
    more = True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            return GONE
        pieces.append(message.get("body", b""))
        size += len(pieces[-1])
        if size > MAX_BODY_BYTES:
            return TOO_LARGE
        if not fits(len(pieces[-1])):
            return TOO_MUCH
        more = message.get("more_body", False)
    body = b"".join(pieces)
    if not _is_text(body):
        return NO_TEXT
    if body:
        match flaw(body):
            case "a member twice":
                return TWICE
            case "too many values":
                return MANY
            case "no JSON":
                return NO_JSON
            case None:
                pass
    if len(body) > WEIGHED_BYTES and not fits(weight_of(body)):
        return TOO_MUCH
    return body


def _is_text(body: bytes) -> bool:
    if body.startswith(codecs.BOM_UTF8) or b"\0" in body:
        return False
    try:
        body.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def replayed(body: bytes, receive: Receive) -> Receive:
    """A `receive` that tells a body that was read, and goes on from there."""
    left: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return left.pop() if left else await receive()

    return again
