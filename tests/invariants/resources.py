"""I8 for a gateway that runs in the test's own process: descriptors, threads, children and tasks are as before."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from dataclasses import replace

import anyio
import pytest

from tests.invariants.world import HAS_PROC, Footprint, footprint, until

SETTLING_SECONDS = 5.0
LASTING = ("TestRunner", "_shutdown_watcher")
"""Coroutines of the test runner, and sse-starlette's one watcher for each event loop, which ends with that."""


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
    before = asyncio.all_tasks()
    yield
    left: set[asyncio.Task[object]] = set()
    with anyio.move_on_after(SETTLING_SECONDS):
        while left := {task for task in asyncio.all_tasks() - before if not _lasts(task)}:
            await anyio.sleep(0.01)
    assert not left, f"I8: tasks are left: {left}"


def _lasts(task: asyncio.Task[object]) -> bool:
    return task is asyncio.current_task() or any(name in str(task.get_coro()) for name in LASTING)
