"""What is written to a connection in one turn of the event loop goes out in one piece.

An event loop sends at once what is written to an idle connection, and uvicorn writes the head of a response and its body
apart: that would be two system calls, two packets, and a client that is woken twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

HELD_BYTES = 64 * 1024
"""Beyond this nothing is held: whoever writes much is told by the transport to wait."""


class Gathered:
    """A transport that gathers what it is given. Whatever is not here is the other's."""

    def __init__(self, carrier: Any, *, loop: asyncio.AbstractEventLoop) -> None:
        self._carrier = carrier
        self._loop = loop
        self._held: list[bytes] = []
        self._size = 0

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

    def close(self) -> None:
        """Send what waits, and hang up."""
        self._send()
        self._carrier.close()

    def get_write_buffer_size(self) -> int:
        """What has not left this process."""
        waiting: int = self._carrier.get_write_buffer_size()
        return self._size + waiting

    def __getattr__(self, name: str) -> Any:
        return getattr(self._carrier, name)

    def _send(self) -> None:
        held, self._held, self._size = self._held, [], 0
        if held and not self._carrier.is_closing():
            self._carrier.write(b"".join(held))
