"""The clock and the source of new ids: the one module that reads them.

Everything else takes the time as an argument (`now: datetime` in pure functions, `clock: Callable[[], datetime]`
in objects that live long), so that tests choose it.

Records and deadlines are in wall time, which everybody on the machine shares, and somebody can set it back. What must
not come alive again by that, tokens above all, is judged by `steady_now`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial

import anyio
import uuid_utils

NOTICED = timedelta(seconds=60)
"""A clock that was set back by more than this ends what waits for people."""
NOTICED_SECONDS = NOTICED.total_seconds()
ADJUSTMENT_SECONDS = 1.0
"""What time services and leap seconds take back; no more is believed."""
SETTLED_SECONDS = 600.0
"""A clock that was set forward is believed after so long, so that a mistake of minutes can be taken back."""
BOOT_CLOCK: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Goes on while the machine sleeps, as the monotonic clock of macOS does."""


utc_now: Callable[[], datetime] = partial(datetime.now, UTC)
"""The time, aware, in UTC."""
boot_seconds: Callable[[], float] = partial(time.clock_gettime, BOOT_CLOCK)
"""Seconds since the machine started, sleep included; nobody can set this clock."""


class SteadyClock:
    """The wall clock, except that it never goes back: then the time is what the boot clock says has passed since.

    It starts from the wall clock anew with each process, so whoever corrects a clock that was fast restarts the
    gateway; until then tokens are judged by the later time.
    """

    def __init__(self, *, wall: Callable[[], datetime] = utc_now, boot: Callable[[], float] = boot_seconds) -> None:
        self._wall = wall
        self._boot = boot
        self._started = wall().timestamp() - boot()
        """When the machine started, by the wall clock as it is believed; in seconds, because this is asked for all the time."""
        self._ahead_since: float | None = None
        self._told = timedelta(0)

    def __call__(self) -> datetime:
        """The later of the wall clock and where it should stand."""
        wall, boot = self._wall(), self._boot()
        ahead = wall.timestamp() - self._started - boot
        if ahead > NOTICED_SECONDS:
            self._ahead_since = boot if self._ahead_since is None else self._ahead_since
            if boot - self._ahead_since < SETTLED_SECONDS:
                return wall
        self._ahead_since = None
        if ahead >= -ADJUSTMENT_SECONDS:
            self._started += ahead
            return wall
        return wall - timedelta(seconds=ahead)

    def set_back(self) -> timedelta | None:
        """By how much the wall clock is behind, once for each time that somebody set it back by more than a minute."""
        behind = self() - self._wall()
        if behind - self._told > NOTICED:
            self._told = behind
            return behind
        self._told = min(self._told, behind)
        return None


steady_now = SteadyClock()
"""This process's."""


def time_limit(seconds: float) -> anyio.CancelScope:
    """What ends after so many seconds, as `anyio.move_on_after` does; that one first finds out, twice, which event loop it has."""
    return anyio.CancelScope(deadline=asyncio.get_running_loop().time() + seconds)


def new_id() -> str:
    """A new UUIDv7 as text (RFC 9562 section 5.7): ids sort by the time they were made."""
    return str(uuid_utils.uuid7())
