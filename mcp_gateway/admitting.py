"""The first half of the road: one call is identified, examined, decided on, approved where that is asked for, and started.

1. identify   a token becomes a `Caller` (`reception`)
2. establish  raw arguments become a `Call` on a target that this caller may see (`establishing`)
3. examine    the tool says what the call would do (`deciding`)
4. decide     policy says allow, ask or deny (`deciding`)
5. approve    an Ask waits for people, and policy decides again with their answer as a fact
6. start      the intent is durable; an approval is consumed in the same transaction

Whatever raises here refuses the call; above is `pipeline`, which records that.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack

import anyio

from mcp_gateway import refusals
from mcp_gateway.admission import Parts, Permitted, Request
from mcp_gateway.answers import Answer
from mcp_gateway.approval.holding import MAX_WAITING, Held, InputRequired, bound
from mcp_gateway.approval.store import ClaimError
from mcp_gateway.approval.ticket import Ticket
from mcp_gateway.audit.store import Transaction
from mcp_gateway.calls import Call
from mcp_gateway.deciding import Considered, Deciding, Judged, MoreBeganError
from mcp_gateway.decisions import NOT_APPROVED, Allow, Ask, Deny
from mcp_gateway.errors import IdentityError, LimitError, RequestError, TargetError, UnknownNameError
from mcp_gateway.events import Denied, Inspected, Refused, Started
from mcp_gateway.journal import Journal
from mcp_gateway.reception import Reception
from mcp_gateway.tool import Permit
from mcp_gateway.turns import Release, Turns
from mcp_gateway.usage import Spent

VOTER_REVOKED = "somebody who approved it was revoked since"
POLICY_CHANGED = "the policy changed"
MOST_DECISIONS = 100
"""On one call, where others begin at the same moment in further processes and policy goes by how many did."""


class Admitting:
    """One call on the first half of the road."""

    def __init__(
        self,
        request: Request,
        journal: Journal,
        *,
        parts: Parts,
        reception: Reception,
        deciding: Deciding,
        turns: Mapping[str, Turns],
        taken: ExitStack,
    ) -> None:
        """`taken` is given what the call holds; whoever gave it gives that back unless the call is permitted."""
        self._request = request
        self._journal = journal
        self._parts = parts
        self._reception = reception
        self._deciding = deciding
        self._turns = turns
        self._taken = taken

    async def admit(self) -> Permitted | Answer | InputRequired:
        """Take it to its start, or to an answer before. Raises what refuses it."""
        try:
            return await self._admit()
        except UnknownNameError:
            # A retry after a lost answer hears what became of the call, though that has dropped what it names.
            call = self._deciding.call
            ended = await self._parts.holder.ended(call) if call is not None else None
            if ended is None:
                raise
            return await self._not_approved(Held(ticket=ended, waited=False))

    async def _admit(self) -> Permitted | Answer | InputRequired:
        # 1.
        caller = await self._reception.open(self._request, self._journal, taken=self._taken)
        self._reception.check_scope(self._request, caller)
        # 2. and 3.
        known = await self._deciding.examine(caller)
        # 4.
        judged = await self._deciding.decide(known, approval=NOT_APPROVED)
        return await self._go_on(judged, ticket=None)

    async def _go_on(self, judged: Judged, *, ticket: Ticket | None) -> Permitted | Answer | InputRequired:
        """Do what was decided, with the approval that was a fact of it."""
        match judged.decision:
            case Deny() as deny:
                return await self._deny(deny)
            case Allow():
                return await self._start(judged, ticket=ticket)
            case Ask() as ask:
                if ticket is None:
                    return await self._approve(judged.known, ask)
                return await self._stale(judged.known, ticket, why=POLICY_CHANGED)

    async def _deny(self, decision: Deny) -> Answer:
        journal = self._journal
        journal.note(Denied(at=journal.now(), call_id=journal.call_id, code="denied", policies=decision.policies))
        return await journal.answer(refusals.denied(decision))

    # Step 5.

    async def _approve(self, known: Considered, ask: Ask) -> Permitted | Answer | InputRequired:
        request, journal = self._request, self._journal
        holder, call = self._parts.holder, known.call
        await holder.check_repeat(call)
        preview = await self._preview(known)
        draft = holder.draft(call, examination=known.examination, ask=ask, preview=preview)
        held = await holder.open_or_continue(draft, journal=journal)
        if not held.stale:
            with self._parts.store.call_held_up():
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
        known = await self._deciding.examine(caller, fresh=True)
        return await self._claim(known, held.ticket)

    async def _preview(self, known: Considered) -> str:
        """What may be said of a plan, for the approver; a target that cannot say costs the call nothing.

        Raises `RequestError` where the target says that the call could only fail: then nobody is asked.
        """
        said, outcome = "", "timeout"
        try:
            with anyio.move_on_after(self._parts.examine_within.total_seconds()):
                said = await known.tool.preview(
                    known.arguments, examination=known.examination, connector=known.registered.connector
                )
                outcome = "ok"
        except TargetError as error:
            outcome = error.code
        except RequestError:
            self._note_preview(known, outcome="refused")
            raise
        if said or outcome != "ok":
            self._note_preview(known, outcome=outcome)
        return said

    def _note_preview(self, known: Considered, *, outcome: str) -> None:
        target = known.call.target.name
        self._journal.note(
            Inspected(at=self._journal.now(), call_id=known.call.id, target=target, what="preview", outcome=outcome)
        )

    async def _not_approved(self, held: Held) -> Answer:
        journal = self._journal
        ticket, url = held.ticket, self._parts.approval_url
        if held.stale:
            return await journal.answer(refusals.approval_stale(ticket, why=held.stale, url=url))
        if held.crowded:
            return await self._crowded(ticket)
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

    async def _crowded(self, ticket: Ticket) -> Answer:
        journal = self._journal
        refusal = refusals.too_many_wait(ticket, most=MAX_WAITING, url=self._parts.approval_url)
        journal.note(Refused(at=journal.now(), call_id=journal.call_id, code=refusal.code, cause=refusal.message))
        return await journal.answer(refusal)

    async def _claim(self, known: Considered, ticket: Ticket) -> Permitted | Answer | InputRequired:
        """Decide again with the real approval as a fact, then use it."""
        if (what := self._parts.revocations.refuses(known.call.caller)) is not None:
            raise IdentityError(f"the {what} of this call was revoked before it could use its approval")
        if bound(known.examination) != ticket.bound or known.call.digest != ticket.digest:
            return await self._stale(known, ticket, why="what it would do, or its target, has changed")
        if self._voter_revoked(ticket):
            return await self._stale(known, ticket, why=VOTER_REVOKED)
        return await self._go_on(await self._deciding.decide(known, approval=ticket.granted), ticket=ticket)

    def _voter_revoked(self, ticket: Ticket) -> bool:
        return any(
            self._parts.revocations.refuses_vote(
                person=vote.person, email=vote.email, actor=vote.actor, token_id=vote.token_id
            )
            for vote in ticket.votes
        )

    async def _stale(self, known: Considered, ticket: Ticket, *, why: str) -> Answer:
        """Replace an approval that no longer fits: everybody whom the policies ask now is asked anew."""
        decided = await self._deciding.decide(known, approval=NOT_APPROVED)
        match decided.decision:
            case Deny() as deny:
                return await self._deny(deny)
            case Allow():
                raise RequestError(f"the approval no longer fits: {why}", next_step=refusals.CALL_AGAIN)
            case Ask() as ask:
                known = decided.known
                preview = await self._preview(known)
                draft = self._parts.holder.draft(known.call, examination=known.examination, ask=ask, preview=preview)
                held = await self._parts.holder.replace(ticket, draft, journal=self._journal, why=why)
                return await self._not_approved(held)

    # Step 6.

    async def _start(self, judged: Judged, *, ticket: Ticket | None) -> Permitted | Answer | InputRequired:
        """Take the target's turn, then begin, unless what happened meanwhile makes another decision of it."""
        call, approval = judged.known.call, NOT_APPROVED if ticket is None else ticket.granted
        turns = self._turns[call.target.name]
        waits = not turns.free(call.caller.key)
        turn = await (self._queue(turns, call) if waits else turns.take(call.caller.key))
        self._taken.callback(turn)
        async with self._deciding.in_order(judged) as waited:
            if waits or waited:
                # Meanwhile the token, the target or somebody who approved may have been revoked, and the policy replaced.
                caller = await self._reception.identify_again(self._request, self._journal, before=call.caller)
                self._deciding.refuse_stopped(call)
                if not self._deciding.still_holds(judged, caller):
                    judged = await self._deciding.decide_again(judged.of(caller), approval=approval)
            for _ in range(MOST_DECISIONS):
                if not isinstance(judged.decision, Allow):
                    break
                try:
                    return await self._begin(judged, judged.decision, ticket=ticket, turn=turn)
                except MoreBeganError:
                    judged = await self._deciding.decide_again(judged, approval=approval)
            else:
                raise LimitError(
                    "calls kept beginning while this one was decided on, and policy goes by how many did",
                    next_step="call again later; nothing has run",
                )
        turn()  # nobody waits for people with it
        return await self._go_on(judged, ticket=ticket)

    async def _begin(self, judged: Judged, allow: Allow, *, ticket: Ticket | None, turn: Release) -> Permitted | Answer:
        """Make the intent durable, and use the approval. Raises `MoreBeganError`."""
        known, journal = judged.known, self._journal
        call, registered = known.call, known.registered
        # Last, because a decision may have waited for the store or an external decision point.
        if ticket is not None and self._voter_revoked(ticket):
            return await self._stale(known, ticket, why=VOTER_REVOKED)
        if ticket is not None and bound(known.examination) != ticket.bound:
            return await self._stale(known, ticket, why=POLICY_CHANGED)
        started_at = journal.now()
        started = Started(
            at=started_at, call_id=call.id, target=call.target.name, tool=call.tool, instance=self._parts.instance
        )
        # Made before the intent is on record: what breaks in between would leave that open.
        permitted = Permitted(
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
            revealed=judged.revealed,
            journal=journal,
            started_at=started_at,
            turn=turn,
            held=self._taken,
        )

        def claim_and_start(tx: Transaction) -> None:
            self._deciding.refuse_if_more_began(tx, judged)
            if ticket is not None:
                self._parts.holder.approvals.claim(
                    tx,
                    ticket.id,
                    caller=call.caller,
                    call_id=call.id,
                    digest=call.digest,
                    bound=bound(known.examination),
                    at=started.at,
                )
            tx.append(started)

        try:
            await journal.record_with(claim_and_start, spent=Spent(calls=1))
        except ClaimError:
            if ticket is None:
                raise
            now = await self._parts.holder.approvals.get(ticket.id)
            return await self._not_approved(Held(ticket=now or ticket, waited=False))
        return permitted

    async def _queue(self, turns: Turns, call: Call) -> Release:
        """The target's turn, in time."""
        with self._parts.store.call_held_up():
            turn = await turns.take_within(self._parts.longest_queue, key=call.caller.key)
        if turn is not None:
            return turn
        raise LimitError(
            f"the target {call.target.name!r} is busy with as many calls as may run on it at once",
            next_step="call again later; nothing has run",
        )
