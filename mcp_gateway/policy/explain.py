"""Why one question is decided as it is: facts, both decisions and the policies that determined them, as a value."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from mcp_gateway.calls import JSONObject
from mcp_gateway.decisions import Allow, Ask, Decision
from mcp_gateway.policy.decide import Verdict, every_approval
from mcp_gateway.policy.engine import PolicyEngine, Question
from mcp_gateway.policy.statement import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What `mcp-gateway policy explain` prints."""

    facts: JSONObject
    decision: Decision
    as_things_stand: Verdict
    with_every_approval: Verdict | None
    """The second decision; None where the first was an Allow or an error."""
    policies: tuple[Policy, ...]
    """Those that any of the decisions names, with their places and texts."""
    revealed: frozenset[str]
    shadowed: Decision | None
    """If the policies in shadow mode were enforced, too; None where there are none."""
    enforced: bool
    """False where the target is only observed."""
    version: str

    def to_json(self) -> JSONObject:
        """All of it, for `--json`."""
        return {
            "facts": self.facts,
            **decision_to_json(self.decision),
            "as_things_stand": _verdict(self.as_things_stand),
            "with_every_approval": None if self.with_every_approval is None else _verdict(self.with_every_approval),
            "determining": [policy.to_json() | {"text": policy.text} for policy in self.policies],
            "revealed": sorted(self.revealed),
            "shadow": None if self.shadowed is None else decision_to_json(self.shadowed),
            "enforced": self.enforced,
            "version": self.version,
        }


def explain(engine: PolicyEngine, question: Question, *, classes: Collection[str] = ()) -> Explanation:
    """Decide a question and keep what led there. `classes` are those to ask about revealing."""
    first = engine.evaluate(question, question.approval)
    second = None
    if not first.allowed and first.error is None:
        second = engine.evaluate(question, every_approval(engine.enforced.values()))
    decision, shadowed = engine.decide(question), engine.decide_shadowed(question)
    named = {*first.policies, *(second.policies if second else ()), *decision.policies}
    named |= {*shadowed.policies} if shadowed else set()
    return Explanation(
        facts=engine.concealed(question).facts.to_json(),
        decision=decision,
        as_things_stand=first,
        with_every_approval=second,
        policies=tuple(engine.policies[name] for name in sorted(named)),
        revealed=engine.reveal(question, classes),
        shadowed=shadowed,
        enforced=not question.target.observed,
        version=engine.version,
    )


def tables_without_schema(facts: JSONObject) -> list[str]:
    """Tables of a statement's facts that no schema stands before: policies name `schema.table`, and do not see these.

    A running gateway asks its target's catalog; where none is asked, names stand as they are written.
    """
    return sorted(name for name in {*facts.get("reads", ()), *facts.get("writes", ())} if "." not in name)


def decision_to_json(decision: Decision) -> JSONObject:
    """A decision for people and scripts."""
    found: JSONObject = {
        "decision": type(decision).__name__.lower(),
        "policies": list(decision.policies),
        "reasons": list(decision.reasons),
    }
    match decision:
        case Allow():
            timeout = decision.timeout
            found["max_rows"] = decision.max_rows
            found["timeout_seconds"] = None if timeout is None else timeout.total_seconds()
        case Ask():
            found["approvers"] = decision.people
            found["ttl_seconds"] = None if decision.ttl is None else decision.ttl.total_seconds()
        case _:
            found["error"] = decision.error
    return found


def _verdict(verdict: Verdict) -> JSONObject:
    return {"allowed": verdict.allowed, "policies": list(verdict.policies), "error": verdict.error}
