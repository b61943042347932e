"""A client that goes away ends its call, in the protocol's older era too.

The SDK cancels a request of 2026-07-28 when its connection ends, and a session's requests when the session does. A
request of the older era goes on for nobody: its answer has one stream to travel on, that stream is gone, and nothing
is kept here for a client that resumes. So `Watched` notices, and `ending_with_its_client` cancels what runs, which the
road records like any other cancellation.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import anyio
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

KEY = "mcp_gateway.departure"
"""Of this request's `Departure` in its ASGI scope."""


GONE = "mcp_gateway.gone"
"""Of the future in a request's ASGI scope that is done once its connection is over; only our own server has it."""


class Departure:
    """Whether a request's client has gone away, and what ends with that."""

    def __init__(self) -> None:
        self._happened = False
        self._scopes: set[anyio.CancelScope] = set()

    def happen(self) -> None:
        """Cancel what ends with it, now and from now on."""
        self._happened = True
        for scope in self._scopes:
            scope.cancel()

    @contextmanager
    def ending(self) -> Iterator[None]:
        """Cancel this block when the client goes away; then the block is left without an error."""
        with anyio.CancelScope() as scope:
            self._scopes.add(scope)
            try:
                if self._happened:
                    scope.cancel()
                yield
            finally:
                self._scopes.discard(scope)


class Watched:
    """An application whose requests know when their clients go away."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        departure = scope[KEY] = Departure()

        async def told() -> Message:
            message = await receive()
            if message["type"] == "http.disconnect":
                departure.happen()
            return message

        await self._app(scope, told, send)


@contextmanager
def ending_with_its_client(request: object) -> Iterator[None]:
    """Cancel this block when the client of an HTTP request goes away; what is no such request never does."""
    departure = request.scope.get(KEY) if isinstance(request, Request) else None
    if not isinstance(departure, Departure):
        yield
        return
    with departure.ending():
        yield
