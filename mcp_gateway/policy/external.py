"""A second opinion from outside: what an external decision point is told, and what its answer means. Pure.

It can only tighten. What Cedar denies is not asked about; of what Cedar and the decision point say the stricter counts, and
an answer that is none, or that does not come, denies. `mcp_gateway.targets.opa` asks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import orjson

from mcp_gateway.calls import JSONObject
from mcp_gateway.decisions import Allow, Approved, Ask, Decision, Deny, Requirement
from mcp_gateway.policy.annotations import MAX_APPROVERS, MAX_REASON_CHARACTERS
from mcp_gateway.policy.question import Question, approval_of

POLICY = "opa:external"
"""What stands for it among the ids of determining policies; no `@id` can have a colon."""
MAX_GROUPS = 20

Said: TypeAlias = Literal["allow", "ask", "deny"]


class OpinionError(ValueError):
    """There is no answer that could be taken, so the call is denied. For the record, never for the agent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """What the decision point said."""

    said: Said
    reason: str = ""
    approvers: Mapping[str, int] = field(default_factory=dict)
    """For `ask`: group to distinct people."""

    def to_json(self) -> JSONObject:
        """As it is recorded."""
        return {"decision": self.said, "reason": self.reason} | (
            {"approval": dict(self.approvers)} if self.approvers else {}
        )


def document_of(question: Question, decision: Decision) -> JSONObject:
    """The input document: the same facts that Cedar decides by, and what it decided."""
    caller, target = question.caller, question.target
    return {
        "caller": {
            "issuer": caller.issuer,
            "subject": caller.subject,
            "actor": caller.actor,
            "email": caller.email,
            "groups": sorted(caller.groups),
        },
        "target": {
            "name": target.name,
            "kind": target.kind,
            "labels": dict(target.labels),
            "classes": sorted(target.classes),
        },
        "call": {
            "tool": question.tool,
            "door": question.door,
            "assurance": caller.assurance,
            "scopes": sorted(caller.scopes),
            "token_age": question.token_age,
            "time": question.time.isoformat(),
        },
        "facts": question.facts.to_json(),
        "usage": question.history.person.context(),
        "agent_usage": question.history.agent.context(),
        "approval": approval_of(question.approval),
        "cedar": {"decision": type(decision).__name__.lower(), "policies": list(decision.policies)},
    }


def opinion_of(body: bytes) -> Opinion:
    """Read the answer of OPA's Data API: `{"result": ...}`. Raises `OpinionError`.

    The result is true or false, or an object with `decision` (`allow`, `ask`, `deny`) or `allow` (a boolean), for `ask`
    with `approval`, which says how many people of which group are to be asked, and with a `reason` for people.
    """
    try:
        orjson.loads(body)  # stricter, and bounds how deep it is
        answer = json.loads(body, object_pairs_hook=_members)
    except OpinionError:
        raise
    except (ValueError, RecursionError):
        raise OpinionError("its answer is no JSON") from None
    if not isinstance(answer, dict) or "result" not in answer:
        raise OpinionError("its answer has no result: the path leads to no decision")
    result: Any = answer["result"]
    match result:
        case bool():
            return Opinion(said="allow" if result else "deny")
        case {"decision": "allow" | "ask" | "deny" as said}:
            if result.get("allow", said == "allow") is not (said == "allow"):
                raise OpinionError("its result has a decision and an allow that contradict each other")
            return _opinion(said, result)
        case {"allow": bool(allowed)} if "decision" not in result:
            return _opinion("allow" if allowed else "deny", result)
        case _:
            raise OpinionError("its result is neither a boolean nor has it a decision")


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise OpinionError("its answer has a member twice")
    return found


def tightened(decision: Decision, opinion: Opinion, *, approval: Approved) -> Decision:
    """The stricter of the two."""
    if isinstance(decision, Deny) or opinion.said == "allow":
        return decision
    if opinion.said == "deny":
        return Deny(policies=(POLICY,), reasons=(opinion.reason,))
    return decision if _is_given(opinion.approvers, approval) else _asked(decision, opinion)


def _asked(decision: Allow | Ask, opinion: Opinion) -> Ask:
    people = dict(opinion.approvers)
    policies: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    ttl = None
    if isinstance(decision, Ask):
        policies, reasons, ttl = decision.policies, decision.reasons, decision.ttl
        for needed in decision.requirements:
            people[needed.group] = max(people.get(needed.group, 1), needed.approvers)
    return Ask(
        policies=(*policies, POLICY),
        reasons=(*reasons, opinion.reason),
        requirements=tuple(Requirement(group=group, approvers=people[group]) for group in sorted(people)),
        ttl=ttl,
    )


def _is_given(approvers: Mapping[str, int], approval: Approved) -> bool:
    counted = dict(approval.people)
    return all(
        group in approval.by and counted.get(group, approval.approvers) >= people for group, people in approvers.items()
    )


def _opinion(said: Said, more: Mapping[str, Any]) -> Opinion:
    reason = more.get("reason", "")
    if not isinstance(reason, str) or len(reason) > MAX_REASON_CHARACTERS or not reason.isprintable():
        raise OpinionError(f"its reason is not one line of at most {MAX_REASON_CHARACTERS} printable characters")
    if said != "ask":
        return Opinion(said=said, reason=reason)
    approvers = more.get("approval")
    if not isinstance(approvers, dict) or not 1 <= len(approvers) <= MAX_GROUPS:
        raise OpinionError("it asks, and does not say whom: approval is an object of groups and numbers of people")
    for group, people in approvers.items():
        if not group or not group.isprintable() or type(people) is not int or not 1 <= people <= MAX_APPROVERS:
            raise OpinionError("its approval is not an object of groups and numbers of people")
    return Opinion(said="ask", reason=reason, approvers=approvers)
