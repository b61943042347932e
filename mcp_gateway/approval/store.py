"""Approvals in the audit store's database: every transition is one transaction with its event.

The pure machine is `ticket`; this module reads a row, lets the machine move it and writes it back, inside one
unit of the store's writer, so that racing people and racing retries are decided by the database: one winner.
What a row holds of a ticket is `ticket_form`'s to say, how it is found `tables`'.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol, TypeAlias

import orjson

from mcp_gateway.approval import recorded
from mcp_gateway.approval import ticket as machine
from mcp_gateway.approval.tables import ASKED, BY_DIGEST, BY_ID, BY_USE, DUE, LEFT_PENDING, LIVE, PAGE
from mcp_gateway.approval.ticket import Rejected, Ticket, Vote
from mcp_gateway.approval.ticket_form import TicketForm
from mcp_gateway.approval.watch import Watch
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
    DecisionRefused,
    Event,
    plain,
)

Decision: TypeAlias = Literal["approve", "deny", "withdraw"]
GATEWAY = "gateway"
"""Who withdraws what has gone stale."""
MAX_PENDING_FOR_A_CALLER = 20
ENDED_AT_ONCE = 100
"""In one transaction: others have theirs between."""


class Rows(Protocol):
    """What both a transaction and a reading connection can do."""

    def execute(self, sql: str, parameters: Sequence[Any] = ..., /) -> sqlite3.Cursor:
        """Run one statement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """What `open_or_continue` found or made."""

    ticket: Ticket
    fresh: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewer:
    """Which approvals somebody may see: their own (of one agent, where it is an agent's), and those that ask a group."""

    person: str
    actor: str | None
    """Of an agent, itself."""
    groups: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some approvals, the oldest first."""

    tickets: list[Ticket]
    next_after: str | None
    """The id to go on after, where there are more."""
    note: str = ""
    """What whoever reads it has to know, lest they take it for more than it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Attempt:
    """A person's move, for the record where it is not made."""

    decision: Decision
    by: str
    email: str | None
    channel: str

    def refused(self, ticket: Ticket, *, cause: str, at: datetime) -> Event:
        return DecisionRefused(
            at=at,
            call_id=ticket.call_id,
            approval_id=ticket.id,
            decision=self.decision,
            by=self.by,
            by_email=self.email,
            channel=self.channel,
            state=ticket.state,
            cause=cause,
        )


class ApprovalStore:
    """All approvals of one data directory."""

    def __init__(
        self, store: AuditStore, *, key: Secret, clock: Callable[[], datetime], new_id: Callable[[], str]
    ) -> None:
        self._store = store
        self._form = TicketForm(key)
        self._clock = clock
        self._new_id = new_id
        self._watch = Watch(self._left_pending)

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

    async def as_recorded(self, ticket: Ticket) -> Ticket:
        """A ticket that has ended, with what was asked as the audit events of its call keep it: masked by detectors."""
        rows = await self._store.read(lambda connection: connection.execute(ASKED, (ticket.call_id,)).fetchall())
        return recorded.restored(ticket, rows)

    async def page(
        self, viewer: Viewer, *, live_only: bool, after: str | None, limit: int, beginning: str | None = None
    ) -> Page:
        """At most `limit` of the approvals that somebody may see, from the one behind `after` on.

        With `beginning`, those whose id begins so.
        """
        parameters = {
            "person": viewer.person,
            "actor": viewer.actor,
            "groups": orjson.dumps(sorted(viewer.groups)).decode(),
            "after": after,
            "beginning": beginning,
            "ended": not live_only,
            "limit": limit + 1,
        }

        def read(connection: sqlite3.Connection) -> list[Ticket]:
            rows = connection.execute(PAGE, parameters).fetchall()
            return [machine.settle(self._form.read(*row), now=self._clock()) for row in rows]

        found = await self._store.read(read)
        page = found[:limit]
        shown = [item for item in page if item.state in {"pending", "approved"}] if live_only else page
        return Page(tickets=shown, next_after=page[-1].id if len(found) > limit else None)

    async def has_moved(self, approval_id: str, *, within: float) -> bool:
        """Whether a pending approval moved in the next `within` seconds, in this process or another. Raises `StoreError`."""
        return await self._watch.has_moved(approval_id, within=within)

    async def _left_pending(self, ids: list[str]) -> list[str]:
        wanted = orjson.dumps(ids).decode()
        rows = await self._store.read(lambda connection: connection.execute(LEFT_PENDING, (wanted,)).fetchall())
        return [approval_id for (approval_id,) in rows]

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
        for group in sorted(draft.groups):
            tx.execute("INSERT INTO approval_groups SELECT number, ? FROM approvals WHERE id = ?", (group, draft.id))
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
        self, tx: Transaction, approval_id: str, *, caller: Caller, call_id: str, digest: str, bound: str, at: datetime
    ) -> None:
        """Consume an approval in the transaction that records `Started`, whose time is `at`.

        That is for the record, where both happen at once; whether it is in time goes by the clock here, now.

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
        tx.append(Claimed(at=at, call_id=call_id, approval_id=approval_id, asked_by=found.call_id))

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

        return await self._move(
            approval_id,
            lambda old, now: machine.approve(old, vote=vote, now=now),
            event,
            attempt=_Attempt(decision="approve", by=vote.person, email=vote.email, channel=vote.channel),
        )

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
                    by_email=vote.email,
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

        attempt = _Attempt(decision="deny", by=vote.person, email=vote.email, channel=vote.channel)
        return await self._move(approval_id, step, event, attempt=attempt)

    async def withdraw(
        self, approval_id: str, *, by: str, why: str, email: str | None = None, channel: str = ""
    ) -> Ticket | Rejected | None:
        """Take a request back. `by` is a person's `issuer|subject`, or `GATEWAY` for a stale one."""

        def event(moved: Ticket) -> Event:
            return ApprovalWithdrawn(
                at=self._clock(), call_id=moved.call_id, approval_id=moved.id, by=by, by_email=email, why=why
            )

        def step(old: Ticket, now: datetime) -> Ticket | Rejected:
            return machine.withdraw(old, by=by, now=now, why=why, email=email)

        attempt = None if by == GATEWAY else _Attempt(decision="withdraw", by=by, email=email, channel=channel)
        return await self._move(approval_id, step, event, attempt=attempt)

    async def refuse(self, ticket: Ticket, *, decision: Decision, by: Caller, channel: str, cause: str) -> None:
        """Record an attempt of somebody who may not decide."""
        attempt = _Attempt(decision=decision, by=by.key, email=by.email, channel=channel)
        await self._store.append(attempt.refused(ticket, cause=cause, at=self._clock()))

    async def expire_due(self) -> int:
        """End everything whose time is over, with its event; returns how many."""

        def work(tx: Transaction) -> list[str]:
            now = self._clock()
            found = [self._form.read(*row) for row in tx.execute(DUE, (plain(now), ENDED_AT_ONCE)).fetchall()]
            return [old.id for old in found if self._settled(tx, old, now=now) is not old]

        return await self._end_all(work)

    async def distrust_deadlines(self) -> int:
        """End all that waits or is approved, because the clock was set back; returns how many."""

        def work(tx: Transaction) -> list[str]:
            now = self._clock()
            found = [self._form.read(*row) for row in tx.execute(LIVE, (ENDED_AT_ONCE,)).fetchall()]
            for old in found:
                self._expire(tx, old, machine.distrust(old, now=now), now=now)
            return [old.id for old in found]

        return await self._end_all(work)

    async def _end_all(self, work: Callable[[Transaction], list[str]]) -> int:
        """Do `work`, which gives the ids of what it has ended, until it ends nothing."""
        count = 0
        while ended := await self._store.transact(work):
            count += len(ended)
            self._watch.tell(ended)
        return count

    # The machinery.

    async def _move(
        self,
        approval_id: str,
        step: Callable[[Ticket, datetime], Ticket | Rejected],
        event: Callable[[Ticket], Event],
        *,
        attempt: _Attempt | None,
    ) -> Ticket | Rejected | None:
        """Make a move with its event. Where the machine rejects it, that is recorded for a person's `attempt`."""

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
            elif attempt is not None:
                tx.append(attempt.refused(old, cause=moved.why, at=now))
            return moved

        moved = await self._store.transact(work)
        self._watch.tell([approval_id])
        return moved

    def _settled(self, tx: Transaction, old: Ticket, *, now: datetime) -> Ticket:
        settled = machine.settle(old, now=now)
        if settled is not old:
            self._expire(tx, old, settled, now=now)
        return settled

    def _expire(self, tx: Transaction, old: Ticket, expired: Ticket, *, now: datetime) -> None:
        self._save(tx, expired)
        tx.append(ApprovalExpired(at=now, call_id=old.call_id, approval_id=old.id, was=old.state, cause=expired.why))

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
