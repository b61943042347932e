"""Requests as bytes, so that they can hold what no HTTP client writes."""

from __future__ import annotations

import anyio

from tests.doors.servers import Served


async def exchange(server: Served, request: bytes) -> bytes:
    """Send bytes on a connection of their own and give what comes back until it says nothing more."""
    host, _, port = server.url.removeprefix("http://").rpartition(":")
    said = b""
    async with await anyio.connect_tcp(host, int(port)) as stream:
        await stream.send(request)
        with anyio.fail_after(20):
            while True:
                try:
                    said += await stream.receive()
                except anyio.EndOfStream:
                    return said


def request(server: Served, target: str = "/mcp", *, method: str = "GET", **headers: str) -> bytes:
    """A request with these headers alone, and the end of the connection; `host` is the gateway's unless given."""
    lines = {"host": server.url.removeprefix("http://"), "connection": "close"} | headers
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in lines.items())
    return f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode()


def status(answer: bytes) -> int:
    """The status of an answer."""
    return int(answer.split(b" ", 2)[1])
