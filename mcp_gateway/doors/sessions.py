"""Sessions of the older era, of which one person never holds so many that others get none, and no two answers are crossed.

The SDK bounds all of them together, and keeps one whose client has gone for half an hour: an agent that opens one for each
call and ends none would fill the table for everybody. Here a person's session beyond their own bound takes the place of
the one of theirs that has been there longest with nothing under way.

A request's id is its own within a session (MCP 2025-11-25, base protocol, requests). The SDK files the stream that an answer
leaves by under that id: of two requests at once with one id, one would get the other's answer and the other none. So the
second is refused, and so is one with the id of a request whose client went away: what is still said for that would be told
to whoever has its id then. The SDK writes ids as text: 7 and "7" are one. They are read by the reader that the SDK has: to
others an integer of more than 64 bits is none.

A plain call of a session can be carried before the SDK (`fast_path`), for which the session is one with a request under way
all the same. It has to be known first: what its client has said of itself is what the SDK's handler of another call has found
(`met`). A client gives such a call up, or ends its session, by a request of its own, which comes here.

No events are kept for a client that comes back, so what it says it has heard last is not looked at: the SDK, asked for
events that it does not keep, gives no answer at all.
"""

from __future__ import annotations

import math
import re
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import anyio
import pydantic_core
from mcp.server.auth.middleware.bearer_auth import (
    AuthenticatedUser,
    AuthorizationContext,
    authorization_context,
)
from mcp.server.connection import Connection
from mcp.server.streamable_http import LAST_EVENT_ID_HEADER, MCP_SESSION_ID_HEADER, StreamableHTTPServerTransport
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Message, Receive, Scope, Send

from mcp_gateway.doors.bodies import INVALID_REQUEST, replayed
from mcp_gateway.doors.under_way import KEY as CALL_KEY
from mcp_gateway.doors.under_way import CallUnderWay

KEY = "mcp_gateway.session"
"""Of this request's `_Session` in its ASGI scope."""
CANCELLED = "notifications/cancelled"
MAX_SESSIONS = 4096
MAX_SESSIONS_OF_A_PERSON = 64
MAX_GIVEN_UP = 1024
"""Ids of a session; far more than it can have requests whose end is still awaited."""
ANSWER = re.compile(rb'(?:^|\n)data: \{"jsonrpc":"2\.0","id":(?:-?[0-9]+|"(?:[^"\\]|\\.)*"),"(?:result|error)":')
MAX_HEAD = 4096
"""What is looked at of an event: its id stands at its beginning."""
LAST_EVENT = LAST_EVENT_ID_HEADER.encode()


class _Session:
    """What is known of one session beside what the SDK keeps."""

    def __init__(self) -> None:
        self.connection: Callable[[], Connection | None] = lambda: None
        """The SDK's, once a handler has met it and for as long as it lasts."""
        self.calls: dict[str, CallUnderWay] = {}
        """Those that are carried before the SDK, by the ids of their requests."""
        self.unanswered: set[str] = set()
        self._given_up: deque[str] = deque(maxlen=MAX_GIVEN_UP)

    def has(self, number: int | str) -> bool:
        """Whether another request has this id."""
        return str(number) in self.unanswered or str(number) in self._given_up

    def give_up(self, number: str) -> None:
        """Its client has gone before its answer."""
        self.unanswered.discard(number)
        self._given_up.append(number)


class CarriedCall:
    """A call of a session that is carried before the SDK."""

    def __init__(self, session: _Session, connection: Connection, *, number: int | str) -> None:
        self.connection = connection
        self._session = session
        self._number = str(number)
        self._call: CallUnderWay | None = None
        self._is_left = False

    def holds(self, call: CallUnderWay) -> None:
        """Name the call, for whoever gives it up."""
        self._call = self._session.calls[self._number] = call

    def leave(self) -> None:
        """Say that the SDK's path goes on with it: from here on that says when its id is free again."""
        self._is_left = True

    def end(self) -> None:
        """Let go of what was taken, and of nothing that another request has taken since."""
        if not self._is_left:
            self._session.unanswered.discard(self._number)
        if self._session.calls.get(self._number) is self._call:
            self._session.calls.pop(self._number, None)


def met(request: object, connection: Connection) -> None:
    """Say which connection the session of a request has, as the SDK's handler has found it."""
    session = request.scope.get(KEY) if isinstance(request, Request) else None
    if isinstance(session, _Session):
        session.connection = weakref.ref(connection)


class Sessions(StreamableHTTPSessionManager):
    """The SDK's table, with shares."""

    def __init__(self, app: Any) -> None:
        super().__init__(app=app, json_response=False, max_sessions=MAX_SESSIONS)
        self._sessions: WeakKeyDictionary[StreamableHTTPServerTransport, _Session] = WeakKeyDictionary()

    @contextmanager
    def carried(self, scope: Scope, *, number: int | str, version: str) -> Iterator[CarriedCall | None]:
        """Count a call that is carried before the SDK, for as long as the block lasts.

        None where the session is not known, is another's, speaks another revision, is about to end, or has another request
        with this id: all that the SDK's path sees to.
        """
        transport = self._own_session(scope)
        session = None if transport is None else self._sessions.get(transport)
        connection = None if session is None else session.connection()
        if transport is None or session is None or connection is None or not _is_open(transport):
            yield None
            return
        if connection.protocol_version != version or session.has(number):
            yield None
            return
        session.unanswered.add(str(number))
        call = CarriedCall(session, connection, number=number)
        try:
            with _in_flight(transport):
                yield call
        finally:
            call.end()

    async def _handle_request(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request as if it named no event."""
        headers = [(name, value) for name, value in scope["headers"] if name.lower() != LAST_EVENT]
        await super()._handle_request({**scope, "headers": headers}, receive, send)

    async def _handle_stateful_request(self, scope: Scope, receive: Receive, send: Send) -> None:
        transport = self._own_session(scope)
        if scope["method"] != "POST" or transport is None:
            await super()._handle_stateful_request(scope, receive, send)
            if transport is not None and transport.is_terminated:
                await self._end_calls(transport)
            return
        body = (await receive()).get("body", b"")  # all of it: `bodies`
        receive, message = replayed(body, receive), _message(body)
        session = scope[KEY] = self._sessions.setdefault(transport, _Session())
        number = _request_id(message)
        if number is None:
            if (
                message.get("method") == CANCELLED
                and (call := session.calls.get(cancelled_id(message.get("params")))) is not None
            ):
                call.give_up()
            await super()._handle_stateful_request(scope, receive, send)
            return
        if CALL_KEY not in scope and session.has(number):
            await _taken(number)(scope, receive, send)
            return
        session.unanswered.add(str(number))
        answered = False

        async def told(message: Message) -> None:
            nonlocal answered
            if not answered and message["type"] == "http.response.body" and _is_answer(message):
                answered = True
                session.unanswered.discard(str(number))  # before its client can ask again: the SDK is done with it
            await send(message)

        try:
            await super()._handle_stateful_request(scope, receive, told)
        finally:
            if not answered:
                session.give_up(str(number))

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

    async def _end_calls(self, transport: StreamableHTTPServerTransport) -> None:
        """What a session still runs before the SDK ends with it."""
        session = self._sessions.get(transport)
        calls = tuple(session.calls.values()) if session is not None else ()
        for call in calls:
            call.give_up()
        for call in calls:
            await call.end()


def _person(owner: AuthorizationContext | None) -> tuple[str | None, str | None]:
    return (owner["issuer"], owner["subject"]) if owner is not None else (None, None)


def _is_open(transport: StreamableHTTPServerTransport) -> bool:
    """Whether a session is not about to end. Only those with a bound on being idle are carried."""
    return not transport.is_terminated and transport.idle_scope is not None and not transport.idle_scope.cancel_called


@contextmanager
def _in_flight(transport: StreamableHTTPServerTransport) -> Iterator[None]:
    """Keep a session from being idle, as `StreamableHTTPServerTransport.handle_request` does."""
    scope, seconds = transport.idle_scope, transport._idle_timeout  # noqa: SLF001 - as above
    transport._requests_in_flight += 1  # noqa: SLF001
    if scope is not None:
        scope.deadline = math.inf
    try:
        yield
    finally:
        transport._requests_in_flight -= 1  # noqa: SLF001
        if scope is not None and seconds is not None and not transport._requests_in_flight:  # noqa: SLF001
            scope.deadline = anyio.current_time() + seconds


def _message(body: bytes) -> dict[str, Any]:
    """The message that a body is; nothing where it is none, which the SDK says."""
    try:
        message = pydantic_core.from_json(body)
    except ValueError:
        return {}
    return message if isinstance(message, dict) else {}


def _request_id(message: dict[str, Any]) -> int | str | None:
    """The id of the request that a message is; None where it is none."""
    found = message.get("id") if "method" in message else None
    return found if isinstance(found, int | str) and not isinstance(found, bool) else None


def cancelled_id(params: Any) -> str:
    """Which request a notification with these parameters gives up; empty where it is none."""
    found = params.get("requestId") if isinstance(params, dict) else None
    return str(found) if isinstance(found, int | str) and not isinstance(found, bool) else ""


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
