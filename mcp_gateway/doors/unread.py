"""Answers that wait for streams whose clients do not read them: so many of one person, and no more.

Over SSE a message is accepted before it is answered, so nothing keeps a client from asking while it reads none of the
answers. A slow connection is hung up on after its time (`connections`); this bounds what waits until then. Some clients
give up for good when a message is refused, so one that only comes too fast is made to wait.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import anyio
from mcp.shared.message import SessionMessage

MOST = 64
PATIENCE_SECONDS = 5.0


class Unread:
    """Of everybody's streams."""

    def __init__(self) -> None:
        self._waiting: Counter[str] = Counter()
        self._moved = anyio.Event()

    async def has_room(self, key: str) -> bool:
        """Wait, not for long, until a person may ask for more; False where they may not."""
        with anyio.move_on_after(PATIENCE_SECONDS):
            while self._waiting[key] >= MOST:
                await self._moved.wait()
            return True
        return False

    def counted(self, stream: Any, *, key: str) -> Counted:
        """A person's stream, as the SDK writes to it."""
        return Counted(stream, self, key)

    @contextmanager
    def sending(self, key: str) -> Iterator[None]:
        """Count one answer of a person's for as long as it waits."""
        self._waiting[key] += 1
        try:
            yield
        finally:
            self._waiting[key] -= 1
            if not self._waiting[key]:
                del self._waiting[key]
            moved, self._moved = self._moved, anyio.Event()
            moved.set()


class Counted:
    """A stream; what is being sent counts as waiting."""

    def __init__(self, stream: Any, unread: Unread, key: str) -> None:
        self._stream = stream
        self._unread = unread
        self._key = key

    async def send(self, item: SessionMessage) -> None:
        """Send one message, which takes until the client has read those before it."""
        with self._unread.sending(self._key):
            await self._stream.send(item)

    async def aclose(self) -> None:
        """Close the stream."""
        await self._stream.aclose()

    async def __aenter__(self) -> Counted:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()
