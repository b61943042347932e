"""Input at and beyond every size limit, through the HTTP door as raw bytes: a clear refusal, and the next call works."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import httpx2
import orjson
import pytest

from tests.doors.servers import Served, served
from tests.invariants.world import World
from tests.memory import MIB, growth_within

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("R22")]

HEADERS = {
    "content-type": "application/json",
    "accept": "application/json, text/event-stream",
    "mcp-protocol-version": "2025-06-18",
}
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 0,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}


def call(members: str = "") -> bytes:
    """A `tools/call` as text, so that it can hold what no serializer writes."""
    arguments = f'{{"target":"api","path":"x","method":"GET"{"," + members if members else ""}}}'
    return (
        '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"call_api","arguments":' + arguments + "}}"
    ).encode("utf-8", "surrogatepass")


def keys(count: int) -> str:
    return ",".join(f'"k{number}":1' for number in range(count))


NOT_JSON = "Parse error"
BAD: dict[str, tuple[bytes, str]] = {
    "a text of 1 MB": (call('"body":"' + "x" * 1_000_000 + '"'), "more than 524,288 bytes of text"),
    "depth 100,000": (call('"json":' + "[" * 100_000 + "]" * 100_000), NOT_JSON),
    "depth 150": (call('"json":' + "[" * 150 + "]" * 150), "nested deeper than 64 levels"),
    "100,000 keys": (call('"json":{' + keys(100_000) + "}"), "the body holds more than 50,000 values"),
    "100,000 arguments": (call(keys(100_000)), "the body holds more than 50,000 values"),
    "40,000 keys": (call('"json":{' + keys(40_000) + "}"), "the arguments hold more than 20,000 values"),
    "40,000 arguments": (call(keys(40_000)), "the arguments hold more than 20,000 values"),
    "30,000 headers": (call('"headers":{' + keys(30_000) + "}"), "more than 20,000 values"),
    "an integer of 100,000 digits": (call('"json":' + "9" * 100_000), NOT_JSON),
    "an integer of 4,000 digits": (call('"json":' + "9" * 4_000), "an integer of more than 1024 bits"),
    "an integer of 40 digits": (call('"json":' + "9" * 40), "no canonical JSON form"),
    "a float beyond all": (call('"json":1e999'), "a number beyond all that JSON can hold"),
    "NUL": (call('"query":{"a":"\\u0000"},"headers":{"x-tenant":"\\u0000"}'), "."),
    "a lone surrogate": (call('"body":"\\ud800"'), NOT_JSON),
    "a lone surrogate in bytes": (call('"body":"\ud800"'), NOT_JSON),
    "bytes that are no text": (b"\xff\xfe" * 1000, NOT_JSON),
    "an open string": (call()[:-20], NOT_JSON),
    "5 MB": (call('"body":"' + "x" * 5_000_000 + '"'), "Request body too large"),
}


@pytest.fixture
async def server(tmp_path: Path, world: World) -> AsyncIterator[Served]:
    async with served(tmp_path, world=world) as found:
        yield found


class Session:
    """A session of raw requests."""

    def __init__(self, server: Served, client: httpx2.AsyncClient) -> None:
        self._url, self._client, self._headers = f"{server.url}/mcp", client, dict(HEADERS)

    async def post(self, body: bytes) -> str:
        """Send one message and give what came back, status and body."""
        with anyio.fail_after(30):
            response = await self._client.post(self._url, headers=self._headers, content=body)
        if session := response.headers.get("mcp-session-id"):
            self._headers["mcp-session-id"] = session
        return f"{response.status_code} {response.text}"


@pytest.mark.parametrize("name", sorted(BAD))
async def test_bad_input_is_refused_and_the_next_call_works(server: Served, name: str) -> None:
    body, problem = BAD[name]
    async with server.client() as client:
        session = Session(server, client)
        await session.post(orjson.dumps(INITIALIZE))
        await session.post(b'{"jsonrpc":"2.0","method":"notifications/initialized"}')
        await session.post(call())

        with growth_within(64 * MIB):
            refused = await session.post(body)

        assert problem in refused
        assert '"isError":true' in refused or refused[0] == "4"
        assert len(refused) < 2_000
        assert len(server.bench.api.requests) == 1
        assert '"isError":false' in await session.post(call())


async def test_one_callers_bad_input_does_not_end_another_callers_session(server: Served) -> None:
    async with server.client() as mallory, server.client("sam") as sam:
        bad, good = Session(server, mallory), Session(server, sam)
        for session in (bad, good):
            await session.post(orjson.dumps(INITIALIZE))
        answers: list[Any] = []

        async def flood() -> None:
            for body, _ in BAD.values():
                await bad.post(body)

        async with anyio.create_task_group() as group:
            group.start_soon(flood)
            answers.extend([await good.post(call()) for _ in range(10)])

    assert all('"isError":false' in answer for answer in answers)
