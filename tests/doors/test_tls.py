"""TLS at the door: it is spoken as clients speak it, and bounds nothing less than connections without it."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.streams.tls import TLSStream

from mcp_gateway.doors.connections import ConnectionBounds
from tests.doors.raw_requests import connected, hung_up, request
from tests.doors.servers import Served, served
from tests.invariants.world import World, read_store
from tests.peers.api import answer
from tests.peers.certificates import Authority

pytestmark = [pytest.mark.anyio]

AUTHORITY = Authority("a test's own")
CERTIFICATE = AUTHORITY.certify("localhost")


@pytest.fixture
def trusting(tmp_path: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=AUTHORITY.write(tmp_path / "authority.pem"))


@asynccontextmanager
async def over_tls(folder: Path, world: World, **bounds: Any) -> AsyncIterator[Served]:
    limits = ConnectionBounds(**bounds)
    async with served(folder, world=world, certificate=CERTIFICATE, max_bytes=4_000_000, connections=limits) as found:
        yield found


def asked(server: Served, number: int = 1) -> bytes:
    return request(server, number).replace(b"host: https://", b"host: ")


async def secured(server: Served, trusting: ssl.SSLContext) -> TLSStream:
    return await TLSStream.wrap(
        await connected(server), hostname="localhost", ssl_context=trusting, standard_compatible=False
    )


async def whole_answer(stream: anyio.abc.ByteStream) -> bytes:
    """The body of one answer, which tells its length."""
    found = b""
    with anyio.fail_after(30):
        while b"\r\n\r\n" not in found:
            found += await stream.receive()
        head, _, body = found.partition(b"\r\n\r\n")
        lines = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        while len(body) < int(lines[b"content-length"]):
            body += await stream.receive()
    assert head.startswith(b"HTTP/1.1 200 ")
    return body


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_small_and_big_answers_arrive_whole(
    tmp_path: Path, world: World, trusting: ssl.SSLContext, version: ssl.TLSVersion
) -> None:
    trusting.maximum_version = version
    async with over_tls(tmp_path, world) as server, await secured(server, trusting) as stream:
        for size in (1, 3_000_000):
            server.bench.api.answers = [answer(b"x" * size)]
            await stream.send(asked(server, size))
            assert b"x" * size in await whole_answer(stream)


async def test_a_handshake_may_come_in_pieces(tmp_path: Path, world: World, trusting: ssl.SSLContext) -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = trusting.wrap_bio(incoming, outgoing, server_hostname="localhost")
    async with over_tls(tmp_path, world) as server, await connected(server) as stream:
        with anyio.fail_after(30):
            while True:
                try:
                    client.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    for byte in outgoing.read():
                        await stream.send(bytes([byte]))
                    incoming.write(await stream.receive())
        assert client.version() == "TLSv1.3"


@pytest.mark.requirement("R23")
@pytest.mark.parametrize(
    "sent", ["nothing", "half a greeting", "a greeting, byte by byte", "nothing after the handshake"]
)
async def test_who_does_not_come_to_a_request_counts_and_is_hung_up_on(
    tmp_path: Path, world: World, trusting: ssl.SSLContext, sent: str
) -> None:
    async with (
        over_tls(tmp_path, world, most=2, most_per_address=2, request_within=timedelta(seconds=1)) as server,
        AsyncExitStack() as stack,
        anyio.create_task_group() as group,
    ):
        streams: list[anyio.abc.SocketStream] = []
        for _ in range(2):
            streams.append(stream := await stack.enter_async_context(await connected(server)))
            match sent:
                case "half a greeting":
                    await stream.send(greeting(trusting)[:100])
                case "a greeting, byte by byte":
                    group.start_soon(drip, stream, greeting(trusting))
                case "nothing after the handshake":
                    await TLSStream.wrap(stream, hostname="localhost", ssl_context=trusting)
                case _:
                    pass
        async with await connected(server) as more:
            assert await hung_up(more) == b""
        for stream in streams:
            await hung_up(stream)
        group.cancel_scope.cancel()
    assert server.bench.api.requests == []


def greeting(trusting: ssl.SSLContext) -> bytes:
    outgoing = ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        trusting.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost").do_handshake()
    return outgoing.read()


async def drip(stream: anyio.abc.SocketStream, data: bytes) -> None:
    with suppress(anyio.BrokenResourceError):
        for byte in data:
            await stream.send(bytes([byte]))
            await anyio.sleep(0.05)


@pytest.mark.requirement("R20")
async def test_an_answer_that_is_not_read_in_time_is_cut(
    tmp_path: Path, world: World, trusting: ssl.SSLContext
) -> None:
    bounds: dict[str, Any] = {"most": 1, "most_per_address": 1, "read_within": timedelta(seconds=0.5)}
    async with over_tls(tmp_path, world, **bounds) as server:
        server.bench.api.answers = [answer(b"x" * 3_900_000)]
        slow = await secured(server, trusting)
        await slow.send(asked(server))
        with anyio.fail_after(30):
            while not await another_is_served(server, trusting):
                await anyio.sleep(0.05)
        assert server.bench.road.calls_under_way == 0
        await slow.transport_stream.aclose()


async def another_is_served(server: Served, trusting: ssl.SSLContext) -> bool:
    async with await connected(server) as stream:
        try:
            await TLSStream.wrap(stream, hostname="localhost", ssl_context=trusting)
        except (OSError, anyio.BrokenResourceError, anyio.EndOfStream):
            return False
        return True


@pytest.mark.parametrize("said", [b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n", b"\x16\x03\x01\xff\xff" + bytes(70_000)])
async def test_what_is_no_tls_is_hung_up_on(tmp_path: Path, world: World, said: bytes) -> None:
    async with over_tls(tmp_path, world) as server, await connected(server) as stream:
        await stream.send(said)
        assert b"HTTP" not in await hung_up(stream)


@pytest.mark.requirement("R9")
@pytest.mark.parametrize("how", ["says so", "is gone"])
async def test_a_client_that_goes_away_ends_its_call(
    tmp_path: Path, world: World, trusting: ssl.SSLContext, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with over_tls(tmp_path, world) as server:
        server.bench.api.stall = True
        stream = await secured(server, trusting)
        await stream.send(asked(server))
        with anyio.fail_after(30):
            while not server.bench.api.requests:
                await anyio.sleep(0.01)
            if how == "says so":
                await stream.unwrap()
            await stream.transport_stream.aclose()
            while server.bench.road.calls_under_way:
                await anyio.sleep(0.01)
        kinds = [row.kind for row in read_store(server.bench.store.data_dir).rows]
    assert kinds[-3:] == ["Started", "Cancelled", "Answered"]
    assert "Traceback" not in caplog.text
