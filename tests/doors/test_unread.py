"""A client that asks over SSE and reads no answers may ask only so much, and is in nobody's way."""

from __future__ import annotations

import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import orjson
import pytest
from anyio.abc import SocketStream

from mcp_gateway.doors import unread
from tests.doors.servers import Served, served
from tests.doors.token_doors import INITIALIZE, INITIALIZED, call
from tests.invariants.world import World
from tests.peers.api import answer
from tests.plain_http import plain_client
from tests.roads import Bench, nothing_held

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("R20", "I8")]

LARGE = answer(b"x" * 400_000)
"""More than the system keeps of an answer that is not read."""


@pytest.fixture
async def server(tmp_path: Path, world: World) -> AsyncIterator[Served]:
    async with served(tmp_path, world=world) as found:
        found.bench.api.answers = [LARGE]
        yield found


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three, and no patience."""
    monkeypatch.setattr(unread, "MOST", 3)
    monkeypatch.setattr(unread, "PATIENCE_SECONDS", 0.05)


@dataclass(kw_only=True)
class Stream:
    """An SSE stream that is read when a test says so, and its endpoint."""

    socket: SocketStream
    url: str
    token: str
    asked: int = 0

    async def ask(self) -> int:
        """Make one more call; the status of the post."""
        self.asked += 1
        return await self.post(call(self.asked))

    async def post(self, message: object) -> int:
        headers = {"authorization": f"Bearer {self.token}", "content-type": "application/json"}
        async with plain_client(timeout=30) as http:
            return (await http.post(self.url, content=orjson.dumps(message), headers=headers)).status_code

    async def ask_until_refused(self, bench: Bench) -> set[int]:
        """Call, each time after the call before has its answer, until posts are refused and stay so: which were taken."""
        taken: set[int] = set()
        refused = 0
        ran = len(bench.api.requests)
        with anyio.fail_after(60):
            while refused < 20:
                status = await self.ask()
                assert status in {202, 429}
                refused = refused + 1 if status == 429 else 0
                if status == 202:
                    taken.add(self.asked)
                    assert len(taken) <= 60, "nothing stops it"
                    while len(bench.api.requests) < ran + len(taken) or not nothing_held(bench.road):
                        await anyio.sleep(0.002)
        return taken

    async def read_for(self, numbers: set[int]) -> bytes:
        """Read until these calls are answered, in whatever order; the last that was read."""
        wanted = {b'"id":%d,' % number for number in numbers}
        said = b""
        with anyio.fail_after(60):
            while wanted:
                said = said[-100:] + await self.socket.receive(65536)
                wanted -= {answer for answer in wanted if answer in said}
        return said


@asynccontextmanager
async def opened(server: Served, person: str) -> AsyncIterator[Stream]:
    place = server.url.removeprefix("http://")
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.connect(("127.0.0.1", int(place.rpartition(":")[2])))
    token = server.token(person)
    async with await SocketStream.from_socket(raw) as stream:
        lines = ("GET /sse HTTP/1.1", f"host: {place}", f"authorization: Bearer {token}", "accept: text/event-stream")
        await stream.send("\r\n".join((*lines, "", "")).encode())
        said = b""
        with anyio.fail_after(20):
            while not (endpoint := re.search(rb"data: (\S+)\r\n", said)):
                said += await stream.receive()
        found = Stream(socket=stream, url=server.url + endpoint[1].decode(), token=token)
        assert await found.post(INITIALIZE) == await found.post(INITIALIZED) == 202
        yield found


async def test_who_reads_nothing_is_refused_and_may_ask_again_once_it_reads(server: Served, few: None) -> None:
    async with opened(server, "alex") as stream, opened(server, "alex") as another, opened(server, "sam") as other:
        taken = await stream.ask_until_refused(server.bench)
        assert await another.ask() == 429, "by whatever stream"
        assert await other.ask() == 202
        await other.read_for({1})

        await stream.read_for(taken)
        assert await another.ask() == 202


async def test_who_reads_what_it_asks_for_is_never_refused(server: Served, few: None) -> None:
    async with opened(server, "alex") as stream:
        for number in range(1, 11):
            assert await stream.ask() == 202
            await stream.read_for({number})


async def test_a_stream_that_ends_leaves_nothing_that_counts(server: Served, few: None) -> None:
    async with opened(server, "alex") as stream:
        await stream.ask_until_refused(server.bench)
    async with opened(server, "alex") as stream:
        with anyio.fail_after(20):
            while await stream.ask() != 202:
                await anyio.sleep(0.02)


async def test_who_asks_faster_than_it_reads_waits_and_is_not_refused(
    server: Served, few: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(server, "alex") as stream:
        taken = await stream.ask_until_refused(server.bench)
        monkeypatch.setattr(unread, "PATIENCE_SECONDS", 60)
        statuses: list[int] = []

        async def ask() -> None:
            statuses.append(await stream.ask())

        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            assert statuses == []
            await stream.read_for(taken)
        assert statuses == [202]
