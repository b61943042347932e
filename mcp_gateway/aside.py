"""Masking beside the event loop: what may take long runs in a thread, and everybody else's calls go on.

Masking takes linear time, but a large result full of candidates takes seconds. A small one is masked in place: handing
it over would cost more than masking it. Of the larger ones few run at once, at most one of each caller, and none for
longer than its time. A thread cannot be killed, so it is asked to end (`masking.stopping`) and waited for: no more run
than there are threads, and nobody is told of an end before it has come.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any, TypeVar

import anyio

from mcp_gateway.errors import MaskingError
from mcp_gateway.turns import Turns

INLINE_BYTES = 16 * 1024
"""Up to this size masking is done in place: 0.3 ms for ordinary text, as much as a thread costs; at most some 20 ms."""
THREADS = 2
LONGEST = timedelta(seconds=10)
"""For one result, waiting for a thread included. With a target's time and this a call ends before its client gives up."""
SWITCH_SECONDS = 0.0005
"""How long a thread that masks goes on before the event loop has its turn, a tenth of Python's default: a call has some
twenty turns, and with two hostile results being masked others took 5 times as long with the default."""
NUMBER_BYTES = 8
"""What a value that is no text counts for."""

COLLECTIONS = frozenset({list, tuple, set, frozenset})
SCALARS = frozenset({bool, float, int, type(None)})

T = TypeVar("T")


class Aside:
    """Where a gateway masks."""

    def __init__(self, *, threads: int = THREADS, longest: timedelta = LONGEST) -> None:
        self._executor = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="masking")
        self._turns = Turns(total=threads, each=1)
        self._longest = longest

    async def run(self, work: Callable[[], T], *, size: int, key: str, stop: Callable[[], None]) -> T:
        """Do `work`, which goes through about `size` bytes for the caller `key`. `stop` makes it raise soon.

        Raises `MaskingError` where it takes too long, and what `work` raises.
        """
        if size <= INLINE_BYTES:
            return work()
        try:
            with anyio.fail_after(self._longest.total_seconds()):
                async with self._turns.turn(key):
                    return await self._in_thread(work, stop=stop)
        except TimeoutError:
            seconds = self._longest.total_seconds()
            raise MaskingError(f"masking {size:,} bytes was not done within {seconds:g} s") from None

    def close(self) -> None:
        """End the threads. Whatever they were doing has been told to stop, or is done."""
        self._executor.shutdown(wait=True, cancel_futures=True)

    async def _in_thread(self, work: Callable[[], T], *, stop: Callable[[], None]) -> T:
        loop, ended = asyncio.get_running_loop(), anyio.Event()
        future = self._executor.submit(work)
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(ended.set))
        try:
            await ended.wait()
        except BaseException:
            stop()
            future.cancel()
            with anyio.CancelScope(shield=True):
                await ended.wait()
            raise
        return future.result()


def weight(value: Any) -> int:
    """About how many bytes of text are in a JSON value; not counted further once they are too many to mask in place."""
    total, left = 0, [value]
    while left and total <= INLINE_BYTES:
        item = left.pop()
        kind = type(item)
        if kind is str or kind is bytes:
            total += len(item)
        elif kind is dict:
            left += item
            left += item.values()
        elif kind in COLLECTIONS:
            left += item
        elif kind not in SCALARS:
            if isinstance(item, str | bytes):
                total += len(item)
            elif isinstance(item, Mapping):
                left += [*item.keys(), *item.values()]
            elif isinstance(item, Collection):
                left += item
        total += NUMBER_BYTES
    return total
