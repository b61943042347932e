"""Callers of `query_database` over raw HTTP, so that the client costs little of what is measured.

One connection for each caller, one request at a time on it, in either era: the 2026-07-28 revision, one POST for each
call; or the handshake era, a session whose answers come as server-sent events. Every answer is looked at: a status that
is not 200, a JSON-RPC error or `isError` is an error, and an error fails the run.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import time
from collections.abc import Callable, Sequence
from typing import Literal, Protocol, TypeAlias, cast

import orjson
from mcp_types import CLIENT_CAPABILITIES_META_KEY, CLIENT_INFO_META_KEY, PROTOCOL_VERSION_META_KEY

from benchmarks.shop import Server

Era: TypeAlias = Literal["2026-07-28", "2025-11-25"]
MODERN: Era = "2026-07-28"
LEGACY: Era = "2025-11-25"
CLIENT = {"name": "benchmark", "version": "1"}
ANSWER_SECONDS = 30.0
NUMBERS = itertools.count(1)
"""Of calls, through the whole run: no text comes twice unless it is meant to."""
LAST_CHUNK = b"\r\n0\r\n\r\n"
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_SESSION = re.compile(rb"(?i)\r\nmcp-session-id: *([^\r]+)")


class CallError(Exception):
    """An answer that is none."""


class Calls(Protocol):
    """A caller that is ready to call."""

    async def call(self, sql: str) -> int:
        """Call the tool; the bytes of the response. Raises `CallError` where it is no result."""


class _Connection(asyncio.Protocol):
    """One connection: a request out, a whole response back."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._parts: list[bytes] = []
        self._tail = b""
        self._answer: asyncio.Future[bytes] | None = None
        self._missing: int | None = None
        """Bytes that are still to come; None while that is not known."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._parts.append(data)
        self._tail = (self._tail + data[-len(LAST_CHUNK) :])[-len(LAST_CHUNK) :]
        if self._missing is None:
            head, gap, body = b"".join(self._parts).partition(b"\r\n\r\n")
            if not gap:
                return
            found = _LENGTH.search(head)
            if found is not None:
                self._missing = int(found.group(1)) - len(body)
        else:
            self._missing -= len(data)
        done = self._missing <= 0 if self._missing is not None else self._tail == LAST_CHUNK
        if done and self._answer is not None and not self._answer.done():
            self._answer.set_result(b"".join(self._parts))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(CallError(f"the server closed the connection: {exc}"))

    async def exchange(self, request: bytes) -> bytes:
        assert self._transport is not None
        self._parts, self._missing, self._tail = [], None, b""
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await asyncio.wait_for(self._answer, ANSWER_SECONDS)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class Caller:
    """One caller of one server."""

    def __init__(self, server: Server, *, era: Era) -> None:
        self._server = server
        self._host = server.url.removeprefix("http://").partition("/")[0]
        self._era = era
        self._session = b""
        self._ids = itertools.count(1)
        self._connection = _Connection()

    async def open(self) -> None:
        """Connect, and shake hands where the era does."""
        name, _, port = self._host.partition(":")
        _, self._connection = await asyncio.get_running_loop().create_connection(_Connection, name, int(port))
        if self._era == LEGACY:
            hello = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": CLIENT}
            answer = await self._send({"method": "initialize", "id": 0, "params": hello})
            if b'"result":{' not in answer:
                raise CallError(f"no handshake: {answer[:300]!r}")
            found = _SESSION.search(answer)
            if found is not None:  # a server without sessions gives none
                self._session = found.group(1)
            await self._send({"method": "notifications/initialized"})

    async def call(self, sql: str) -> int:
        """Call the tool; the bytes of the response."""
        arguments = {"sql": sql} | ({"target": self._server.target} if self._server.target else {})
        params: dict[str, object] = {"name": self._server.tool, "arguments": arguments}
        if self._era == MODERN:
            params["_meta"] = {
                PROTOCOL_VERSION_META_KEY: MODERN,
                CLIENT_INFO_META_KEY: CLIENT,
                CLIENT_CAPABILITIES_META_KEY: {},
            }
        answer = await self._send({"method": "tools/call", "id": next(self._ids), "params": params})
        if b" 200 " not in answer[:16] or b'"result":{' not in answer or b'"isError":true' in answer:
            raise CallError(f"not a result: {answer[:1000]!r}")
        return len(answer)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    async def _send(self, message: dict[str, object]) -> bytes:
        body = orjson.dumps({"jsonrpc": "2.0", **message})
        lines = [
            b"POST /mcp HTTP/1.1",
            b"host: " + self._host.encode(),
            b"content-type: application/json",
            b"accept: application/json, text/event-stream",
            b"content-length: %d" % len(body),
        ]
        if self._server.token:
            lines.append(b"authorization: Bearer " + self._server.token.encode())
        if self._session:
            lines.append(b"mcp-session-id: " + self._session)
        lines.append(b"mcp-protocol-version: " + self._era.encode())
        if self._era == MODERN:
            lines += [b"mcp-method: tools/call", b"mcp-name: " + self._server.tool.encode()]
        return await self._connection.exchange(b"\r\n".join([*lines, b"", body]))


async def calling(callers: Sequence[Calls], *, sql: Callable[[int], str], seconds: float) -> list[float]:
    """Let every caller call as often as it can for a time; the seconds that each call took."""
    until = time.perf_counter() + seconds
    taken: list[float] = []

    async def one(caller: Calls) -> None:
        while (begin := time.perf_counter()) < until:
            await caller.call(sql(next(NUMBERS)))
            taken.append(time.perf_counter() - begin)

    async with asyncio.TaskGroup() as group:
        for caller in callers:
            group.create_task(one(caller))
    return taken
