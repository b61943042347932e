"""The audit store as the rest of the gateway sees it: what it is given is durable when the call returns.

    store = await AuditStore.open(data_dir, clock=utc_now, migrations=approvals.MIGRATIONS)
    await store.append(Received(...), Identified(...))
    await store.transact(lambda tx: tx.append(Started(...)))

Below it are `writer` (one thread, group commit, closed after a failure until a self-test passes), `database` (the file
and what guards it), `transaction` (what a unit may do) and the pure `chain`. Searching, showing and verifying are
`search`'s: they work on a store that no gateway has open.

Every refusal is a `StoreError`. A unit that raises is rolled back alone and its exception comes back to its caller.

Cancellation: a unit that was handed in is not taken back. A caller that is cancelled while it waits gets the answer
first, and the cancellation at its next `await`; so nobody is ever in doubt whether something was recorded. The wait is
bounded; if the disk does not answer for that long, `StoreError` says that the record may still be written, and the
caller hands the call to `forsake`.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import anyio
import anyio.to_thread

from mcp_gateway.audit.database import Database, Outcome, Pace
from mcp_gateway.audit.files import Paths
from mcp_gateway.audit.readers import MAX_IDLE, Readers
from mcp_gateway.audit.schema import Migration
from mcp_gateway.audit.scrub import Scrub
from mcp_gateway.audit.transaction import ENDING, Transaction
from mcp_gateway.audit.writer import Unit, Writer
from mcp_gateway.errors import StoreError
from mcp_gateway.events import Event

T = TypeVar("T")
OUTCOME_WORDS = {
    "Finished": "ok",
    "Failed": "failed",
    "TimedOut": "timed out",
    "Cancelled": "cancelled",
    "OutcomeUnknown": "unknown",
    "Denied": "denied",
}
__all__ = ["AuditStore", "Migration", "Pace", "Transaction"]


class _CallsUnderWay:
    """Counts calls from their beginning to their end; entered once for each."""

    def __init__(self, writer: Writer) -> None:
        self._gathering = writer.gathering
        self.calls = 0

    def __enter__(self) -> None:
        self.calls += 1
        self._gathering.under_way += 1

    def __exit__(self, *_: object) -> None:
        self._gathering.under_way -= 1
        self.calls -= 1


class AuditStore:
    """One process's door to the store of one data directory."""

    def __init__(self, paths: Paths, *, database: Database, writer: Writer, pace: Pace) -> None:
        self._paths = paths
        self._database = database
        self._writer = writer
        self._pace = pace
        self._readers = Readers(paths, database)
        self._limiter = anyio.CapacityLimiter(MAX_IDLE)
        self._scrub = Scrub(paths, condemn=writer.condemn, failure=lambda: writer.failure)
        database.others += [self._readers.close, self._scrub.let_go]
        self._forsaken: dict[str, str] = {}
        self._under_way = _CallsUnderWay(writer)

    @classmethod
    async def open(
        cls,
        data_dir: Path,
        *,
        clock: Callable[[], datetime],
        migrations: Sequence[Migration] = (),
        pace: Pace | None = None,
    ) -> AuditStore:
        """Open the store of a data directory, or make it.

        Raises:
            StoreError: it cannot be trusted or used; the text says why and what to do.
        """
        paths, pace = Paths(data_dir), pace or Pace()
        database = Database(paths, migrations=migrations, pace=pace)
        try:
            await anyio.to_thread.run_sync(database.open)
        except BaseException:
            database.close()
            raise
        writer = Writer(database, clock=clock, pace=pace)
        writer.start()
        store = cls(paths, database=database, writer=writer, pace=pace)
        store._scrub.start()
        return store

    async def append(self, *events: Event) -> tuple[int, ...]:
        """Add events to the chain, all or none; durable on return. Gives their numbers."""
        return await self.transact(lambda tx: tuple([tx.append(event) for event in events]))

    async def transact(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` in the writer's thread as one atomic unit; durable on return.

        Raises whatever `work` raises, with nothing of it kept, and `StoreError` when the store refuses.
        """
        unit = self._writer.submit(work)
        timer = unit.loop.call_later(self._pace.answer_seconds, _give_up, unit, self._pace.answer_seconds)
        try:
            answer: T = await unit.future
        except asyncio.CancelledError as cancelled:
            answer = await _answer_first(unit, cancelled)
        finally:
            timer.cancel()
        return answer

    def call_under_way(self) -> AbstractContextManager[None]:
        """Say that a call is on its way: where there are many, their records wait for each other for a moment."""
        return self._under_way

    @contextmanager
    def call_held_up(self) -> Iterator[None]:
        """Say that a call waits for people or for its turn: it has nothing to record, so nobody waits for it."""
        self._writer.gathering.under_way -= 1
        try:
            yield
        finally:
            self._writer.gathering.under_way += 1

    @property
    def calls_under_way(self) -> int:
        """How many have said so and have not come to their end."""
        return self._under_way.calls

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` on a snapshot, in another thread; it must read all of its rows before it returns."""
        self._writer.refuse_if_closed()
        try:
            return await anyio.to_thread.run_sync(self._readers.run, work, limiter=self._limiter)
        except StoreError:
            # A write looks at the files as well: it closes the store over what a read alone cannot mend.
            with contextlib.suppress(StoreError):
                self._writer.submit(lambda _: None)
            raise

    def closes_before_opening(self, close: Callable[[], None]) -> None:
        """Name what closes a connection of one's own; it is called in another thread, before the files are opened anew."""
        self._database.others.append(close)

    async def outcome_of(self, call_id: str) -> str | None:
        """How a call ended: `ok`, `failed`, `timed out`, `cancelled`, `unknown` or `denied`; None if it has not."""
        query = f"SELECT kind FROM events WHERE call_id = ? AND kind IN ({ENDING})"  # noqa: S608 - our own classes
        row = await self.read(lambda connection: connection.execute(query, (call_id,)).fetchone())
        return None if row is None else OUTCOME_WORDS[row[0]]

    def forsake(self, call_id: str, *, cause: str) -> None:
        """Leave a call whose record failed: if its intent turns out to be open, it is closed as unknown later."""
        self._forsaken.setdefault(call_id, cause)

    @property
    def forsaken(self) -> dict[str, str]:
        """Calls that were left, with the causes; `leases` closes them and takes them out."""
        return self._forsaken

    @property
    def data_dir(self) -> Path:
        """The directory that holds the store."""
        return self._paths.data_dir

    @property
    def failure(self) -> StoreError | None:
        """Why the store refuses at present; None while it works. For readiness and `check`."""
        return self._writer.failure

    @property
    def openings(self) -> int:
        """How often the files were opened: a connection of an earlier opening may look at files that are gone."""
        return self._database.openings

    @property
    def attempts(self) -> int:
        """How often opening them was tried: goes on counting while the store is closed."""
        return self._database.attempts

    @property
    def commits(self) -> int:
        """Groups committed by this process."""
        return self._database.commits

    async def aclose(self) -> None:
        """Write what waits and let go of the files. Safe more than once."""
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self._stop)

    def _stop(self) -> None:
        self._scrub.stop()
        self._writer.stop()
        self._readers.close()


def _give_up(unit: Unit, seconds: float) -> None:
    unit.given_up = True
    message = f"the audit store has not answered for {seconds:g} s; the record may still be written"
    unit.settle(Outcome(error=StoreError(message, next_step="check the disk")))


async def _answer_first(unit: Unit, cancelled: asyncio.CancelledError) -> Any:
    """Wait on for the unit of a task that was cancelled; hand the cancellation on at its next `await`.

    The scope stops further cancellations by anyio, the loop those by `Task.cancel`, as asyncio's time-outs use it. Each
    counts in `Task.cancelling`, so it is taken back before the last one is repeated with its own message. A scope of
    anyio's that is cancelled repeats itself, for as long as the task is in it: repeated here, the cancellation would outlive
    the scope where nothing is awaited any more, and end whatever the task is part of.
    """
    taken = 1
    task = asyncio.current_task()
    try:
        with anyio.CancelScope(shield=True):
            while True:
                try:
                    return await unit.awaited_again()
                except asyncio.CancelledError as another:
                    cancelled, taken = another, taken + 1
    finally:
        if task is not None and anyio.current_effective_deadline() != -math.inf:
            for _ in range(taken):
                task.uncancel()
            for _ in range(taken):
                task.cancel(*cancelled.args)
