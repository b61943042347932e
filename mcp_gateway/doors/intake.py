"""What clients have asked over two streams and what is not over yet: so much of one client, and no more.

Over standard streams and SSE a request is taken before it is answered, so nothing in the transport keeps a client from
asking on. The road refuses what is beyond a caller's share, but only once each call has been read, parsed, identified and
recorded, and many may be on their way to that. Here a request takes a place before the SDK sees it, and leaves it when
its answer has been handed to the system or, for one that is cancelled and so gets no answer, when its work is over.

1. A request beyond the places, or with more than fits beside the others, is refused at once, and nothing of it is kept
   but its id. Reading does not stop for that: behind the calls in the pipe may be the very message that one of them waits
   for, an answer to a form or a cancellation, and a client that has written it can do no more. Whoever reads its answers
   is always read.
2. Answers and notifications of the client take no place, because they wait for nothing: they are dealt with before much
   more is read. Nor do pings need one of these: there are some for them alone, which each leaves at once.
3. Refusals are sent beside the reading, so that a client that writes all before it reads is not held up by them. How much
   may wait unread, theirs too, is bounded by whoever sends (`standard_streams`, `unread`): only then is nothing read.

So what a client can make the gateway hold is bounded, by `MAX_BYTES` of requests in memory, once more what is unsent, and
what the calls that are under way need; and who is refused is who has asked too much. A refusal here is no call: nothing
of it is recorded, as of a request that the HTTP door answers with 429. The log says when a client comes to its bound.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from contextvars import Context, ContextVar, copy_context
from dataclasses import dataclass, replace
from typing import Any

import anyio
import anyio.lowlevel
import mcp_types as types
import structlog
from mcp.shared.message import ServerMessageMetadata, SessionMessage

from mcp_gateway import refusals
from mcp_gateway.doors.weight import weight
from mcp_gateway.errors import LimitError

log = structlog.get_logger(__name__)

MORE = 256
"""Requests beyond the calls that a caller may have under way: those that the road is about to refuse, and what is no call."""
MAX_BYTES = 32 * 1024 * 1024
"""Of requests under way, as they lie in memory: 16 of the largest calls, of 512 KiB of text that is wide there."""
PINGS = 32
"""Places for pings alone."""
MAX_PING_BYTES = 4096
"""A larger one is a request like others."""
LIMIT_EXCEEDED = -32005
"""The JSON-RPC code, one of those that are an implementation's own; the gateway's is `limit_exceeded`, in `data`."""
NEXT = "wait until some of them have been answered, then call again; nothing has run"


class Intake:
    """The places of all clients of one door."""

    def __init__(self, *, calls: int, prepare: Callable[[Context], object] = lambda _: None) -> None:
        """`calls` is how many calls one caller may have under way; `prepare` is told of the context of each request."""
        self._most = calls + MORE
        self._prepare = prepare
        self._loads: dict[str, _Load] = {}

    @asynccontextmanager
    async def bounded(self, messages: Any, answers: Any, *, key: str) -> AsyncIterator[tuple[Asked, Answered]]:
        """A client's two streams as the SDK is to have them. At the end all that was under way on them is over."""
        places: set[Place] = set()

        def take(request: types.JSONRPCRequest) -> Place:
            return self._take(request, key=key, places=places)

        try:
            async with anyio.create_task_group() as refusing:
                yield (
                    Asked(messages, take, lambda error: refusing.start_soon(_refuse, answers, error), self._prepare),
                    Answered(answers),
                )
                refusing.cancel_scope.cancel()
        finally:
            for place in tuple(places):
                place.leave()

    def _take(self, request: types.JSONRPCRequest, *, key: str, places: set[Place]) -> Place:
        load = self._loads.setdefault(key, _Load())
        size = weight([request.id, request.method, request.params])
        # 2.
        is_ping = request.method == "ping" and size <= MAX_PING_BYTES
        problem = ""
        if load.requests >= self._most + (PINGS if is_ping else 0):
            problem = f"{load.requests:,} requests of this client are under way, which is as many as may be at once"
        elif load.requests and load.size + size > MAX_BYTES and not is_ping:
            problem = f"requests of {load.size:,} bytes are under way, and beside them one of {size:,} is too much"
        if not problem:
            return Place(load, size=size, places=places, emptied=lambda: self._loads.pop(key))
        if not load.is_told:
            load.is_told = True
            log.warning("too_many_requests", caller=key, cause=problem)
        raise LimitError(problem, next_step=NEXT)


@dataclass(slots=True)
class _Load:
    """What one client has under way."""

    requests: int = 0
    size: int = 0
    """In bytes."""
    is_told: bool = False
    """Whether the log says already that there is no place. It says it again once all that was under way is over."""


class Place:
    """That of one request."""

    def __init__(self, load: _Load, *, size: int, places: set[Place], emptied: Callable[[], object]) -> None:
        self._load = load
        self._size = size
        self._places = places
        self._emptied = emptied
        load.requests += 1
        load.size += size
        places.add(self)

    def leave(self) -> None:
        """Make room for another one; a second time does nothing."""
        if self not in self._places:
            return
        self._places.remove(self)
        self._load.requests -= 1
        self._load.size -= self._size
        if not self._load.requests:
            self._emptied()


_place: ContextVar[Place] = ContextVar("place")
"""That of the request whose handler this is. Not by its id: several requests may have the same."""


def leave_place(context: Context) -> None:
    """Make room for another request, where the one of this context gets no answer."""
    place = context.get(_place)
    if place is not None:
        place.leave()


class Asked:
    """A client's messages, as the SDK iterates them: requests that have taken their places, and what needs none."""

    def __init__(
        self,
        messages: Any,
        take: Callable[[types.JSONRPCRequest], Place],
        refuse: Callable[[types.JSONRPCError], object],
        prepare: Callable[[Context], object],
    ) -> None:
        self._messages = messages
        self._prepare = prepare
        self._take = take
        self._refuse = refuse
        self.last_context: Context | None = None
        """In which the SDK handles the message that was given last."""

    async def __aenter__(self) -> Asked:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the stream."""
        await self._messages.aclose()

    def __aiter__(self) -> Asked:
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None

    async def receive(self) -> SessionMessage | Exception:
        """The next message. Raises `anyio.EndOfStream` when the client has said its last."""
        while True:
            item: SessionMessage | Exception = await self._messages.receive()
            context: Context | None = getattr(self._messages, "last_context", None)
            self.last_context = context
            if not isinstance(item, SessionMessage) or not isinstance(item.message, types.JSONRPCRequest):
                return item
            try:
                place = self._take(item.message)
            except LimitError as error:
                # 1. and 3.
                self._refuse(_error(item.message.id, error))
                await anyio.lowlevel.checkpoint()  # so that it is counted as unsent before more is read
                continue
            self.last_context = context or copy_context()
            self.last_context.run(_place.set, place)
            self._prepare(self.last_context)
            return SessionMessage(item.message, metadata=_leaving(place, item.metadata))


class Answered:
    """Where a client's answers go: a request whose answer was sent leaves its place."""

    def __init__(self, answers: Any) -> None:
        self._answers = answers

    async def __aenter__(self) -> Answered:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the stream."""
        await self._answers.aclose()

    async def send(self, item: SessionMessage) -> None:
        """Send one message."""
        is_end = isinstance(item.message, types.JSONRPCResponse | types.JSONRPCError)
        place = _place.get(None) if is_end else None
        try:
            await self._answers.send(item)
        finally:
            if place is not None:
                place.leave()

    async def send_line(self, line: list[bytes]) -> None:
        """Send the ready answer to the request in whose context this is, in its pieces."""
        try:
            await self._answers.send_line(line)
        finally:
            leave_place(copy_context())


def _leaving(place: Place, metadata: object) -> ServerMessageMetadata:
    """What the SDK is told of a request: beside what was said before, how it ends when it gets no answer."""

    async def leave() -> None:
        place.leave()

    if isinstance(metadata, ServerMessageMetadata):
        return replace(metadata, on_request_unanswered=leave)
    return ServerMessageMetadata(on_request_unanswered=leave)


def _error(request_id: types.RequestId, error: LimitError) -> types.JSONRPCError:
    refusal = refusals.bad_request(error)
    said = types.ErrorData(
        code=LIMIT_EXCEEDED,
        message=f"{refusal.message}. Next: {refusal.next_step}",
        data={"code": refusal.code, "message": refusal.message, "next": refusal.next_step},
    )
    return types.JSONRPCError(jsonrpc="2.0", id=request_id, error=said)


async def _refuse(answers: Any, error: types.JSONRPCError) -> None:
    with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):  # nobody reads any more
        await answers.send(SessionMessage(error))
