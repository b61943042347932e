"""The one road: every door's calls go through `Road.call`, and nothing reaches a target by another way.

Each step takes what is proven so far and gives the next proof:

1. identify   a token becomes a `Caller`
2. establish  raw arguments become a `Call` on a target that this caller may see
3. examine    the tool says what the call would do
4. decide     policy says allow, ask or deny
5. approve    an Ask waits for people, and policy decides again with their answer as a fact
6. start      the intent is durable; an approval is consumed in the same transaction
7. execute    the tool does it
8. mask       what came back becomes a `Masked`
9. record     the outcome is durable; only then is there an answer

A step that raises refuses the call. `Deny` and `Ask` are values. Streaming doors use the road cut in two:
`admit` (1 to 6) gives a `Permitted`, `run` does the rest.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import anyio
import structlog

from mcp_gateway import refusals
from mcp_gateway.admission import Parts, Permitted, Request
from mcp_gateway.answers import Answer
from mcp_gateway.approval.holding import Held, InputRequired, bound
from mcp_gateway.approval.store import ClaimError
from mcp_gateway.approval.ticket import Ticket
from mcp_gateway.audit.store import Transaction
from mcp_gateway.calls import Call, Caller, JSONObject
from mcp_gateway.decisions import NOT_APPROVED, Allow, Approved, Ask, Decision, Deny
from mcp_gateway.errors import (
    CredentialError,
    IdentityError,
    LimitError,
    MaskingError,
    RequestError,
    StoreError,
    TargetError,
    TargetUnavailable,
)
from mcp_gateway.establishing import establish
from mcp_gateway.events import (
    Answered,
    Decided,
    Denied,
    Examined,
    Inspected,
    Refused,
    Started,
)
from mcp_gateway.journal import Journal
from mcp_gateway.masked_facts import MaskedFacts
from mcp_gateway.policy.engine import Question
from mcp_gateway.reception import Reception
from mcp_gateway.registry import AnyTool, Registered
from mcp_gateway.running import Running
from mcp_gateway.tool import Arguments, Examination, Permit
from mcp_gateway.turns import Release, Turns

log = structlog.get_logger(__name__)

QUEUE_SECONDS = 10.0
"""How long a call waits for its turn on a target."""
EXAMINED_AT_ONCE = 8
"""Calls that are examined at once; one of each caller, because the parser's processes are few."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Examined:
    """A call whose facts are known."""

    call: Call
    tool: AnyTool
    arguments: Arguments
    registered: Registered
    examination: Examination[Any]


class Road:
    """The road. One for each gateway process; calls run on it side by side."""

    def __init__(self, parts: Parts) -> None:
        self._ = parts
        self._reception = Reception(parts)
        self._masked_facts = MaskedFacts(parts)
        self._examining = Turns(total=EXAMINED_AT_ONCE, each=1)
        self._turns = {
            name: Turns(total=target.max_calls, each=share_of(target.max_calls))
            for name, target in parts.registry.targets.items()
        }

    def close(self) -> None:
        """End what the road itself started: the threads that mask."""
        self._.aside.close()

    # The whole and its two halves.

    async def call(self, request: Request) -> Answer | InputRequired:
        """Take one call from its door to its answer."""
        with self._.store.call_under_way():
            admitted = await self.admit(request)
            return await self.run(admitted) if isinstance(admitted, Permitted) else admitted

    async def admit(self, request: Request) -> Permitted | Answer | InputRequired:
        """Steps 1 to 6. A `Permitted` must be given to `run`: its intent is on record."""
        journal, taken = Journal(call_id=self._.new_id(), store=self._.store, clock=self._.clock), ExitStack()
        admitted: Permitted | Answer | InputRequired | None = None
        try:
            admitted = await self._admit(request, journal, taken)
        except anyio.get_cancelled_exc_class():
            await journal.close(code="cancelled")
            raise
        except Exception as error:  # noqa: BLE001 - whatever breaks before the start refuses the call
            admitted = await self._refuse(journal, error)
        finally:
            if not isinstance(admitted, Permitted):
                taken.close()
        return admitted

    async def list_targets(self, request: Request) -> Answer:
        """Answer which targets this caller may use; recorded like any other call."""
        journal = Journal(call_id=self._.new_id(), store=self._.store, clock=self._.clock)
        try:
            caller = await self._reception.open(request, journal)
            if request.arguments:
                raise RequestError(
                    f"list_targets takes no arguments, got {len(request.arguments)}",
                    next_step="call it without arguments",
                )
            found = {"targets": self.targets_of(caller), "call_id": journal.call_id}
            masked = self._.masker_of(None, revealed=frozenset()).seal(found)
            journal.note(Answered(at=journal.now(), call_id=journal.call_id, code="ok"))
            await journal.record()
            return Answer(call_id=journal.call_id, outcome=masked)
        except anyio.get_cancelled_exc_class():
            raise
        except Exception as error:  # noqa: BLE001 - as in `admit`
            return await self._refuse(journal, error)

    def targets_of(self, caller: Caller) -> list[JSONObject]:
        """The targets that some permit could let this caller use, with the tools for each."""
        visible = self._.policies().visible(caller)
        found: list[JSONObject] = []
        for name, registered in sorted(self._.registry.targets.items()):
            tools = [tool for tool in self._.registry.tools_for(registered.target) if (tool, name) in visible]
            if tools:
                target = registered.target
                found.append(
                    {
                        "name": name,
                        "kind": target.kind,
                        "description": target.description,
                        "labels": dict(target.labels),
                        "tools": tools,
                        "masked": sorted(target.classes),
                    }
                )
        return found

    def tools_of(self, caller: Caller) -> frozenset[str]:
        """The tools that some target lets this caller use."""
        known = {
            (tool, name)
            for name, registered in self._.registry.targets.items()
            for tool in self._.registry.tools_for(registered.target)
        }
        return frozenset(tool for tool, _ in self._.policies().visible(caller) & known)

    # Steps 1 to 6.

    async def _admit(self, request: Request, journal: Journal, taken: ExitStack) -> Permitted | Answer | InputRequired:
        # 1.
        caller = await self._reception.open(request, journal, taken=taken)
        self._reception.check_scope(request, caller)
        # 2. and 3.
        known = await self._examine(request, journal, caller=caller)
        # 4.
        decision, revealed = self._decide(known, journal, approval=NOT_APPROVED)
        match decision:
            case Deny():
                return await self._deny(journal, decision)
            case Allow():
                return await self._start(request, known, journal, taken, decision, revealed=revealed, ticket=None)
            case Ask():
                return await self._approve(request, known, journal, taken, decision)

    async def _examine(self, request: Request, journal: Journal, *, caller: Caller, fresh: bool = False) -> _Examined:
        call, tool, arguments, registered = establish(
            request.tool,
            request.arguments,
            registry=self._.registry,
            visible=self._.policies().visible(caller),
            caller=caller,
            call_id=journal.call_id,
            door=request.door,
            client=request.client,
            now=journal.now(),
        )
        async with self._examining.turn(caller.key):
            examination = await tool.examine(
                arguments, target=registered.target, connector=registered.connector, fresh=fresh
            )
        asked = Question.about(call, examination.facts, now=journal.now(), token_now=self._.token_clock())
        examination = replace(examination, facts=self._.policies().concealed(asked).facts)
        await self._note_examination(journal, call, examination)
        return _Examined(call=call, tool=tool, arguments=arguments, registered=registered, examination=examination)

    async def _note_examination(self, journal: Journal, call: Call, examination: Examination[Any]) -> None:
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

    def _decide(self, known: _Examined, journal: Journal, *, approval: Approved) -> tuple[Decision, frozenset[str]]:
        """Ask the policies in force, and which data classes this caller may see raw."""
        engine, now, call = self._.policies(), journal.now(), known.call
        question = Question.about(
            call, known.examination.facts, now=now, token_now=self._.token_clock(), approval=approval
        )
        decision = engine.decide(question)
        revealed = frozenset[str]()
        if isinstance(decision, Allow):
            revealed = engine.reveal(question, self._.classes | call.target.classes)
        journal.note(
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

    async def _deny(self, journal: Journal, decision: Deny) -> Answer:
        journal.note(Denied(at=journal.now(), call_id=journal.call_id, code="denied", policies=decision.policies))
        return await journal.answer(refusals.denied(decision))

    # Step 5.

    async def _approve(
        self, request: Request, known: _Examined, journal: Journal, taken: ExitStack, ask: Ask
    ) -> Permitted | Answer | InputRequired:
        holder, call = self._.holder, known.call
        await holder.check_repeat(call)
        preview = await self._preview(known, journal)
        draft = holder.draft(call, examination=known.examination, ask=ask, preview=preview)
        held = await holder.open_or_continue(draft, journal=journal)
        if not held.stale:
            held = await holder.hold(held.ticket, call=call, channels=request.channels)
        if held.input_required:
            await journal.answer(None, code="input_required")
            return InputRequired(call_id=call.id, ticket=held.ticket)
        if held.stale or held.ticket.state != "approved":
            return await self._not_approved(journal, held)
        caller = call.caller
        if held.waited:
            if request.answer_by is not None and journal.now() + known.registered.timeout > request.answer_by:
                return await journal.answer(refusals.approved_call_again(held.ticket, url=self._.approval_url))
            caller = await self._reception.identify_again(request, journal, before=caller)
        known = await self._examine(request, journal, caller=caller, fresh=True)
        return await self._claim(request, known, journal, taken, held.ticket)

    async def _preview(self, known: _Examined, journal: Journal) -> str:
        """What may be said of a plan, for the approver; a target that cannot say costs the call nothing."""
        try:
            said: str = await known.tool.preview(
                known.arguments, examination=known.examination, connector=known.registered.connector
            )
        except TargetError as error:
            said, outcome = "", error.code
        else:
            outcome = "ok"
        if said or outcome != "ok":
            journal.note(
                Inspected(
                    at=journal.now(),
                    call_id=known.call.id,
                    target=known.call.target.name,
                    what="preview",
                    outcome=outcome,
                )
            )
        return said

    async def _not_approved(self, journal: Journal, held: Held) -> Answer:
        ticket, url = held.ticket, self._.approval_url
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
                outcome = await self._.store.outcome_of(ticket.consumed_by or "") or "still running"
                return await journal.answer(refusals.already_run(ticket, outcome=outcome))

    async def _claim(
        self, request: Request, known: _Examined, journal: Journal, taken: ExitStack, ticket: Ticket
    ) -> Permitted | Answer:
        """Decide again with the real approval as a fact, then use it."""
        if bound(known.examination) != ticket.bound or known.call.digest != ticket.digest:
            return await self._stale(known, journal, ticket, why="what it would do, or its target, has changed")
        if any(
            self._.revocations.refuses_vote(
                person=vote.person, email=vote.email, actor=vote.actor, token_id=vote.token_id
            )
            for vote in ticket.votes
        ):
            return await self._stale(known, journal, ticket, why="somebody who approved it was revoked since")
        decision, revealed = self._decide(known, journal, approval=ticket.granted)
        match decision:
            case Deny():
                return await self._deny(journal, decision)
            case Ask():
                return await self._stale(known, journal, ticket, why="the policy changed")
            case Allow():
                return await self._start(request, known, journal, taken, decision, revealed=revealed, ticket=ticket)

    async def _stale(self, known: _Examined, journal: Journal, ticket: Ticket, *, why: str) -> Answer:
        """Replace an approval that no longer fits: everybody whom the policies ask now is asked anew."""
        decision, _ = self._decide(known, journal, approval=NOT_APPROVED)
        match decision:
            case Deny():
                return await self._deny(journal, decision)
            case Allow():
                raise RequestError(f"the approval no longer fits: {why}", next_step=refusals.CALL_AGAIN)
            case Ask():
                preview = await self._preview(known, journal)
                draft = self._.holder.draft(known.call, examination=known.examination, ask=decision, preview=preview)
                held = await self._.holder.replace(ticket, draft, journal=journal, why=why)
                return await self._not_approved(journal, held)

    # Step 6.

    async def _start(
        self,
        request: Request,
        known: _Examined,
        journal: Journal,
        taken: ExitStack,
        allow: Allow,
        *,
        revealed: frozenset[str],
        ticket: Ticket | None,
    ) -> Permitted | Answer:
        call, registered = known.call, known.registered
        turns = self._turns[call.target.name]
        waits = not turns.free(call.caller.key)
        turn = await (self._queue(turns, call) if waits else turns.take(call.caller.key))
        taken.callback(turn)
        if waits:
            # Meanwhile the token may have been revoked, and the policy replaced.
            await self._reception.identify_again(request, journal, before=call.caller)
            decision, revealed = self._decide(known, journal, approval=ticket.granted if ticket else NOT_APPROVED)
            match decision:
                case Deny():
                    return await self._deny(journal, decision)
                case Ask():
                    raise RequestError("the policy changed while the call waited", next_step=refusals.CALL_AGAIN)
                case Allow():
                    allow = decision
        started_at = journal.now()
        started = Started(
            at=started_at, call_id=call.id, target=call.target.name, tool=call.tool, instance=self._.instance
        )
        if ticket is None:
            journal.note(started)
            await journal.record()
        else:
            approved = ticket

            def claim_and_start(tx: Transaction) -> None:
                self._.holder.approvals.claim(
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
                now = await self._.holder.approvals.get(ticket.id)
                return await self._not_approved(journal, Held(ticket=now or ticket, waited=False))
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
            held=taken,
        )

    async def _queue(self, turns: Turns, call: Call) -> Release:
        """The target's turn, in time."""
        with anyio.move_on_after(QUEUE_SECONDS):
            return await turns.take(call.caller.key)
        raise LimitError(
            f"the target {call.target.name!r} is busy with as many calls as may run on it at once",
            next_step="call again later; nothing has run",
        )

    # Steps 7 to 9.

    async def run(self, permitted: Permitted) -> Answer:
        """Execute, mask, record; whatever happens, exactly one outcome is recorded."""
        return await Running(permitted, self._).run()

    # Endings.

    async def _refuse(self, journal: Journal, error: Exception) -> Answer:
        """End a call that never started."""
        now, call_id = journal.now(), journal.call_id
        match error:
            case StoreError():
                log.critical("audit_unavailable", call_id=call_id, cause=str(error))
                return Answer(call_id=call_id, outcome=refusals.audit_unavailable())
            case IdentityError():
                refusal, cause = refusals.not_identified(error), error.cause
            case RequestError():
                refusal, cause = refusals.bad_request(error), error.message
            case TargetError():
                cause = await self._said(error)
                refusal = refusals.target_failed(error, message=cause, started=False)
            case MaskingError():
                cause = f"the arguments could not be masked: {error}"
                refusal = refusals.bad_request(LimitError(cause, next_step="send less at a time; nothing has run"))
            case CredentialError():
                cause = str(error)
                refusal = refusals.target_failed(
                    TargetUnavailable("x"),
                    message="the gateway has no usable credential for this target",
                    started=False,
                )
            case _:
                log.error("internal_error", call_id=call_id, error=type(error).__name__, exc_info=error)
                refusal, cause = refusals.internal(started=False), type(error).__name__
        journal.note(Refused(at=now, call_id=call_id, code=refusal.code, cause=cause))
        return await journal.answer(refusal)

    async def _said(self, error: TargetError) -> str:
        """What may be said of an error of a target that has run nothing."""
        if not error.detail or not error.detail_released:
            return error.message
        masker = self._.masker_of(None, revealed=frozenset())
        try:
            detail = await self._.aside.run(
                lambda: masker.text(error.detail), size=len(error.detail), key="", stop=masker.stop
            )
        except MaskingError:
            return error.message
        return f"{error.message}: {detail}"


def share_of(calls: int) -> int:
    """How many of a target's calls may be one caller's: three quarters, so that something is left for others."""
    return max(1, calls * 3 // 4)
