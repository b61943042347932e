"""The man in the middle of Terrapin (CVE-2023-48795), and servers from before the strict key exchange that stops him.

He puts a message that means nothing before the new keys come, when nothing is authenticated yet, and so can drop the
first one after them: the numbers by which messages are authenticated fit again. What is lost here is the server's
EXT_INFO, as in the published attack.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import asyncssh.connection

from tests.peers.hostile_ssh import IGNORE, NEWKEYS, packet
from tests.peers.visits import LOOPBACK, say, visited

READ_BYTES = 65536


class _OldConnection(asyncssh.connection.SSHServerConnection):
    """One that knows of no strict key exchange."""

    @property
    def _strict_kex(self) -> bool:
        return False

    @_strict_kex.setter
    def _strict_kex(self, value: bool) -> None:
        pass

    def _get_extra_kex_algs(self) -> list[bytes]:
        return [b"ext-info-s"]


@contextmanager
def old_servers() -> Iterator[None]:
    """SSH servers that this process starts meanwhile are old ones."""
    with patch.object(asyncssh.connection, "SSHServerConnection", _OldConnection):
        yield


@dataclass(slots=True, kw_only=True)
class Terrapin:
    """One in front of a server."""

    leads_to: int
    port: int = 0
    dropped: int = 0
    """Bytes that he kept for himself, of all connections."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        there_reader, there = await asyncio.open_connection(LOOPBACK, self.leads_to)
        back = asyncio.create_task(self._back(there_reader, writer))
        try:
            with suppress(OSError):
                await _pass_on(reader, there)
        finally:
            there.transport.abort()
            await asyncio.gather(back, return_exceptions=True)
            writer.transport.abort()

    async def _back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            await say(writer, await reader.readuntil(b"\n"))
            while True:
                head = await reader.readexactly(4)
                body = await reader.readexactly(struct.unpack("!I", head)[0])
                if body[1:2] == NEWKEYS:
                    break
                await say(writer, head + body)
            await say(writer, packet(IGNORE + struct.pack("!I", 0)) + head + body)
            self.dropped += len(await reader.read(READ_BYTES))
            await _pass_on(reader, writer)
        with suppress(OSError):
            writer.close()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(READ_BYTES):
        await say(writer, data)


@asynccontextmanager
async def terrapin(leads_to: int) -> AsyncIterator[Terrapin]:
    """Run one on a free port."""
    found = Terrapin(leads_to=leads_to)
    async with visited(found.serve) as found.port:
        yield found


def answered_after_all(connection: Any) -> bool:
    """Whether a client of asyncssh's has had the server's EXT_INFO."""
    return bool(connection._server_sig_algs)
