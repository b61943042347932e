"""A host that floods: it gets a turn like everybody else, and nowhere before its log-in."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import asyncssh
import pytest

from mcp_gateway.calls import Secret
from mcp_gateway.errors import TargetTimeout, TargetUnavailable
from mcp_gateway.targets.ssh import SSHConnector
from mcp_gateway.targets.ssh_wire import MAX_LOGIN_BYTES, PORTION_BYTES, Portions, Way
from tests.peers.hostile_ssh import SAYINGS, HostileSSH, hostile_ssh

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("R36", "R8")]

KEY = asyncssh.generate_private_key("ssh-ed25519")


@asynccontextmanager
async def hostile(folder: Path) -> AsyncIterator[tuple[HostileSSH, SSHConnector]]:
    async with hostile_ssh() as peer:
        known = folder / "known_hosts"
        known.write_text(f"[127.0.0.1]:{peer.port} {KEY.export_public_key().decode()}")

        async def fetch(_: object) -> Secret:
            return Secret(KEY.export_private_key())

        settings = SimpleNamespace(host="127.0.0.1", port=peer.port, user="x", known_hosts=known, key=None)
        yield peer, SSHConnector(settings, fetch=fetch)


@pytest.mark.parametrize("name", SAYINGS)
async def test_whatever_a_host_says_is_a_typed_error(tmp_path: Path, name: str) -> None:
    async with hostile(tmp_path) as (peer, connector):
        peer.first, peer.endless = SAYINGS[name]
        with anyio.fail_after(20), pytest.raises((TargetUnavailable, TargetTimeout)) as caught:
            await connector.run("true", stdin=b"", seconds=2, max_bytes=1000)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("name", ["ignored messages without end", "debug messages without end"])
async def test_a_flood_before_the_log_in_ends_the_connection(tmp_path: Path, name: str) -> None:
    async with hostile(tmp_path) as (peer, connector):
        peer.first, peer.endless = SAYINGS[name]
        with anyio.fail_after(50), pytest.raises(TargetUnavailable, match="it floods before the log-in"):
            await connector.run("true", stdin=b"", seconds=40, max_bytes=1000)


class Taken(asyncio.Protocol):
    """What asyncssh's connection would be told."""

    def __init__(self) -> None:
        self.portions: list[bytes] = []
        self.ended: list[str] = []

    def data_received(self, data: bytes) -> None:
        self.portions.append(data)

    def eof_received(self) -> None:
        self.ended.append("eof")

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.append("lost")


class Socket(asyncio.Transport):
    """A transport that only remembers."""

    def __init__(self) -> None:
        super().__init__()
        self.reading, self.aborted = True, False

    def is_reading(self) -> bool:
        return self.reading

    def is_closing(self) -> bool:
        return self.aborted

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def abort(self) -> None:
        self.aborted = True


def set_up() -> tuple[Taken, Socket, Portions]:
    taken, transport = Taken(), Socket()
    portions = Portions(taken)
    portions.connection_made(transport)
    return taken, transport, portions


async def test_much_comes_in_portions_with_other_turns_between() -> None:
    taken, transport, portions = set_up()
    data = bytes(range(256)) * (5 * PORTION_BYTES // 256) + b"end"

    portions.data_received(data)
    portions.eof_received()
    portions.connection_lost(None)
    assert (len(taken.portions), transport.reading) == (1, False)
    turns = 0
    while taken.ended != ["eof", "lost"]:
        turns += 1
        await asyncio.sleep(0)

    assert turns >= 5
    assert b"".join(taken.portions) == data
    assert max(map(len, taken.portions)) == PORTION_BYTES
    assert transport.reading


async def test_what_asyncssh_ends_gets_nothing_more() -> None:
    taken, _, portions = set_up()
    given: list[asyncio.Transport] = []
    taken.connection_made = given.append  # type: ignore[method-assign, assignment]  # the transport as it is given
    portions.connection_made(Socket())

    portions.data_received(bytes(3 * PORTION_BYTES))
    given[0].abort()
    for _ in range(10):
        await asyncio.sleep(0)

    assert len(taken.portions) == 1


class Answering(Taken):
    """Answers every portion, as asyncssh does with what it takes of a command's output."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.transport.write(b"window")


@pytest.mark.parametrize("use_uvloop", [True, False])
def test_a_host_that_resets_the_connection_is_read_to_the_end(use_uvloop: bool) -> None:
    async def main() -> None:
        taken = Answering()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            await Way().create_connection(lambda: taken, *listener.getsockname())
            host, _ = listener.accept()
            host.sendall(bytes(9 * PORTION_BYTES))
            while not taken.portions:
                await asyncio.sleep(0)
            host.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            host.close()
        with anyio.fail_after(10):
            while not taken.ended:
                await asyncio.sleep(0)
        assert sum(map(len, taken.portions)) == 9 * PORTION_BYTES

    anyio.run(main, backend_options={"use_uvloop": use_uvloop})


async def test_only_before_the_log_in_bytes_are_counted() -> None:
    _, transport, portions = set_up()
    portions.left = None
    portions.data_received(bytes(MAX_LOGIN_BYTES + 1))
    assert not transport.aborted

    _, transport, portions = set_up()
    portions.data_received(bytes(MAX_LOGIN_BYTES))
    assert not transport.aborted
    portions.data_received(b"1")
    assert (transport.aborted, portions.flooded) == (True, True)
