"""Waiting for approvals to move: one look at all that are waited for, however many calls wait.

A move in this process is told at once. One that another process made is found by the look, which the waiting calls take
in turns. For one event loop.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

import anyio

LOOK_SECONDS = 0.25
"""How old a look may be before somebody takes another one."""


@dataclass(slots=True, kw_only=True)
class _Waited:
    """One approval that calls wait for."""

    moved: anyio.Event = field(default_factory=anyio.Event)
    waiting: int = 0


class Watch:
    """Who waits for what."""

    def __init__(self, look: Callable[[list[str]], Awaitable[list[str]]]) -> None:
        """`look` says which of these approvals are pending no longer."""
        self._look = look
        self._waited: dict[str, _Waited] = {}
        self._looked = float("-inf")
        self._looking = False

    async def has_moved(self, approval_id: str, *, within: float) -> bool:
        """Whether it moved in the next `within` seconds. Raises what `look` raises."""
        waited = self._waited.setdefault(approval_id, _Waited())
        waited.waiting += 1
        try:
            with anyio.move_on_after(within):
                await waited.moved.wait()
            if not waited.moved.is_set():
                await self._look_again()
            return waited.moved.is_set()
        finally:
            waited.waiting -= 1
            if not waited.waiting and self._waited.get(approval_id) is waited:
                del self._waited[approval_id]

    def tell(self, approval_ids: Iterable[str]) -> None:
        """These have moved."""
        for approval_id in approval_ids:
            waited = self._waited.pop(approval_id, None)
            if waited is not None:
                waited.moved.set()

    async def _look_again(self) -> None:
        """Look for everybody, unless somebody does or has just done so."""
        if self._looking or anyio.current_time() - self._looked < LOOK_SECONDS:
            return
        self._looking = True
        try:
            started = anyio.current_time()
            self.tell(await self._look(list(self._waited)))
            self._looked = started
        finally:
            self._looking = False
