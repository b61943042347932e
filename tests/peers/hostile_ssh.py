"""SSH servers that speak no SSH, or too much of it, as the bytes that they say when somebody connects."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from tests.peers.visits import say, visited

BANNER = b"SSH-2.0-OpenSSH_9.2\r\n"


def packet(payload: bytes) -> bytes:
    """A binary packet before any keys (RFC 4253 section 6)."""
    padding = 8 - (len(payload) + 5) % 8
    padding += 8 if padding < 4 else 0
    return struct.pack("!IB", len(payload) + padding + 1, padding) + payload + bytes(padding)


IGNORE, DISCONNECT, DEBUG, KEXINIT, NEWKEYS = b"\x02", b"\x01", b"\x04", b"\x14", b"\x15"
SAYINGS: dict[str, tuple[bytes, bytes]] = {
    "a banner without end": (b"SSH-2.0-", b"x" * 65536),
    "lines without end before the banner": (b"", b"welcome\r\n" * 4096),
    "a line without end before the banner": (b"", b"x" * 65536),
    "version 1": (b"SSH-1.5-old\r\n", b""),
    "HTTP": (b"HTTP/1.1 400 Bad Request\r\n\r\n", b""),
    "garbage after the banner": (BANNER + bytes(range(255, 0, -1)) * 40, b""),
    "a packet of four gigabytes": (BANNER + b"\xff\xff\xff\xff\x04" + bytes(64), b"\0" * 65536),
    "a packet of nothing": (BANNER + bytes(64), b""),
    "ignored messages without end": (BANNER, packet(IGNORE + struct.pack("!I", 1000) + bytes(1000)) * 64),
    "debug messages without end": (
        BANNER, packet(DEBUG + b"\1" + struct.pack("!I", 9) + b"canary-ss" + struct.pack("!I", 0)) * 512
    ),
    "new keys before any": (BANNER + packet(NEWKEYS), b""),
    "key exchange that is none": (BANNER + packet(KEXINIT + bytes(16) + bytes(45)), b""),
    "key exchange with lists of gigabytes": (BANNER + packet(KEXINIT + bytes(16) + b"\xff\xff\xff\xff" * 10), b""),
    "goodbye with words of its own": (
        BANNER + packet(DISCONNECT + struct.pack("!II", 2, 13) + b"\x1b[2Jcanary-hi" + struct.pack("!I", 0)), b""
    ),
}  # fmt: skip


@dataclass(slots=True, kw_only=True)
class HostileSSH:
    """A running one; `first` is said once and `endless` again and again."""

    port: int = 0
    first: bytes = b""
    endless: bytes = b""


@asynccontextmanager
async def hostile_ssh() -> AsyncIterator[HostileSSH]:
    """Run one on a free port of the loopback."""
    peer = HostileSSH()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError):
                await say(writer, peer.first)
                while peer.endless:
                    await say(writer, peer.endless)
                while await reader.read(65536):
                    pass
        finally:
            writer.transport.abort()

    async with visited(serve) as peer.port:
        yield peer
