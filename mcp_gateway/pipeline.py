"""The one road: every door's calls go through `Road.call`, and nothing reaches a target by another way.

Each step takes what is proven so far and gives the next proof. The first half is `admitting`: a call is identified,
examined, decided on, approved where policy asks for that, and its intent made durable. The second half is `running`: it
is executed, masked and recorded. `Road` holds what all calls share: who has which turns, and how a call ends that never
started.

A step that raises refuses the call. `Deny` and `Ask` are values. Streaming doors use the road cut in two: `admit` gives
a `Permitted`, `run` does the rest.
"""

from __future__ import annotations

from contextlib import ExitStack

import anyio
import structlog

from mcp_gateway import refusals
from mcp_gateway.admission import Parts, Permitted, Request
from mcp_gateway.admitting import Admitting
from mcp_gateway.answers import Answer
from mcp_gateway.approval.holding import InputRequired
from mcp_gateway.audit.usage import UsageStore
from mcp_gateway.calls import Caller, JSONObject
from mcp_gateway.deciding import Deciding
from mcp_gateway.errors import (
    CredentialError,
    IdentityError,
    LimitError,
    MaskingError,
    RequestError,
    StoppedError,
    StoreError,
    TargetError,
    TargetUnavailable,
    UnknownNameError,
)
from mcp_gateway.events import Answered, Refused
from mcp_gateway.journal import Journal
from mcp_gateway.masked_facts import MaskedFacts
from mcp_gateway.rates import Rates
from mcp_gateway.reception import Reception
from mcp_gateway.running import Running
from mcp_gateway.turns import Turns

log = structlog.get_logger(__name__)


class Road:
    """The road. One for each gateway process; calls run on it side by side."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._rates = Rates(
            per_caller=parts.rate_per_caller,
            targets={name: registered.rate for name, registered in parts.registry.targets.items()},
        )
        self._reception = Reception(parts, rates=self._rates)
        self._masked_facts = MaskedFacts(parts)
        self._usage = UsageStore(parts.store)
        self._turns = {
            name: Turns(total=target.max_calls, each=share_of(target.max_calls))
            for name, target in parts.registry.targets.items()
        }

    @property
    def calls_under_way(self) -> int:
        """How many calls have no answer yet."""
        return self._parts.store.calls_under_way

    @property
    def max_calls_per_caller(self) -> int:
        """How many calls of one caller may be under way at once."""
        return self._parts.shares.each

    def let_go(self) -> None:
        """Answer whoever waits for people, now and from now on; their approvals stay as they are."""
        self._parts.holder.let_go()

    def close(self) -> None:
        """End what the road itself started: the threads that mask."""
        self._parts.aside.close()

    async def call(self, request: Request) -> Answer | InputRequired:
        """Take one call from its door to its answer."""
        with self._parts.store.call_under_way():
            admitted = await self.admit(request)
            return await self.run(admitted) if isinstance(admitted, Permitted) else admitted

    async def admit(self, request: Request) -> Permitted | Answer | InputRequired:
        """The first half. A `Permitted` must be given to `run`: its intent is on record."""
        journal, taken = self._new_journal(), ExitStack()
        admitted: Permitted | Answer | InputRequired | None = None
        try:
            admitted = await Admitting(
                request,
                journal,
                parts=self._parts,
                reception=self._reception,
                deciding=Deciding(
                    request,
                    journal,
                    parts=self._parts,
                    rates=self._rates,
                    masked_facts=self._masked_facts,
                    usage=self._usage,
                ),
                turns=self._turns,
                taken=taken,
            ).admit()
        except anyio.get_cancelled_exc_class():
            await journal.close(code="cancelled")
            raise
        except Exception as error:  # noqa: BLE001 - whatever breaks before the start refuses the call
            admitted = await self._refuse(journal, error, target=str(request.arguments.get("target", "")))
        finally:
            if not isinstance(admitted, Permitted):
                taken.close()
        return admitted

    async def run(self, permitted: Permitted) -> Answer:
        """The second half: execute, mask, record; whatever happens, exactly one outcome is recorded."""
        return await Running(permitted, self._parts).run()

    async def list_targets(self, request: Request) -> Answer:
        """Answer which targets this caller may use; recorded like any other call."""
        journal = self._new_journal()
        try:
            caller = await self._reception.open(request, journal)
            if self._parts.revocations.stops("") is not None:
                raise StoppedError
            if request.arguments:
                raise RequestError(
                    f"list_targets takes no arguments, got {len(request.arguments)}",
                    next_step="call it without arguments",
                )
            found = {"targets": self.targets_of(caller), "call_id": journal.call_id}
            masked = self._parts.masker_of(None, revealed=frozenset()).seal(found)
            journal.note(Answered(at=journal.now(), call_id=journal.call_id, code="ok"))
            await journal.record()
            return Answer(call_id=journal.call_id, outcome=masked)
        except anyio.get_cancelled_exc_class():
            await journal.close(code="cancelled")
            raise
        except Exception as error:  # noqa: BLE001 - as in `admit`
            return await self._refuse(journal, error)

    def targets_of(self, caller: Caller) -> list[JSONObject]:
        """The targets that some permit could let this caller use, with the tools for each."""
        visible = self._parts.policies().visible(caller)
        found: list[JSONObject] = []
        for name, registered in sorted(self._parts.registry.targets.items()):
            tools = [tool for tool in self._parts.registry.tools_for(registered.target) if (tool, name) in visible]
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
            for name, registered in self._parts.registry.targets.items()
            for tool in self._parts.registry.tools_for(registered.target)
        }
        return frozenset(tool for tool, _ in self._parts.policies().visible(caller) & known)

    def _new_journal(self) -> Journal:
        return Journal(call_id=self._parts.new_id(), store=self._parts.store, clock=self._parts.clock)

    async def _refuse(self, journal: Journal, error: Exception, *, target: str = "") -> Answer:
        """End a call that never started. Where its target is what failed, `target` is a name that the caller may use."""
        try:
            return await self._refused(journal, error, target=target)
        except Exception as broken:
            log.critical("refusal_not_recorded", call_id=journal.call_id, error=type(broken).__name__, exc_info=broken)
            return Answer(call_id=journal.call_id, outcome=refusals.audit_unavailable())

    async def _refused(self, journal: Journal, error: Exception, *, target: str) -> Answer:
        now, call_id = journal.now(), journal.call_id
        match error:
            case StoreError():
                log.critical("audit_unavailable", call_id=call_id, cause=str(error))
                return Answer(call_id=call_id, outcome=refusals.audit_unavailable())
            case IdentityError():
                refusal, cause = refusals.not_identified(error), error.cause
            case UnknownNameError():
                cause = await self._said(error.message, detail=error.detail)
                refusal = refusals.bad_request(RequestError(cause, next_step=error.next_step))
            case RequestError():
                refusal, cause = refusals.bad_request(error), error.message
            case StoppedError():
                refusal, cause = refusals.stopped(error), str(error)
            case TargetError():
                cause = await self._said(error.message, detail=error.detail if error.detail_released else "")
                refusal = refusals.target_failed(error, target=target, message=cause, started=False)
                if isinstance(error, TargetUnavailable):
                    self._unavailable(call_id, target, cause=cause)
            case MaskingError():
                cause = f"the arguments could not be masked: {error}"
                refusal = refusals.bad_request(LimitError(cause, next_step="send less at a time; nothing has run"))
            case CredentialError():
                refusal, cause = refusals.unavailable(target), str(error)
                self._unavailable(call_id, target, cause=cause)
            case _:
                log.error("internal_error", call_id=call_id, error=type(error).__name__, exc_info=error)
                refusal, cause = refusals.internal(started=False), type(error).__name__
        journal.note(Refused(at=now, call_id=call_id, code=refusal.code, cause=cause))
        return await journal.answer(refusal)

    def _unavailable(self, call_id: str, target: str, *, cause: str) -> None:
        registered = self._parts.registry.targets.get(target)
        place = registered.place if registered is not None else ""
        log.warning("target_unavailable", call_id=call_id, target=target, place=place, cause=cause)

    async def _said(self, message: str, *, detail: str) -> str:
        """What may be said of an error of a target that has run nothing; `detail` is not ours, and may be masked."""
        if not detail:
            return message
        masker = self._parts.masker_of(None, revealed=frozenset())
        try:
            masked = await self._parts.aside.run(
                lambda: masker.text(detail), size=len(detail), key="", stop=masker.stop
            )
        except MaskingError:
            return message
        return refusals.shortened(f"{message}: {masked}")


def share_of(calls: int) -> int:
    """How many of a target's calls may be one caller's: three quarters, so that something is left for others."""
    return max(1, calls * 3 // 4)
