"""The events of one call, on their way to the store: noted as they happen, durable when they have to be."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

import anyio
import structlog

from mcp_gateway import refusals
from mcp_gateway.answers import Answer, Refusal
from mcp_gateway.audit import usage
from mcp_gateway.audit.store import AuditStore, Transaction
from mcp_gateway.calls import Caller
from mcp_gateway.errors import StoreError
from mcp_gateway.events import Answered, Event
from mcp_gateway.usage import NO_REFUSALS, Spent

log = structlog.get_logger(__name__)

T = TypeVar("T")


class Journal:
    """One call's own list. What the store has refused stays noted, so a refusal can still be recorded with it."""

    def __init__(self, *, call_id: str, store: AuditStore, clock: Callable[[], datetime]) -> None:
        self.call_id = call_id
        self._store = store
        self.now = clock
        """The time for the next event."""
        self._noted: list[Event] = []
        self.caller: Caller | None = None
        """Whom what the call adds is counted for, once proved."""

    def note(self, event: Event) -> None:
        """Keep an event until the next `record`."""
        self._noted.append(event)

    def take_back(self, event: Event) -> None:
        """Forget an event that is noted and not recorded, since it is not so."""
        self._noted = [noted for noted in self._noted if noted is not event]

    async def record(self) -> None:
        """Make everything noted durable."""
        await self.record_with(lambda _: None)

    async def record_with(self, step: Callable[[Transaction], T], *, spent: Spent | None = None) -> T:
        """Make everything noted durable in one transaction with `step`, which comes after it, and count what was `spent`.

        Raises whatever `step` raises, with nothing recorded, and `StoreError` if the store refuses; should the call's
        intent be open then, or turn out to be, it is closed as unknown once the store works again.
        """
        noted = tuple(self._noted)

        def work(tx: Transaction) -> T:
            for event in noted:
                tx.append(event)
            done = step(tx)
            if spent is not None and self.caller is not None:
                tx.later(usage.add, usage.Added(caller=self.caller, spent=spent, at=self.now()))
            return done

        try:
            done = await self._store.transact(work)
        except StoreError as error:
            self._store.forsake(self.call_id, cause=f"its record was refused: {error}")
            raise
        del self._noted[: len(noted)]
        return done

    # Endings.

    async def answer(
        self, refusal: Refusal | None, *, code: str = "", started: bool = False, said: Spent | None = None
    ) -> Answer:
        """Record everything noted and what the door is told; nothing is told that is not recorded.

        `said` is what of it comes from the target: it counts like a result.
        """
        refusal = refusal or refusals.internal(started=started)
        code = code or refusal.code
        told = said or Spent()
        self.note(Answered(at=self.now(), call_id=self.call_id, code=code, said=told.bytes, touched=told.touched))
        spent = said if started else None if code in NO_REFUSALS else Spent(refusals=1)
        try:
            with anyio.CancelScope(shield=True):
                await self.record_with(lambda _: None, spent=spent)
        except StoreError as error:
            log.critical("audit_unavailable", call_id=self.call_id, cause=str(error))
            withheld = refusals.result_withheld() if started else refusals.audit_unavailable()
            return Answer(call_id=self.call_id, outcome=withheld)
        return Answer(call_id=self.call_id, outcome=refusal)

    async def close(self, *, code: str) -> None:
        """Record everything noted and how it ended, where nobody is left to be answered."""
        self.note(Answered(at=self.now(), call_id=self.call_id, code=code))
        try:
            with anyio.CancelScope(shield=True):
                await self.record()
        except StoreError as error:
            log.critical("audit_unavailable", call_id=self.call_id, cause=str(error))
