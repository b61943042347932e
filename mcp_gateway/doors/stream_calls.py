"""Plain calls over standard streams, carried and answered before the SDK, as `fast_path` does it over HTTP.

The messages are the SDK's own reading, so no call can be read in two ways here.

1. `_Pump` reads what the client says. A plain `tools/call` goes down the road in a task of its own, once the SDK has handled
   one of this client: whose era it is, and what the client can do, is what the SDK has found (`met`).
2. Everything else is the SDK's, in its order (`Rest`).
3. A call that ends in a result is answered here, in the bytes that were recorded. One that ends otherwise, or wants a form or
   progress, is handed to the SDK as it stands: its handler takes it over (`under_way`).
4. A call that its client gives up is cancelled at its target, and not answered. So is each that is under way at the end.
"""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from contextvars import Context
from functools import partial
from typing import Any

import anyio
import mcp_types as types
import structlog
from mcp.server.connection import Connection
from mcp.shared.message import SessionMessage

from mcp_gateway.answers import Answer, Masked
from mcp_gateway.approval.holding import InputRequired
from mcp_gateway.doors.carrying import Carrier
from mcp_gateway.doors.intake import Answered, Asked, leave_place
from mcp_gateway.doors.mcp import Identify, declared_to
from mcp_gateway.doors.plain_calls import METHOD, REVISION, SESSION_REVISIONS, Declared, Head, PlainCall, Reader
from mcp_gateway.doors.sessions import CANCELLED, cancelled_id
from mcp_gateway.doors.splice import on_one_line
from mcp_gateway.doors.under_way import CallUnderWay, HandOver, handed_to

log = structlog.get_logger(__name__)

Item = SessionMessage | Exception


class StreamCalls:
    """Those of one client."""

    def __init__(self, *, carrier: Carrier, reader: Reader, identify: Identify) -> None:
        self._carrier = carrier
        self._reader = reader
        self._identify = identify
        self._head: Head | None = None
        """Of a plain call without a handshake."""
        self._connection: Callable[[], Connection | None] = lambda: None
        """The SDK's, where there was a handshake."""
        self._calls: dict[str, CallUnderWay] = {}
        """By the ids of their requests."""

    def met(self, connection: Connection) -> None:
        """Say which connection the SDK's handler has found. The SDK keeps to the era in which a client has begun."""
        if connection.protocol_version == REVISION:
            self._head = Head()
        else:
            self._connection = weakref.ref(connection)

    @asynccontextmanager
    async def carried(self, asked: Asked, answered: Answered) -> AsyncIterator[Rest]:
        """What is left for the SDK. At the end no call is under way any more."""
        rest = Rest(asked)
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._read, asked, answered, rest)
                yield rest
                group.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                async with anyio.create_task_group() as group:
                    for call in tuple(self._calls.values()):
                        group.start_soon(call.end)

    async def _read(self, asked: Asked, answered: Answered, rest: Rest) -> None:
        # 1. and 2.
        with suppress(anyio.EndOfStream, anyio.ClosedResourceError):
            while True:
                item = await asked.receive()
                context = asked.last_context
                if not self._takes(item, context, answered, rest):
                    await rest.put(item, context)
        rest.end()

    def _takes(self, item: Item, context: Context | None, answered: Answered, rest: Rest) -> bool:
        """Carry a message if it is a plain call."""
        message = item.message if isinstance(item, SessionMessage) else None
        if isinstance(message, types.JSONRPCNotification):
            # 4.
            if message.method == CANCELLED and (given_up := self._calls.get(cancelled_id(message.params))) is not None:
                given_up.give_up()
            return False
        if not isinstance(message, types.JSONRPCRequest) or message.method != METHOD or context is None:
            return False
        if str(message.id) in self._calls:
            return False
        read = self._plain(message.id, message.params or {})
        if read is None:
            return False
        context.run(partial(self._begin, *read, item, context, answered=answered, rest=rest))
        return True

    def _plain(self, number: int | str, params: Mapping[str, Any]) -> tuple[PlainCall, Declared] | None:
        connection = self._connection()
        if connection is not None and connection.protocol_version in SESSION_REVISIONS:
            plain = self._reader.call(number, dict(params), head=Head(session_version=connection.protocol_version))
            return None if plain is None else (plain, declared_to(connection))
        plain = None if self._head is None else self._reader.call(number, dict(params), head=self._head)
        return None if plain is None or plain.declared is None else (plain, plain.declared)

    def _begin(
        self, plain: PlainCall, declared: Declared, item: Item, context: Context, *, answered: Answered, rest: Rest
    ) -> None:
        hand_over, key = HandOver(), str(plain.id)

        def hand() -> None:
            if call.given_up:
                return  # nobody waits for it
            handed_to(context, call)
            rest.push(item, context)

        async def work() -> Answer | InputRequired:
            try:
                answer = await self._carrier.call(plain, declared, identify=self._identify, hand_over=hand_over)
            except Exception:
                if not hand_over.wanted:
                    hand()
                raise
            if hand_over.wanted or call.given_up:
                return answer  # to the handler that takes it over, or to nobody
            # 3.
            if isinstance(answer, Answer) and isinstance(answer.outcome, Masked):
                with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):  # nobody reads any more
                    line = on_one_line(b"".join(self._carrier.result(plain, answer.outcome.structured)))
                    await answered.send_line([line, b"\n"])
            else:
                hand()
            return answer

        def ended(task: asyncio.Task[object]) -> None:
            del self._calls[key]
            if call.given_up:
                leave_place(context)
                if not task.cancelled() and (error := task.exception()) is not None:
                    log.critical("door_failed", error=type(error).__name__, exc_info=error)

        call = self._calls[key] = CallUnderWay(work(), tool=plain.tool, arguments=plain.arguments, hand_over=hand_over)
        hand_over.when_wanted = hand
        call.task.add_done_callback(ended)


class Rest:
    """What is left for the SDK, as it iterates it."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._waiting: deque[tuple[Item, Context | None]] = deque()
        self._changed = anyio.Event()
        self._ended = False
        self.last_context: Context | None = None
        """In which the SDK handles the message that was given last."""

    async def __aenter__(self) -> Rest:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the stream."""
        await self._asked.aclose()

    def __aiter__(self) -> Rest:
        return self

    async def __anext__(self) -> Item:
        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None

    async def receive(self) -> Item:
        """The next message. Raises `anyio.EndOfStream` when the client has said its last."""
        while not self._waiting:
            if self._ended:
                raise anyio.EndOfStream
            await self._changed.wait()
        item, self.last_context = self._waiting.popleft()
        self._change()
        return item

    def push(self, item: Item, context: Context | None) -> None:
        """Put a message in whose place was taken long ago."""
        self._waiting.append((item, context))
        self._change()

    async def put(self, item: Item, context: Context | None) -> None:
        """Put a message in once the SDK has those before it: nothing is read ahead of it."""
        while self._waiting:
            await self._changed.wait()
        self.push(item, context)

    def end(self) -> None:
        """Say that no more comes."""
        self._ended = True
        self._change()

    def _change(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()
