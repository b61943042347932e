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

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import anyio
import structlog

from mcp_gateway import refusals
from mcp_gateway.admission import Parts, Permitted, Request
from mcp_gateway.answers import Answer, Masked, Refusal
from mcp_gateway.approval.holding import Held, InputRequired, bound
from mcp_gateway.approval.store import ClaimError
from mcp_gateway.approval.ticket import Ticket
from mcp_gateway.audit.store import Transaction
from mcp_gateway.calls import Call, Caller, JSONObject
from mcp_gateway.decisions import NOT_APPROVED, Allow, Approved, Ask, Decision, Deny
from mcp_gateway.errors import (
    CredentialError,
    IdentityError,
    OutcomeLost,
    RequestError,
    RevokedError,
    StoreError,
    TargetError,
    TargetTimeout,
    TargetUnavailable,
)
from mcp_gateway.establishing import establish
from mcp_gateway.events import (
    Answered,
    Cancelled,
    Decided,
    Denied,
    Event,
    Examined,
    Failed,
    Finished,
    Identified,
    Inspected,
    OutcomeUnknown,
    Received,
    Refused,
    Started,
    TimedOut,
)
from mcp_gateway.journal import Journal
from mcp_gateway.policy.engine import Question
from mcp_gateway.registry import AnyTool, Registered
from mcp_gateway.tool import Arguments, Examination, Masker, Permit

log = structlog.get_logger(__name__)

OVERRUN = timedelta(seconds=5)
"""How much longer than its permit a tool may take before the road itself cancels it."""
MAX_CLIENT_CHARACTERS = 200
"""Kept of each thing that a client program says of itself."""


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

    # The whole and its two halves.

    async def call(self, request: Request) -> Answer | InputRequired:
        """Take one call from its door to its answer."""
        admitted = await self.admit(request)
        return await self.run(admitted) if isinstance(admitted, Permitted) else admitted

    async def admit(self, request: Request) -> Permitted | Answer | InputRequired:
        """Steps 1 to 6. A `Permitted` must be given to `run`: its intent is on record."""
        journal = Journal(call_id=self._.new_id(), store=self._.store, clock=self._.clock)
        try:
            journal.note(self._received(request, journal))
            return await self._admit(request, journal)
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True):
                await self._answer_if_recorded(journal, code="cancelled")
            raise
        except Exception as error:  # noqa: BLE001 - whatever breaks before the start refuses the call
            return await self._refuse(journal, error)

    async def list_targets(self, request: Request) -> Answer:
        """Answer which targets this caller may use; recorded like any other call."""
        journal = Journal(call_id=self._.new_id(), store=self._.store, clock=self._.clock)
        try:
            journal.note(self._received(request, journal))
            caller = await self._identify(request, journal, demand_scope=False)
            if request.arguments:
                raise RequestError(
                    f"list_targets takes no arguments, got {len(request.arguments)}",
                    next_step="call it without arguments",
                )
            found = {"targets": self.targets_of(caller), "call_id": journal.call_id}
            masked = self._masker(None, revealed=frozenset()).seal(found)
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

    async def _admit(self, request: Request, journal: Journal) -> Permitted | Answer | InputRequired:
        # 1.
        caller = await self._identify(request, journal)
        # 2. and 3.
        known = await self._examine(request, journal, caller=caller)
        # 4.
        decision, revealed = self._decide(known, journal, approval=NOT_APPROVED)
        match decision:
            case Deny():
                return await self._deny(journal, decision)
            case Allow():
                return await self._start(known, journal, decision, revealed=revealed, ticket=None)
            case Ask():
                return await self._approve(request, known, journal, decision)

    def _received(self, request: Request, journal: Journal) -> Received:
        """What came in, with every detector applied: nobody is proved yet, so nothing is shown raw."""
        client = request.client
        target, reason = request.arguments.get("target"), request.arguments.get("reason")
        kept, *texts = self._masker(None, revealed=frozenset()).json(
            [
                {name: value for name, value in request.arguments.items() if name != "reason"},
                target if isinstance(target, str) else "",
                reason if isinstance(reason, str) else "",
                client.name,
                client.version,
                client.protocol,
                client.trace,
            ]
        )
        # A text of which nothing is left is null in a cell; here it stays a text.
        target, reason, *said = ("[masked]" if text is None else text for text in texts)
        return Received(
            at=journal.now(),
            call_id=journal.call_id,
            door=request.door,
            tool=request.tool,
            target=target,
            arguments=kept,
            reason=reason,
            client=dict(zip(("name", "version", "protocol", "trace"), said, strict=True)),
        )

    async def _identify(self, request: Request, journal: Journal, *, demand_scope: bool = True) -> Caller:
        caller = await request.identify()
        journal.note(
            Identified(
                at=journal.now(),
                call_id=journal.call_id,
                issuer=caller.issuer,
                subject=caller.subject,
                actor=caller.actor,
                email=caller.email,
                groups=caller.groups,
                scopes=caller.scopes,
                token_id=caller.token_id,
                token_expires_at=caller.expires_at,
                assurance=caller.assurance,
            )
        )
        scope = self._.scope_of(request.tool) if demand_scope else None
        if scope is not None and scope not in caller.scopes:
            raise IdentityError(
                f"the tool {request.tool!r} demands the scope {scope!r}", code="insufficient_scope", scope=scope
            )
        return caller

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
        examination = await tool.examine(
            arguments, target=registered.target, connector=registered.connector, fresh=fresh
        )
        asked = Question.about(call, examination.facts, now=journal.now(), token_now=self._.token_clock())
        examination = replace(examination, facts=self._.policies().concealed(asked).facts)
        self._note_examination(journal, call, examination)
        return _Examined(call=call, tool=tool, arguments=arguments, registered=registered, examination=examination)

    def _note_examination(self, journal: Journal, call: Call, examination: Examination[Any]) -> None:
        for look in examination.looked:
            journal.note(
                Inspected(
                    at=journal.now(), call_id=call.id, target=call.target.name, what=look.what, outcome=look.outcome
                )
            )
        facts = self._masker(None, revealed=frozenset()).json(examination.facts.to_json())
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
        return await self._answer(journal, refusals.denied(decision))

    # Step 5.

    async def _approve(
        self, request: Request, known: _Examined, journal: Journal, ask: Ask
    ) -> Permitted | Answer | InputRequired:
        holder, call = self._.holder, known.call
        await holder.check_repeat(call)
        preview = await self._preview(known, journal)
        draft = holder.draft(call, examination=known.examination, ask=ask, preview=preview)
        held = await holder.open_or_continue(draft, journal=journal)
        if not held.stale:
            held = await holder.hold(held.ticket, call=call, channels=request.channels)
        if held.input_required:
            await self._answer(journal, None, code="input_required")
            return InputRequired(call_id=call.id, ticket=held.ticket)
        if held.stale or held.ticket.state != "approved":
            return await self._not_approved(journal, held)
        caller = call.caller
        if held.waited:
            if request.answer_by is not None and journal.now() + known.registered.timeout > request.answer_by:
                return await self._answer(journal, refusals.approved_call_again(held.ticket, url=self._.approval_url))
            caller = await self._identify_again(request, journal, before=caller)
        known = await self._examine(request, journal, caller=caller, fresh=True)
        return await self._claim(known, journal, held.ticket)

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
            return await self._answer(journal, refusals.approval_stale(ticket, why=held.stale, url=url))
        match ticket.state:
            case "pending":
                return await self._answer(journal, refusals.pending(ticket, url=url))
            case "denied":
                journal.note(
                    Denied(at=journal.now(), call_id=journal.call_id, code="approval_denied", policies=ticket.policies)
                )
                return await self._answer(journal, refusals.approval_denied(ticket))
            case "expired":
                return await self._answer(journal, refusals.approval_expired(ticket))
            case "withdrawn":
                return await self._answer(journal, refusals.approval_withdrawn(ticket))
            case "consumed" | "approved":
                outcome = await self._.store.outcome_of(ticket.consumed_by or "") or "still running"
                return await self._answer(journal, refusals.already_run(ticket, outcome=outcome))

    async def _identify_again(self, request: Request, journal: Journal, *, before: Caller) -> Caller:
        """After a wait: the token may have ended, been revoked or been exchanged meanwhile."""
        caller = await self._identify(request, journal)
        if (caller.key, caller.actor) != (before.key, before.actor):
            raise IdentityError("the caller changed while the call waited for its approval")
        return caller

    async def _claim(self, known: _Examined, journal: Journal, ticket: Ticket) -> Permitted | Answer:
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
                return await self._start(known, journal, decision, revealed=revealed, ticket=ticket)

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
        known: _Examined,
        journal: Journal,
        allow: Allow,
        *,
        revealed: frozenset[str],
        ticket: Ticket | None,
    ) -> Permitted | Answer:
        call, registered = known.call, known.registered
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
        )

    # Steps 7 to 9.

    async def run(self, permitted: Permitted) -> Answer:
        """Execute, mask, record; whatever happens, exactly one outcome is recorded."""
        try:
            with anyio.fail_after((permitted.permit.timeout + OVERRUN).total_seconds()):
                raw = await self._.revocations.unless_revoked(
                    permitted.call.caller,
                    lambda: permitted.tool.execute(
                        permitted.arguments,
                        examination=permitted.examination,
                        connector=permitted.registered.connector,
                        permit=permitted.permit,
                    ),
                )
            masked = permitted.tool.mask(
                raw,
                examination=permitted.examination,
                masker=self._masker(permitted.registered, revealed=permitted.revealed),
                call_id=permitted.call.id,
            )
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True):
                await self._cancelled(permitted)
            raise
        except Exception as error:  # noqa: BLE001 - whatever breaks after the start ends in one recorded outcome
            return await self._failed(permitted, error)
        return await self._finished(permitted, masked)

    async def _finished(self, permitted: Permitted, masked: Masked) -> Answer:
        journal, call = permitted.journal, permitted.call
        now = journal.now()

        def record(tx: Transaction) -> None:
            tx.append(
                Finished(
                    at=now,
                    call_id=call.id,
                    duration=now - permitted.started_at,
                    rows=masked.rows,
                    size=len(masked.structured),
                    truncated=masked.truncated,
                    masked=dict(masked.counts),
                    result_hash=tx.save_result(call.id, masked.structured),
                )
            )
            tx.append(Answered(at=now, call_id=call.id, code="ok"))

        try:
            with anyio.CancelScope(shield=True):
                await journal.record_with(record)
        except StoreError as error:
            log.critical("outcome_not_recorded", call_id=call.id, cause=str(error))
            return Answer(call_id=call.id, outcome=refusals.result_withheld())
        return Answer(call_id=call.id, outcome=masked)

    async def _failed(self, permitted: Permitted, error: Exception) -> Answer:
        journal, call = permitted.journal, permitted.call
        now = journal.now()
        masker = self._masker(permitted.registered, revealed=frozenset())
        event: Event
        match error:
            case TimeoutError():
                refusal = refusals.target_failed(
                    TargetTimeout("x"), message=f"the target {call.target.name!r} did not answer in time", started=True
                )
                event = TimedOut(at=now, call_id=call.id, after=now - permitted.started_at)
            case RevokedError():
                refusal = refusals.revoked(error)
                event = Cancelled(at=now, call_id=call.id, cause=str(error))
            case TargetError():
                message = self._said(permitted, error, masker)
                refusal = refusals.target_failed(error, message=message, started=True)
                match error:
                    case TargetTimeout():
                        event = TimedOut(at=now, call_id=call.id, after=now - permitted.started_at)
                    case OutcomeLost():
                        event = OutcomeUnknown(at=now, call_id=call.id, cause=message)
                    case _:
                        event = Failed(at=now, call_id=call.id, code=error.code, cause=message)
            case _:
                log.error("internal_error", call_id=call.id, error=type(error).__name__, exc_info=error)
                refusal = refusals.internal(started=True)
                event = Failed(at=now, call_id=call.id, code="internal", cause=type(error).__name__)
        journal.note(event)
        return await self._answer(journal, refusal, started=True)

    def _said(self, permitted: Permitted, error: TargetError, masker: Masker) -> str:
        """What may be said of a target's error. A masker that breaks says nothing of it."""
        try:
            return permitted.tool.mask_error(error, examination=permitted.examination, masker=masker)
        except Exception as broken:  # noqa: BLE001 - an error text that cannot be masked is withheld
            log.critical("error_text_withheld", call_id=permitted.call.id, error=type(broken).__name__)
            return "the target reported an error; its text is withheld"

    async def _cancelled(self, permitted: Permitted) -> None:
        journal = permitted.journal
        journal.note(Cancelled(at=journal.now(), call_id=journal.call_id, cause="the client cancelled or went away"))
        await self._answer_if_recorded(journal, code="cancelled")

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
                masker = self._masker(None, revealed=frozenset())
                detail = masker.text(error.detail) if error.detail and error.detail_released else ""
                cause = f"{error.message}: {detail}" if detail else error.message
                refusal = refusals.target_failed(error, message=cause, started=False)
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
        return await self._answer(journal, refusal)

    async def _answer(
        self, journal: Journal, refusal: Refusal | None, *, code: str = "", started: bool = False
    ) -> Answer:
        """Record everything noted and what the door is told; nothing is told that is not recorded."""
        refusal = refusal or refusals.internal(started=started)
        journal.note(Answered(at=journal.now(), call_id=journal.call_id, code=code or refusal.code))
        try:
            with anyio.CancelScope(shield=True):
                await journal.record()
        except StoreError as error:
            log.critical("audit_unavailable", call_id=journal.call_id, cause=str(error))
            withheld = refusals.result_withheld() if started else refusals.audit_unavailable()
            return Answer(call_id=journal.call_id, outcome=withheld)
        return Answer(call_id=journal.call_id, outcome=refusal)

    async def _answer_if_recorded(self, journal: Journal, *, code: str) -> None:
        journal.note(Answered(at=journal.now(), call_id=journal.call_id, code=code))
        try:
            await journal.record()
        except StoreError as error:
            log.critical("audit_unavailable", call_id=journal.call_id, cause=str(error))

    def _masker(self, registered: Registered | None, *, revealed: frozenset[str]) -> Masker:
        return self._.masker(
            revealed=revealed,
            detectors=registered.detectors if registered else (),
            secrets=registered.connector.secrets() if registered else (),
        )
