"""Every sentence an agent can be refused with: a code, one safe sentence and what to do next.

The cause stays in the audit row; nothing here tells an agent more than it needs to go on.
"""

from __future__ import annotations

from datetime import datetime

from mcp_gateway.answers import PendingApproval, Refusal
from mcp_gateway.approval.ticket import Ticket
from mcp_gateway.calls import JSONObject
from mcp_gateway.decisions import CALLER_GROUP, Deny
from mcp_gateway.errors import (
    IdentityError,
    IssuerAway,
    LimitError,
    MaskingError,
    RequestError,
    RevokedError,
    StoppedError,
    TargetError,
)

MAX_SAID = 2000
"""Characters of what a target says of a failure: a statement can make all that it reads the text of its error."""
CALL_AGAIN = "call again with exactly the same arguments"


def not_identified(error: IdentityError) -> Refusal:
    """No caller, or one without the scope that the tool demands."""
    if error.code == "insufficient_scope":
        return Refusal(
            code="insufficient_scope",
            message=f"the token lacks the scope {error.scope!r} that this tool demands",
            next_step="sign in again and ask for that scope",
        )
    if isinstance(error, IssuerAway):
        return Refusal(
            code="identity_required",
            message="no token can be checked at present: the identity provider's keys are not at hand",
            next_step="try again in a minute; signing in again does not help",
        )
    return Refusal(
        code="identity_required",
        message="this call carries no valid token",
        next_step="have the person sign in again; a token that is missing, expired or revoked cannot be used",
    )


def _retry_after(error: RequestError) -> JSONObject:
    wait = error.retry_after if isinstance(error, LimitError) else None
    return {"retry_after_seconds": round(wait.total_seconds(), 3)} if wait is not None else {}


def bad_request(error: RequestError) -> Refusal:
    """The agent can mend this itself."""
    match error.code:
        case "limit_exceeded":
            return Refusal(
                code="limit_exceeded", message=error.message, next_step=error.next_step, detail=_retry_after(error)
            )
        case "unknown_target":
            return Refusal(code="unknown_target", message=error.message, next_step=error.next_step)
        case _:
            return Refusal(code="invalid_arguments", message=error.message, next_step=error.next_step)


def unknown_target(name: str) -> RequestError:
    """The same words for a target that does not exist and for one that this caller may not see."""
    return RequestError(
        f"there is no target {name!r} that this caller may use with this tool",
        next_step="call list_targets to see which targets there are",
        code="unknown_target",
    )


def denied(decision: Deny) -> Refusal:
    """Policy said no, whoever approves."""
    why = "; ".join(reason for reason in decision.reasons if reason)
    if not decision.policies and decision.error is None:
        why = "no policy permits it"
    return Refusal(
        code="denied",
        message=f"policy does not allow this call{': ' + why if why else ''}",
        next_step="do not repeat it; ask for something that the policy allows, or talk to whoever writes the policies",
    )


def pending(ticket: Ticket, *, url: str | None) -> Refusal:
    """Somebody still has to say yes."""
    why = "; ".join(reason for reason in ticket.policy_reasons if reason)
    return Refusal(
        code="approval_pending",
        message=f"this call waits for an approval by {_groups(ticket)}{': ' + why if why else ''}",
        next_step=f"{CALL_AGAIN} once it is approved, before {_clock(ticket.deadline)}; nothing has run",
        approval=reference(ticket, url=url),
    )


def too_many_wait(ticket: Ticket, *, most: int, url: str | None) -> Refusal:
    """Somebody is asked, and no further call may stand and wait for the answer."""
    return Refusal(
        code="limit_exceeded",
        message=f"{most:,} calls wait for approvals, as many as may at once; this one has asked {_groups(ticket)} and does not wait",
        next_step=f"{CALL_AGAIN} once it is approved, before {_clock(ticket.deadline)}; nothing has run",
        approval=reference(ticket, url=url),
    )


def approved_call_again(ticket: Ticket, *, url: str | None) -> Refusal:
    """The yes came too late for this call to run in time; the next one will."""
    until = ticket.claim_until or ticket.deadline
    return Refusal(
        code="approval_pending",
        message="this call is approved and has not run yet",
        next_step=f"{CALL_AGAIN} before {_clock(until)}",
        approval=reference(ticket, url=url),
    )


def approval_denied(ticket: Ticket) -> Refusal:
    """A person said no."""
    return Refusal(
        code="approval_denied",
        message="a person denied this call" + (f": {ticket.why}" if ticket.why else ""),
        next_step=f"do not repeat it; the same call is not asked again before {_clock(ticket.deadline)}",
        approval=reference(ticket, url=None),
    )


def approval_expired(ticket: Ticket) -> Refusal:
    """The time was over."""
    return Refusal(
        code="approval_expired",
        message=f"the approval of this call expired: {ticket.why}",
        next_step=f"{CALL_AGAIN} to ask anew",
        approval=reference(ticket, url=None),
    )


def approval_withdrawn(ticket: Ticket) -> Refusal:
    """The caller's human took it back."""
    return Refusal(
        code="approval_withdrawn",
        message="the request for approval was withdrawn",
        next_step=f"{CALL_AGAIN} only if it is still wanted",
        approval=reference(ticket, url=None),
    )


def approval_stale(ticket: Ticket, *, why: str, url: str | None) -> Refusal:
    """What had been approved is no longer what would run; `ticket` is the new request."""
    return Refusal(
        code="approval_stale",
        message=f"the approval no longer fits ({why}); a new one was opened and waits for {_groups(ticket)}",
        next_step=f"{CALL_AGAIN} once it is approved, before {_clock(ticket.deadline)}; nothing has run",
        approval=reference(ticket, url=url),
    )


def already_run(ticket: Ticket, *, outcome: str) -> Refusal:
    """The approval was used; a retry after a lost answer must not run the call twice."""
    return Refusal(
        code="already_run",
        message=f"this approved call has run already as call {ticket.consumed_by} and ended: {outcome}",
        next_step=f"do not retry; to run it once more on purpose, add repeat_of = {ticket.consumed_by!r}: a new approval",
        detail={"first_call_id": ticket.consumed_by, "outcome": outcome},
    )


def unavailable(target: str) -> Refusal:
    """There is no way to the target, or no credential for it; why is for whoever runs the gateway."""
    return Refusal(
        code="target_unavailable",
        message=f"the target {target!r} is not available at present",
        next_step="nothing has run; try again later, or give the call id to whoever runs the gateway: its record says why",
    )


def stopped(error: StoppedError) -> Refusal:
    """Whoever runs the gateway has refused calls on the target, or all."""
    return Refusal(
        code="target_unavailable",
        message=f"{error} by whoever runs the gateway",
        next_step="nothing has run; do not repeat it before they say that calls are taken again",
    )


def target_failed(error: TargetError, *, target: str, message: str, started: bool) -> Refusal:
    """The target is away, slow or said no; `message` has been through the masker."""
    match error.code:
        case "target_unavailable":
            return unavailable(target)
        case "timeout":
            return Refusal(
                code="timeout",
                message=message,
                next_step="ask for less at a time; what ran was cancelled at the target",
            )
        case "outcome_unknown":
            return Refusal(
                code="outcome_unknown",
                message=message,
                next_step="find out whether it took effect before anything is repeated",
            )
        case _:
            return Refusal(
                code="failed",
                message=message,
                next_step="mend the call" if started else "nothing has run; mend the call",
            )


def shortened(said: str) -> str:
    """The beginning of what a target said, after it has been through the masker."""
    more = len(said) - MAX_SAID
    return said if more <= 0 else f"{said[:MAX_SAID]} [... {more:,} characters left out ...]"


def revoked(error: RevokedError) -> Refusal:
    """Whoever called, or the target, was revoked while the call ran."""
    return Refusal(
        code="cancelled",
        message=f"{error}, so it was cancelled at its target and its result is withheld",
        next_step="do not repeat it; find out whether it took effect",
    )


def audit_unavailable() -> Refusal:
    """No record, no run; no record, no data."""
    return Refusal(
        code="audit_unavailable",
        message="the audit store refuses to record this call, so it was refused",
        next_step="tell whoever runs the gateway; no call can run until the store is mended",
    )


def result_withheld() -> Refusal:
    """The call ran, its outcome could not be recorded."""
    return Refusal(
        code="audit_unavailable",
        message="the call was sent and its result is withheld, because the audit store refuses to record it",
        next_step="tell whoever runs the gateway; find out whether it took effect before anything is repeated",
    )


def masking_failed(error: MaskingError) -> Refusal:
    """The call ran; masking cannot vouch for what came back, or not in time."""
    return Refusal(
        code="failed",
        message=f"the call ran and its result is withheld, because it could not be masked: {error}",
        next_step="ask for less at a time; what the call changed stays changed, so do not repeat a write for its result",
    )


def internal(*, started: bool) -> Refusal:
    """Something broke inside; the cause is in the audit row."""
    return Refusal(
        code="internal",
        message="something broke inside the gateway, so the call was refused"
        if not started
        else "something broke inside the gateway after the call was sent, so its result is withheld",
        next_step="tell whoever runs the gateway and give the call id",
    )


def broken_off() -> Refusal:
    """Something broke inside while the call ran; the cause is in the audit row."""
    return Refusal(
        code="internal",
        message="something broke inside the gateway while the call ran; whether it took effect is not known",
        next_step="find out whether it took effect before anything is repeated, and give the call id to whoever runs the gateway",
    )


def reference(ticket: Ticket, *, url: str | None) -> PendingApproval:
    """What the agent may know of an approval."""
    return PendingApproval(
        id=ticket.id,
        deadline=ticket.deadline,
        approvers=tuple(sorted(ticket.groups)),
        url=url and f"{url}/approvals/{ticket.id}",
    )


def _groups(ticket: Ticket) -> str:
    def words(group: str, people: int) -> str:
        if group == CALLER_GROUP:
            return "the person you act for"
        return f"{people} people of {group!r}" if people > 1 else f"a person of {group!r}"

    return " and ".join(words(item.group, item.approvers) for item in ticket.requirements)


def _clock(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")
