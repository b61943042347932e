"""Connections as raw bytes: how many, how slow and how large they may be, and what is refused before there is a request."""

from __future__ import annotations

import re
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from datetime import timedelta
from pathlib import Path

import anyio
import pytest

from mcp_gateway.doors import connections
from tests.doors.raw_requests import bounded, connected, exchange, hung_up, last_request, request, served_on
from tests.doors.servers import Served, served
from tests.invariants.world import World, read_store

pytestmark = [pytest.mark.anyio]


@pytest.fixture
async def server(tmp_path: Path, world: World) -> AsyncIterator[Served]:
    async with served(tmp_path, world=world) as found:
        yield found


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
