"""A relay in front of a real peer, which loses, holds back and spoils what goes through it. On loopback.

It starts as one that passes everything on. What it does instead is set while connections are open: `silence` takes
connections and says nothing on any, `drip` passes a byte a second from the peer, `reset` ends all at once by RST. While
`flows` is not set, what the peer says waits.
What the other side did is in `opened`, `ended` and `cancels`.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Literal

from tests.peers.visits import say, visited

LOOPBACK = "127.0.0.1"
READ_BYTES = 65536
CANCEL_REQUEST = struct.pack("!ii", 16, 80877102)
DRIP_SECONDS = 1.0

Mode = Literal["pass", "silence", "drip", "leave"]


@dataclass(slots=True, kw_only=True)
class Relay:
    """A running one."""

    leads_to: int
    port: int = 0
    mode: Mode = "pass"
    """What is done with what arrives from now on; `leave` hangs up on whoever connects."""
    cut_before: bytes = b""
    """What the client says that ends both connections, and is not passed on."""
    cut_after: bytes = b""
    """What the client says that is passed on; then both connections end, and the answer is lost."""
    instead: bytes = b""
    """In place of the answer to `cut_after`: said before the end."""
    opened: int = 0
    ended: int = 0
    """How many connections the client has ended."""
    cancels: int = 0
    """How often PostgreSQL was asked for a cancellation."""
    writers: set[asyncio.StreamWriter] = field(default_factory=set)
    flows: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.flows.set()

    def reset(self) -> None:
        """End every connection by RST."""
        for writer in list(self.writers):
            abort(writer)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.opened += 1
        self.writers.add(writer)
        try:
            if self.mode == "leave":
                return
            with suppress(OSError):
                await self._between(reader, writer)
        finally:
            self.writers.discard(writer)
            writer.close()

    async def _between(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.mode == "silence":
            while await self._received(reader):
                pass
            return
        there_reader, there = await asyncio.open_connection(LOOPBACK, self.leads_to)
        self.writers.add(there)
        back = asyncio.create_task(self._back(there_reader, writer))
        try:
            await self._forth(reader, there, writer)
        finally:
            self.writers.discard(there)
            back.cancel()
            there.close()

    async def _forth(
        self, reader: asyncio.StreamReader, there: asyncio.StreamWriter, writer: asyncio.StreamWriter
    ) -> None:
        while data := await self._received(reader):
            if data.startswith(CANCEL_REQUEST):
                self.cancels += 1
            if self.cut_before and self.cut_before in data:
                return
            if self.cut_after and self.cut_after in data:
                self.mode = "silence"
                await say(there, data)
                await asyncio.sleep(0.2)
                await say(writer, self.instead)
                return
            if self.mode != "silence" or data.startswith(CANCEL_REQUEST):
                await say(there, data)

    async def _received(self, reader: asyncio.StreamReader) -> bytes:
        try:
            data = await reader.read(READ_BYTES)
        except ConnectionError:
            data = b""
        self.ended += not data
        return data

    async def _back(self, there: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await there.read(READ_BYTES):
                await self.flows.wait()
                if self.mode == "drip":
                    for byte in data:
                        await say(writer, bytes([byte]))
                        await asyncio.sleep(DRIP_SECONDS)
                elif self.mode == "pass":
                    await say(writer, data)
            if self.mode != "silence":
                writer.close()


def abort(writer: asyncio.StreamWriter) -> None:
    """End a connection by RST."""
    raw = writer.get_extra_info("socket")
    if raw is None:  # it has ended already: uvloop then knows no socket of it
        return
    with suppress(OSError, ValueError):  # it may be ending, and uvloop's then has no descriptor
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@asynccontextmanager
async def relay(leads_to: int) -> AsyncIterator[Relay]:
    """Run one on a free port."""
    found = Relay(leads_to=leads_to)
    async with visited(found.serve) as found.port:
        yield found


@contextmanager
def blackhole() -> Iterator[int]:
    """A port of the loopback that answers no SYN: its queue is full, and nobody accepts."""
    with socket.socket() as listening:
        listening.bind((LOOPBACK, 0))
        listening.listen(0)
        port: int = listening.getsockname()[1]
        waiting: list[socket.socket] = []
        try:
            for _ in range(4):
                one = socket.socket()
                waiting.append(one)
                one.setblocking(False)
                assert one.connect_ex((LOOPBACK, port)) in {0, errno.EINPROGRESS}
            yield port
        finally:
            for one in waiting:
                one.close()
