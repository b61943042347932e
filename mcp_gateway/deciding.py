"""What a call would do, and what policy says of it: steps 3 and 4 of the road.

Both are asked for more than once: an approval may have taken days, and a turn at a busy target minutes, in which the
target, the policies or what their caller has used may have changed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import structlog

from mcp_gateway.admission import Parts, Request
from mcp_gateway.audit.transaction import Transaction
from mcp_gateway.audit.usage import UsageStore, more_began
from mcp_gateway.calls import Call, Caller, JSONObject, depend_on_caller
from mcp_gateway.clock import time_limit
from mcp_gateway.decisions import NOT_APPROVED, Allow, Approved, Ask, Decision, Deny
from mcp_gateway.errors import LimitError, StoppedError
from mcp_gateway.establishing import establish
from mcp_gateway.events import Decided, Examined, Inspected
from mcp_gateway.journal import Journal
from mcp_gateway.masked_facts import MaskedFacts
from mcp_gateway.policy.engine import PolicyEngine, Question
from mcp_gateway.policy.external import Opinion, OpinionError, document_of, tightened
from mcp_gateway.policy.question import token_age
from mcp_gateway.rates import Rates
from mcp_gateway.registry import AnyTool, Registered
from mcp_gateway.tool import Arguments, Examination, Looked, Plans
from mcp_gateway.turns import working_for
from mcp_gateway.usage import NO_HISTORY, Count, History

log = structlog.get_logger(__name__)

MOST_RELOADS = 10
"""While one call is decided on."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Considered:
    """A call whose facts are known."""

    call: Call
    tool: AnyTool
    arguments: Arguments
    registered: Registered
    examination: Examination[Any]
    planned: bool = False
    """Whether it was asked what the target expects of the call; without that its estimates say nothing."""
    seen_by: str = ""
    """The version of the policies that said what of it stays masked for its caller."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What policy says of a call, and of which facts: a set that looks at more may have come into force meanwhile."""

    known: Considered
    decision: Decision
    revealed: frozenset[str]
    event: Decided
    """As it is noted."""
    token_age: int
    """As it was then."""
    history: History
    counted: frozenset[Count]
    """By which counts of calls that began the policies decided."""

    def of(self, caller: Caller) -> Judged:
        """The same of the same caller as a later token proves it: groups and scopes may be others."""
        call = replace(self.known.call, caller=caller)
        return replace(self, known=replace(self.known, call=call, seen_by=""))


class MoreBeganError(Exception):
    """Calls began between a call's decision and its own beginning, by whose number policy decides."""


class Deciding:
    """Examines one call and has policy decide on it."""

    def __init__(
        self,
        request: Request,
        journal: Journal,
        *,
        parts: Parts,
        rates: Rates,
        masked_facts: MaskedFacts,
        usage: UsageStore,
    ) -> None:
        self._request = request
        self._journal = journal
        self._parts = parts
        self._rates = rates
        self._masked_facts = masked_facts
        self._usage = usage
        self.call: Call | None = None
        """Whose facts are asked for, once it is established."""

    async def examine(self, caller: Caller, *, fresh: bool = False) -> Considered:
        """What the call would do; `fresh` where it was examined before, some time ago."""
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
        self.call = call
        self.refuse_stopped(call)
        if not fresh:
            self._rates.take_target(call.target.name, caller.key, now=self._parts.token_clock())
        working_for.set(caller.key)
        # No turn is held meanwhile: a target that does not answer is in the way of nobody who asks another one.
        known = await self._in_time(self._found_out(call, tool, arguments, registered, fresh=fresh))
        engine, known, history = await self._complete(known)
        known = self._concealed(known, engine, history)
        await self._note_examination(known, looked=known.examination.looked)
        return known

    async def _found_out(
        self, call: Call, tool: AnyTool, arguments: Arguments, registered: Registered, *, fresh: bool
    ) -> Considered:
        examination = await tool.examine(
            arguments, target=registered.target, connector=registered.connector, fresh=fresh
        )
        known = Considered(call=call, tool=tool, arguments=arguments, registered=registered, examination=examination)
        return await self._plan(known) if self._parts.policies().looks_at_plan else known

    async def _in_time(self, work: Awaitable[T]) -> T:
        """Refuse the call where what it would do is not found out within the time of an examination."""
        seconds = self._parts.examine_within.total_seconds()
        with time_limit(seconds):
            return await work
        raise LimitError(
            f"what the call would do was not found out within {seconds:g} s",
            next_step="call again later, or ask for less at a time; nothing has run",
        )

    async def _plan(self, known: Considered) -> Considered:
        """With what the target expects of the call, where its tool can ask."""
        examination = known.examination
        if isinstance(known.tool, Plans):
            examination = await known.tool.plan(
                known.arguments, examination=examination, connector=known.registered.connector
            )
        return replace(known, examination=examination, planned=True)

    async def _complete(self, known: Considered) -> tuple[PolicyEngine, Considered, History]:
        """The policies in force, and all that they look at.

        Finding that out takes time, in which policies that look at more may have come into force: to them what nobody
        asked for would be unknown or nothing. So it ends only with those that are still in force then.
        """
        while True:
            engine = self._parts.policies()
            if engine.looks_at_plan and not known.planned:
                known = await self._in_time(self._plan(known))
            history = await self._history(known.call, engine)
            if self._parts.policies().version == engine.version:
                return engine, known, history

    def _concealed(self, known: Considered, engine: PolicyEngine, history: History) -> Considered:
        """With what of its statement's tale stays masked for this caller."""
        examination = known.examination
        if depend_on_caller(examination.facts):
            examination = replace(examination, facts=engine.concealed(self._question(known, history)).facts)
        return replace(known, examination=examination, seen_by=engine.version)

    def _question(self, known: Considered, history: History, *, approval: Approved = NOT_APPROVED) -> Question:
        return Question.about(
            known.call,
            known.examination.facts,
            now=self._journal.now(),
            token_now=self._parts.token_clock(),
            approval=approval,
            history=history,
        )

    def refuse_stopped(self, call: Call) -> None:
        """Raise `StoppedError` where calls on the target, or all, are revoked."""
        stopped = self._parts.revocations.stops(call.target.name)
        if stopped is not None:
            raise StoppedError(call.target.name if stopped == "target" else "")

    async def _note_examination(self, known: Considered, *, looked: Sequence[Looked]) -> None:
        call, examination, journal = known.call, known.examination, self._journal
        for look in looked:
            journal.note(
                Inspected(
                    at=journal.now(), call_id=call.id, target=call.target.name, what=look.what, outcome=look.outcome
                )
            )
        facts = await self._masked_facts.of(examination.facts, key=call.caller.key)
        journal.note(
            Examined(
                at=journal.now(),
                call_id=call.id,
                digest=call.digest,
                facts=facts.masked,
                environment=examination.environment,
                sources=dict(examination.sources) or None,
                masked=facts.differs,
            )
        )

    async def _history(self, call: Call, engine: PolicyEngine) -> History:
        """What the caller has done until now, if any policy looks at it, or whoever else is asked may."""
        if not engine.looks_at_history and self._parts.decision_point is None:
            return NO_HISTORY
        return await self._usage.of(
            call.caller, now=self._journal.now(), classes=self._parts.classes | call.target.classes
        )

    async def decide(self, known: Considered, *, approval: Approved) -> Judged:
        """Ask the policies in force, and which data classes this caller may see raw.

        Somebody else is asked for an opinion, too, which takes time: what others come into force meanwhile decide anew.
        """
        for _ in range(MOST_RELOADS):
            judged = await self._decided(known, approval=approval)
            if self._parts.policies().version == judged.event.policy_version:
                self._journal.note(judged.event)
                return judged
            known = judged.known
        raise LimitError(
            "policies kept changing while this call was decided on", next_step="call again later; nothing has run"
        )

    async def _decided(self, known: Considered, *, approval: Approved) -> Judged:
        call, before = known.call, known
        engine, known, history = await self._complete(before)
        if engine.version != before.seen_by:
            known = self._concealed(known, engine, history)
            looked = known.examination.looked[len(before.examination.looked) :]
            if looked or known.examination.facts != before.examination.facts:
                await self._note_examination(known, looked=looked)
        question = self._question(known, history, approval=approval)
        cedar, shadow = engine.decide(question), engine.decide_shadowed(question)
        said = await self._second_opinion(question, cedar)
        decision = _tightened(cedar, said, approval)
        would = None if shadow is None else _as_fact(_tightened(shadow, said, approval))
        effective = _observed(decision) if call.target.observed else decision
        revealed = frozenset[str]()
        if isinstance(effective, Allow):
            revealed = engine.reveal(question, self._parts.classes | call.target.classes)
        decided = Decided(
            at=question.time,
            call_id=call.id,
            decision=type(decision).__name__.lower(),
            policies=decision.policies,
            reasons=decision.reasons,
            policy_version=engine.version,
            error=decision.error if isinstance(decision, Deny) else None,
            revealed=revealed,
            enforced=effective is decision,
            external=_as_recorded(said, cedar, decision),
            approvers=decision.people if isinstance(decision, Ask) else None,
            shadow=would if would != _as_fact(decision) else None,
        )
        return Judged(
            known=known,
            decision=effective,
            revealed=revealed,
            event=decided,
            token_age=question.token_age,
            history=history,
            counted=engine.counted_calls,
        )

    async def decide_again(self, judged: Judged, *, approval: Approved) -> Judged:
        """In place of a decision that came too early for what has to count: only the new one is on record."""
        self._journal.take_back(judged.event)
        return await self.decide(judged.known, approval=approval)

    def still_holds(self, judged: Judged, caller: Caller) -> bool:
        """Whether the same would be decided of `caller` now: the same one, by the same policies, and nobody else is asked."""
        engine = self._parts.policies()
        return (
            caller == judged.known.call.caller
            and engine.version == judged.event.policy_version
            and self._parts.decision_point is None
            and engine.are_alike(judged.token_age, token_age(caller, now=self._parts.token_clock()))
        )

    def in_order(self, judged: Judged) -> AbstractAsyncContextManager[bool]:
        """One after another for calls that are decided on by the same counts; gives whether it had to wait for others."""
        return self._usage.in_order(judged.known.call.caller, counted=judged.counted)

    def refuse_if_more_began(self, tx: Transaction, judged: Judged) -> None:
        """Raise `MoreBeganError` where calls began that this one's decision knows nothing of, and that it counts."""
        caller, counted = judged.known.call.caller, judged.counted
        if counted and more_began(tx.execute, caller, known=judged.history, counted=counted, now=self._journal.now()):
            raise MoreBeganError

    async def _second_opinion(self, question: Question, decision: Decision) -> Opinion | OpinionError | None:
        """What an external decision point says, or why it does not; None where it is not asked."""
        point = self._parts.decision_point
        if point is None or isinstance(decision, Deny):
            return None
        try:
            return await point.ask(document_of(question, decision))
        except OpinionError as error:
            log.critical("decision_point_failed", call_id=self._journal.call_id, cause=str(error))
            return error


def _tightened(decision: Decision, said: Opinion | OpinionError | None, approval: Approved) -> Decision:
    """What becomes of a decision by what an external decision point said. It can only tighten."""
    match said:
        case Opinion():
            return tightened(decision, said, approval=approval)
        case OpinionError() if not isinstance(decision, Deny):
            return Deny(policies=(), error=str(said))
        case _:
            return decision


def _as_recorded(said: Opinion | OpinionError | None, cedar: Decision, decision: Decision) -> JSONObject | None:
    """What a decision point said, and what policy alone had said if that was another decision."""
    if said is None:
        return None
    found: JSONObject = said.to_json() if isinstance(said, Opinion) else {"error": str(said)}
    if decision is cedar:
        return found
    people = {"approvers": cedar.people} if isinstance(cedar, Ask) else {}
    return found | {"cedar": _as_fact(cedar) | people}


def _observed(decision: Decision) -> Decision:
    """What becomes of a decision on a target that is only observed. What could not be decided is refused there, too."""
    if isinstance(decision, Ask) or (isinstance(decision, Deny) and decision.error is None):
        return Allow(policies=decision.policies, reasons=decision.reasons)
    return decision


def _as_fact(decision: Decision) -> JSONObject:
    return {"decision": type(decision).__name__.lower(), "policies": list(decision.policies)}
