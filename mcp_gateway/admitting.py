"""The first half of the road: one call is identified, examined, decided on, approved where that is asked for, and started.

1. identify   a token becomes a `Caller` (`reception`)
2. establish  raw arguments become a `Call` on a target that this caller may see (`establishing`)
3. examine    the tool says what the call would do
4. decide     policy says allow, ask or deny
5. approve    an Ask waits for people, and policy decides again with their answer as a fact
6. start      the intent is durable; an approval is consumed in the same transaction

Whatever raises here refuses the call; above is `pipeline`, which records that.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import anyio

from mcp_gateway import refusals
from mcp_gateway.admission import Parts, Permitted, Request
from mcp_gateway.answers import Answer
from mcp_gateway.approval.holding import Held, InputRequired, bound
from mcp_gateway.approval.store import ClaimError
from mcp_gateway.approval.ticket import Ticket
from mcp_gateway.audit.store import Transaction
from mcp_gateway.calls import Call, Caller
from mcp_gateway.decisions import NOT_APPROVED, Allow, Approved, Ask, Decision, Deny
from mcp_gateway.errors import IdentityError, LimitError, RequestError, TargetError
from mcp_gateway.establishing import establish
from mcp_gateway.events import Decided, Denied, Examined, Inspected, Started
from mcp_gateway.journal import Journal
from mcp_gateway.masked_facts import MaskedFacts
from mcp_gateway.policy.engine import Question
from mcp_gateway.reception import Reception
from mcp_gateway.registry import AnyTool, Registered
from mcp_gateway.tool import Arguments, Examination, Permit
from mcp_gateway.turns import Release, Turns


@dataclass(frozen=True, slots=True, kw_only=True)
class _Examined:
    """A call whose facts are known."""

    call: Call
    tool: AnyTool
    arguments: Arguments
    registered: Registered
    examination: Examination[Any]


class Admitting:
    """One call on the first half of the road."""

    def __init__(
        self,
        request: Request,
        journal: Journal,
        *,
        parts: Parts,
        reception: Reception,
        examining: Turns,
        turns: Mapping[str, Turns],
        masked_facts: MaskedFacts,
        taken: ExitStack,
    ) -> None:
        """`taken` is given what the call holds; whoever gave it gives that back unless the call is permitted."""
        self._request = request
        self._journal = journal
        self._parts = parts
        self._reception = reception
        self._examining = examining
        self._turns = turns
        self._masked_facts = masked_facts
        self._taken = taken

    async def admit(self) -> Permitted | Answer | InputRequired:
        """Take it to its start, or to an answer before. Raises what refuses it."""
        # 1.
        caller = await self._reception.open(self._request, self._journal, taken=self._taken)
        self._reception.check_scope(self._request, caller)
        # 2. and 3.
        known = await self._examine(caller)
        # 4.
        decision, revealed = self._decide(known, approval=NOT_APPROVED)
        match decision:
            case Deny():
                return await self._deny(decision)
            case Allow():
                return await self._start(known, decision, revealed=revealed, ticket=None)
            case Ask():
                return await self._approve(known, decision)

    async def _examine(self, caller: Caller, *, fresh: bool = False) -> _Examined:
        request, journal = self._request, self._journal
        call, tool, arguments, registered = establish(
            request.tool,
            request.arguments,
            registry=self._parts.registry,
            visible=self._parts.policies().visible(caller),
            caller=caller,
            call_id=journal.call_id,
            door=request.door,
            client=request.client,
            now=journal.now(),
        )
        seconds = self._parts.examine_within.total_seconds()
        async with self._examining.turn(caller.key):
            with anyio.move_on_after(seconds) as scope:
                examination = await tool.examine(
                    arguments, target=registered.target, connector=registered.connector, fresh=fresh
                )
        if scope.cancelled_caught:
            raise LimitError(
                f"what the call would do was not found out within {seconds:g} s",
                next_step="call again later, or ask for less at a time; nothing has run",
            )
        asked = Question.about(call, examination.facts, now=journal.now(), token_now=self._parts.token_clock())
        examination = replace(examination, facts=self._parts.policies().concealed(asked).facts)
        await self._note_examination(call, examination)
        return _Examined(call=call, tool=tool, arguments=arguments, registered=registered, examination=examination)

    async def _note_examination(self, call: Call, examination: Examination[Any]) -> None:
        journal = self._journal
        for look in examination.looked:
            journal.note(
                Inspected(
                    at=journal.now(), call_id=call.id, target=call.target.name, what=look.what, outcome=look.outcome
                )
            )
        facts = await self._masked_facts.of(examination.facts.to_json(), key=call.caller.key)
        journal.note(
            Examined(
                at=journal.now(), call_id=call.id, digest=call.digest, facts=facts, environment=examination.environment
            )
        )

    def _decide(self, known: _Examined, *, approval: Approved) -> tuple[Decision, frozenset[str]]:
        """Ask the policies in force, and which data classes this caller may see raw."""
        engine, now, call = self._parts.policies(), self._journal.now(), known.call
        question = Question.about(
            call, known.examination.facts, now=now, token_now=self._parts.token_clock(), approval=approval
        )
        decision = engine.decide(question)
        revealed = frozenset[str]()
        if isinstance(decision, Allow):
            revealed = engine.reveal(question, self._parts.classes | call.target.classes)
        self._journal.note(
            Decided(
                at=now,
                call_id=call.id,
                decision=type(decision).__name__.lower(),
                policies=decision.policies,
                reasons=decision.reasons,
                policy_version=engine.version,
                error=decision.error if isinstance(decision, Deny) else None,
                revealed=revealed,
            )
        )
        return decision, revealed

    async def _deny(self, decision: Deny) -> Answer:
        journal = self._journal
        journal.note(Denied(at=journal.now(), call_id=journal.call_id, code="denied", policies=decision.policies))
        return await journal.answer(refusals.denied(decision))

    # Step 5.

    async def _approve(self, known: _Examined, ask: Ask) -> Permitted | Answer | InputRequired:
        request, journal = self._request, self._journal
        holder, call = self._parts.holder, known.call
        await holder.check_repeat(call)
        preview = await self._preview(known)
        draft = holder.draft(call, examination=known.examination, ask=ask, preview=preview)
        held = await holder.open_or_continue(draft, journal=journal)
        if not held.stale:
            held = await holder.hold(held.ticket, call=call, channels=request.channels)
        if held.input_required:
            await journal.answer(None, code="input_required")
            return InputRequired(call_id=call.id, ticket=held.ticket)
        if held.stale or held.ticket.state != "approved":
            return await self._not_approved(held)
        caller = call.caller
        if held.waited:
            if request.answer_by is not None and journal.now() + known.registered.timeout > request.answer_by:
                return await journal.answer(refusals.approved_call_again(held.ticket, url=self._parts.approval_url))
            caller = await self._reception.identify_again(request, journal, before=caller)
        known = await self._examine(caller, fresh=True)
        return await self._claim(known, held.ticket)

    async def _preview(self, known: _Examined) -> str:
        """What may be said of a plan, for the approver; a target that cannot say costs the call nothing."""
        said, outcome = "", "timeout"
        try:
            with anyio.move_on_after(self._parts.examine_within.total_seconds()):
                said = await known.tool.preview(
                    known.arguments, examination=known.examination, connector=known.registered.connector
                )
                outcome = "ok"
        except TargetError as error:
            outcome = error.code
        if said or outcome != "ok":
            self._journal.note(
                Inspected(
                    at=self._journal.now(),
                    call_id=known.call.id,
                    target=known.call.target.name,
                    what="preview",
                    outcome=outcome,
                )
            )
        return said

    async def _not_approved(self, held: Held) -> Answer:
        journal = self._journal
        ticket, url = held.ticket, self._parts.approval_url
        if held.stale:
            return await journal.answer(refusals.approval_stale(ticket, why=held.stale, url=url))
        match ticket.state:
            case "pending":
                return await journal.answer(refusals.pending(ticket, url=url))
            case "denied":
                journal.note(
                    Denied(at=journal.now(), call_id=journal.call_id, code="approval_denied", policies=ticket.policies)
                )
                return await journal.answer(refusals.approval_denied(ticket))
            case "expired":
                return await journal.answer(refusals.approval_expired(ticket))
            case "withdrawn":
                return await journal.answer(refusals.approval_withdrawn(ticket))
            case "consumed" | "approved":
                outcome = await self._parts.store.outcome_of(ticket.consumed_by or "") or "still running"
                return await journal.answer(refusals.already_run(ticket, outcome=outcome))

    async def _claim(self, known: _Examined, ticket: Ticket) -> Permitted | Answer:
        """Decide again with the real approval as a fact, then use it."""
        if (what := self._parts.revocations.refuses(known.call.caller)) is not None:
            raise IdentityError(f"the {what} of this call was revoked before it could use its approval")
        if bound(known.examination) != ticket.bound or known.call.digest != ticket.digest:
            return await self._stale(known, ticket, why="what it would do, or its target, has changed")
        if any(
            self._parts.revocations.refuses_vote(
                person=vote.person, email=vote.email, actor=vote.actor, token_id=vote.token_id
            )
            for vote in ticket.votes
        ):
            return await self._stale(known, ticket, why="somebody who approved it was revoked since")
        decision, revealed = self._decide(known, approval=ticket.granted)
        match decision:
            case Deny():
                return await self._deny(decision)
            case Ask():
                return await self._stale(known, ticket, why="the policy changed")
            case Allow():
                return await self._start(known, decision, revealed=revealed, ticket=ticket)

    async def _stale(self, known: _Examined, ticket: Ticket, *, why: str) -> Answer:
        """Replace an approval that no longer fits: everybody whom the policies ask now is asked anew."""
        decision, _ = self._decide(known, approval=NOT_APPROVED)
        match decision:
            case Deny():
                return await self._deny(decision)
            case Allow():
                raise RequestError(f"the approval no longer fits: {why}", next_step=refusals.CALL_AGAIN)
            case Ask():
                preview = await self._preview(known)
                draft = self._parts.holder.draft(
                    known.call, examination=known.examination, ask=decision, preview=preview
                )
                held = await self._parts.holder.replace(ticket, draft, journal=self._journal, why=why)
                return await self._not_approved(held)

    # Step 6.

    async def _start(
        self, known: _Examined, allow: Allow, *, revealed: frozenset[str], ticket: Ticket | None
    ) -> Permitted | Answer:
        call, registered, journal = known.call, known.registered, self._journal
        turns = self._turns[call.target.name]
        waits = not turns.free(call.caller.key)
        turn = await (self._queue(turns, call) if waits else turns.take(call.caller.key))
        self._taken.callback(turn)
        if waits:
            # Meanwhile the token may have been revoked, and the policy replaced.
            await self._reception.identify_again(self._request, journal, before=call.caller)
            decision, revealed = self._decide(known, approval=ticket.granted if ticket else NOT_APPROVED)
            match decision:
                case Deny():
                    return await self._deny(decision)
                case Ask():
                    raise RequestError("the policy changed while the call waited", next_step=refusals.CALL_AGAIN)
                case Allow():
                    allow = decision
        started_at = journal.now()
        started = Started(
            at=started_at, call_id=call.id, target=call.target.name, tool=call.tool, instance=self._parts.instance
        )
        if ticket is None:
            journal.note(started)
            await journal.record()
        else:
            approved = ticket

            def claim_and_start(tx: Transaction) -> None:
                self._parts.holder.approvals.claim(
                    tx,
                    approved.id,
                    caller=call.caller,
                    call_id=call.id,
                    digest=call.digest,
                    bound=bound(known.examination),
                )
                tx.append(started)

            try:
                await journal.record_with(claim_and_start)
            except ClaimError:
                now = await self._parts.holder.approvals.get(ticket.id)
                return await self._not_approved(Held(ticket=now or ticket, waited=False))
        return Permitted(
            call=call,
            tool=known.tool,
            arguments=known.arguments,
            registered=registered,
            examination=known.examination,
            permit=Permit(
                call_id=call.id,
                timeout=min(registered.timeout, allow.timeout or registered.timeout),
                max_rows=min(registered.max_rows, allow.max_rows or registered.max_rows),
                max_bytes=registered.max_bytes,
            ),
            revealed=revealed,
            journal=journal,
            started_at=started_at,
            turn=turn,
            held=self._taken,
        )

    async def _queue(self, turns: Turns, call: Call) -> Release:
        """The target's turn, in time."""
        turn = await turns.take_within(self._parts.longest_queue, key=call.caller.key)
        if turn is not None:
            return turn
        raise LimitError(
            f"the target {call.target.name!r} is busy with as many calls as may run on it at once",
            next_step="call again later; nothing has run",
        )
