"""Whether a verified person may decide on an approval. Pure; a no is a value with its reason.

The token was verified for this decision (`tokens`), so it is in time and nobody has revoked it. What a yes does to
an approval is `approval.ticket`'s.

1. The token comes from a client for approvers, not from the one that asked, and carries no `act`.
2. It is a person's: a client's own token (its subject is the client) approves nothing.
3. The person signed in at most 5 minutes ago, where the issuer says when; where it has to say and does not, no.
4. The human who asked never counts for a group, nor does another account with the same e-mail address of the same
   issuer. For the reserved group `caller` that human alone counts.
5. Anybody else counts for those of the asked groups that the token carries.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias
from unicodedata import normalize

from mcp_gateway.calls import Caller
from mcp_gateway.decisions import CALLER_GROUP

OWN_CALL = "nobody approves their own call"
MAX_AUTH_AGE = timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApproverPolicy:
    """Whose tokens may approve."""

    clients: frozenset[str]
    """OAuth clients for approvers; never one that agents use."""
    require_auth_time: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Requester:
    """The human whom an approval is for, as the approval keeps them."""

    issuer: str
    subject: str
    email: str | None
    actor: str
    """The agent that asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MayApprove:
    """Yes, for these groups."""

    groups: frozenset[str]
    """Of those that are asked; never empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MayNotApprove:
    """No, and why, in words that the person may read."""

    reason: str


ApproverVerdict: TypeAlias = MayApprove | MayNotApprove


def judge_approver(
    approver: Caller, *, asked: frozenset[str], requester: Requester, policy: ApproverPolicy, now: datetime
) -> ApproverVerdict:
    """Say whether this person may decide, and for which of the asked groups."""
    refusal = _check_sign_in(approver, asked_by=requester.actor, policy=policy, now=now)
    if refusal is not None:
        return refusal
    # 4.
    if (approver.issuer, approver.subject) == (requester.issuer, requester.subject):
        if CALLER_GROUP in asked:
            return MayApprove(groups=frozenset({CALLER_GROUP}))
        return MayNotApprove(reason=OWN_CALL)
    if _same_mailbox(approver, requester):
        return MayNotApprove(reason=f"{OWN_CALL}, whichever account they use")
    # 5.
    groups = (approver.groups & asked) - {CALLER_GROUP}
    if not groups:
        return MayNotApprove(reason=f"you are in none of the groups that are asked: {', '.join(sorted(asked))}")
    return MayApprove(groups=groups)


def _check_sign_in(approver: Caller, *, asked_by: str, policy: ApproverPolicy, now: datetime) -> MayNotApprove | None:
    # 1.
    if approver.delegated:
        return MayNotApprove(reason="this token lets an agent act for a person; only the person decides")
    if approver.client_id not in policy.clients:
        return MayNotApprove(reason=f"the client {approver.client_id!r} is not one for approvers")
    if approver.client_id == asked_by:
        return MayNotApprove(reason=f"the client {approver.client_id!r} is the agent that asked")
    # 2. RFC 9068 section 2.2: without a resource owner the subject is the client.
    if approver.subject == approver.client_id:
        return MayNotApprove(reason="this is a program's token; only a person decides")
    # 3.
    if approver.auth_time is None:
        if policy.require_auth_time:
            return MayNotApprove(reason="the token does not say when you signed in")
    elif now - approver.auth_time > MAX_AUTH_AGE:
        return MayNotApprove(reason=f"you signed in more than {MAX_AUTH_AGE.seconds // 60} minutes ago; sign in again")
    return None


def _same_mailbox(approver: Caller, requester: Requester) -> bool:
    if approver.email is None or requester.email is None or approver.issuer != requester.issuer:
        return False
    return _mailbox(approver.email) == _mailbox(requester.email)


def _mailbox(email: str) -> str:
    """An address in the one spelling that a mail server sees: case and composition of letters are not part of it."""
    return normalize("NFKC", normalize("NFKC", email).casefold())
