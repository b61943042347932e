"""Ready JSON bytes in a response, in place of a value that would be taken apart and encoded once more.

A result is JSON already, as it was recorded. The SDK wants a value: a big result would be decoded, checked, copied and
encoded again, which costs more than its query. So a handler may give the SDK a placeholder for it, and `Splicer`, which
stands around the SDK's transport, puts the bytes there as the response leaves.

1. A placeholder is random and made after the result: nothing that a caller or a target says can be one.
2. It is looked up among those of its own request, never among another's.
3. The bytes are put in once. A response in which the placeholder does not stand as it was made is broken off: neither
   it nor half a result is sent.
4. Where a line is a message, in an event stream and on standard output, no character stays that some readers take for a
   line's end; in JSON those stand in strings alone.

What a request waits to have put in is found by its ASGI scope, or for standard streams, which have none, by the context
that its handler runs in (`filled`). The deprecated SSE fills nothing: there the SDK gets the value itself. Its transport must
keep no events to send again later: what it kept would be placeholders.
"""

from __future__ import annotations

import secrets
from contextvars import Context, ContextVar
from typing import Any

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SPLICES_KEY = "mcp_gateway.splices"
"""Where in the ASGI scope a request's own `Splices` stand."""
MARK = "spliced"
BIG_BYTES = 256 * 1024
"""Beyond this a copy costs more than another message."""
LINE_ENDS = {"\u2028".encode(): rb"\u2028", "\u2029".encode(): rb"\u2029", "\x85".encode(): rb"\u0085"}
"""Beside the control characters, which JSON escapes by itself."""


class SpliceError(Exception):
    """The response is not what the placeholder was made for."""


class Splices:
    """What waits to be put into one response."""

    def __init__(self) -> None:
        self._waiting: dict[bytes, bytes] = {}

    def __bool__(self) -> bool:
        """Whether anything waits."""
        return bool(self._waiting)

    def placeholder(self, ready: bytes) -> dict[str, str]:
        """What the SDK is given for one JSON object in UTF-8."""
        token = secrets.token_hex(16)
        self._waiting[token.encode()] = ready
        return {MARK: token}

    def fill(self, body: bytes, *, lines: bool) -> list[bytes]:
        """A part of the response with the bytes where their placeholders stand, in pieces; `lines` where a line is a message.

        Raises `SpliceError`.
        """
        pieces = [body]
        for token, ready in tuple(self._waiting.items()):
            places = [place for place, piece in enumerate(pieces) if token in piece]
            if not places:
                continue
            before, found, after = pieces[places[0]].partition(b'{"%s":"%s"}' % (MARK.encode(), token))
            if not found or token in after or len(places) > 1:
                raise SpliceError("a placeholder does not stand in the response as it was made")
            del self._waiting[token]
            pieces[places[0] : places[0] + 1] = [before, on_one_line(ready) if lines else ready, after]
        return pieces


_splices: ContextVar[Splices] = ContextVar("splices")
"""What the request whose handler this is waits to have put in, where its transport has no scope."""


def prepare(context: Context) -> None:
    """Make a place for the ready bytes of a request that is handled in this context; whoever sends its answer fills them in."""
    context.run(_splices.set, Splices())


def filled(line: bytes) -> list[bytes]:
    """A message of the request that is handled here, with its ready bytes in place. Raises `SpliceError`."""
    splices = _splices.get(None)
    return splices.fill(line, lines=True) if splices else [line]


class Splicer:
    """The layer around the SDK's transport."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        splices = scope[SPLICES_KEY] = Splices()
        await self._app(scope, receive, _Filling(splices, send))


class _Filling:
    """A `send` that fills. Where the response has a length, its head waits until that is known."""

    def __init__(self, splices: Splices, send: Send) -> None:
        self._splices = splices
        self._send = send
        self._events = False
        self._head: Message | None = None
        self._held: list[bytes] = []

    async def __call__(self, message: Message) -> None:
        match message["type"]:
            case "http.response.start":
                headers = dict(message.get("headers", ()))
                self._events = headers.get(b"content-type", b"").startswith(b"text/event-stream")
                if self._splices and b"content-length" in headers:
                    self._head = message
                    return
            case "http.response.body" if self._head is not None:
                self._held.append(message.get("body", b""))
                if not message.get("more_body"):
                    await self._whole(self._head)
                return
            case "http.response.body" if self._splices:
                pieces = self._splices.fill(message.get("body", b""), lines=self._events)
                await send_body(self._send, pieces, more=message.get("more_body", False))
                return
        await self._send(message)

    async def _whole(self, head: Message) -> None:
        body = self._splices.fill(b"".join(self._held), lines=self._events)
        length = sum(map(len, body))
        headers = [(name, value) for name, value in head["headers"] if name != b"content-length"]
        await self._send({**head, "headers": [*headers, (b"content-length", str(length).encode())]})
        await send_body(self._send, body)


async def send_body(send: Send, pieces: list[bytes], *, more: bool = False) -> None:
    """Send what these are together, a big one apart: joined to others it would stand in memory twice."""
    if sum(map(len, pieces)) > BIG_BYTES:
        for piece in pieces[:-1]:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        del pieces[:-1]
    await send({"type": "http.response.body", "body": b"".join(pieces), "more_body": more})


def structured(ready: bytes, request: object) -> Any:
    """What a handler gives the SDK for ready JSON: a placeholder where its transport can splice, else the value."""
    scope = getattr(request, "scope", None)
    splices: Splices | None = scope.get(SPLICES_KEY) if isinstance(scope, dict) else _splices.get(None)
    return orjson.loads(ready) if splices is None else splices.placeholder(ready)


def on_one_line(ready: bytes) -> bytes:
    """JSON without any character that some readers take for a line's end."""
    for character, escape in LINE_ENDS.items():
        ready = ready.replace(character, escape)
    return ready
