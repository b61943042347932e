"""A server on a free port of the loopback, for a peer that says what happens at each visit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

LOOPBACK = "127.0.0.1"
Serve: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


async def say(writer: asyncio.StreamWriter, data: bytes) -> None:
    """Send this. Raises a `ConnectionError` where the other side has gone; left to itself, uvloop raises another one."""
    if writer.transport.is_closing():
        raise ConnectionResetError("the other side has gone")
    writer.write(data)
    await writer.drain()


@asynccontextmanager
async def visited(serve: Serve) -> AsyncIterator[int]:
    """Serve each connection in a task of its own, until the block ends; the port."""
    visits: set[asyncio.Task[None]] = set()

    def arrived(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(serve(reader, writer))
        visits.add(task)
        task.add_done_callback(visits.discard)

    server = await asyncio.start_server(arrived, LOOPBACK, 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in list(visits):
            task.cancel()
        await asyncio.gather(*visits, return_exceptions=True)
        await server.wait_closed()
