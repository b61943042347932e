"""The desk where people decide: what a verified person may see of approvals, and what they may do with them.

The command line and the HTTP API stand on this; `identity.approver` says who may decide, `store` makes
it durable. A person who may neither decide on an approval nor is the one it is for gets the same answer as for one
that does not exist. What an approval shows is for people: an agent sees its own requests and no others, whoever it
acts for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeAlias

from mcp_gateway.approval.recorded import is_from_record
from mcp_gateway.approval.store import ApprovalStore, Decision, Page, Viewer
from mcp_gateway.approval.ticket import ENDED, Rejected, Ticket, Vote
from mcp_gateway.beginnings import CANDIDATES, several_text
from mcp_gateway.calls import Caller, JSONObject
from mcp_gateway.decisions import CALLER_GROUP
from mcp_gateway.identity.approver import ApproverPolicy, MayNotApprove, Requester, judge_approver

Move: TypeAlias = Decision
MAX_NOTE = 500
PAGE_SIZE = 100
AGENTS_SEE_NOTHING = "only people see what others ask for; sign in with a client that is listed in approvals.clients"
ONLY_ITS_OWN = (
    "this is no approver's token (its client is not listed in approvals.clients, or an agent acts by it), so only what it "
    "asked for itself is listed"
)
NOT_FOUND = "there is no such approval that you may see"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A move that was not made, and why, in words for the person."""

    why: str
    state: str = ""
    """What the approval is in, where the person may see it."""


class Desk:
    """Lets verified people see and move approvals."""

    def __init__(self, approvals: ApprovalStore, *, policy: ApproverPolicy, clock: Callable[[], datetime]) -> None:
        self._approvals = approvals
        self._policy = policy
        self._clock = clock

    async def page(self, person: Caller, *, live_only: bool = True, after: str | None = None) -> Page:
        """The approvals that this person may see, the oldest first, `PAGE_SIZE` at a time from the one behind `after` on."""
        found = await self._approvals.page(self._viewer(person), live_only=live_only, after=after, limit=PAGE_SIZE)
        return found if self._is_person(person) else replace(found, note=ONLY_ITS_OWN)

    async def show(self, person: Caller, approval_id: str) -> Ticket | Refused:
        """One approval, complete; what an ended one was about, as it is on record.

        The beginning of an id is enough where the person may see only one that begins so. A move takes the whole id.
        """
        found = await self._approvals.get(approval_id) or await self._only(person, approval_id)
        if isinstance(found, Refused):
            return found
        if not self._may_see(person, found):
            return self._unseen(person, found)
        return await self._approvals.as_recorded(found) if found.state in ENDED else found

    async def _only(self, person: Caller, beginning: str) -> Ticket | Refused:
        if not beginning:
            return Refused(why=NOT_FOUND)
        found = await self._approvals.page(
            self._viewer(person), live_only=False, after=None, limit=CANDIDATES, beginning=beginning
        )
        match found.tickets:
            case []:
                return Refused(why=NOT_FOUND)
            case [only]:
                return only
            case several:
                return Refused(why=several_text("approvals", beginning, [ticket.id for ticket in several]))

    def _viewer(self, person: Caller) -> Viewer:
        own = self._is_person(person)
        return Viewer(
            person=person.key,
            actor=None if own else person.actor,
            groups=person.groups - {CALLER_GROUP} if own else frozenset(),
        )

    async def move(
        self, person: Caller, approval_id: str, *, move: Move, channel: str, note: str = ""
    ) -> Ticket | Refused:
        """Approve, deny (or revoke a yes), or withdraw; atomic, and recorded with who, how and when.

        So is a move that is not made, whether it came too late or is not this person's to make.
        """
        if len(note) > MAX_NOTE:
            return Refused(why=f"a note has at most {MAX_NOTE} characters, this one has {len(note)}")
        found = await self._approvals.get(approval_id)
        if found is None:
            return Refused(why=NOT_FOUND)
        may = self._may(person, found, move=move)
        if isinstance(may, Refused):
            await self._approvals.refuse(found, decision=move, by=person, channel=channel, cause=may.why)
            return may
        result: Ticket | Rejected | None
        if move == "withdraw":
            result = await self._approvals.withdraw(
                approval_id, by=person.key, email=person.email, why=note, channel=channel
            )
        else:
            vote = Vote(
                person=person.key,
                email=person.email,
                groups=may,
                actor=person.actor,
                token_id=person.token_id,
                at=self._clock(),
                channel=channel,
                note=note,
            )
            act = self._approvals.approve if move == "approve" else self._approvals.deny
            result = await act(approval_id, vote=vote)
        match result:
            case None:
                return Refused(why=NOT_FOUND)
            case Rejected(why=why, state=state):
                return Refused(why=why, state=state)
            case Ticket():
                return result

    def _may(self, person: Caller, found: Ticket, *, move: Move) -> frozenset[str] | Refused:
        """The groups that this person moves it for; none for a withdrawal."""
        if not self._may_see(person, found):
            return self._unseen(person, found)
        if move == "withdraw":
            if person.key != found.person or person.delegated:
                return Refused(why="only the person whom it is for withdraws a request", state=found.state)
            return frozenset()
        verdict = judge_approver(
            person,
            asked=found.groups,
            requester=Requester(issuer=found.issuer, subject=found.subject, email=found.email, actor=found.actor),
            policy=self._policy,
            now=self._clock(),
        )
        if isinstance(verdict, MayNotApprove):
            return Refused(why=verdict.reason, state=found.state)
        return verdict.groups

    def _unseen(self, person: Caller, ticket: Ticket) -> Refused:
        is_agent = bool(person.groups & ticket.groups) and not self._is_person(person)
        return Refused(why=AGENTS_SEE_NOTHING if is_agent else NOT_FOUND)

    def _may_see(self, person: Caller, ticket: Ticket) -> bool:
        if not self._is_person(person):
            return (person.key, person.actor) == (ticket.person, ticket.actor)
        return person.key == ticket.person or bool(person.groups & (ticket.groups - {CALLER_GROUP}))

    def _is_person(self, person: Caller) -> bool:
        """Whether a token is a person's own and not one by which an agent acts for them."""
        return person.client_id in self._policy.clients and not person.delegated


def to_json(ticket: Ticket) -> JSONObject:
    """An approval for `--json` and the API: complete, nothing cut. `as_recorded`: what was asked is masked by detectors."""
    return {
        "id": ticket.id,
        "state": ticket.state,
        "subject": ticket.subject,
        "issuer": ticket.issuer,
        "email": ticket.email,
        "agent": ticket.actor,
        "tool": ticket.tool,
        "target": ticket.target,
        "as_recorded": is_from_record(ticket),
        "shown": dict(ticket.shown),
        "facts": ticket.facts,
        "preview": ticket.preview,
        "reason": ticket.reason,
        "policies": list(ticket.policies),
        "policy_reasons": list(ticket.policy_reasons),
        "needs": {item.group: item.approvers for item in ticket.requirements},
        "missing": ticket.missing,
        "votes": [
            {
                "person": vote.person,
                "email": vote.email,
                "groups": sorted(vote.groups),
                "at": vote.at.isoformat(),
                "channel": vote.channel,
                "note": vote.note,
            }
            for vote in ticket.votes
        ],
        "created_at": ticket.created_at.isoformat(),
        "deadline": ticket.deadline.isoformat(),
        "claim_until": ticket.claim_until.isoformat() if ticket.claim_until else None,
        "ended_at": ticket.ended_at.isoformat() if ticket.ended_at else None,
        "ended_by": ticket.ended_by,
        "ended_by_email": ticket.ended_by_email,
        "why": ticket.why,
        "call_id": ticket.call_id,
        "used_by": ticket.consumed_by,
        "digest": ticket.digest,
    }
