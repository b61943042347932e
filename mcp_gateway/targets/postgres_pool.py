"""Open sessions, kept for the next call. A session goes back only if whoever used it vouches for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import anyio

from mcp_gateway.targets.postgres_session import Session
from mcp_gateway.turns import acquire

MAX_AGE_SECONDS = 1800.0
"""So that a rotated password, a changed address and a new right of the role take effect without a restart."""
PARTING_SECONDS = 0.4
"""How long a call waits for its session's end; a server that hangs is waited for in the background."""


class Pool:
    """At most `size` sessions in use; what is idle waits, the most recently used one first."""

    def __init__(self, open_session: Callable[[], Awaitable[Session]], *, size: int) -> None:
        self._open = open_session
        self._slots = anyio.Semaphore(size, fast_acquire=True)
        self._idle: list[Session] = []
        self._leaving: set[asyncio.Task[None]] = set()
        self._closed = False
        self._purged_at = 0.0

    async def acquire(self) -> tuple[Session, bool]:
        """Wait for a slot; return a session and whether it is new. Whatever opening one raises is passed on."""
        await acquire(self._slots)
        try:
            while self._idle:
                session = self._idle.pop()
                age = asyncio.get_running_loop().time() - session.opened_at
                if not session.closed and age < MAX_AGE_SECONDS:
                    return session, False
                self._part(session)
            return await self._open(), True
        except BaseException:
            self._slots.release()
            raise

    async def release(self, session: Session, *, reusable: bool) -> None:
        """Give a session back. One that is not `reusable` is closed, and with it all that it holds at the server."""
        self._slots.release()
        if reusable and not session.closed and not self._closed and session.opened_at >= self._purged_at:
            self._idle.append(session)
            return
        parting = self._part(session)
        with anyio.move_on_after(PARTING_SECONDS, shield=True):
            await asyncio.shield(parting)

    def purge(self) -> None:
        """Close every idle session now, and what is in use when it comes back: the server, or who is let in there, is not
        what it was when they were opened.
        """
        self._purged_at = asyncio.get_running_loop().time()
        while self._idle:
            self._part(self._idle.pop())

    async def aclose(self) -> None:
        """Close what is idle now, and what is in use when it comes back."""
        self._closed = True
        self.purge()
        while self._leaving:
            await asyncio.wait(self._leaving)

    def _part(self, session: Session) -> asyncio.Task[None]:
        task = asyncio.create_task(session.close())
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)
        return task
