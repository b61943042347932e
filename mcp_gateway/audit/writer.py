"""The writer: one thread that turns whatever waits into one durable group of commits after another.

A store that has failed is closed: what waits and what comes is refused at once, and every second the store is opened
anew, from its files up, and must pass a self-test of real size. When it passes, the gap itself becomes an event.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

from mcp_gateway.audit.database import Database, Outcome, Pace, Work
from mcp_gateway.audit.gathering import Gathering
from mcp_gateway.errors import StoreError
from mcp_gateway.events import StoreReopened

MAX_GROUP = 512
"""Units in one commit: bounds how long neighbours wait for the lock."""
MAX_WAITING = 10_000
"""Units that wait; beyond it the store refuses instead of growing."""
IN_HAND = 1
"""Unit that the thread has taken out of the queue when it waits for others."""
STOP_SECONDS = 5.0
CLOSED = "the audit store is closed"


class Unit:
    """Work that somebody awaits. Everything but `work` and `given_up` belongs to the thread of its event loop."""

    __slots__ = ("_outcome", "future", "given_up", "loop", "work")

    def __init__(self, work: Work, *, loop: asyncio.AbstractEventLoop) -> None:
        self.work = work
        self.loop = loop
        self.future: asyncio.Future[Any] = loop.create_future()
        self.given_up = False
        """Nobody waits any more: not written if that has not begun."""
        self._outcome: Outcome | None = None

    def settle(self, outcome: Outcome) -> None:
        """Give the answer to whoever waits; the first one counts."""
        if self._outcome is not None:
            return
        self._outcome = outcome
        if self.future.done():
            return
        if outcome.error is None:
            self.future.set_result(outcome.value)
        else:
            self.future.set_exception(outcome.error)
            self.future.exception()  # nobody may be left to fetch it, and that is no error

    def awaited_again(self) -> asyncio.Future[Any]:
        """A new future for a task that was cancelled, which cancelled the one that it awaited."""
        outcome, self._outcome = self._outcome, None
        self.future = self.loop.create_future()
        if outcome is not None:
            self.settle(outcome)
        return self.future


Done: TypeAlias = tuple[Unit, Outcome]


@dataclass(slots=True, kw_only=True)
class Gap:
    """A time in which the store refused."""

    first: StoreError
    """Why it closed."""
    cause: StoreError
    """Why it is still closed."""
    since: datetime
    retry_at: float
    failed: int = 0
    """Units that waited: counted by the thread."""
    turned_away: int = 0
    """Those that came later: counted by the event loop. Two threads that add to one number lose some."""

    @property
    def refused(self) -> int:
        """All of them."""
        return self.failed + self.turned_away


class Writer:
    """The thread and its queue."""

    def __init__(self, database: Database, *, clock: Callable[[], datetime], pace: Pace) -> None:
        self._database = database
        self._clock = clock
        self._pace = pace
        self._queue: queue.SimpleQueue[Unit | None] = queue.SimpleQueue()
        self.gathering = Gathering(seconds=pace.gather_seconds)
        self._gap: Gap | None = None
        self._condemned: StoreError | None = None
        self._stopping = False
        self._process = os.getpid()
        self._thread = threading.Thread(target=self._run, name="audit-writer", daemon=True)

    def start(self) -> None:
        """Begin; the database is open already."""
        self._thread.start()

    @property
    def failure(self) -> StoreError | None:
        """Why the store refuses at present, if it does."""
        if self._stopping:
            return StoreError(CLOSED)
        return None if self._gap is None and self._condemned is None else self._cause

    def submit(self, work: Work) -> Unit:
        """Queue a unit, in the order of the calls. Raises `StoreError` at once while the store is closed."""
        self.refuse_if_closed()
        if self._queue.qsize() >= MAX_WAITING:
            raise StoreError(f"{MAX_WAITING} records wait for the audit store", next_step="check the disk")
        unit = Unit(work, loop=asyncio.get_running_loop())
        self._queue.put(unit)
        self.gathering.handed_in(IN_HAND + self._queue.qsize())
        return unit

    def refuse_if_closed(self) -> None:
        """Raise `StoreError` while the store is closed, or in a process that was forked off the one that opened it."""
        if os.getpid() != self._process:
            raise StoreError("the audit store was opened by another process", next_step="open it after the fork")
        failure = self.failure
        if failure is not None:
            if self._gap is not None:
                self._gap.turned_away += 1
            raise _copy(failure)

    def condemn(self, why: StoreError) -> None:
        """Close the store for good: no self-test opens it again, only a new start."""
        self._condemned = why

    def stop(self) -> None:
        """Write what waits, then end. Blocks, for a bounded time."""
        if not self._stopping:
            self._stopping = True
            self._queue.put(None)
        self._thread.join(STOP_SECONDS)

    @property
    def _cause(self) -> StoreError | None:
        gap = self._gap
        return self._condemned or (None if gap is None else gap.cause)

    # The thread.

    def _run(self) -> None:
        try:
            while (batch := self._next_batch()) is not None:
                if self._cause is None and batch:
                    self._write(batch)
                else:
                    self._refuse(batch)
                    self._maybe_reopen()
        except BaseException as error:
            self._close_store(StoreError(f"the audit writer broke: {error!r}", next_step="restart the gateway"))
            raise
        finally:
            self._stopping = True
            self._refuse(self._drain())
            self._database.close()

    def _next_batch(self) -> list[Unit] | None:
        """Everything that waits, up to a group's size; empty when it is time for a self-test, None at the end."""
        timeout = None if self._gap is None else max(0.0, self._gap.retry_at - time.monotonic())
        try:
            first = self._queue.get(timeout=timeout)
        except queue.Empty:
            return []
        if first is None:
            return None
        if self._gap is None:
            self.gathering.wait(lambda: IN_HAND + self._queue.qsize())
        batch = [first]
        while len(batch) < MAX_GROUP and not self._queue.empty():
            unit = self._queue.get_nowait()
            if unit is None:
                self._queue.put(None)
                break
            batch.append(unit)
        return batch

    def _drain(self) -> list[Unit]:
        units = []
        with contextlib.suppress(queue.Empty):
            while True:
                unit = self._queue.get_nowait()
                if unit is not None:
                    units.append(unit)
        return units

    def _write(self, batch: list[Unit]) -> None:
        batch = [unit for unit in batch if not unit.given_up]
        if not batch:
            return
        try:
            outcomes = self._database.run([unit.work for unit in batch])
        except Exception as error:  # noqa: BLE001 - whatever breaks here closes the store and never ends the thread
            self._close_store(_as_store_error(error))
            self._refuse(batch)
        else:
            _deliver(list(zip(batch, outcomes, strict=True)))

    def _refuse(self, batch: list[Unit]) -> None:
        failure = self.failure or StoreError(CLOSED)
        if self._gap is not None:
            self._gap.failed += len(batch)
        _deliver([(unit, Outcome(error=_copy(failure))) for unit in batch])

    def _close_store(self, why: StoreError) -> None:
        if self._gap is None:
            retry_at = time.monotonic() + self._pace.retry_seconds
            self._gap = Gap(first=why, cause=why, since=self._clock(), retry_at=retry_at)
        else:
            self._gap.cause = why

    def _maybe_reopen(self) -> None:
        """Self-test the store if it is time, and open it if it passes."""
        gap = self._gap
        if gap is None or time.monotonic() < gap.retry_at:
            return
        try:
            self._database.open()
            self._database.probe()
            self._database.run_one(lambda tx: tx.append(self._reopened(gap)))
        except Exception as error:  # noqa: BLE001 - as in `_write`
            gap.cause = _as_store_error(error)
            gap.retry_at = time.monotonic() + self._pace.retry_seconds
        else:
            self._gap = None

    def _reopened(self, gap: Gap) -> StoreReopened:
        return StoreReopened(at=self._clock(), since=gap.since, cause=str(gap.first), refused=gap.refused)


def _as_store_error(error: Exception) -> StoreError:
    if isinstance(error, StoreError):
        return error
    return StoreError(f"the audit store broke: {error!r}", next_step="report this")


def _copy(error: StoreError) -> StoreError:
    """An exception of its own for each caller: a raised one grows with every traceback."""
    return StoreError(error.message, next_step=error.next_step)


def _deliver(done: list[Done]) -> None:
    """Wake everybody, each event loop once. A loop that is closed has nobody left to wake."""
    by_loop: defaultdict[asyncio.AbstractEventLoop, list[Done]] = defaultdict(list)
    for unit, outcome in done:
        by_loop[unit.loop].append((unit, outcome))
    for loop, results in by_loop.items():
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_settle, results)


def _settle(results: list[Done]) -> None:
    for unit, outcome in results:
        unit.settle(outcome)
