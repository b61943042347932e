"""The stdio door: one client, the process that started us; its token comes from a file or the local issuer.

Standard output carries JSON-RPC and nothing else. When the client goes, or a signal comes, what runs is cancelled at
its target and recorded, and the process ends.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import anyio
import mcp_types as types
import structlog
from mcp.server.stdio import stdio_server
from mcp.shared.message import SessionMessage

from mcp_gateway.calls import Caller, Secret
from mcp_gateway.doors.mcp import MCPDoor
from mcp_gateway.identity.sources import TokenSource
from mcp_gateway.identity.tokens import TokenVerifier
from mcp_gateway.pipeline import Road
from mcp_gateway.registry import Registry

log = structlog.get_logger(__name__)

MAX_LINE_BYTES = 8 * 1024 * 1024
NO_MESSAGE = "?\n"
"""In the place of a line that cannot be one, so that it is answered like any other that is no JSON."""


async def serve_stdio(
    road: Road,
    *,
    registry: Registry,
    name: str,
    verifier: TokenVerifier,
    tokens: Callable[[], TokenSource],
    state_key: Secret,
    answer_within: timedelta,
    clock: Callable[[], datetime],
) -> None:
    """Serve until standard input ends, nobody reads standard output any more, or a signal asks to stop."""

    async def identify() -> Caller:
        return await verifier.verify(tokens().token())

    def identify_for(_: Any) -> Callable[[], Awaitable[Caller]]:
        return identify

    door = MCPDoor(
        road,
        registry=registry,
        name=name,
        door=lambda _: "stdio",
        identify=identify_for,
        state_keys=[state_key],
        answer_within=answer_within,
        clock=clock,
    )
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(_stop_on_signal, group.cancel_scope)
            async with _input() as lines, stdio_server(stdin=lines) as (read, write):
                messages: Any = _Messages(read, write)
                await door.server.run(messages, write, door.server.create_initialization_options())
            group.cancel_scope.cancel()
    except* ConnectionError:
        # A client that was killed leaves a broken pipe, or a reset where its host gave us sockets. By now what ran has
        # been cancelled and recorded.
        log.info("stdio_client_gone")


class _Messages:
    """What is read, less what is no message: that is answered here (JSON-RPC 2.0, section 5.1), where the SDK is silent."""

    def __init__(self, read: Any, write: Any) -> None:
        self._read = read
        self._write = write

    @property
    def last_context(self) -> Any:
        """The SDK's own: in what context the last message was read."""
        return self._read.last_context

    async def __aenter__(self) -> _Messages:
        await self._read.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> Any:
        return await self._read.__aexit__(*error)

    async def aclose(self) -> None:
        """For the SDK, when input ends while something runs."""
        await self._read.aclose()

    def __aiter__(self) -> _Messages:
        return self

    async def __anext__(self) -> Any:
        while isinstance(item := await self._read.__anext__(), Exception):
            error = types.ErrorData(code=types.PARSE_ERROR, message="Parse error: a line is no JSON-RPC message")
            await self._write.send(SessionMessage(types.JSONRPCError(jsonrpc="2.0", id=None, error=error)))
        return item


class _Lines:
    """Lines of standard input, as the SDK's transport iterates them; unlike a thread's read, waiting can be cancelled."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader

    def __aiter__(self) -> _Lines:
        return self

    async def __anext__(self) -> str:
        try:
            while (line := await self._reader.readline()).isspace():
                pass
        except ValueError:
            # A line beyond the limit is dropped to its end by the reader; what is left of it is no message either.
            return NO_MESSAGE
        if not line:
            raise StopAsyncIteration
        try:
            return line.decode("utf-8")
        except UnicodeDecodeError:
            return NO_MESSAGE  # Replaced characters would make another call of it.


@asynccontextmanager
async def _input() -> AsyncIterator[Any]:
    """Standard input for the protocol alone: descriptor 0 itself reads nothing from here on, here and in children."""
    private = os.dup(0)
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123, ASYNC230 - a device
        os.dup2(nothing.fileno(), 0)
    reader = asyncio.StreamReader(limit=MAX_LINE_BYTES)
    try:
        pipe = os.fdopen(private, "rb", buffering=0)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), pipe
        )
    except ValueError:
        # A regular file is no pipe; it cannot make anybody wait, either.
        yield anyio.wrap_file(os.fdopen(private, encoding="utf-8", errors="replace"))
        return
    try:
        yield _Lines(reader)
    finally:
        transport.close()


async def _stop_on_signal(scope: anyio.CancelScope) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as received:
        async for _ in received:
            scope.cancel()
            return
