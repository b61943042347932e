"""The bytes from an SSH host, in portions: a host that floods is in nobody else's way, and gets nowhere before its log-in.

asyncssh takes all that has arrived in one go. Messages that mean nothing (RFC 4253 section 11) may be tiny, so that some
megabytes of them hold the event loop for seconds, and nothing bounds them, before the log-in or after it. So what
arrives is handed on a little at a time with everybody else's turn in between, and the socket is not read meanwhile. Until
the host has let us in, more bytes than any honest log-in needs end the connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

PORTION_BYTES = 8 * 1024
MAX_LOGIN_BYTES = 1024 * 1024
"""Banners, key exchange and authentication take some kilobytes."""


class Way:
    """What asyncssh takes for a tunnel: opens the TCP connection of one SSH connection."""

    def __init__(self) -> None:
        self._portions: Portions | None = None

    async def create_connection(self, factory: Callable[[], Any], host: str, port: int) -> tuple[Any, Any]:
        """Connect; give the transport and asyncssh's connection. Raises `OSError`."""
        loop = asyncio.get_running_loop()
        transport, portions = await loop.create_connection(lambda: Portions(factory()), host, port)
        self._portions = portions
        return transport, portions.connection

    @property
    def flooded(self) -> bool:
        """Whether the host sent more than a log-in needs."""
        return self._portions is not None and self._portions.flooded

    def logged_in(self) -> None:
        """From now on the host may send as much as it likes."""
        if self._portions is not None:
            self._portions.left = None


class Given:
    """The transport as asyncssh has it: what it ends gets nothing more, and what is written to a lost one is lost.

    asyncssh still reads what had arrived then, and answers it: asyncio drops those answers, uvloop raises.
    """

    def __init__(self, transport: asyncio.Transport, ended: Callable[[], None]) -> None:
        self._transport = transport
        self._ended = ended

    def abort(self) -> None:
        """End the connection."""
        self._ended()
        self._transport.abort()

    def close(self) -> None:
        """End it once everything is written."""
        self._ended()
        self._transport.close()

    def write(self, data: bytes) -> None:
        """Send some bytes, if there is somebody to send them to."""
        if not self._transport.is_closing():
            self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        """Everything else is the transport's."""
        return getattr(self._transport, name)


class Portions(asyncio.Protocol):
    """Between a socket and asyncssh's connection."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.left: int | None = MAX_LOGIN_BYTES
        """Bytes that may still come before the log-in."""
        self.flooded = False
        self._transport: Any = None
        self._waiting = bytearray()
        self._ended: list[Callable[[], None]] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is connected."""
        self._transport = transport
        self.connection.connection_made(Given(self._transport, self._waiting.clear))

    def data_received(self, data: bytes) -> None:
        """Bytes have arrived."""
        if self.flooded:
            return
        if self.left is not None:
            self.left -= len(data)
            if self.left < 0:
                self.flooded = True
                self._waiting.clear()
                self._transport.abort()
                return
        idle = not self._waiting
        self._waiting += data
        if idle:
            self._hand_on()

    def _hand_on(self) -> None:
        portion = bytes(self._waiting[:PORTION_BYTES])
        del self._waiting[:PORTION_BYTES]
        if portion:
            self.connection.data_received(portion)
        if self._waiting:
            self._read(go_on=False)
            asyncio.get_running_loop().call_soon(self._hand_on)
            return
        self._read(go_on=True)
        while self._ended:
            self._ended.pop(0)()

    def _read(self, *, go_on: bool) -> None:
        if self._transport.is_closing() or self._transport.is_reading() == go_on:
            return
        if go_on:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def eof_received(self) -> bool | None:
        """The host sends no more."""
        if not self._waiting:
            found: bool | None = self.connection.eof_received()
            return found
        self._ended.append(self.connection.eof_received)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone; what has arrived is read first."""
        if not self._waiting:
            self.connection.connection_lost(exc)
            return
        self._ended.append(lambda: self.connection.connection_lost(exc))

    def pause_writing(self) -> None:
        """The socket takes no more for now."""
        self.connection.pause_writing()

    def resume_writing(self) -> None:
        """It does again."""
        self.connection.resume_writing()
