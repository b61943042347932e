"""Small writes to a connection leave together, and a big one leaves bit by bit.

An event loop sends at once what is written to an idle connection, and uvicorn writes the head of a response and its body
apart: that would be two system calls, two packets, and a client that is woken twice. Of what the system does not take at
once an event loop makes copies: a big answer would stand in memory several times until a slow client has read it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import Any

HELD_BYTES = 64 * 1024
"""Beyond this nothing is held to be gathered, and the transport below is given no more until it has sent what it has."""
PIECE_BYTES = 256 * 1024
"""What it is given at a time of something big."""


class Gathered:
    """A transport that gathers what it is given. Whatever is not here is the other's."""

    def __init__(self, carrier: Any, *, loop: asyncio.AbstractEventLoop) -> None:
        self._carrier = carrier
        self._loop = loop
        self._held: list[bytes] = []
        self._size = 0
        self._behind: deque[memoryview] = deque()
        """What the carrier is to be given as soon as it has sent what it has."""
        self._given = 0
        self._written_behind = 0
        self._is_closing = False
        carrier.set_write_buffer_limits(high=HELD_BYTES)

    def write(self, data: bytes) -> None:
        """Send it with what else is written until the event loop's next turn."""
        if not self._held:
            self._loop.call_soon(self._send)
        self._held.append(data)
        self._size += len(data)
        if self._size > HELD_BYTES:
            self._send()

    def writelines(self, data: Iterable[bytes]) -> None:
        """The same of several pieces."""
        self.write(b"".join(data))

    def go_on(self) -> None:
        """Give the carrier more. To be called when it says that it may be written to again."""
        while self._behind and self._carrier.get_write_buffer_size() <= HELD_BYTES:
            if self._carrier.is_closing():
                self._behind.clear()
                return
            piece = self._behind[0][:PIECE_BYTES]
            if len(piece) == len(self._behind[0]):
                self._behind.popleft()
            else:
                self._behind[0] = self._behind[0][PIECE_BYTES:]
            self._give(bytes(piece))
        if not self.is_behind:
            self._written_behind = 0
        if self._is_closing and not self._behind:
            self._carrier.close()

    @property
    def is_behind(self) -> bool:
        """Whether the carrier has not taken all of it yet; it says when it may be written to again."""
        return bool(self._behind) or self._carrier.get_write_buffer_size() > HELD_BYTES

    def close(self) -> None:
        """Send what waits, and hang up; nothing more is read."""
        self._send()
        self._is_closing = True
        if self._behind:
            self._carrier.pause_reading()
        else:
            self._carrier.close()

    def is_closing(self) -> bool:
        """Whether it is over, or will be once all is sent."""
        return self._is_closing or bool(self._carrier.is_closing())

    def resume_reading(self) -> None:
        """Read on, unless it is over."""
        if not self._is_closing:
            self._carrier.resume_reading()

    def get_write_buffer_size(self) -> int:
        """What has not left this process."""
        waiting: int = self._carrier.get_write_buffer_size()
        return self._size + sum(map(len, self._behind)) + waiting

    @property
    def kept_bytes(self) -> int:
        """What stands in memory of what has not left: no part of an answer is free before its last byte has gone.

        So it is with whoever wrote it, who waits for that, and with the carrier for each piece that it was given.
        """
        waiting: int = self._carrier.get_write_buffer_size()
        return self._size + self._written_behind + (max(waiting, self._given) if waiting else 0)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._carrier, name)

    def _send(self) -> None:
        held, size = self._held, self._size
        self._held, self._size = [], 0
        if not held or self.is_closing():
            return
        self._written_behind += size
        if size <= PIECE_BYTES and not self._behind:
            self._give(b"".join(held))
        else:
            self._behind += map(memoryview, held)
        self.go_on()

    def _give(self, piece: bytes) -> None:
        self._given = len(piece)
        self._carrier.write(piece)
