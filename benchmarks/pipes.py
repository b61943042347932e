"""Callers over standard input and output: one process of a server, whose client has one or more calls under way."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import orjson
from mcp_types import CLIENT_CAPABILITIES_META_KEY, CLIENT_INFO_META_KEY, PROTOCOL_VERSION_META_KEY

from benchmarks.callers import ANSWER_SECONDS, CLIENT, LEGACY, MODERN, CallError, Era
from benchmarks.shop import Server

LINE_BYTES = 1 << 24
END_SECONDS = 10.0


class Pipes:
    """The client's end of one server process."""

    def __init__(self, server: Server, process: asyncio.subprocess.Process, *, era: Era) -> None:
        self._server = server
        self._process = process
        self._era = era
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[bytes]] = {}

    async def read(self) -> None:
        """Hand each answer to who waits for it, until the server ends. Answers say their id first or last."""
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            number = orjson.loads(line)["id"] if len(line) < 4096 else _number(line)
            if (waiting := self._waiting.pop(number, None)) is not None:
                waiting.set_result(line)
        for waiting in self._waiting.values():
            waiting.set_exception(CallError("the server has ended"))

    async def open(self) -> None:
        """Shake hands where the era does."""
        if self._era == LEGACY:
            hello = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": CLIENT}
            answer = await self._ask({"method": "initialize", "params": hello})
            if b'"result":{' not in answer:
                raise CallError(f"no handshake: {answer[:300]!r}")
            self._say({"method": "notifications/initialized"})

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
        answer = await self._ask({"method": "tools/call", "params": params})
        if b'"result":{' not in answer or b'"isError":true' in answer:
            raise CallError(f"not a result: {answer[:1000]!r}")
        return len(answer)

    async def _ask(self, message: dict[str, object]) -> bytes:
        number = next(self._ids)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        self._say({"id": number, **message})
        return await asyncio.wait_for(answer, ANSWER_SECONDS)

    def _say(self, message: dict[str, object]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(orjson.dumps({"jsonrpc": "2.0", **message}) + b"\n")


def _number(line: bytes) -> int:
    """The id of a long answer, without reading all of it."""
    for part in (line[:64], line[-64:]):
        _, found, rest = part.partition(b'"id":')
        if found:
            return int(rest.split(b",")[0].split(b"}")[0])
    return int(orjson.loads(line)["id"])


@asynccontextmanager
async def running_pipes(
    name: str, command: Sequence[str], *, era: Era, target: str
) -> AsyncIterator[tuple[Server, Pipes]]:
    """A server that serves this process over its standard streams, until the block ends."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        limit=LINE_BYTES,
    )
    server = Server(name=name, url="", pid=process.pid, target=target)
    pipes = Pipes(server, process, era=era)
    reading = asyncio.create_task(pipes.read())
    try:
        await pipes.open()
        yield server, pipes
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await asyncio.wait_for(process.wait(), END_SECONDS)
        await reading
