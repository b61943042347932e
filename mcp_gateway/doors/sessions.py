"""Sessions of the older era, of which one person never holds so many that others get none, and no two answers are crossed.

The SDK bounds all of them together, and keeps one whose client has gone for half an hour: an agent that opens one for each
call and ends none would fill the table for everybody. Here a person's session beyond their own bound takes the place of
the one of theirs that has been there longest with nothing under way.

A request's id is its own within a session (MCP 2025-11-25, base protocol, requests). The SDK files the stream that an answer
leaves by under that id: of two requests at once with one id, one would get the other's answer and the other none. So the
second is refused, and so is one with the id of a request whose client went away: what is still said for that would be told
to whoever has its id then. The SDK writes ids as text: 7 and "7" are one. They are read by the reader that the SDK has: to
others an integer of more than 64 bits is none.

No events are kept for a client that comes back, so what it says it has heard last is not looked at: the SDK, asked for
events that it does not keep, gives no answer at all.
"""

from __future__ import annotations

import re
from collections import deque
from typing import Any
from weakref import WeakKeyDictionary

import pydantic_core
from mcp.server.auth.middleware.bearer_auth import (
    AuthenticatedUser,
    AuthorizationContext,
    authorization_context,
)
from mcp.server.streamable_http import LAST_EVENT_ID_HEADER, MCP_SESSION_ID_HEADER, StreamableHTTPServerTransport
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import Message, Receive, Scope, Send

from mcp_gateway.doors.bodies import INVALID_REQUEST, replayed

MAX_SESSIONS = 4096
MAX_SESSIONS_OF_A_PERSON = 64
MAX_GIVEN_UP = 1024
"""Ids of a session; far more than it can have requests whose end is still awaited."""
ANSWER = re.compile(rb'(?:^|\n)data: \{"jsonrpc":"2\.0","id":(?:-?[0-9]+|"(?:[^"\\]|\\.)*"),"(?:result|error)":')
MAX_HEAD = 4096
"""What is looked at of an event: its id stands at its beginning."""
LAST_EVENT = LAST_EVENT_ID_HEADER.encode()


class _Ids:
    """The ids of one session's requests that another request must not have."""

    def __init__(self) -> None:
        self.unanswered: set[str] = set()
        self._given_up: deque[str] = deque(maxlen=MAX_GIVEN_UP)

    def has(self, number: int | str) -> bool:
        """Whether it is taken."""
        return str(number) in self.unanswered or str(number) in self._given_up

    def give_up(self, number: str) -> None:
        """Its client has gone before its answer."""
        self.unanswered.discard(number)
        self._given_up.append(number)


class Sessions(StreamableHTTPSessionManager):
    """The SDK's table, with shares."""

    def __init__(self, app: Any) -> None:
        super().__init__(app=app, json_response=False, max_sessions=MAX_SESSIONS)
        self._ids: WeakKeyDictionary[StreamableHTTPServerTransport, _Ids] = WeakKeyDictionary()
        """Of each session."""

    async def _handle_request(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request as if it named no event."""
        headers = [(name, value) for name, value in scope["headers"] if name.lower() != LAST_EVENT]
        await super()._handle_request({**scope, "headers": headers}, receive, send)

    async def _handle_stateful_request(self, scope: Scope, receive: Receive, send: Send) -> None:
        session = self._own_session(scope)
        if scope["method"] != "POST" or session is None:
            await super()._handle_stateful_request(scope, receive, send)
            return
        body = (await receive()).get("body", b"")  # all of it: `bodies`
        receive, number = replayed(body, receive), _request_id(body)
        if number is None:
            await super()._handle_stateful_request(scope, receive, send)
            return
        ids = self._ids.setdefault(session, _Ids())
        if ids.has(number):
            await _taken(number)(scope, receive, send)
            return
        ids.unanswered.add(str(number))
        answered = False

        async def told(message: Message) -> None:
            nonlocal answered
            if not answered and message["type"] == "http.response.body" and _is_answer(message):
                answered = True
                ids.unanswered.discard(str(number))  # before its client can ask again: the SDK is done with it
            await send(message)

        try:
            await super()._handle_stateful_request(scope, receive, told)
        finally:
            if not answered:
                ids.give_up(str(number))

    def _own_session(self, scope: Scope) -> StreamableHTTPServerTransport | None:
        """The session of a request whose sender has opened it; to others the SDK says that there is none."""
        key, user = Headers(scope=scope).get(MCP_SESSION_ID_HEADER, ""), scope.get("user")
        if not isinstance(user, AuthenticatedUser) or self._session_owners.get(key) != authorization_context(user):
            return None
        return self._server_instances.get(key)

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


def _request_id(body: bytes) -> int | str | None:
    """The id of the request that a body is; None where it is none, which the SDK says."""
    try:
        message = pydantic_core.from_json(body)
    except ValueError:
        return None
    found = message.get("id") if isinstance(message, dict) and "method" in message else None
    return found if isinstance(found, int | str) and not isinstance(found, bool) else None


def _is_answer(message: Message) -> bool:
    """Whether this part of a response ends a request: all of it, or the event that answers; many close the stream then."""
    return not message.get("more_body") or ANSWER.search(message.get("body", b""), 0, MAX_HEAD) is not None


def _taken(number: int | str) -> JSONResponse:
    said = (
        f"Invalid Request: the id {number!r} is that of another request of this session, which is not answered yet or was "
        "given up; give each request an id of its own"
    )
    error = {"code": INVALID_REQUEST, "message": said}
    return JSONResponse({"jsonrpc": "2.0", "id": number, "error": error}, status_code=400)
