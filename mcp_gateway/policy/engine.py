"""The policies in force: what is asked of them, by whom it may be asked, and what stays masked.

Below are `sets` (asks Cedar, and remembers what it may), `question` (what is asked), `decide` (what an answer means)
and `compiling` (the files' contents).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from operator import is_
from typing import Any

import cedarpy
import orjson

from mcp_gateway.calls import ESTIMATES, Caller, Facts, JSONObject, SQLFacts, Target, depend_on_caller
from mcp_gateway.decisions import NOT_APPROVED, Approved, Decision, Deny
from mcp_gateway.inference import KINDS
from mcp_gateway.policy.decide import Verdict
from mcp_gateway.policy.expressions import TOKEN_AGE, Reads
from mcp_gateway.policy.question import (
    Question,
    QuestionError,
    approval_of,
    context_of,
    named,
    principal_of,
    record_of,
    resource_of,
)
from mcp_gateway.policy.schema import REVEAL, Action
from mcp_gateway.policy.scopes import Principal, entities_of_class, entities_of_target
from mcp_gateway.policy.sets import CLOCK, PolicySet, Prepared
from mcp_gateway.policy.statement import Compiled, Policy
from mcp_gateway.recent import Recent
from mcp_gateway.usage import BEGUN, HISTORY, Count

__all__ = ["PolicyEngine", "Question", "Verdict"]

REMEMBERED_CALLERS = 256
REMEMBERED_FACTS = 128
REMEMBERED_MEMBERS = 256
"""Of all sets of facts that are remembered."""


class PolicyEngine:
    """One valid set of policies for one configuration. Never changes; a reload makes another."""

    def __init__(self, compiled: Compiled, *, targets: Sequence[Target], remember: bool = True) -> None:
        self.version = compiled.version
        self.policies: Mapping[str, Policy] = compiled.policies
        """All of them, those in shadow mode too."""
        self.compiled = compiled
        self.actions: Mapping[str, Action] = compiled.actions
        """What can be decided on beside `reveal`, by tool."""
        self._classes = compiled.classes
        self._targets = {target.name: target for target in targets}
        self._resources = {target.name: entities_of_target(target) for target in targets}
        self._principals = lru_cache(maxsize=REMEMBERED_CALLERS)(principal_of)
        self._visible = lru_cache(maxsize=REMEMBERED_CALLERS)(self._visible_to)
        self._revealing = lru_cache(maxsize=REMEMBERED_CALLERS)(self._reveals_for)
        self._entities = lru_cache(maxsize=REMEMBERED_CALLERS)(self._parsed_entities)

        self._records: Recent[int, tuple[tuple[Facts, str, str], JSONObject]] = Recent(REMEMBERED_FACTS)
        """By the identity of facts, which is that of no others as long as they are held."""
        self._last: tuple[Question | None, Prepared | None] = None, None

        def set_of(policies: Mapping[str, Policy]) -> PolicySet:
            return PolicySet(
                policies, forms=compiled.forms, actions=self.actions, entities=self._entities, remember=remember
            )

        enforced = {name: policy for name, policy in self.policies.items() if policy.annotations.mode == "enforce"}
        self._enforced = set_of(enforced)
        self._shadowed = set_of(self.policies) if len(enforced) < len(self.policies) else None
        self._permits = [
            (policy, _reach(policy, targets, self.actions)) for policy in enforced.values() if policy.effect == "permit"
        ]
        self._looks_at_plan = any(
            path[-1] in ESTIMATES or path == ("sql",)
            for policy in self.policies.values()
            for path in policy.reads.attributes
        )
        self._looks_at_history = any(
            path[0] in HISTORY for policy in self.policies.values() for path in policy.reads.attributes
        )
        self._reads = Reads.of_all(policy.reads for policy in self.policies.values())
        self._token_ages = [age for path, age in self._reads.sides if path == TOKEN_AGE]
        self.counted_calls = _counted_calls(enforced.values())
        """By which counts of calls that began these policies decide, as record and attribute of the context."""
        self._observed = frozenset(
            (action.name, target.name)
            for action in self.actions.values()
            for target in targets
            if target.observed and action.kind == target.kind
        )

    @property
    def looks_at_plan(self) -> bool:
        """Whether any policy looks at what a planner expects."""
        return self._looks_at_plan

    @property
    def looks_at_history(self) -> bool:
        """Whether any policy looks at what a caller has done until now."""
        return self._looks_at_history

    @property
    def enforced(self) -> Mapping[str, Policy]:
        """Those that decide."""
        return self._enforced.policies

    def are_alike(self, before: int, now: int) -> bool:
        """Whether two moments are alike to all policies: times that differ, and tokens that are so many seconds old then."""
        if self._reads.paths & CLOCK or self._looks_at_history:
            return False
        return all((before > age, before < age) == (now > age, now < age) for age in self._token_ages)

    def decide(self, question: Question) -> Decision:
        """Allow, Ask or Deny. What cannot be decided is a Deny with an `error`."""
        return self._decide(question, self._enforced)

    def decide_shadowed(self, question: Question) -> Decision | None:
        """What would be decided if the policies in shadow mode were enforced, too; None where there are none."""
        return None if self._shadowed is None else self._decide(question, self._shadowed)

    def _decide(self, question: Question, policies: PolicySet) -> Decision:
        question = self.concealed(question)
        try:
            prepared = self._prepare(question)
        except QuestionError as error:
            return Deny(policies=(), error=str(error))
        return policies.decide(question, prepared)

    def reveal(self, question: Question, classes: Collection[str]) -> frozenset[str]:
        """Those of `classes` that this caller may see raw in the result of this call. When in doubt: none."""
        wanted = self._revealing(Principal.of(question.caller), frozenset(classes))
        if not wanted:
            return frozenset()
        try:
            prepared = self._prepare(question)
        except QuestionError:
            return frozenset()
        return frozenset(name for name in wanted if self._enforced.reveals(question, _revealing(prepared, name)))

    def concealed(self, question: Question) -> Question:
        """The question with what its statement tells, and with which of it stays masked for this caller.

        What a caller may see raw they need not infer. That is asked as things stand without any approval: an approval
        of the call is given for what its approver was shown, so it must not make what was shown disappear. Every
        decision asks anew, so a set of policies that reveals less is not bound by what an earlier one revealed.
        """
        facts = question.facts
        if not isinstance(facts, SQLFacts) or not depend_on_caller(facts):
            return question
        told = facts.inference
        if told is None:
            classes = question.target.classes
            told = dict.fromkeys(KINDS, classes) if classes else {}
        classes = frozenset[str]().union(*told.values())
        shown = self.reveal(replace(question, approval=NOT_APPROVED), classes)
        return replace(question, facts=replace(facts, inference=told, hidden=classes - shown))

    def visible(self, caller: Caller) -> frozenset[tuple[str, str]]:
        """`(tool, target)` where the scope of some permit, its conditions left aside, matches, or policy only observes."""
        return self._visible(Principal.of(caller))

    def evaluate(self, question: Question, approval: Approved) -> Verdict:
        """What Cedar says under an approval; for `explain`. Never from memory."""
        try:
            prepared = self._prepare(self.concealed(question))
        except QuestionError as error:
            return Verdict(allowed=False, error=str(error))
        return self._enforced.evaluate(prepared, approval)

    def evaluate_reveal(self, question: Question, name: str) -> Verdict:
        """What Cedar says of showing one data class raw; for `explain`. Never from memory."""
        try:
            prepared = self._prepare(question)
        except QuestionError as error:
            return Verdict(allowed=False, error=str(error))
        return self._enforced.evaluate_reveal(_revealing(prepared, name), question.approval)

    def _prepare(self, question: Question) -> Prepared:
        """Check a question and name its parts as Cedar takes them, without the approval.

        What is decided is asked again at once for what stays masked: the last one is kept.
        """
        last, prepared = self._last
        if last is not question or prepared is None:
            prepared = self._prepared(question)
            self._last = question, prepared
        return prepared

    def _prepared(self, question: Question) -> Prepared:
        known = self._targets.get(question.target.name)
        if known is None or (known.kind, known.labels) != (question.target.kind, question.target.labels):
            raise QuestionError(f"{question.target.name!r} is not a target that the policies were loaded for")
        if question.approval is not NOT_APPROVED:
            approval_of(question.approval)
        caller = Principal.of(question.caller)
        return Prepared(
            caller=caller,
            principal=self._principals(caller),
            action=question.tool,
            target=known.name,
            resource=self._resources[known.name],
            context=context_of(question, classes=self._classes, actions=self.actions, record=self._record_of(question)),
        )

    def _record_of(self, question: Question) -> JSONObject:
        """What the facts are in the context. Those of a statement may come again, the same object, unless they depend on the
        caller; others never do, and an agent makes them as large as its request.
        """
        asked = question.facts, question.tool, question.target.kind
        known = self._records.get(id(question.facts))
        if known is not None and all(map(is_, known[0], asked)):
            return known[1]
        found = record_of(question, classes=self._classes, actions=self.actions)
        members = sum(len(value) for value in found.values() if isinstance(value, list))
        may_come_again = isinstance(question.facts, SQLFacts) and not depend_on_caller(question.facts)
        if may_come_again and members <= REMEMBERED_MEMBERS:
            self._records.put(id(question.facts), (asked, found))
        return found

    def _visible_to(self, principal: Principal) -> frozenset[tuple[str, str]]:
        return self._observed.union(
            *(reach for policy, reach in self._permits if reach and policy.scope.matches_principal(principal))
        )

    def _reveals_for(self, principal: Principal, classes: frozenset[str]) -> tuple[str, ...]:
        """Those of `classes` that the scope of some permit could reveal to a caller: nothing else is worth asking Cedar."""
        scopes = [
            policy.scope
            for policy, _ in self._permits
            if policy.scope.names(REVEAL) and policy.scope.matches_principal(principal)
        ]
        known = sorted(self._classes & classes)
        return tuple(name for name in known if any(scope.matches_class(name) for scope in scopes))

    def _parsed_entities(self, principal: Principal, target: str) -> Any:
        document = orjson.dumps([self._principals(principal), resource_of(self._targets[target])])
        return cedarpy.Entities.from_json_str(document.decode())


def _revealing(prepared: Prepared, name: str) -> Prepared:
    """The same question, asked of one data class in the result."""
    return replace(
        prepared,
        action=REVEAL,
        resource=entities_of_class(name),
        context={
            **{record: prepared.context[record] for record in ("call", *HISTORY)},
            "target": {"__entity": named(prepared.resource[0])},
        },
    )


def _counted_calls(policies: Iterable[Policy]) -> frozenset[Count]:
    read = {path for policy in policies for path in policy.reads.attributes}
    counts = ((record, name) for record in HISTORY for name in BEGUN)
    return frozenset(count for count in counts if read & {count, count[:1]})


def _reach(policy: Policy, targets: Sequence[Target], actions: Mapping[str, Action]) -> frozenset[tuple[str, str]]:
    """The tools and targets that a permit could be for."""
    return frozenset(
        (action.name, target.name)
        for action in actions.values()
        for target in targets
        if action.kind == target.kind and policy.scope.names(action.name) and policy.scope.matches_target(target)
    )
