"""The approval state machine: one durable record of one Ask, and every way it may move. Pure.

    pending ──approve──▶ approved ──claim──▶ consumed
       ├──deny──▶ denied     ├──revoke──▶ denied
       ├──deadline──▶ expired└──deadline──▶ expired
       └──withdraw──▶ withdrawn

Each transition takes a ticket and the time and returns the next ticket, or `Rejected` with the reason. `store`
makes them atomic and durable; who may vote at all is `identity.approver`'s to say.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal, TypeAlias

import rfc8785

from mcp_gateway.calls import Caller, JSONObject, person_key, person_text
from mcp_gateway.decisions import CALLER_GROUP, Approved, Requirement

State: TypeAlias = Literal["pending", "approved", "consumed", "denied", "expired", "withdrawn"]
ENDED: frozenset[State] = frozenset({"consumed", "denied", "expired", "withdrawn"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """One person's yes or no."""

    person: str
    """`issuer|subject`."""
    email: str | None
    groups: frozenset[str]
    """Those of the asked groups that this person stands in, by the token of the decision."""
    actor: str
    """The client that the person decided with."""
    token_id: str
    at: datetime
    channel: str
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """The durable record of one Ask."""

    id: str
    state: State
    call_id: str
    """The call that asked."""
    digest: str
    bound: str
    """SHA-256 over what the decision rested on: facts, what was shown, the environment. See `binding`."""
    issuer: str
    subject: str
    actor: str
    email: str | None
    tool: str
    target: str
    reason: str
    """What the agent gave as its reason; never trusted."""
    policies: tuple[str, ...]
    policy_reasons: tuple[str, ...]
    facts: JSONObject
    shown: Mapping[str, str]
    """Label to complete text, as the approver reads it; empty once the ticket has ended."""
    preview: str
    requirements: tuple[Requirement, ...]
    votes: tuple[Vote, ...]
    created_at: datetime
    deadline: datetime
    """Until when people may decide."""
    claim_within: timedelta
    approved_at: datetime | None = None
    ended_at: datetime | None = None
    consumed_by: str | None = None
    """The call that ran."""
    ended_by: str = ""
    """Who denied or withdrew it: a person's `issuer|subject`, or `gateway`."""
    ended_by_email: str | None = None
    why: str = ""
    """Why it was denied, withdrawn or found stale."""
    repeat_of: str | None = None
    """The call that is to run once more, on purpose."""

    @property
    def person(self) -> str:
        """`issuer|subject` of the human whom the approval is for."""
        return person_key(self.issuer, self.subject)

    @property
    def ttl(self) -> timedelta:
        """How long people have to decide, and how long an end is remembered."""
        return self.deadline - self.created_at

    @property
    def claim_until(self) -> datetime | None:
        """Until when a yes can be used."""
        return None if self.approved_at is None else self.approved_at + self.claim_within

    @property
    def groups(self) -> frozenset[str]:
        """The groups that are asked."""
        return frozenset(requirement.group for requirement in self.requirements)

    @property
    def granted(self) -> Approved:
        """The approval as a fact for policy: groups whose quorum has said yes, and distinct people."""
        return Approved(
            by=frozenset(item.group for item in self.requirements if self._yes(item.group) >= item.approvers),
            approvers=len({vote.person for vote in self.votes}),
            people=tuple((item.group, self._yes(item.group)) for item in self.requirements),
        )

    @property
    def missing(self) -> dict[str, int]:
        """Group to the number of people still needed; empty when every quorum is met."""
        still = {item.group: item.approvers - self._yes(item.group) for item in self.requirements}
        return {group: count for group, count in still.items() if count > 0}

    @property
    def standing(self) -> str:
        """Its state in words, with who brought it there and when, where that was a person."""
        if self.state == "approved" and self.votes and self.approved_at is not None:
            vote = self.votes[-1]
            return f"approved by {person_text(vote.person, email=vote.email)} at {_clock(self.approved_at)}"
        if self.ended_by and self.ended_at is not None:
            by = person_text(self.ended_by, email=self.ended_by_email)
            return f"{self.state} by {by} at {_clock(self.ended_at)}"
        return self.state

    def _yes(self, group: str) -> int:
        return len({vote.person for vote in self.votes if group in vote.groups})


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """A move that the state machine does not make. `state` is what the ticket is in, so losers see the winner."""

    why: str
    state: State


def binding(*, facts: JSONObject, shown: Mapping[str, str], environment: str) -> str:
    """Fingerprint of what an approver saw and what it rests on; compared again at the claim."""
    return hashlib.sha256(
        rfc8785.dumps({"v": 1, "facts": facts, "shown": dict(shown), "environment": environment})
    ).hexdigest()


MAX_STEP_BACK = timedelta(seconds=60)
"""A ticket that comes from further in the future was made before somebody set the clock back."""
SET_BACK = "the clock was set back, so its deadline means nothing any more"


def settle(ticket: Ticket, *, now: datetime) -> Ticket:
    """Let deadlines take effect. Every other move starts with this, so no late decision ever counts."""
    if now < (ticket.approved_at or ticket.created_at) - MAX_STEP_BACK:
        return distrust(ticket, now=now)
    if ticket.state == "pending" and now >= ticket.deadline:
        return _end(ticket, "expired", now=now, why="nobody decided in time")
    if ticket.state == "approved" and ticket.claim_until is not None and now >= ticket.claim_until:
        return _end(ticket, "expired", now=now, why="nobody claimed it in time")
    return ticket


def distrust(ticket: Ticket, *, now: datetime) -> Ticket:
    """End what still has a deadline, because the clock that it is measured by was set back."""
    return ticket if ticket.state in ENDED else _end(ticket, "expired", now=now, why=SET_BACK)


def approve(ticket: Ticket, *, vote: Vote, now: datetime) -> Ticket | Rejected:
    """Count a yes. A person counts once in each of their groups; a second yes of theirs changes nothing.

    The asking human counts for the group `caller` and for no other; anybody else never for `caller`.
    """
    ticket = settle(ticket, now=now)
    if ticket.state != "pending":
        return Rejected(why=f"the approval is {ticket.standing}, not pending", state=ticket.state)
    counts_for = vote.groups & ticket.groups
    own = vote.person == ticket.person
    counts_for = counts_for & {CALLER_GROUP} if own else counts_for - {CALLER_GROUP}
    if not counts_for:
        return Rejected(why="this person stands in none of the groups that are asked", state=ticket.state)
    if any(earlier.person == vote.person for earlier in ticket.votes):
        return Rejected(why="this person has approved already", state=ticket.state)
    voted = replace(ticket, votes=(*ticket.votes, replace(vote, groups=counts_for)))
    return voted if voted.missing else replace(voted, state="approved", approved_at=now)


def deny(ticket: Ticket, *, vote: Vote, now: datetime) -> Ticket | Rejected:
    """A no wins, before the quorum and after it, until the approval is used."""
    ticket = settle(ticket, now=now)
    if ticket.state not in {"pending", "approved"}:
        return Rejected(why=f"the approval is {ticket.standing}; nothing is left to deny", state=ticket.state)
    if not vote.groups & ticket.groups:
        return Rejected(why="this person stands in none of the groups that are asked", state=ticket.state)
    return _end(ticket, "denied", now=now, why=vote.note, by=vote.person, email=vote.email)


def withdraw(ticket: Ticket, *, by: str, now: datetime, why: str, email: str | None = None) -> Ticket | Rejected:
    """Take a request back: by its caller while pending, or by the gateway when it went stale."""
    ticket = settle(ticket, now=now)
    if ticket.state not in {"pending", "approved"}:
        return Rejected(why=f"the approval is {ticket.standing}; nothing is left to withdraw", state=ticket.state)
    return _end(ticket, "withdrawn", now=now, why=why, by=by, email=email)


def claim(ticket: Ticket, *, caller: Caller, call_id: str, digest: str, bound: str, now: datetime) -> Ticket | Rejected:
    """Use an approval, once, for exactly what was approved.

    1. It is approved and in time. 2. The same human and agent ask. 3. The same thing is asked (constant time).
    4. What the decision rested on is unchanged (constant time).
    """
    # 1.
    ticket = settle(ticket, now=now)
    if ticket.state != "approved":
        return Rejected(why=f"the approval is {ticket.state}, not approved", state=ticket.state)
    # 2.
    if (caller.issuer, caller.subject, caller.actor) != (ticket.issuer, ticket.subject, ticket.actor):
        return Rejected(why="the approval belongs to another caller", state=ticket.state)
    # 3.
    if not hmac.compare_digest(digest, ticket.digest):
        return Rejected(why="the approval is for another call", state=ticket.state)
    # 4.
    if not hmac.compare_digest(bound, ticket.bound):
        return Rejected(why="what the approver saw is no longer so", state=ticket.state)
    return replace(_end(ticket, "consumed", now=now, why=""), consumed_by=call_id)


def remembered(ticket: Ticket, *, now: datetime) -> bool:
    """Whether an ended ticket still answers for the same call.

    A denial until the time that people had is over (no nagging), a use for as long after it (a retry after a
    lost answer is safe); what expired or was withdrawn is simply asked again.
    """
    match ticket.state:
        case "denied":
            return now < ticket.deadline
        case "consumed":
            return ticket.ended_at is not None and now < ticket.ended_at + ticket.ttl
        case "expired" | "withdrawn":
            return False
        case "pending" | "approved":
            return True


def _end(ticket: Ticket, state: State, *, now: datetime, why: str, by: str = "", email: str | None = None) -> Ticket:
    """An ended ticket keeps no statement of the agent's: the digest says what it was."""
    return replace(ticket, state=state, ended_at=now, ended_by=by, ended_by_email=email, why=why, shown={}, preview="")


def _clock(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")
