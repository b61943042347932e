"""Fair shares of what is scarce: how many things go on at once, for everybody and for one caller.

`Shares` refuses what is beyond a caller's share; `Turns` lets it wait. Whoever has its whole share waits behind itself
alone: no more than its share of one caller ever stands in the queue that all have in common, and that is served in
order. So however many calls of one caller wait, another's is delayed by that share at most. For one event loop.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial

import anyio

from mcp_gateway.errors import LimitError

working_for: ContextVar[str] = ContextVar("working_for", default="")
"""Whose call is worked on: the key of a turn that is taken deep below the road, where nothing else says it."""

Release = Callable[[], None]
"""Gives back what was taken; a second time does nothing."""


class Shares:
    """At most `each` calls at once of one caller."""

    def __init__(self, *, each: int) -> None:
        self.each = each
        self._held: Counter[str] = Counter()

    def take(self, key: str) -> Release:
        """Take one of a caller's. Raises `LimitError` where it has all of them."""
        if self._held[key] >= self.each:
            raise LimitError(
                f"{self.each} calls of this caller are under way, which is as many as may be at once",
                next_step="wait until one of them has been answered, then call again; nothing has run",
            )
        self._held[key] += 1
        return _once(partial(self._give_back, key))

    def _give_back(self, key: str) -> None:
        self._held[key] -= 1
        if not self._held[key]:
            del self._held[key]


async def acquire(semaphore: anyio.Semaphore) -> None:
    """Wait for a place; one that is free is taken without a look at whether the task was cancelled."""
    try:
        semaphore.acquire_nowait()
    except anyio.WouldBlock:
        await semaphore.acquire()


@dataclass(slots=True, kw_only=True)
class _Lane:
    """One key's own queue, for as long as somebody stands in it."""

    own: anyio.Semaphore
    users: int = field(default=0)


class Turns:
    """At most `total` at once, and `each` of one key; more wait."""

    def __init__(self, *, total: int, each: int) -> None:
        self._all = anyio.Semaphore(total, fast_acquire=True)
        self._each = min(each, total)
        self._lanes: dict[str, _Lane] = {}
        self._spare: _Lane | None = None
        """One that nobody stands in, for the next key: to make one takes longer than all else here."""

    async def take(self, key: str) -> Release:
        """Wait for a turn, however long."""
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = self._spare or _Lane(own=anyio.Semaphore(self._each, fast_acquire=True))
            self._spare = None
        lane.users += 1
        try:
            await acquire(lane.own)
            try:
                await acquire(self._all)
            except BaseException:
                lane.own.release()
                raise
        except BaseException:
            self._leave(key, lane)
            raise
        return _once(partial(self._give_back, key, lane))

    async def take_within(self, wait: timedelta, *, key: str) -> Release | None:
        """Wait so long for a turn; None where that was not enough."""
        if self.free(key):  # nothing is waited for, so nothing has to end it
            return await self.take(key)
        with anyio.move_on_after(wait.total_seconds()):
            return await self.take(key)
        return None

    @asynccontextmanager
    async def turn(self, key: str) -> AsyncIterator[None]:
        """Wait for a turn and hold it."""
        release = await self.take(key)
        try:
            yield
        finally:
            release()

    def free(self, key: str) -> bool:
        """Whether `take` would not wait."""
        lane = self._lanes.get(key)
        return self._all.value > 0 and (lane is None or lane.own.value > 0)

    @property
    def idle(self) -> bool:
        """Whether nobody holds or waits for a turn."""
        return not self._lanes

    def _give_back(self, key: str, lane: _Lane) -> None:
        self._all.release()
        lane.own.release()
        self._leave(key, lane)

    def _leave(self, key: str, lane: _Lane) -> None:
        lane.users -= 1
        if not lane.users:
            self._spare = self._lanes.pop(key)


def _once(work: Release) -> Release:
    left = [work]

    def release() -> None:
        if left:
            left.pop()()

    return release
