"""Plain calls are carried here, before the SDK, and are answered here where they end in a result.

Half of what a small call costs would be the SDK's: models, streams and tasks for a request that needs none of them. So
`FastPath` stands in front of it, behind the guard that has checked host, origin and token of every request:

1. A request whose head is that of a plain call is read to its end, if it is small. Whatever is not plain goes to the
   SDK as it came, with the body that was read and the disconnect that may have been heard meanwhile.
2. The call goes down the one road in a task of its own: once, whoever answers it.
3. The client is watched. If it goes away, the call is cancelled at its target, and recorded, before this request ends. So
   it is in a session when the client gives it up, or ends the session, by another request (`sessions`).
4. A result that came soon leaves from here, in the bytes that were recorded.
5. Everything else is the SDK's to answer: refusals, forms, and whatever takes so long that its client has to hear
   something meanwhile. What a call wants of its session, the SDK brings (`HandOver`). It reads the request itself, and its handler takes over (`under_way`) the call that runs or has
   ended. Nothing is decided or recorded again. Should it understand the request otherwise, or not come to a call at
   all, then the call is cancelled and there is no result.

`plain_calls` says what is plain; `mcp` is the SDK's door.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import orjson
import structlog
from mcp.server.streamable_http import REQUEST_CANCELLED
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mcp_gateway.answers import Masked
from mcp_gateway.doors.carrying import Carrier
from mcp_gateway.doors.departures import GONE
from mcp_gateway.doors.mcp import Identify, declared_to
from mcp_gateway.doors.plain_calls import Declared, PlainCall, Reader
from mcp_gateway.doors.sessions import CarriedCall, Sessions
from mcp_gateway.doors.splice import send_body
from mcp_gateway.doors.under_way import KEY, CallUnderWay, HandOver

log = structlog.get_logger(__name__)

PATH = "/mcp"
GIVEN_UP = b'{"jsonrpc":"2.0","id":%%b,"error":{"code":%d,"message":"Request cancelled"}}' % REQUEST_CANCELLED
"""What the SDK says to a call of a session that its client has given up."""
TAKE_OVER_SECONDS = 1.0
"""What has not ended by then the SDK waits for: it keeps a connection alive through everything between."""


class FastPath:
    """The layer in front of the SDK's door."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        carrier: Carrier,
        reader: Reader,
        sessions: Sessions,
        identify_by: Callable[[Scope], Identify],
    ) -> None:
        """`identify_by` gives what verifies the token of a request."""
        self._app = app
        self._carrier = carrier
        self._reader = reader
        self._sessions = sessions
        self._identify_by = identify_by

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        # 1.
        head = self._reader.head(scope["headers"]) if _is_post(scope) else None
        if head is None:
            await self._app(scope, receive, send)
            return
        heard = _Heard(receive, scope.get(GONE))
        body = await heard.body(head.length)
        plain = self._reader.read(head, body) if body is not None else None
        if plain is None:
            await self._app(scope, heard.again, send)
        elif plain.declared is not None:
            await self._carry(plain, plain.declared, scope, heard, send)
        else:
            with self._sessions.carried(scope, number=plain.id, version=plain.session_version) as carried:
                if carried is None:
                    await self._app(scope, heard.again, send)
                else:
                    await self._carry(plain, declared_to(carried.connection), scope, heard, send, carried=carried)

    async def _carry(
        self,
        plain: PlainCall,
        declared: Declared,
        scope: Scope,
        heard: _Heard,
        send: Send,
        *,
        carried: CarriedCall | None = None,
    ) -> None:
        # 2.
        hand_over = HandOver()
        work = self._carrier.call(plain, declared, identify=self._identify_by(scope), hand_over=hand_over)
        call = CallUnderWay(work, tool=plain.tool, arguments=plain.arguments, hand_over=hand_over)
        if carried is not None:
            carried.holds(call)
        try:
            found = await self._result(call, heard)
            if call.given_up:
                await _send(send, [GIVEN_UP % orjson.dumps(plain.id)])
            elif found is not None:
                await _send(send, self._carrier.result(plain, found.structured))  # 4.
            elif not heard.gone:
                scope[KEY] = call
                if carried is not None:
                    carried.leave()
                await self._app(scope, heard.again, send)
                if call.is_left and not heard.gone:
                    log.critical("call_not_taken_over", tool=plain.tool)
        finally:
            await call.end()

    async def _result(self, call: CallUnderWay, heard: _Heard) -> Masked | None:
        """The result, if it comes soon. None for every other end, and where the client has gone away."""
        # 3.
        loop, gone = asyncio.get_running_loop(), heard.listen()
        over = loop.create_future()

        def wake(*_: object) -> None:
            if not over.done():
                over.set_result(None)

        call.task.add_done_callback(wake)
        gone.add_done_callback(wake)
        call.hand_over.when_wanted = wake
        timer = loop.call_later(TAKE_OVER_SECONDS, wake)
        try:
            if not call.hand_over.wanted:
                await over
        finally:
            timer.cancel()
            gone.remove_done_callback(wake)
            heard.stop_listening()
        found = call.result()
        if found is None:
            await heard.stopped()
        return found


class _Heard:
    """What a client has sent: to be read here first, and to be told again to whoever reads it after."""

    def __init__(self, receive: Receive, over: asyncio.Future[None] | None) -> None:
        """`over` is done once its connection is over, where the server says so: then nobody has to listen for it."""
        self._receive = receive
        self._over = over
        self._listener: asyncio.Task[None] | None = None
        self._messages: list[Message] = []
        self.gone = False
        """Whether the client has gone away."""

    async def body(self, length: int) -> bytes | None:
        """The body, if it has this length."""
        parts: list[bytes] = []
        left = length
        while left >= 0:
            message = await self._receive()
            self._take(message)
            if message["type"] != "http.request":
                return None
            parts.append(message.get("body", b""))
            left -= len(parts[-1])
            if not message.get("more_body"):
                return b"".join(parts) if left == 0 else None
        return None

    def listen(self) -> asyncio.Future[None]:
        """What is done once the client has gone away. Nobody else may listen before this has `stopped`."""
        if self._over is not None:
            return self._over
        self._listener = asyncio.create_task(self._until_gone())
        return self._listener

    def stop_listening(self) -> None:
        """Listen no longer, and know by now whether the client has gone away."""
        if self._listener is not None:
            self._listener.cancel()
        elif self._over is not None and self._over.done():
            self._take({"type": "http.disconnect"})

    async def stopped(self) -> None:
        """Wait until nobody listens any more."""
        if self._listener is not None and not self._listener.done():
            await asyncio.wait({self._listener})

    async def _until_gone(self) -> None:
        while not self.gone:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self._take(message)

    def _take(self, message: Message) -> None:
        self._messages.append(message)
        self.gone |= message["type"] == "http.disconnect"

    async def again(self) -> Message:
        """An ASGI `receive` that tells everything from the beginning."""
        if not self._messages:
            self._take(await self._receive())
        return self._messages.pop(0)


async def _send(send: Send, body: list[bytes]) -> None:
    headers = [(b"content-length", str(sum(map(len, body))).encode()), (b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send_body(send, body)


def _is_post(scope: Scope) -> bool:
    return (
        scope["type"] == "http"
        and scope["method"] == "POST"
        and scope["path"] == PATH
        and scope.get("raw_path") == PATH.encode()
        and scope["query_string"] == b""
        and scope.get("root_path", "") == ""
        and scope["http_version"] == "1.1"
    )
