"""I8 for a gateway that runs in the test's own process: descriptors, threads, children and tasks are as before."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import anyio
import pytest
import uvloop

from tests.invariants.world import HAS_PROC, Footprint, footprint, until

SETTLING_SECONDS = 5.0
LASTING = ("TestRunner", "_shutdown_watcher")
"""Coroutines of the test runner, and sse-starlette's one watcher for each event loop, which ends with that."""

# The first event loop of a process opens a pipe for signals that lasts as long as the process: no test's leak.
uvloop.new_event_loop().close()


def own_footprint() -> Footprint | None:
    """What this process holds; None where the system does not say."""
    if not HAS_PROC:
        return None
    # Idle worker threads of anyio and asyncio end with their event loop, which is the test runner's.
    names = [thread.name for thread in threading.enumerate()]
    threads = sum(not name.startswith(("AnyIO worker thread", "asyncio_")) for name in names)
    return replace(footprint(os.getpid()), threads=threads)


def left_over(before: Footprint | None) -> list[str]:
    """What this process holds more than before, once everything had time to go."""
    found: list[str] = []

    def nothing() -> bool:
        now = own_footprint()
        found[:] = now.more_than(before) if now is not None and before is not None else []
        return not found

    until(nothing, seconds=SETTLING_SECONDS)
    return found


@pytest.fixture
async def tasks_return() -> AsyncIterator[None]:
    """No task of the test, of its fixtures or of a gateway runs on after them."""
    await _begin_the_loop()
    before = asyncio.all_tasks()
    yield
    left: set[asyncio.Task[object]] = set()
    with anyio.move_on_after(SETTLING_SECONDS):
        while left := {task for task in asyncio.all_tasks() - before if not _lasts(task)}:
            await anyio.sleep(0.01)
    assert not left, f"I8: tasks are left: {left}"


async def _begin_the_loop() -> None:
    """What comes with a loop's first use, and stays as long as the loop, is there from here on, as `own_footprint` knows it.

    uvloop opens the null device with the first stream, and names its idle threads otherwise than asyncio does.
    """
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(thread_name_prefix="asyncio"))
    server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
    server.close()
    await server.wait_closed()


def _lasts(task: asyncio.Task[object]) -> bool:
    return task is asyncio.current_task() or any(name in str(task.get_coro()) for name in LASTING)
