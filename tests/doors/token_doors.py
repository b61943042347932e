"""Every door that takes a token, asked with any text for one: what an HTTP client would not write is written as bytes."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import orjson
from anyio.abc import ByteStream, SocketStream
from mcp_types import CLIENT_CAPABILITIES_META_KEY, CLIENT_INFO_META_KEY, PROTOCOL_VERSION_META_KEY

from mcp_gateway.identity.rules import IdentityPolicy
from tests.audit.records import ROOT
from tests.doors.servers import Served
from tests.identity.forging import key_document
from tests.plain_http import plain_client
from tests.private import write_private
from tests.roads import POLICIES

EVERYBODY = POLICIES.replace('principal in Group::"dev"', "principal")
"""Any verified caller may read."""
MODERN, LEGACY = "2026-07-28", "2025-06-18"
ACCEPT = "application/json, text/event-stream"
META = {
    PROTOCOL_VERSION_META_KEY: MODERN,
    CLIENT_INFO_META_KEY: {"name": "test", "version": "1"},
    CLIENT_CAPABILITIES_META_KEY: {},
}
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 0,
    "method": "initialize",
    "params": {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}},
}
INITIALIZED = {"jsonrpc": "2.0", "method": "notifications/initialized"}


def call(number: int = 1, *, meta: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A call that arrives at the API."""
    params: dict[str, Any] = {"name": "call_api", "arguments": {"target": "api", "path": "x"}}
    return {
        "jsonrpc": "2.0",
        "id": number,
        "method": "tools/call",
        "params": params | ({"_meta": dict(meta)} if meta else {}),
    }


def token_bytes(token: str) -> bytes:
    """What a token's text is on the wire."""
    return token.encode("utf-8", "surrogatepass")


@dataclass(slots=True, kw_only=True)
class HTTPDoors:
    """The doors of a server, with the sessions that a good token has opened. Each gives the status of an answer."""

    server: Served
    good: Callable[[], str]
    approval: str
    session: str = ""
    endpoint: str = ""
    _kept: list[SocketStream] = field(default_factory=list)

    def ways(self) -> dict[str, Callable[[str], Any]]:
        """Every way to bring a token, by name."""
        return {
            "streamable HTTP, 2026-07-28": self.modern,
            "streamable HTTP, a session": self.legacy,
            "streamable HTTP, a session's stream": self.stream,
            "streamable HTTP, a session's end": self.end,
            "streamable HTTP, a new session": self.initialize,
            "SSE": self.sse,
            "SSE, a message": self.message,
            "approvals, listing": self.listing,
            "approvals, approve": self.approve,
        }

    async def modern(self, token: str) -> int:
        more = {"mcp-protocol-version": MODERN, "mcp-method": "tools/call", "mcp-name": "call_api"}
        return await self._post("/mcp", call(meta=META), token, **more)

    async def legacy(self, token: str) -> int:
        more = {"mcp-protocol-version": LEGACY, "mcp-session-id": self.session}
        return await self._post("/mcp", call(), token, **more)

    async def stream(self, token: str) -> int:
        return await self._send("GET", "/mcp", b"", token, **{"mcp-session-id": self.session})

    async def end(self, token: str) -> int:
        return await self._send("DELETE", "/mcp", b"", token, **{"mcp-session-id": self.session})

    async def initialize(self, token: str) -> int:
        return await self._post("/mcp", INITIALIZE, token)

    async def sse(self, token: str) -> int:
        return await self._send("GET", "/sse", b"", token)

    async def message(self, token: str) -> int:
        return await self._post(self.endpoint, call(), token)

    async def listing(self, token: str) -> int:
        return await self._send("GET", "/api/approvals", b"", token)

    async def approve(self, token: str) -> int:
        return await self._send("POST", f"/api/approvals/{self.approval}/approve", b"", token)

    async def _post(self, path: str, message: Any, token: str, **headers: str) -> int:
        return await self._send(
            "POST", path, orjson.dumps(message), token, **{"content-type": "application/json"} | headers
        )

    async def _send(self, method: str, path: str, body: bytes, token: str, **headers: str) -> int:
        """Send, and give the status; what is no refusal may be a stream that goes on, and is hung up on."""
        place = self.server.url.removeprefix("http://")
        lines = {"host": place, "accept": ACCEPT, "content-length": str(len(body))} | headers
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items()).encode()
        head = f"{method} {path} HTTP/1.1\r\n".encode() + head
        request = head + b"authorization: Bearer " + token_bytes(token) + b"\r\n\r\n" + body
        stream = self._kept.pop() if self._kept else await self._connect(place)
        status, whole = await _exchange(stream, request)
        if whole:
            self._kept.append(stream)
        else:
            await stream.aclose()
        return status

    async def _connect(self, place: str) -> SocketStream:
        host, _, port = place.rpartition(":")
        return await anyio.connect_tcp(host, int(port))

    async def aclose(self) -> None:
        """Hang up."""
        for stream in self._kept:
            await anyio.aclose_forcefully(stream)


async def _exchange(stream: ByteStream, request: bytes) -> tuple[int, bool]:
    """The status of the answer, 0 for none, and whether all of it was read, so that the connection may go on."""
    said, method = b"", request.partition(b" ")[0]
    try:
        with anyio.fail_after(20):
            await stream.send(request)
            while b"\r\n\r\n" not in said:
                said += await stream.receive()
            head, _, body = said.partition(b"\r\n\r\n")
            length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
            status = int(head.split(b" ", 2)[1])
            if length is None and method == b"POST":
                while b'"jsonrpc"' not in body:  # an answer as an event; who hangs up before has cancelled the call
                    body += await stream.receive()
            if length is None or b"connection: close" in head.lower():
                return status, False
            while len(body) < int(length[1]):
                body += await stream.receive()
            return status, True
    except (anyio.EndOfStream, anyio.BrokenResourceError):
        found = re.match(rb"HTTP/1\.1 (\d{3}) ", said)
        return (int(found[1]) if found else 0), False


@asynccontextmanager
async def http_doors(server: Served, *, good: Callable[[], str], approval: str) -> AsyncIterator[HTTPDoors]:
    """The doors, with a session and an SSE stream that a good token has opened and that stay open until the end."""
    doors = HTTPDoors(server=server, good=good, approval=approval)
    headers = {"authorization": f"Bearer {good()}", "accept": ACCEPT}
    async with plain_client(headers=headers, timeout=30) as http:
        opened = await http.post(f"{server.url}/mcp", json=INITIALIZE)
        doors.session = opened.headers["mcp-session-id"]
        more = {"mcp-session-id": doors.session, "mcp-protocol-version": LEGACY}
        await http.post(f"{server.url}/mcp", json=INITIALIZED, headers=more)
        async with http.stream("GET", f"{server.url}/sse") as events:
            lines = events.aiter_lines()  # kept, since the stream ends with it
            async for line in lines:
                if line.startswith("data: "):
                    doors.endpoint = line.removeprefix("data: ").strip()
                    break
            for message in (INITIALIZE, INITIALIZED):
                await http.post(f"{server.url}{doors.endpoint}", json=message)
            try:
                yield doors
            finally:
                await doors.aclose()


class StdioDoor:
    """A gateway on standard streams, whose token stands in a file that is read for every call."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        self._process = process
        self._folder = folder
        self._number = 0

    def code(self, token: str) -> str:
        """What a call comes to with this token: `ok`, or the code of its refusal."""
        write_private(self._folder / "token", token_bytes(token))
        self._number += 1
        self.say(call(self._number))
        found = self.hear()["result"]["structuredContent"]
        return str(found["error"]["code"]) if "error" in found else "ok"

    def arrived(self) -> list[bytes]:
        """What has reached the API behind it."""
        log = self._folder / "api.api.log"
        return log.read_bytes().splitlines() if log.exists() else []

    def say(self, message: dict[str, Any]) -> None:
        """Send one message."""
        assert self._process.stdin is not None
        self._process.stdin.write(orjson.dumps(message) + b"\n")

    def hear(self) -> Any:
        """The next message."""
        assert self._process.stdout is not None
        return orjson.loads(self._process.stdout.readline())


@asynccontextmanager
async def stdio_door(folder: Path, *, policy: IdentityPolicy) -> AsyncIterator[StdioDoor]:
    """Run one before an API of its own; it ends with the block, and well."""
    folder.mkdir(mode=0o700)
    (folder / "keys").write_bytes(key_document())
    types = ",".join(policy.token_types)
    with subprocess.Popen(
        [sys.executable, "-m", "tests.doors.stdio_program", str(folder), types],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
    ) as process:
        try:
            door = StdioDoor(process, folder)
            door.say(INITIALIZE)
            door.hear()
            door.say(INITIALIZED)
            yield door
            assert process.stdin is not None
            process.stdin.close()
            assert process.wait(timeout=30) == 0
        finally:
            process.kill()
