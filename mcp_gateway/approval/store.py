"""Approvals in the audit store's database: every transition is one transaction with its event.

The pure machine is `ticket`; this module reads a row, lets the machine move it and writes it back, inside one
unit of the store's writer, so that racing people and racing retries are decided by the database: one winner.
What a row holds of a ticket is `ticket_form`'s to say.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import anyio

from mcp_gateway.approval import ticket as machine
from mcp_gateway.approval.ticket import Rejected, Ticket, Vote
from mcp_gateway.approval.ticket_form import TicketForm
from mcp_gateway.audit.schema import Migration
from mcp_gateway.audit.store import AuditStore, Transaction
from mcp_gateway.calls import Caller, Secret
from mcp_gateway.errors import LimitError
from mcp_gateway.events import (
    ApprovalDenied,
    ApprovalExpired,
    ApprovalRevoked,
    ApprovalWithdrawn,
    Approved,
    Asked,
    Claimed,
    Event,
    plain,
)

MAX_PENDING_FOR_A_CALLER = 20
BY_ID = "SELECT body, sealed FROM approvals WHERE id = ?"
BY_DIGEST = "SELECT body, sealed FROM approvals WHERE digest = ? ORDER BY number DESC LIMIT 1"
BY_USE = (
    "SELECT approvals.body, sealed FROM events JOIN approvals ON approvals.id = events.body ->> '$.approval_id' "
    "WHERE events.call_id = ? AND events.kind = 'Claimed'"
)
LIVE = "SELECT body, sealed FROM approvals WHERE state IN ('pending', 'approved') ORDER BY number"
EVERY = "SELECT body, sealed FROM approvals ORDER BY number"

MIGRATIONS = (
    Migration(
        name="approvals-1",
        script="""
        CREATE TABLE approvals (
            number INTEGER PRIMARY KEY,
            id TEXT NOT NULL UNIQUE,
            digest TEXT NOT NULL,
            state TEXT NOT NULL,
            person TEXT NOT NULL,
            due TEXT,
            body BLOB NOT NULL,
            sealed BLOB
        ) STRICT;
        CREATE INDEX approvals_by_digest ON approvals (digest, number);
        CREATE INDEX approvals_by_state ON approvals (state, due);
        """,
    ),
)


class Rows(Protocol):
    """What both a transaction and a reading connection can do."""

    def execute(self, sql: str, parameters: Sequence[Any] = ..., /) -> sqlite3.Cursor:
        """Run one statement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """What `open_or_continue` found or made."""

    ticket: Ticket
    fresh: bool


class ApprovalStore:
    """All approvals of one data directory."""

    def __init__(
        self, store: AuditStore, *, key: Secret, clock: Callable[[], datetime], new_id: Callable[[], str]
    ) -> None:
        self._store = store
        self._form = TicketForm(key)
        self._clock = clock
        self._new_id = new_id
        self._moved = anyio.Event()

    # Reading.

    async def get(self, approval_id: str) -> Ticket | None:
        """One approval, as it stands now, deadlines included."""
        found = await self._store.read(lambda connection: self._one(connection, BY_ID, approval_id))
        return None if found is None else machine.settle(found, now=self._clock())

    async def latest(self, digest: str) -> Ticket | None:
        """The newest approval of exactly this call."""
        return await self._store.read(lambda connection: self._one(connection, BY_DIGEST, digest))

    async def used_by(self, call_id: str) -> Ticket | None:
        """The approval that a call used."""
        return await self._store.read(lambda connection: self._one(connection, BY_USE, call_id))

    async def listing(self, *, live_only: bool = True) -> list[Ticket]:
        """Approvals, the oldest first."""

        def read(connection: Rows) -> list[Ticket]:
            rows = connection.execute(LIVE if live_only else EVERY).fetchall()
            return [machine.settle(self._form.read(*row), now=self._clock()) for row in rows]

        found = await self._store.read(read)
        return [item for item in found if item.state in {"pending", "approved"}] if live_only else found

    async def wait_for_move(self, *, seconds: float) -> None:
        """Return when some approval moved in this process, or after `seconds`; another process may move one too."""
        with anyio.move_on_after(seconds):
            await self._moved.wait()

    # Opening and claiming: steps of the caller's own transaction.

    def open_or_continue(self, tx: Transaction, draft: Ticket, *, events: Sequence[Event] = ()) -> Opened:
        """Find the live approval of this very call, or open `draft`; `events` go before `Asked`.

        Raises:
            LimitError: the caller has `MAX_PENDING_FOR_A_CALLER` pending already.
        """
        now = self._clock()
        earlier = self._one(tx, BY_DIGEST, draft.digest)
        if earlier is not None:
            earlier = self._settled(tx, earlier, now=now)
            if machine.remembered(earlier, now=now):
                for event in events:
                    tx.append(event)
                return Opened(ticket=earlier, fresh=False)
        pending = tx.execute(
            "SELECT count(*) FROM approvals WHERE person = ? AND state = 'pending' AND due > ?",
            (draft.person, plain(now)),
        ).fetchone()[0]
        if pending >= MAX_PENDING_FOR_A_CALLER:
            raise LimitError(
                f"{pending} approvals are pending for this caller, the most that may be",
                next_step="wait until some are decided, or withdraw one: mcp-gateway approvals withdraw ID",
            )
        for event in events:
            tx.append(event)
        tx.execute(
            "INSERT INTO approvals (id, digest, state, person, due, body, sealed) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (draft.id, draft.digest, draft.state, draft.person, *self._form.written(draft)),
        )
        tx.append(
            Asked(
                at=now,
                call_id=draft.call_id,
                approval_id=draft.id,
                digest=draft.digest,
                requirements={item.group: item.approvers for item in draft.requirements},
                deadline=draft.deadline,
            )
        )
        return Opened(ticket=draft, fresh=True)

    def claim(
        self, tx: Transaction, approval_id: str, *, caller: Caller, call_id: str, digest: str, bound: str
    ) -> None:
        """Consume an approval in the transaction that records `Started`.

        Raises:
            ClaimError: it is not approved, not in time, not this caller's, not for this call, or stale.
        """
        now = self._clock()
        found = self._one(tx, BY_ID, approval_id)
        if found is None:
            raise ClaimError(Rejected(why="there is no such approval", state="withdrawn"))
        moved = machine.claim(found, caller=caller, call_id=call_id, digest=digest, bound=bound, now=now)
        if isinstance(moved, Rejected):
            raise ClaimError(moved)
        self._save(tx, moved)
        tx.append(Claimed(at=now, call_id=call_id, approval_id=approval_id))

    # Moves of their own.

    async def approve(self, approval_id: str, *, vote: Vote) -> Ticket | Rejected | None:
        """Count a yes; None if there is no such approval."""

        def event(moved: Ticket) -> Event:
            return Approved(
                at=vote.at,
                call_id=moved.call_id,
                approval_id=moved.id,
                approver=vote.person,
                approver_email=vote.email,
                groups=moved.votes[-1].groups,
                channel=vote.channel,
                note=vote.note,
                complete=moved.state == "approved",
            )

        return await self._move(approval_id, lambda old, now: machine.approve(old, vote=vote, now=now), event)

    async def deny(self, approval_id: str, *, vote: Vote) -> Ticket | Rejected | None:
        """A no; on an approved ticket it revokes the yes. None if there is no such approval."""
        was_approved = False

        def step(old: Ticket, now: datetime) -> Ticket | Rejected:
            nonlocal was_approved
            was_approved = old.state == "approved"
            return machine.deny(old, vote=vote, now=now)

        def event(moved: Ticket) -> Event:
            if was_approved:
                return ApprovalRevoked(
                    at=vote.at,
                    call_id=moved.call_id,
                    approval_id=moved.id,
                    by=vote.person,
                    channel=vote.channel,
                    note=vote.note,
                )
            return ApprovalDenied(
                at=vote.at,
                call_id=moved.call_id,
                approval_id=moved.id,
                approver=vote.person,
                approver_email=vote.email,
                groups=vote.groups & moved.groups,
                channel=vote.channel,
                note=vote.note,
            )

        return await self._move(approval_id, step, event)

    async def withdraw(self, approval_id: str, *, by: str, why: str) -> Ticket | Rejected | None:
        """Take a request back. `by` is a person's `issuer|subject`, or `gateway` for a stale one."""

        def event(moved: Ticket) -> Event:
            return ApprovalWithdrawn(at=self._clock(), call_id=moved.call_id, approval_id=moved.id, by=by, why=why)

        return await self._move(approval_id, lambda old, now: machine.withdraw(old, now=now, why=why), event)

    async def expire_due(self) -> int:
        """End everything whose time is over, with its event; returns how many."""

        def work(tx: Transaction) -> int:
            now = self._clock()
            rows = tx.execute(
                "SELECT body, sealed FROM approvals WHERE state IN ('pending', 'approved') AND due <= ? LIMIT 500",
                (plain(now),),
            ).fetchall()
            return sum(self._settled(tx, old, now=now) is not old for old in (self._form.read(*row) for row in rows))

        return await self._end_some(work)

    async def distrust_deadlines(self) -> int:
        """End all that waits or is approved, because the clock was set back; returns how many."""

        def work(tx: Transaction) -> int:
            now = self._clock()
            rows = tx.execute(f"{LIVE} LIMIT 500").fetchall()
            for row in rows:
                old = self._form.read(*row)
                self._expire(tx, old, machine.distrust(old, now=now), now=now)
            return len(rows)

        ended = 0
        while some := await self._end_some(work):
            ended += some
        return ended

    async def _end_some(self, work: Callable[[Transaction], int]) -> int:
        ended = await self._store.transact(work)
        if ended:
            self._notify()
        return ended

    # The machinery.

    async def _move(
        self,
        approval_id: str,
        step: Callable[[Ticket, datetime], Ticket | Rejected],
        event: Callable[[Ticket], Event],
    ) -> Ticket | Rejected | None:
        def work(tx: Transaction) -> Ticket | Rejected | None:
            now = self._clock()
            found = self._one(tx, BY_ID, approval_id)
            if found is None:
                return None
            old = self._settled(tx, found, now=now)
            moved = step(old, now)
            if isinstance(moved, Ticket):
                self._save(tx, moved)
                tx.append(event(moved))
            return moved

        moved = await self._store.transact(work)
        self._notify()
        return moved

    def _settled(self, tx: Transaction, old: Ticket, *, now: datetime) -> Ticket:
        settled = machine.settle(old, now=now)
        if settled is not old:
            self._expire(tx, old, settled, now=now)
        return settled

    def _expire(self, tx: Transaction, old: Ticket, expired: Ticket, *, now: datetime) -> None:
        self._save(tx, expired)
        tx.append(ApprovalExpired(at=now, call_id=old.call_id, approval_id=old.id, was=old.state, cause=expired.why))

    def _notify(self) -> None:
        moved, self._moved = self._moved, anyio.Event()
        moved.set()

    def _one(self, rows: Rows, query: str, value: str) -> Ticket | None:
        row = rows.execute(query, (value,)).fetchone()
        return None if row is None else self._form.read(*row)

    def _save(self, tx: Transaction, moved: Ticket) -> None:
        tx.execute(
            "UPDATE approvals SET state = ?, due = ?, body = ?, sealed = ? WHERE id = ?",
            (moved.state, *self._form.written(moved), moved.id),
        )


class ClaimError(Exception):
    """A claim that the state machine refused; rolls the transaction of the start back."""

    def __init__(self, rejected: Rejected) -> None:
        super().__init__(rejected.why)
        self.rejected = rejected
