"""Connections as raw bytes: how many, how slow and how large they may be, and what is refused before there is a request."""

from __future__ import annotations

import asyncio
import re
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import orjson
import pytest

from mcp_gateway.doors import connections
from mcp_gateway.doors.connections import ConnectionBounds
from tests.doors.servers import Served, served
from tests.fuzz.messages import call, headers_for, modern
from tests.invariants.world import World, read_store
from tests.peers.api import answer

pytestmark = [pytest.mark.anyio]


@pytest.fixture
async def server(tmp_path: Path, world: World) -> AsyncIterator[Served]:
    async with served(tmp_path, world=world) as found:
        yield found


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


@pytest.mark.requirement("R23")
async def test_one_connection_too_many_is_hung_up_on_and_makes_room_when_it_goes(tmp_path: Path, world: World) -> None:
    async with bounded(tmp_path, world, most=3, most_per_address=3) as server, AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(await connected(server)) for _ in range(3)]
        assert [await served_on(stream, server) for stream in streams] == [True] * 3
        async with await connected(server) as more:
            assert await hung_up(more) == b""

        await streams[0].aclose()
        with anyio.fail_after(5):
            while True:
                async with await connected(server) as again:
                    if await served_on(again, server):
                        break


@pytest.mark.requirement("R23")
@pytest.mark.skipif(sys.platform != "linux", reason="only there all of 127.0.0.0/8 is this machine")
async def test_one_address_leaves_room_for_the_others(tmp_path: Path, world: World) -> None:
    async with bounded(tmp_path, world, most=4, most_per_address=2) as server, AsyncExitStack() as stack:
        for _ in range(2):
            assert await served_on(await stack.enter_async_context(await connected(server)), server)
        async with await connected(server) as more, await connected(server, address="127.0.0.2") as other:
            assert await hung_up(more) == b""
            assert await served_on(other, server)


@pytest.mark.requirement("R23")
@pytest.mark.parametrize(
    "sent", ["nothing", "half a head", "half a body", "a head, byte by byte", "a second half", "blank lines"]
)
async def test_a_request_that_does_not_arrive_in_time_is_cut(tmp_path: Path, world: World, sent: str) -> None:
    async with (
        bounded(tmp_path, world, request_within=timedelta(seconds=0.5)) as server,
        await connected(server) as stream,
    ):
        whole = request(server, 1)
        async with anyio.create_task_group() as group:
            match sent:
                case "half a head":
                    await stream.send(whole[:30])
                case "half a body":
                    await stream.send(whole[:-20])
                case "a second half":
                    assert await served_on(stream, server)
                    await stream.send(whole[:-20])
                case "blank lines":
                    assert await served_on(stream, server)
                    await stream.send(b"\r\n\r\n")
                case "a head, byte by byte":
                    group.start_soon(drip, stream, whole)
                case _:
                    pass
            assert await hung_up(stream) == b""
            group.cancel_scope.cancel()
        assert server.bench.api.requests == []
        async with await connected(server) as other:
            assert await served_on(other, server)


async def drip(stream: anyio.abc.SocketStream, data: bytes) -> None:
    with suppress(anyio.BrokenResourceError):
        for byte in data:
            await stream.send(bytes([byte]))
            await anyio.sleep(0.02)


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


@pytest.mark.requirement("R9")
async def test_a_client_that_goes_away_ends_its_call_although_it_has_asked_for_more(
    server: Served, caplog: pytest.LogCaptureFixture
) -> None:
    server.bench.api.stall = True
    with anyio.fail_after(30):
        async with await connected(server) as stream:
            await stream.send(request(server, 1) + request(server, 2))
            while not server.bench.api.requests:
                await anyio.sleep(0.01)
        while server.bench.road.calls_under_way:
            await anyio.sleep(0.01)

    kinds = [row.kind for row in read_store(server.bench.store.data_dir).rows]
    assert kinds[-3:] == ["Started", "Cancelled", "Answered"]
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


async def test_as_many_requests_as_may_wait_are_answered_in_turn(server: Served) -> None:
    asked = [request(server, number) for number in range(connections.MAX_WAITING_REQUESTS)]

    found = await exchange(server, b"".join(asked) + last_request(server, 99))

    assert [int(number) for number in re.findall(rb'"id":(\d+),"result"', found)] == [*range(len(asked)), 99]


@pytest.mark.requirement("R21")
@pytest.mark.parametrize("name", ["host", "authorization", "mcp-name"])
async def test_what_follows_a_body_is_no_header(server: Served, name: str) -> None:
    head, _, body = request(server, 1).partition(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if not line.startswith(b"content-length")]
    moved = next(line for line in lines if line.lower().startswith(name.encode() + b":"))
    lines = [*(line for line in lines if line != moved), b"transfer-encoding: chunked", b"connection: close"]
    chunked = b"%x\r\n%s\r\n0\r\n" % (len(body), body)

    found = await exchange(server, b"\r\n".join([*lines, b"", chunked]) + moved + b"\r\n\r\n")

    assert found.startswith((b"HTTP/1.1 403 ", b"HTTP/1.1 401 ", b"HTTP/1.1 400 "))
    assert server.bench.api.requests == []


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


@pytest.mark.requirement("R22")
@pytest.mark.parametrize("head", ["a long target", "a long header", "a header without an end", "many headers"])
async def test_a_head_beyond_its_size_is_refused(server: Served, head: str) -> None:
    host = b"host: " + server.url.removeprefix("http://").encode()
    data = {
        "a long target": b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n" + host + b"\r\n\r\n",
        "a long header": b"GET /healthz HTTP/1.1\r\n" + host + b"\r\nx: " + b"a" * 70_000 + b"\r\n\r\n",
        "a header without an end": b"GET /healthz HTTP/1.1\r\n" + host + b"\r\nx: " + b"a" * 200_000,
        "many headers": b"GET /healthz HTTP/1.1\r\n" + host + b"\r\nx: a" * 300 + b"\r\n\r\n",
    }[head]

    assert (await exchange(server, data)).split()[1] in {b"400", b"431"}


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


@pytest.mark.requirement("R38")
@pytest.mark.parametrize("target", ["http://evil.example/mcp", "http://127.0.0.1/mcp", "*", "evil.example:80", "mcp"])
async def test_a_target_that_names_a_host_of_its_own_is_refused(server: Served, target: str) -> None:
    answer = await exchange(server, request(server, 1, target=target))

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert server.bench.api.requests == []


@pytest.mark.requirement("R21")
@pytest.mark.parametrize("line", ["POST /mcp HTTP/2.0", "POST /mcp HTTP/0.9", "POST /mcp HTTP/1.2", "POST /mcp"])
async def test_only_http_1_is_read_as_such(server: Served, line: str) -> None:
    data = request(server, 1).replace(b"POST /mcp HTTP/1.1", line.encode())

    assert (await exchange(server, data)).startswith(b"HTTP/1.1 400 ")
    assert server.bench.api.requests == []


@pytest.mark.requirement("R21")
@pytest.mark.parametrize("coding", ["identity\r\ntransfer-encoding: chunked", "identity, chunked", "gzip, chunked"])
async def test_only_a_body_in_chunks_or_with_its_length_is_read(server: Served, coding: str) -> None:
    head, _, body = request(server, 1).partition(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if not line.startswith(b"content-length")]
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    data = b"\r\n".join([*lines, f"transfer-encoding: {coding}".encode(), b"", b""]) + chunked

    assert (await exchange(server, data)).startswith(b"HTTP/1.1 400 ")
    assert server.bench.api.requests == []


@pytest.mark.requirement("R21", "R32")
async def test_what_is_no_http_is_never_taken_for_the_answer_to_an_earlier_request(server: Served) -> None:
    held = server.bench.api.held = anyio.Event()

    answer = await exchange(server, request(server, 1) + b"\x00 no HTTP\r\n\r\n")

    assert answer == b""
    held.set()
