"""Answers that are read slowly, in part or not at all: what waits is bounded, and what is read arrives whole."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import orjson
import pytest

from mcp_gateway.doors import connections
from tests.doors.raw_requests import bounded, connected, last_request, request, served_on
from tests.doors.servers import Served, served
from tests.invariants.world import World
from tests.peers.api import answer

pytestmark = [pytest.mark.anyio]


@pytest.fixture
async def server(tmp_path: Path, world: World) -> AsyncIterator[Served]:
    async with served(tmp_path, world=world) as found:
        yield found


@pytest.mark.requirement("R20")
@pytest.mark.parametrize("reads", ["nothing", "a byte now and then", "nothing, and asks for more"])
async def test_an_answer_that_is_not_read_in_time_is_cut(
    tmp_path: Path, world: World, reads: str, caplog: pytest.LogCaptureFixture
) -> None:
    bounds: dict[str, Any] = {"most": 1, "most_per_address": 1, "read_within": timedelta(seconds=0.5)}
    async with bounded(tmp_path, world, max_bytes=2_000_000, **bounds) as server, AsyncExitStack() as stack:
        small = stack.enter_context(slow_reader())
        server.bench.api.answers = [answer(b"x" * 1_000_000)]
        loop = asyncio.get_running_loop()
        await loop.sock_connect(small, ("127.0.0.1", int(server.url.rpartition(":")[2])))
        asked = 3 if reads == "nothing, and asks for more" else 1
        await loop.sock_sendall(small, b"".join(request(server, number) for number in range(asked)))
        async with anyio.create_task_group() as group:
            if reads == "a byte now and then":
                group.start_soon(sip, small)
            with anyio.fail_after(60):
                while not await another_is_served(server):
                    await anyio.sleep(0.05)
            group.cancel_scope.cancel()
        assert server.bench.road.calls_under_way == 0
        assert len(await rest(small)) < 900_000
    assert "Traceback" not in caplog.text


@contextmanager
def slow_reader() -> Iterator[socket.socket]:
    """A socket for which the system keeps little."""
    with socket.socket() as small:
        small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        small.setblocking(False)
        yield small


async def asks(small: socket.socket, server: Served, data: bytes) -> None:
    loop = asyncio.get_running_loop()
    await loop.sock_connect(small, ("127.0.0.1", int(server.url.rpartition(":")[2])))
    await loop.sock_sendall(small, data)


async def take(small: socket.socket, count: int) -> None:
    """Read so many bytes."""
    with anyio.fail_after(60):
        while count:
            count -= len(await asyncio.get_running_loop().sock_recv(small, count))


async def sip(small: socket.socket) -> None:
    with suppress(ConnectionError):
        while await asyncio.get_running_loop().sock_recv(small, 1):
            await anyio.sleep(0.01)


async def rest(small: socket.socket) -> bytes:
    found = b""
    with suppress(ConnectionError):
        while piece := await asyncio.get_running_loop().sock_recv(small, 1 << 20):
            found += piece
    return found


async def another_is_served(server: Served) -> bool:
    async with await connected(server) as other:
        return await served_on(other, server)


@pytest.mark.requirement("R20")
async def test_what_all_slow_readers_together_keep_waiting_is_bounded(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MAX_UNREAD_BYTES", 1_500_000)
    async with bounded(tmp_path, world, most=3, max_bytes=2_000_000) as server, AsyncExitStack() as stack:
        server.bench.api.answers = [answer(b"x" * 1_000_000)]
        for number in range(3):
            await asks(stack.enter_context(slow_reader()), server, request(server, number))
        with anyio.fail_after(60):
            while not await another_is_served(server):
                await anyio.sleep(0.05)


@pytest.mark.requirement("R20")
async def test_who_reads_all_but_the_end_of_an_answer_keeps_all_of_it_waiting(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MAX_UNREAD_BYTES", 2_500_000)
    size = 1_000_000
    async with bounded(tmp_path, world, most=3, max_bytes=2_000_000) as server, AsyncExitStack() as stack:
        server.bench.api.answers = [answer(b"x" * size)]
        readers = [stack.enter_context(slow_reader()) for _ in range(3)]
        for number, small in enumerate(readers):
            await asks(small, server, last_request(server, number))
            await take(small, size // 2)
        with anyio.fail_after(60):
            while not await another_is_served(server):
                await anyio.sleep(0.05)
        assert sorted([len(await rest(small)) < size // 2 for small in readers]) == [False, False, True]


@pytest.mark.requirement("R20")
async def test_an_answer_as_large_as_the_bound_is_read_beside_others(
    tmp_path: Path, world: World, admitted: list[connections.Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MAX_UNREAD_BYTES", 2_000_000)
    async with bounded(tmp_path, world, max_bytes=4_000_000) as server, AsyncExitStack() as stack:
        readers = [stack.enter_context(slow_reader()) for _ in range(2)]
        for number, (size, read) in enumerate([(2_000_000, 1_200_000), (600_000, 100_000)]):
            server.bench.api.answers = [answer(b"x" * size)]
            await asks(readers[number], server, last_request(server, number))
            await take(readers[number], read)

        assert [one.unread_bytes > 0 for one in admitted] == [True, True]
        assert admitted[0].unread_takes == 1_000_000
        assert 600_000 < admitted[1].unread_takes < 1_000_000
        admitted[0]._connections._bound_unread(anyio.current_time())
        assert len(await rest(readers[0])) > 800_000
        assert len(await rest(readers[1])) > 500_000


@pytest.fixture
def admitted(monkeypatch: pytest.MonkeyPatch) -> list[connections.Connection]:
    """Connections as the gateway takes them, in their order."""
    found: list[connections.Connection] = []
    admit = connections.Connections.admit

    def admitting(self: connections.Connections, connection: connections.Connection) -> bool:
        found.append(connection)
        return admit(self, connection)

    monkeypatch.setattr(connections.Connections, "admit", admitting)
    return found


@pytest.mark.requirement("R20")
async def test_a_reader_that_asks_on_keeps_one_big_answer_waiting_and_not_all(
    tmp_path: Path, world: World, admitted: list[connections.Connection]
) -> None:
    asked, size, most = 8, 3_000_000, 0
    async with bounded(tmp_path, world, max_bytes=4_000_000) as server:
        server.bench.api.answers = [answer(b"x" * size)]
        loop = asyncio.get_running_loop()
        with slow_reader() as small, anyio.fail_after(120):
            await loop.sock_connect(small, ("127.0.0.1", int(server.url.rpartition(":")[2])))
            await loop.sock_sendall(small, b"".join(request(server, number) for number in range(asked)))
            read = 0
            while read < asked * size:
                read += len(await loop.sock_recv(small, 1 << 16))
                most = max(most, admitted[0].unread_bytes)

    assert most < 1.5 * size


@pytest.mark.requirement("R22")
@pytest.mark.parametrize("reads", [True, False])
async def test_a_client_that_asks_without_end_before_it_is_answered_is_hung_up_on(
    server: Served, reads: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a token: three megabytes of the smallest requests took 330 in memory."""
    waiting: list[int] = []
    take = connections.Connection._take

    def taking(self: connections.Connection, data: bytes) -> None:
        take(self, data)
        waiting.append(len(self.pipeline))

    monkeypatch.setattr(connections.Connection, "_take", taking)
    with slow_reader() as small, anyio.fail_after(60):
        loop = asyncio.get_running_loop()
        await loop.sock_connect(small, ("127.0.0.1", int(server.url.rpartition(":")[2])))
        async with anyio.create_task_group() as group:
            if reads:
                group.start_soon(rest, small)
            with pytest.raises(ConnectionError):
                while True:
                    await loop.sock_sendall(small, b"GET / HTTP/1.1\r\n\r\n" * 10_000)
            group.cancel_scope.cancel()
        assert await another_is_served(server)

    assert 0 < max(waiting) <= connections.MAX_WAITING_REQUESTS


async def test_a_big_answer_arrives_whole_although_the_connection_ends_with_it(tmp_path: Path, world: World) -> None:
    async with bounded(tmp_path, world, max_bytes=4_000_000) as server:
        server.bench.api.answers = [answer(b"x" * 3_000_000)]
        loop = asyncio.get_running_loop()
        with slow_reader() as small, anyio.fail_after(60):
            await loop.sock_connect(small, ("127.0.0.1", int(server.url.rpartition(":")[2])))
            asked = request(server, 1).replace(b"\r\n", b"\r\nconnection: close\r\n", 1)
            await loop.sock_sendall(small, asked)
            while server.bench.road.calls_under_way or not server.bench.api.requests:
                await anyio.sleep(0.01)
            head, _, body = (await rest(small)).partition(b"\r\n\r\n")

    assert b"content-length: %d" % len(body) in head
    assert len(orjson.loads(body)["result"]["structuredContent"]["text"]) == 3_000_000


async def test_small_answers_leave_at_once(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    plain = connections.Connections.admit

    def admit(self: Any, connection: Any) -> bool:
        admitted = plain(self, connection)
        asyncio.get_running_loop().call_soon(look, connection)
        return admitted

    def look(connection: Any) -> None:
        own = connection.transport.get_extra_info("socket")
        made.append(own.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    monkeypatch.setattr(connections.Connections, "admit", admit)
    async with await connected(server) as stream:
        assert await served_on(stream, server)
    assert made == [1]
