"""Holding a call until people have decided: opens or continues its approval, waits, and says how it stands.

Above it is the road, which decides again and claims; below it are `store` (what is durable) and the pure
`ticket`. Channels move the ticket from outside; the one that runs through the caller's own client, elicitation,
is moved from here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal, TypeAlias

import anyio

from mcp_gateway.approval.store import GATEWAY, ApprovalStore, Opened
from mcp_gateway.approval.ticket import Ticket, Vote, binding, remembered
from mcp_gateway.calls import ESTIMATES, Call, Caller, digest_of
from mcp_gateway.decisions import CALLER_GROUP, Ask
from mcp_gateway.errors import IdentityError, RequestError, StoppedError, StoreError
from mcp_gateway.journal import Journal
from mcp_gateway.tool import Examination

POLL_SECONDS = 0.5
"""How often a waiting call asks for a decision, or a revocation, that another process recorded."""
PROGRESS_SECONDS = 5.0
MAX_WAITING = 1000
"""Calls that wait at once, of all callers. One beyond has asked like every other, and is told so at once."""

Action: TypeAlias = Literal["accept", "decline", "cancel"]
Confirm: TypeAlias = Callable[[Ticket, float], Awaitable[Action]]
"""Ask the caller's human through their client; the second argument is how many seconds there are."""
Progress: TypeAlias = Callable[[float, float, str], Awaitable[None]]
"""Tell the client how far: seconds waited, seconds in all, a sentence."""
Refuses: TypeAlias = Callable[[Caller], str | None]
"""What of a caller is revoked, if anything; raises `StoreError` where that cannot be known."""
Stops: TypeAlias = Callable[[str], str | None]
"""Whether calls on a target are revoked, or `all` are; raises likewise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """The caller's human's answer as a later request carries it (MCP 2026-07-28)."""

    approval_id: str
    action: Action


@dataclass(frozen=True, slots=True, kw_only=True)
class Channels:
    """The ways in which this request can reach the caller's human."""

    confirm: Confirm | None = None
    progress: Progress | None = None
    confirmation: Confirmation | None = None
    can_require_input: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class InputRequired:
    """The client is to show a form and call again with the answer; carries the approval's id only."""

    call_id: str
    ticket: Ticket


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """How the approval stands after the wait."""

    ticket: Ticket
    waited: bool
    stale: str = ""
    """Why the approval that was found no longer fits; the ticket is the new one then."""
    input_required: bool = False
    crowded: bool = False
    """As many calls wait as may: this one could not."""


class Holder:
    """Opens, continues and waits for approvals."""

    def __init__(
        self,
        approvals: ApprovalStore,
        *,
        refuses: Refuses,
        stops: Stops,
        clock: Callable[[], datetime],
        new_id: Callable[[], str],
        wait: timedelta,
        ttl: timedelta,
        claim: timedelta,
    ) -> None:
        self.approvals = approvals
        self._refuses = refuses
        self._stops = stops
        self._clock = clock
        self._new_id = new_id
        self._wait = wait
        self._ttl = ttl
        self._claim = claim
        self._letting_go = False
        self._waiting = 0

    def let_go(self) -> None:
        """Wait no more, for a gateway that ends: whoever waits is answered as when the wait is over."""
        self._letting_go = True

    def draft(self, call: Call, *, examination: Examination[Any], ask: Ask, preview: str) -> Ticket:
        """The approval that this Ask would open."""
        now = self._clock()
        facts = examination.facts.to_json()
        repeat_of = call.arguments.get("repeat_of")
        again = {} if repeat_of is None else {"once more": f"the call {repeat_of}, which has run already"}
        return Ticket(
            id=self._new_id(),
            state="pending",
            call_id=call.id,
            digest=call.digest,
            bound=bound(examination),
            issuer=call.caller.issuer,
            subject=call.caller.subject,
            actor=call.caller.actor,
            email=call.caller.email,
            tool=call.tool,
            target=call.target.name,
            reason=call.reason,
            policies=ask.policies,
            policy_reasons=ask.reasons,
            facts=facts,
            shown=dict(examination.shown) | again,
            preview=preview,
            requirements=ask.requirements,
            votes=(),
            created_at=now,
            deadline=now + (ask.ttl or self._ttl),
            claim_within=self._claim,
            repeat_of=repeat_of,
        )

    async def check_repeat(self, call: Call) -> None:
        """Refuse a `repeat_of` that is not what it says: any other value would ask anew for what was just denied.

        Raises:
            RequestError: it names no approved call of this very caller that ran with the same arguments.
        """
        repeat_of = call.arguments.get("repeat_of")
        if repeat_of is None:
            return
        used = await self.approvals.used_by(repeat_of)
        if used is None or used.digest != digest_of(
            caller=call.caller,
            tool=call.tool,
            target=call.target.name,
            arguments=call.arguments | {"repeat_of": used.repeat_of},
        ):
            raise RequestError(
                "repeat_of names no approved call of yours that ran with these arguments",
                next_step="leave repeat_of out; already_run says when it is needed and what it has to be",
            )

    async def ended(self, call: Call) -> Ticket | None:
        """The approval by which this very call has run or was denied, while it still answers for it."""
        latest = await self.approvals.latest(call.digest)
        if latest is None or latest.state not in {"denied", "consumed"}:
            return None
        return latest if remembered(latest, now=self._clock()) else None

    async def open_or_continue(self, draft: Ticket, *, journal: Journal) -> Held:
        """Record what is noted and open the approval, or continue the one that this very call has.

        One that was made for other facts is withdrawn and replaced: its approver sees something that is no longer so.
        """
        opened = await journal.record_with(lambda tx: self.approvals.open_or_continue(tx, draft))
        found = opened.ticket
        if opened.fresh or found.state in {"denied", "consumed"} or found.bound == draft.bound:
            return Held(ticket=found, waited=False)
        return await self.replace(found, draft, journal=journal, why="what it would do, or its target, has changed")

    async def replace(self, old: Ticket, draft: Ticket, *, journal: Journal, why: str) -> Held:
        """Withdraw a stale approval and open a new one in its place."""
        await self.approvals.withdraw(old.id, by=GATEWAY, why=f"stale: {why}")
        fresh = replace(draft, id=self._new_id())
        opened: Opened = await journal.record_with(lambda tx: self.approvals.open_or_continue(tx, fresh))
        return Held(ticket=opened.ticket, waited=False, stale=why)

    async def hold(self, ticket: Ticket, *, call: Call, channels: Channels) -> Held:
        """Wait until the approval moves on or the wait is over.

        Raises:
            IdentityError: the caller was revoked meanwhile. What they asked for stays until its deadline, and is refused
                to them for as long as they are.
            StoppedError: the target was, or everything.
        """
        if ticket.state != "pending":
            return Held(ticket=ticket, waited=False)
        ask_caller = CALLER_GROUP in ticket.missing
        answer = channels.confirmation
        if answer is not None and answer.approval_id == ticket.id and ask_caller:
            ticket = await self._vote(ticket, call=call, action=answer.action)
            if ticket.state != "pending" or answer.action == "cancel":
                return Held(ticket=ticket, waited=False)
        elif ask_caller and answer is None and channels.can_require_input:
            return Held(ticket=ticket, waited=False, input_required=True)
        if self._waiting >= MAX_WAITING:
            return Held(ticket=ticket, waited=False, crowded=True)
        self._waiting += 1
        try:
            return Held(ticket=await self._wait_for(ticket, call=call, channels=channels), waited=True)
        finally:
            self._waiting -= 1

    async def _wait_for(self, ticket: Ticket, *, call: Call, channels: Channels) -> Ticket:
        total = self._wait.total_seconds()
        failed: list[Exception] = []
        async with anyio.create_task_group() as group:
            over = anyio.Event()
            if channels.confirm is not None and CALLER_GROUP in ticket.missing:
                group.start_soon(self._confirm, ticket, call, channels.confirm, total, over)
            try:
                with anyio.move_on_after(total):
                    await self._until_moved(ticket, call=call, channels=channels, total=total, over=over)
            except (
                IdentityError,
                StoppedError,
                StoreError,
            ) as error:  # raised again below; from inside it would come in a group
                failed.append(error)
            group.cancel_scope.cancel()
        if failed:
            raise failed[0]
        return await self.approvals.get(ticket.id) or ticket

    async def _until_moved(
        self, ticket: Ticket, *, call: Call, channels: Channels, total: float, over: anyio.Event
    ) -> None:
        started = told = anyio.current_time()
        while ticket.state == "pending" and not (over.is_set() or self._letting_go):
            moved = await self.approvals.has_moved(ticket.id, within=POLL_SECONDS)
            self._check(call)
            now = anyio.current_time()
            tell = channels.progress is not None and now - told >= PROGRESS_SECONDS
            if moved or tell:
                ticket = await self.approvals.get(ticket.id) or ticket
            if channels.progress is not None and tell:
                told = now
                people = " and ".join(f"{count} of {group}" for group, count in sorted(ticket.missing.items()))
                await channels.progress(now - started, total, f"waiting for approval: {people}")

    def _check(self, call: Call) -> None:
        """End the wait for what is revoked. Where that cannot be known now it goes on: a claim asks again."""
        what, stopped = None, None
        with suppress(StoreError):
            what, stopped = self._refuses(call.caller), self._stops(call.target.name)
        if what is not None:
            raise IdentityError(f"the {what} of this call was revoked while it waited for its approval")
        if stopped is not None:
            raise StoppedError(call.target.name if stopped == "target" else "")

    async def _confirm(self, ticket: Ticket, call: Call, confirm: Confirm, seconds: float, over: anyio.Event) -> None:
        """A cancel means that nobody is there; when nobody else is asked, there is nothing to wait for."""
        moved = await self._vote(ticket, call=call, action=await confirm(ticket, seconds))
        if moved.state == "pending" and moved.missing.keys() <= {CALLER_GROUP}:
            over.set()

    async def _vote(self, ticket: Ticket, *, call: Call, action: Action) -> Ticket:
        vote = Vote(
            person=call.caller.key,
            email=call.caller.email,
            groups=frozenset({CALLER_GROUP}),
            actor=call.caller.actor,
            token_id=call.caller.token_id,
            at=self._clock(),
            channel="elicitation",
        )
        match action:
            case "accept":
                await self.approvals.approve(ticket.id, vote=vote)
            case "decline":
                await self.approvals.deny(ticket.id, vote=vote)
            case "cancel":
                return ticket
        return await self.approvals.get(ticket.id) or ticket


def bound(examination: Examination[Any]) -> str:
    """What an approval of this examination is bound to."""
    facts = {name: value for name, value in examination.facts.to_json().items() if name not in ESTIMATES}
    return binding(facts=facts, shown=examination.shown, environment=examination.environment)
