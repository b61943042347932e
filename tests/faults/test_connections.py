"""Clients that open many connections, send slowly, read slowly or send far too much (R20, R22, R23)."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import anyio
import pytest

from tests.faults.gateways import REQUEST, Gateway, Targets, standing
from tests.faults.sizes import FULL, times
from tests.faults.wire import call_request
from tests.invariants.world import HAS_PROC, World, footprint
from tests.memory import MIB
from tests.peers.api import API, answer, running_api
from tests.peers.postgres import PostgresDatabase
from tests.peers.sshd import SSHServer

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(not HAS_PROC, reason="only Linux tells what a process uses, and has all of 127.0.0.0/8"),
]
RECOVERY_SECONDS = 5.0
BIG = 400_000


@contextlib.asynccontextmanager
async def gateway(
    folder: Path,
    world: World,
    database: PostgresDatabase,
    host: SSHServer,
    *,
    server: str = "",
    under: tuple[str, ...] = (),
) -> AsyncIterator[tuple[Gateway, API]]:
    """A running gateway; it has to end well."""
    own = folder / "gateway"
    async with running_api(log=folder / "api.api.log", store=own / "data") as api:
        targets = Targets(database=database, host=host, api=api)
        async with standing(own, targets, world=world, server=server) as found:
            await found.start(under=under)
            assert await found.code(*REQUEST) == "ok"
            yield found, api
            assert await found.end() == 0


@contextlib.contextmanager
def many_sockets(
    count: int, gateway: Gateway, *, small: bool = False, addresses: int = 1
) -> Iterator[list[socket.socket]]:
    """So many connections, from 127.0.0.2 on; those that the gateway refused are among them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = min(hard, max(soft, count + 1000))
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    with contextlib.ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        found = []
        for number in range(count):
            one = stack.enter_context(socket.socket())
            if small:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            one.bind((f"127.0.0.{2 + number % addresses}", 0))
            one.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                one.connect(("127.0.0.1", port_of(gateway)))
            found.append(one)
        yield found


def port_of(gateway: Gateway) -> int:
    return int(gateway.url.rpartition(":")[2])


async def connected(sockets: list[socket.socket]) -> None:
    """Wait until the system has made all these connections, or they were refused."""
    loop = asyncio.get_running_loop()
    for one in sockets:
        with contextlib.suppress(OSError):
            await asyncio.wait_for(loop.sock_sendall(one, b""), 30)


async def sent(one: socket.socket, data: bytes) -> None:
    with contextlib.suppress(OSError):
        await asyncio.get_running_loop().sock_sendall(one, data)


async def is_cut(one: socket.socket) -> None:
    """Read on until the gateway has hung up."""
    with contextlib.suppress(ConnectionError):
        while await asyncio.get_running_loop().sock_recv(one, 1 << 16):
            pass


async def timed(count: int, one: Callable[[], Awaitable[Any]]) -> list[float]:
    """How long each took."""
    found = []
    for _ in range(count):
        started = monotonic()
        await one()
        found.append(monotonic() - started)
    return sorted(found)


def p99(found: list[float]) -> float:
    return found[int(len(found) * 0.99)]


async def recovers(found: Gateway) -> None:
    """A new client is served within the time for that."""
    with anyio.fail_after(RECOVERY_SECONDS * (1 if FULL else 3)):
        while True:
            with contextlib.suppress(Exception):
                assert await found.code(*REQUEST) == "ok"
                return
            await anyio.sleep(0.05)


async def settles(found: Gateway, before: Any) -> None:
    """It holds what it held before."""
    with anyio.fail_after(30):
        while [one for one in footprint(found.pid).more_than(before) if "thread" not in one]:
            await anyio.sleep(0.1)


@pytest.mark.requirement("R20")
async def test_slow_readers_cost_the_others_nothing_and_are_cut(
    tmp_path: Path, world: World, postgres_database: PostgresDatabase, ssh_server: SSHServer
) -> None:
    count, calls = times(commit=20, full=500), times(commit=20, full=300)
    server = f'max_connections = {count * 4 + 40}\nmax_connections_per_address = {count * 2}\nread_within = "3s"'
    async with gateway(tmp_path, world, postgres_database, ssh_server, server=server) as (found, api):
        data = call_request(*REQUEST, host=found.url.removeprefix("http://"), token=found.token("alex"))
        async with found.client("sam") as sam:

            async def call() -> None:
                assert await found.code(*REQUEST, http=sam) == "ok"

            await timed(calls, call)
            before, resident, alone = footprint(found.pid), memory(found.pid), await timed(calls, call)
            with many_sockets(count, found, small=True) as readers:
                await connected(readers)
                plain, api.answers[:] = list(api.answers), [answer(b"x" * BIG)]
                peak = resident
                for one in readers:
                    await sent(one, data)
                    await asyncio.get_running_loop().sock_recv(one, 1)
                    peak = max(peak, memory(found.pid))
                api.answers[:] = plain
                beside = await timed(calls, call)
                peak = max(peak, memory(found.pid))
                # Whoever reads on meanwhile is not cut, as slowly as that may go.
                await settles(found, before)
                for one in readers:
                    with anyio.fail_after(60):
                        await is_cut(one)
        print(f"R20: {count} slow readers; p99 alone {p99(alone) * 1000:.1f} ms, beside {p99(beside) * 1000:.1f} ms;"
              f" {(peak - resident) / MIB:.0f} MiB more")  # fmt: skip
        assert peak - resident <= 128 * MIB
        if FULL:
            assert p99(beside) <= 2 * p99(alone)
        await recovers(found)


MOST_SECONDS = 0.1
"""Of CPU, for what is far too much."""


def memory(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


def cpu_seconds(pid: int) -> float:
    """What all threads of a process have used."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def bodies() -> dict[str, Callable[[], Iterator[bytes]]]:
    """What is far too much, each as pieces of a whole request without its head."""
    piece = b"x" * (1 << 20)

    def call(members: bytes) -> Iterator[bytes]:
        meta = b'"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}'
        yield (
            b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"call_api",' + meta
            + b',"arguments":{"target":"api","path":"x",' + members + b"}}}"
        )  # fmt: skip

    return {
        "a body of 100 MB": lambda: (piece for _ in range(100)),
        "an argument of 1 MB": lambda: call(b'"body":"' + b"x" * 1_000_000 + b'"'),
        "depth 100,000": lambda: call(b'"json":' + b"[" * 100_000 + b"]" * 100_000),
        "100,000 keys": lambda: call(b'"json":{' + b",".join(b'"k%d":1' % number for number in range(100_000)) + b"}"),
        "an integer of 100,000 digits": lambda: call(b'"json":' + b"9" * 100_000),
    }


@pytest.mark.requirement("R22")
@pytest.mark.parametrize("chunked", [False, True], ids=["with its length", "chunked"])
async def test_far_too_much_is_refused_in_little_time(
    tmp_path: Path, world: World, postgres_database: PostgresDatabase, ssh_server: SSHServer, chunked: bool
) -> None:
    used: dict[str, float] = {}
    async with gateway(tmp_path, world, postgres_database, ssh_server) as (found, api):
        for name, pieces in bodies().items():
            tries: list[float] = []
            # What else runs on the machine makes the same work take up to twice the CPU: the least of a few tries counts.
            while len(tries) < 3 or (min(tries) > MOST_SECONDS and len(tries) < 10):
                before = cpu_seconds(found.pid)
                said = await posted(found, pieces(), chunked=chunked)
                tries.append(cpu_seconds(found.pid) - before)
                assert said == b"" or b" 4" in said[:14] or b'"isError":true' in said, said[:300]
            used[name] = min(tries)
            assert await found.code(*REQUEST) == "ok"
        print("R22:", ", ".join(f"{name} {seconds * 1000:.0f} ms" for name, seconds in used.items()))
        assert len(api.requests) == len(used) + 1
    assert max(used.values()) <= MOST_SECONDS, used


async def posted(found: Gateway, pieces: Iterator[bytes], *, chunked: bool) -> bytes:
    """Send a body, and give what is answered; empty where the gateway hung up on the rest of it."""
    whole = list(pieces)
    head = call_request(*REQUEST, host=found.url.removeprefix("http://"), token=found.token("alex")).partition(
        b"\r\n\r\n"
    )[0]
    lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"content-length")]
    lines.append(b"transfer-encoding: chunked" if chunked else b"content-length: %d" % sum(map(len, whole)))
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(found))
    answered = b""
    try:
        writer.write(b"\r\n".join(lines) + b"\r\n\r\n")
        for piece in [*whole, b""] if chunked else whole:
            writer.write(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
            await writer.drain()
        with anyio.fail_after(30):
            while b" 4" not in answered[:14] and b"}" not in answered:
                piece = await reader.read(65536)
                if not piece:
                    break
                answered += piece
    except ConnectionError:
        pass
    finally:
        writer.transport.abort()
    return answered


@pytest.mark.requirement("R23")
async def test_a_storm_of_connections_passes_and_the_others_are_served(
    tmp_path: Path, world: World, postgres_database: PostgresDatabase, ssh_server: SSHServer
) -> None:
    storm, idle = times(commit=300, full=5000), times(commit=200, full=10_000)
    server = 'max_connections = 100\nmax_connections_per_address = 30\nrequest_within = "3s"'
    async with gateway(tmp_path, world, postgres_database, ssh_server, server=server) as (found, _):
        before = footprint(found.pid)
        async with found.client("sam") as sam:
            started = monotonic()
            for _ in range(storm // 100):
                with many_sockets(100, found, addresses=50) as sockets:
                    await connected(sockets)
                assert await found.code(*REQUEST, http=sam) == "ok"
            rate = storm / (monotonic() - started)
            await recovers(found)

            with many_sockets(idle, found) as sockets:
                await connected(sockets)
                for one in sockets[:50]:
                    await sent(one, b"POST /mcp HT")
                for _ in range(5):
                    assert await found.code(*REQUEST, http=sam) == "ok"
                await recovers(found)
                assert len(footprint_of_sockets(found.pid)) <= 100 + 10
                for one in sockets:
                    with anyio.fail_after(60):
                        await is_cut(one)
            await recovers(found)
        await settles(found, before)
        print(f"R23: {storm:,} connections at {rate:,.0f}/s, {idle:,} idle")


def footprint_of_sockets(pid: int) -> list[str]:
    return [name for name in footprint(pid).descriptors.elements() if name.startswith("socket")]


@pytest.mark.requirement("R23")
async def test_with_64_descriptors_it_fails_closed_and_recovers(
    tmp_path: Path, world: World, postgres_database: PostgresDatabase, ssh_server: SSHServer
) -> None:
    few = ("prlimit", "--nofile=64:64")
    world.expected_errors = frozenset({"audit_unavailable", "internal"})
    async with gateway(tmp_path, world, postgres_database, ssh_server, under=few) as (found, _):
        for _ in range(times(commit=1, full=10)):
            with many_sockets(200, found, addresses=40) as sockets:
                await connected(sockets)
                with contextlib.suppress(Exception):
                    await found.code(*REQUEST)
            await recovers(found)
        assert "few_descriptors" in found.said()
