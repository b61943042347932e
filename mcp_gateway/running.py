"""The second half of the road: a call whose intent is on record is executed, masked and recorded, and ends exactly once.

7. execute    the tool does it, within the permit's time
8. mask       what came back becomes a `Masked`, beside the event loop where it is large (`aside`)
9. record     the outcome is durable; only then is there an answer

Whatever breaks, hangs or is cancelled here ends in one recorded outcome, and a result that is not masked stays here.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import anyio
import structlog

from mcp_gateway import refusals
from mcp_gateway.admission import Parts, Permitted
from mcp_gateway.answers import Answer, Masked, Refusal
from mcp_gateway.aside import INLINE_BYTES
from mcp_gateway.audit.store import Transaction
from mcp_gateway.errors import (
    CredentialError,
    MaskingError,
    OutcomeLost,
    RevokedError,
    StoreError,
    TargetError,
    TargetTimeout,
    TargetUnavailable,
)
from mcp_gateway.events import Answered, Cancelled, Event, Failed, Finished, OutcomeUnknown, TimedOut
from mcp_gateway.tool import Masker
from mcp_gateway.usage import Spent

log = structlog.get_logger(__name__)

OVERRUN = timedelta(seconds=5)
"""How much longer than its permit a tool may take before the road itself cancels it."""


class Running:
    """One call on the second half of the road. Everything that it holds is given back at its end."""

    def __init__(self, permitted: Permitted, parts: Parts) -> None:
        self._permitted = permitted
        self._parts = parts
        self._journal = permitted.journal
        self._came_back = False
        """Whether the tool has given a result, which is then masked."""

    async def run(self) -> Answer:
        """Take it to its end. Where not even that can be recorded, its intent is closed as unknown later."""
        try:
            return await self._run()
        except Exception as error:
            call_id, cause = self._permitted.call.id, type(error).__name__
            self._parts.store.forsake(call_id, cause=f"its outcome could not be recorded: {cause}")
            log.critical("outcome_not_recorded", call_id=call_id, error=cause, exc_info=error)
            return Answer(call_id=call_id, outcome=refusals.result_withheld())

    async def _run(self) -> Answer:
        with self._permitted.held:
            try:
                masked = await self._masked()
            except anyio.get_cancelled_exc_class():
                with anyio.CancelScope(shield=True):
                    await self._cancelled()
                raise
            except Exception as error:  # noqa: BLE001 - whatever breaks after the start ends in one recorded outcome
                return await self._failed(error)
            return await self._finished(masked)

    async def _masked(self) -> Masked:
        """Run it, and mask what came back.

        Its turn at the target ends after that: otherwise results would pile up before they are masked, as many as there are
        calls.
        """
        try:
            raw = await self._execute()
            self._came_back = True
            return await self._mask(raw)
        finally:
            self._permitted.turn()

    async def _execute(self) -> Any:
        permitted = self._permitted
        return await self._parts.revocations.unless_revoked(
            permitted.call.caller,
            lambda: permitted.tool.execute(
                permitted.arguments,
                examination=permitted.examination,
                connector=permitted.registered.connector,
                permit=permitted.permit,
            ),
            target=permitted.call.target.name,
            seconds=(permitted.permit.timeout + OVERRUN).total_seconds(),
        )

    async def _mask(self, raw: Any) -> Masked:
        permitted, masker = self._permitted, self._masker(revealed=self._permitted.revealed)
        size = permitted.tool.size(raw)
        masked = await self._parts.aside.run(
            lambda: permitted.tool.mask(
                raw, examination=permitted.examination, masker=masker, call_id=permitted.call.id
            ),
            size=size,
            key=permitted.call.caller.key,
            stop=masker.stop,
        )
        if masker.made(masked) is not True:
            raise MaskingError("its tool gave a result that did not come from the masker")
        if size > INLINE_BYTES:  # It may take seconds.
            revocations = self._parts.revocations
            what = revocations.refuses(permitted.call.caller) or revocations.stops(permitted.call.target.name)
            if what is not None:
                raise RevokedError(what)
        return masked

    async def _finished(self, masked: Masked) -> Answer:
        journal, permitted = self._journal, self._permitted
        now, call_id = journal.now(), permitted.call.id

        spent = Spent(rows=masked.rows or 0, bytes=len(masked.structured), touched=masked.touched)

        def record(tx: Transaction) -> None:
            tx.append(
                Finished(
                    at=now,
                    call_id=call_id,
                    duration=now - permitted.started_at,
                    rows=masked.rows,
                    size=len(masked.structured),
                    truncated=masked.truncated,
                    masked=dict(masked.counts),
                    touched=masked.touched,
                    result_hash=tx.save_result(call_id, masked.structured),
                )
            )
            tx.append(Answered(at=now, call_id=call_id, code="ok"))

        try:
            with anyio.CancelScope(shield=True):
                await journal.record_with(record, spent=spent)
        except StoreError as error:
            log.critical("outcome_not_recorded", call_id=call_id, cause=str(error))
            return Answer(call_id=call_id, outcome=refusals.result_withheld())
        return Answer(call_id=call_id, outcome=masked)

    async def _failed(self, error: Exception) -> Answer:
        """A time that is over for the tool is a `TimeoutError`; masking says its own as a `MaskingError`."""
        journal, call = self._journal, self._permitted.call
        said: Spent | None = None
        event: Event
        refusal: Refusal
        match error:
            case TimeoutError():
                refusal = refusals.target_failed(
                    TargetTimeout("x"),
                    target=call.target.name,
                    message=f"the target {call.target.name!r} did not answer in time",
                    started=True,
                )
                event = self._timed_out()
            case RevokedError():
                refusal = refusals.revoked(error)
                event = Cancelled(at=journal.now(), call_id=call.id, cause=str(error))
            case TargetError():
                try:
                    message, touched = await self._said(error)
                except anyio.get_cancelled_exc_class():
                    with anyio.CancelScope(shield=True):
                        await self._cancelled()
                    raise
                refusal = refusals.target_failed(error, target=call.target.name, message=message, started=True)
                # What a target says of a failure is of its data, too.
                said = Spent(bytes=len(refusal.message.encode(errors="surrogatepass")), touched=touched)
                match error:
                    case TargetTimeout():
                        event = self._timed_out()
                    case OutcomeLost():
                        event = OutcomeUnknown(at=journal.now(), call_id=call.id, cause=message)
                    case _:
                        if isinstance(error, TargetUnavailable):
                            self._unavailable(cause=message)
                        event = Failed(at=journal.now(), call_id=call.id, code=error.code, cause=message)
            case CredentialError():
                self._unavailable(cause=str(error))
                refusal = refusals.unavailable(call.target.name)
                event = Failed(at=journal.now(), call_id=call.id, code=refusal.code, cause=str(error))
            case MaskingError():
                log.warning("result_withheld", call_id=call.id, cause=str(error))
                refusal = refusals.masking_failed(error)
                event = Failed(at=journal.now(), call_id=call.id, code="failed", cause=f"result withheld: {error}")
            case _:
                log.error("internal_error", call_id=call.id, error=type(error).__name__, exc_info=error)
                cause = type(error).__name__
                if self._came_back:
                    refusal = refusals.internal(started=True)
                    event = Failed(at=journal.now(), call_id=call.id, code=refusal.code, cause=cause)
                else:
                    refusal = refusals.broken_off()
                    event = OutcomeUnknown(at=journal.now(), call_id=call.id, cause=f"the gateway broke: {cause}")
        journal.note(event)
        return await journal.answer(refusal, started=True, said=said)

    def _unavailable(self, *, cause: str) -> None:
        target = self._permitted.registered
        log.warning(
            "target_unavailable",
            call_id=self._journal.call_id,
            target=target.target.name,
            place=target.place,
            cause=cause,
        )

    def _timed_out(self) -> Event:
        now = self._journal.now()
        return TimedOut(at=now, call_id=self._permitted.call.id, after=now - self._permitted.started_at)

    async def _said(self, error: TargetError) -> tuple[str, frozenset[str]]:
        """What may be said of a target's error, and the data classes in it. A masker that breaks says nothing of it."""
        permitted, masker = self._permitted, self._masker(revealed=frozenset())
        try:
            said = await self._parts.aside.run(
                lambda: permitted.tool.mask_error(error, examination=permitted.examination, masker=masker),
                size=len(error.message) + len(error.detail),
                key=permitted.call.caller.key,
                stop=masker.stop,
            )
            return refusals.shortened(said), masker.touched
        except Exception as broken:  # noqa: BLE001 - an error text that cannot be masked is withheld
            log.critical("error_text_withheld", call_id=permitted.call.id, error=type(broken).__name__)
            return "the target reported an error; its text is withheld", frozenset()

    async def _cancelled(self) -> None:
        journal = self._journal
        cause = "the client cancelled or went away, or the gateway was stopped"
        journal.note(Cancelled(at=journal.now(), call_id=journal.call_id, cause=cause))
        await journal.close(code="cancelled")

    def _masker(self, *, revealed: frozenset[str]) -> Masker:
        return self._parts.masker_of(self._permitted.registered, revealed=revealed)
