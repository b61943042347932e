"""Sessions of the older era, of which one person never holds so many that others get none.

The SDK bounds all of them together, and keeps one whose client has gone for half an hour: an agent that opens one for each
call and ends none would fill the table for everybody. Here a person's session beyond their own bound takes the place of
the one of theirs that has been there longest with nothing under way.

No events are kept for a client that comes back, so what it says it has heard last is not looked at: the SDK, asked for
events that it does not keep, gives no answer at all.
"""

from __future__ import annotations

from typing import Any

from mcp.server.auth.middleware.bearer_auth import AuthorizationContext
from mcp.server.streamable_http import LAST_EVENT_ID_HEADER, StreamableHTTPServerTransport
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.types import Receive, Scope, Send

MAX_SESSIONS = 4096
MAX_SESSIONS_OF_A_PERSON = 64
LAST_EVENT = LAST_EVENT_ID_HEADER.encode()


class Sessions(StreamableHTTPSessionManager):
    """The SDK's table, with shares."""

    def __init__(self, app: Any) -> None:
        super().__init__(app=app, json_response=False, max_sessions=MAX_SESSIONS)

    async def _handle_request(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request as if it named no event."""
        headers = [(name, value) for name, value in scope["headers"] if name.lower() != LAST_EVENT]
        await super()._handle_request({**scope, "headers": headers}, receive, send)

    def _admit_session(self, requestor: AuthorizationContext | None) -> StreamableHTTPServerTransport | None:
        """Open a session; None, which is answered with 503, where there is no room and none can be made."""
        own = [key for key, owner in self._session_owners.items() if _person(owner) == _person(requestor)]
        if len(own) >= MAX_SESSIONS_OF_A_PERSON:
            idle = next((key for key in own if self._is_idle(key)), None)
            if idle is None:
                return None
            self._end(idle)
        return super()._admit_session(requestor)

    def _is_idle(self, key: str) -> bool:
        transport = self._server_instances[key]
        return transport.idle_scope is not None and not transport._requests_in_flight  # noqa: SLF001 - it has no other sign

    def _end(self, key: str) -> None:
        """As if it had been idle for too long; its id answers 404 from here on."""
        transport = self._server_instances.pop(key)
        self._session_owners.pop(key)
        if transport.idle_scope is not None:
            transport.idle_scope.cancel()


def _person(owner: AuthorizationContext | None) -> tuple[str | None, str | None]:
    return (owner["issuer"], owner["subject"]) if owner is not None else (None, None)
