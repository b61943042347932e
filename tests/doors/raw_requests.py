"""Requests as raw bytes, and connections that they are sent on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import orjson

from mcp_gateway.doors.connections import ConnectionBounds
from tests.doors.servers import Served, served
from tests.fuzz.messages import call, headers_for, modern
from tests.invariants.world import World


def request(server: Served, number: int, *, target: str = "/mcp") -> bytes:
    """A call of the newer era as bytes."""
    message = modern(call(number))
    body = orjson.dumps(message)
    headers = headers_for("modern", message, token=server.token(), host=server.url.removeprefix("http://"), session="")
    lines = [f"POST {target} HTTP/1.1".encode(), *(b"%s: %s" % header for header in headers)]
    return b"\r\n".join([*lines, b"content-length: %d" % len(body), b"", b""]) + body


def last_request(server: Served, number: int) -> bytes:
    """The same on a connection that ends with its answer."""
    return request(server, number).replace(b"\r\n", b"\r\nconnection: close\r\n", 1)


async def exchange(server: Served, data: bytes) -> bytes:
    """Send this and give all that comes until the gateway hangs up."""
    found = b""
    async with await anyio.connect_tcp("127.0.0.1", int(server.url.rpartition(":")[2])) as stream:
        await stream.send(data)
        with anyio.fail_after(30):
            try:
                while True:
                    found += await stream.receive()
            except anyio.EndOfStream:
                return found


@asynccontextmanager
async def bounded(folder: Path, world: World, *, max_bytes: int = 100_000, **bounds: Any) -> AsyncIterator[Served]:
    async with served(folder, world=world, max_bytes=max_bytes, connections=ConnectionBounds(**bounds)) as found:
        yield found


async def connected(server: Served, *, address: str = "127.0.0.1") -> anyio.abc.SocketStream:
    return await anyio.connect_tcp("127.0.0.1", int(server.url.rpartition(":")[2]), local_host=address)


async def hung_up(stream: anyio.abc.SocketStream) -> bytes:
    """What comes until the gateway hangs up."""
    found = b""
    with anyio.fail_after(30):
        while True:
            try:
                found += await stream.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                return found


async def served_on(stream: anyio.abc.SocketStream, server: Served) -> bool:
    """Whether this connection is one on which requests are answered."""
    host = server.url.removeprefix("http://")
    try:
        await stream.send(f"GET /healthz HTTP/1.1\r\nhost: {host}\r\n\r\n".encode())
        with anyio.fail_after(30):
            return (await stream.receive()).startswith(b"HTTP/1.1 200 ")
    except (anyio.EndOfStream, anyio.BrokenResourceError):
        return False
